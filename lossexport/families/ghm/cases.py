"""Inputs to verify gradient harmonising with."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lossexport.catalog.draw_numbers import LOGITS, Shape, spoil
from lossexport.catalog.spec import Arrays, Dims
from lossexport.families.logit_sampling import binary_case, family

# Binary steps that every float type holds at this size, so that differences are exact.
STEP = 2.0**-12


def _counts(rng: np.random.Generator, bins: int) -> np.ndarray:
    """Running counts with empty bins among them."""
    return np.where(rng.random(bins) < 0.3, 0, rng.integers(0, 1000, bins)).astype(float)


def _valid(rng: np.random.Generator, shape: Shape, share: float) -> np.ndarray:
    return rng.choice([0.5, 1.0, 2.0], shape) * (rng.random(shape) < share)


def _harmonised(
    rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any], logits: str, valid: float
) -> Arrays:
    inputs = binary_case(rng, dims, attributes, logits, soft=False)
    inputs["weight"] = _valid(rng, inputs["logits"].shape, valid)
    inputs["bin_count"] = _counts(rng, attributes["bins"])
    return inputs


HARMONISED = {name: family(_harmonised, logits=name, valid=0.9) for name in LOGITS} | {
    "ignored": family(_harmonised, logits="tails", valid=0.0),
    "rare": family(_harmonised, logits="ordinary", valid=0.01),
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
    target = np.round(rng.normal(0.0, 1.0, shape) / STEP) * STEP
    sizes = spread * 10.0 ** rng.uniform(-3, 0, shape)
    pred = target + np.round(rng.normal(0.0, 1.0, shape) * sizes / STEP) * STEP
    spoil(rng, pred, spoilt)
    return {
        "pred": pred,
        "target": target,
        "weight": _valid(rng, shape, valid),
        "bin_count": _counts(rng, attributes["bins"]),
    }


# Predictions and targets on a grid: the difference is exact, and with it the bin.
RESIDUALS = {
    "ordinary": family(_differences, spread=1.0),
    "large": family(_differences, spread=100.0),
    "equal": family(_differences, spread=0.0),
    "ignored": family(_differences, spread=1.0, valid=0.0),
    "nonfinite": family(_differences, spread=1.0, spoilt=0.1),
}
