"""Logits and soft or hard targets to verify classification losses with, in float64."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lossexport.catalog.draw_numbers import LOGITS
from lossexport.catalog.spec import Arrays, Dims, Sampler


def family(draw: Callable[..., Arrays], **fixed: Any) -> Sampler:
    """A sampler that draws with these arguments fixed."""

    def sample(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
        return draw(rng, dims, attributes, **fixed)

    return sample


def binary_case(
    rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any], logits: str, soft: bool
) -> Arrays:
    """Logits [N,C] and targets of 0 and 1, `soft` ones between too."""
    shape = (dims["N"], dims["C"])
    target = (rng.random(shape) < 0.2).astype(float)
    if soft:
        target = np.where(rng.random(shape) < 0.5, rng.random(shape), target)
    return {"logits": LOGITS[logits](rng, shape), "target": target}


BINARY = {name: family(binary_case, logits=name, soft=False) for name in LOGITS} | {
    "soft": family(binary_case, logits="ordinary", soft=True),
    "soft_tails": family(binary_case, logits="tails", soft=True),
}
