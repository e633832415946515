"""Inputs to verify classification and ranking losses with, in float64, from a seeded generator.

Every sampler draws any size from 1 up: logits [N,C] or [K], targets that fit them.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lossexport.catalog.samples import spoil
from lossexport.catalog.spec import Arrays, Dims, Sampler

Shape = tuple[int, ...]
# Ties, the thresholds at which runtimes' sigmoid, log and exp give up, both ends of the domain.
_SPECIAL = (0.0, 1e-6, 1.0, 16.6, 17.5, 18.0, 20.0, 50.0, 87.0, 88.5, 100.0)
# Binary steps that every float type holds at this size, so that differences are exact.
_STEP = 2.0**-12


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


_LOGITS: dict[str, Callable[[np.random.Generator, Shape], np.ndarray]] = {
    "ordinary": _ordinary,
    "tails": _tails,
    "special": _special,
    "nonfinite": _nonfinite,
}


def _family(draw: Callable[..., Arrays], **fixed: Any) -> Sampler:
    def sample(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
        return draw(rng, dims, attributes, **fixed)

    return sample


def _binary(
    rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any], logits: str, soft: bool
) -> Arrays:
    shape = (dims["N"], dims["C"])
    target = (rng.random(shape) < 0.2).astype(float)
    if soft:
        target = np.where(rng.random(shape) < 0.5, rng.random(shape), target)
    return {"logits": _LOGITS[logits](rng, shape), "target": target}


BINARY = {name: _family(_binary, logits=name, soft=False) for name in _LOGITS} | {
    "soft": _family(_binary, logits="ordinary", soft=True),
    "soft_tails": _family(_binary, logits="tails", soft=True),
}


def _labelled(
    rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any], logits: str, margin: float
) -> Arrays:
    n, classes = dims["N"], dims["C"]
    labels = rng.integers(0, classes, n)
    x = _LOGITS[logits](rng, (n, classes))
    x[np.arange(n), labels] += margin
    return {"logits": x, "labels": labels}


LABELLED = {name: _family(_labelled, logits=name, margin=0.0) for name in _LOGITS} | {
    "right": _family(_labelled, logits="ordinary", margin=30.0),
    "wrong": _family(_labelled, logits="ordinary", margin=-30.0),
}


def _ranked(
    rng: np.random.Generator,
    dims: Dims,
    attributes: Mapping[str, Any],
    logits: str,
    low: int = -1,
    high: int | None = None,
) -> Arrays:
    n, classes = dims["N"], dims["C"]
    labels = rng.integers(low, (classes if high is None else high) + 1, n)
    labels[rng.random(n) < 0.5] = min(0, labels.max())
    return {"logits": _LOGITS[logits](rng, (n, classes)), "labels": labels}


RANKED = {name: _family(_ranked, logits=name) for name in _LOGITS} | {
    "background": _family(_ranked, logits="tails", high=0),
    "ignored": _family(_ranked, logits="ordinary", high=-1),
    "positive": _family(_ranked, logits="ordinary", low=1),
}


def _precision(
    rng: np.random.Generator,
    dims: Dims,
    attributes: Mapping[str, Any],
    logits: str,
    positives: float,
    step: float = 0.0,
) -> Arrays:
    count = dims["K"]
    x = _LOGITS[logits](rng, (count,))
    if step:
        x = np.round(x / step) * step
    target = -(rng.random(count) < 0.1).astype(np.int64)
    most = min(count, attributes["max_positives"], 1 + int(positives * count))
    target[rng.permutation(count)[: most if positives else 0]] = 1
    return {"logits": x, "target": target}


def _apart(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
    """Logits close together, and one positive so far below that differences from it round."""
    inputs = _precision(rng, dims, attributes, logits="ordinary", positives=0.3)
    inputs["logits"] = np.round(inputs["logits"]) * _STEP
    inputs["logits"][np.argmax(inputs["target"])] = -6e4
    return inputs


PRECISION = {name: _family(_precision, logits=name, positives=0.1) for name in _LOGITS} | {
    # At half of delta, so that scores stand on the corners of the ramp too.
    "ties": _family(_precision, logits="ordinary", positives=0.3, step=0.5),
    # As many as a graph has room for, where others have a tenth of the elements.
    "many": _family(_precision, logits="ordinary", positives=0.7),
    "many_ties": _family(_precision, logits="special", positives=0.5),
    "no_positive": _family(_precision, logits="ordinary", positives=0.0),
    "all_positive": _family(_precision, logits="ordinary", positives=1.0),
    "apart": _apart,
}


def _counts(rng: np.random.Generator, bins: int) -> np.ndarray:
    """Running counts with empty bins among them."""
    return np.where(rng.random(bins) < 0.3, 0, rng.integers(0, 1000, bins)).astype(float)


def _valid(rng: np.random.Generator, shape: Shape, share: float) -> np.ndarray:
    return rng.choice([0.5, 1.0, 2.0], shape) * (rng.random(shape) < share)


def _harmonised(
    rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any], logits: str, valid: float
) -> Arrays:
    inputs = _binary(rng, dims, attributes, logits, soft=False)
    inputs["weight"] = _valid(rng, inputs["logits"].shape, valid)
    inputs["bin_count"] = _counts(rng, attributes["bins"])
    return inputs


HARMONISED = {name: _family(_harmonised, logits=name, valid=0.9) for name in _LOGITS} | {
    "ignored": _family(_harmonised, logits="tails", valid=0.0),
    "rare": _family(_harmonised, logits="ordinary", valid=0.01),
}


def _differences(
    rng: np.random.Generator,
    dims: Dims,
    attributes: Mapping[str, Any],
    spread: float,
    valid: float = 0.9,
    spoilt: float = 0.0,
) -> Arrays:
    shape = (dims["N"], 4)
    target = np.round(rng.normal(0.0, 1.0, shape) / _STEP) * _STEP
    sizes = spread * 10.0 ** rng.uniform(-3, 0, shape)
    pred = target + np.round(rng.normal(0.0, 1.0, shape) * sizes / _STEP) * _STEP
    spoil(rng, pred, spoilt)
    return {
        "pred": pred,
        "target": target,
        "weight": _valid(rng, shape, valid),
        "bin_count": _counts(rng, attributes["bins"]),
    }


# Predictions and targets on a grid: the difference is exact, and with it the bin.
RESIDUALS = {
    "ordinary": _family(_differences, spread=1.0),
    "large": _family(_differences, spread=100.0),
    "equal": _family(_differences, spread=0.0),
    "ignored": _family(_differences, spread=1.0, valid=0.0),
    "nonfinite": _family(_differences, spread=1.0, spoilt=0.1),
}


def _uncertain(
    rng: np.random.Generator,
    dims: Dims,
    attributes: Mapping[str, Any],
    extent: float,
    spoilt: float = 0.0,
) -> Arrays:
    shape = (dims["N"], 4)
    target = rng.normal(0.0, 1.0, shape)
    # Below, on and above the corner of smooth L1.
    shift = rng.choice([0.0, 1e-6, 0.1, 1.0, 1.0, 5.0, 50.0], shape) * rng.choice([-1, 1], shape)
    log_variance = rng.uniform(-extent, extent, shape)
    for values in (shift, log_variance):
        spoil(rng, values, spoilt)
    return {"pred": target + shift, "log_variance": log_variance, "target": target}


UNCERTAIN = {
    "ordinary": _family(_uncertain, extent=4.0),
    "extreme": _family(_uncertain, extent=50.0),
    "nonfinite": _family(_uncertain, extent=4.0, spoilt=0.1),
}
