"""Inputs of every op, drawn by its own samplers, for tests that take all of the catalogue."""

from typing import Any

import numpy as np
import torch

from lossexport import ops
from lossexport.catalog import CATALOG

SIZES = {"N": 6, "M": 5, "C": 4, "D": 3, "K": 12, "B": 2, "A": 7, "T": 3}
Inputs = dict[str, torch.Tensor]


def draw(name: str, seed: int = 3, dtype: torch.dtype = torch.float64, **given: Any) -> Inputs:
    """Ordinary inputs as tensors, floats of `dtype`."""
    op = CATALOG[name]
    family = next(iter(op.samplers))
    sizes = {dim: low if low == high else SIZES[dim] for dim, (low, _, high) in op.dims.items()}
    drawn = op.samplers[family](np.random.default_rng(seed), sizes, op.resolve(given))
    tensors = {key: torch.from_numpy(np.asarray(value)) for key, value in drawn.items()}
    return {k: t.to(dtype) if t.is_floating_point() else t for k, t in tensors.items()}


def run(name: str, inputs: Inputs, **attributes: Any) -> tuple[torch.Tensor, ...]:
    """All outputs."""
    results = getattr(ops, name)(**inputs, **attributes)
    return results if isinstance(results, tuple) else (results,)


def leaves(name: str) -> list[str]:
    """The inputs in which an op has a derivative: floats that may be any number."""
    return [t.name for t in CATALOG[name].inputs if t.dtype == "float" and not t.bounded]


def smooth(name: str, inputs: Inputs, **attributes: Any) -> tuple[torch.Tensor, ...]:
    """The outputs that are no places or counts."""
    declared = CATALOG[name].outputs
    results = zip(run(name, inputs, **attributes), declared, strict=True)
    return tuple(x for x, tensor in results if tensor.dtype == "float")


SMOOTH = [op.name for op in CATALOG.values() if any(t.dtype == "float" for t in op.outputs)]
