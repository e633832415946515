"""Looks for inputs of the domain that make a node overflow, by running the graph in its own types.

onnxruntime computes products of float16 on a CPU in float32 and would not show it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from lossexport.catalog.spec import Arrays, Tensor
from lossexport.catalog.variant import Variant
from lossexport.ranges.domain import Domain
from lossexport.ranges.interval import Interval

_TRIES = 4
# Of the dimensions: one row shows an overflow best, several rows find more of them.
_SIZES = (1, 6)
_FEW = 24
# An infinity of these may come from a 0 on purpose.
_POLES = ("Div", "Reciprocal", "Log", "Pow")


@dataclass(frozen=True, slots=True)
class Overflow:
    """A node that overflows, and the inputs of the graph for which it does, in words."""

    node: str
    inputs: str


def overflow(model: onnx.ModelProto, variant: Variant, domain: Domain) -> Overflow | None:
    """The first node that turns finite numbers into an infinity in a 16-bit type.

    The conversion of a result to the type of an output is not one: it is the result that is large.

    `model` is inlined. None if no such input was found, or the graph cannot be run.
    """
    results = {info.name for info in model.graph.output}
    try:
        evaluator = ReferenceEvaluator(model)
        for size in _SIZES:
            for arrays in inputs(variant, domain, size):
                with np.errstate(all="ignore"):
                    found = cast(dict[str, Any], evaluator.run(None, arrays, intermediate=True))
                if (node := _first(model, found, results)) is not None:
                    return Overflow(node, _shown(arrays))
    except Exception:
        return None
    return None


def _first(model: onnx.ModelProto, found: Mapping[str, Any], results: set[str]) -> str | None:
    for node in model.graph.node:
        converts = node.op_type == "Cast" and node.output[0] in results
        if not any(node.input) or node.op_type in _POLES or converts:
            continue
        if np.asarray(found[node.output[0]]).dtype.name not in ("float16", "bfloat16"):
            continue
        if _finite(found, node.input) and not _finite(found, node.output):
            return str(node.name or node.output[0])
    return None


def _shown(arrays: Arrays) -> str:
    """Inputs in words, as far as they are short."""
    return ", ".join(
        f"{name} = {np.asarray(array, np.float64).round(4).tolist()}"
        for name, array in arrays.items()
        if array.size <= _FEW
    )


def _finite(found: Mapping[str, Any], names: Iterable[str]) -> bool:
    arrays = [np.asarray(found[name]) for name in names if name]
    return all(np.isfinite(a.astype(np.float64)).all() for a in arrays if a.dtype != bool)


def inputs(variant: Variant, domain: Domain, size: int) -> Iterator[Arrays]:
    """Corners of the domain and points in it, in tensors with dimensions of about `size`."""
    rng = np.random.default_rng(0)
    sizes = {name: min(max(r.min, size), r.max) for name, r in variant.ranges.items()}
    for _ in range(_TRIES * (4 if size == 1 else 1)):
        yield {tensor.name: _drawn(tensor, variant, domain, sizes, rng)
               for tensor in variant.op.inputs}  # fmt: skip


def _drawn(
    tensor: Tensor,
    variant: Variant,
    domain: Domain,
    sizes: dict[str, int],
    rng: np.random.Generator,
) -> np.ndarray:
    dims = [sizes[d] if isinstance(d, str) else d for d in variant.shape(tensor)]
    bounds = domain.bounds(tensor, variant)

    def numbers(one: Interval, shape: list[int]) -> np.ndarray:
        ends = rng.choice([one.low, one.high], shape)
        return np.where(rng.random(shape) < 0.75, ends, rng.uniform(one.low, one.high, shape))

    if isinstance(bounds, Interval):
        drawn = numbers(bounds, dims)
    else:
        drawn = np.stack([numbers(one, dims[:-1]) for one in bounds], axis=-1)
        if tensor.domain == "boxes":
            sides = drawn[..., 2:]
            most = np.array([one.high for one in bounds[2:]])
            drawn = np.concatenate((drawn[..., :2], drawn[..., :2] + sides), axis=-1)
            drawn = np.minimum(drawn, np.tile(most, 2))
            drawn[..., :2] = np.minimum(drawn[..., :2], drawn[..., 2:] - domain.side)
            if rng.random() < 0.5:
                drawn[0] = [0.0, 0.0, *most]
    if tensor.dtype == "int64":
        high = tensor.upper(sizes)
        drawn = np.minimum(drawn, high if np.isfinite(high) else 6)
    name = variant.numpy_dtype(tensor)
    if name == "bfloat16":
        import ml_dtypes

        return drawn.astype(ml_dtypes.bfloat16)
    return drawn.astype(name)
