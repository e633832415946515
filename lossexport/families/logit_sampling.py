"""Logits and targets to verify classification and ranking losses with, in float64."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lossexport.catalog.spec import Arrays, Dims, Sampler
from lossexport.families.sampling import spoil

Shape = tuple[int, ...]
# Ties, the thresholds at which runtimes' sigmoid, log and exp give up, both ends of the domain.
_SPECIAL = (0.0, 1e-6, 1.0, 16.6, 17.5, 18.0, 20.0, 50.0, 87.0, 88.5, 100.0)


def _ordinary(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Logits of a detector in training: mostly confident negatives."""
    return rng.normal(-2.0, 3.0, shape)


def _tails(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Logits spread evenly over -100 to 100."""
    return rng.uniform(-100.0, 100.0, shape)


def _special(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Few distinct logits, so that rows are full of ties and saturated either way."""
    return np.asarray(rng.choice(_SPECIAL, shape) * rng.choice([-1.0, 1.0], shape))


def _nonfinite(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Ordinary logits with a NaN or an infinity in one out of ten."""
    logits = _ordinary(rng, shape)
    spoil(rng, logits, 0.1)
    return logits


LOGITS: dict[str, Callable[[np.random.Generator, Shape], np.ndarray]] = {
    "ordinary": _ordinary,
    "tails": _tails,
    "special": _special,
    "nonfinite": _nonfinite,
}


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


def _labelled(
    rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any], logits: str, margin: float
) -> Arrays:
    n, classes = dims["N"], dims["C"]
    labels = rng.integers(0, classes, n)
    x = LOGITS[logits](rng, (n, classes))
    x[np.arange(n), labels] += margin
    return {"logits": x, "labels": labels}


LABELLED = {name: family(_labelled, logits=name, margin=0.0) for name in LOGITS} | {
    "right": family(_labelled, logits="ordinary", margin=30.0),
    "wrong": family(_labelled, logits="ordinary", margin=-30.0),
}
