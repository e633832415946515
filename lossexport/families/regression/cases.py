"""Differences to verify regression losses with."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lossexport.catalog.draw_numbers import spoil
from lossexport.catalog.spec import Arrays, Dims
from lossexport.families.logit_sampling import family


def _differences(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
    target = rng.normal(0.0, 1.0, (dims["N"], dims["D"]))
    spread = 10.0 ** rng.uniform(-3, 1, target.shape)
    return {"pred": target + rng.normal(0.0, 1.0, target.shape) * spread, "target": target}


def _kinks(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
    """Differences of 0, of exactly beta and beside it, tiny and huge ones, on a zero target."""
    beta = attributes.get("beta", 1.0)
    steps = np.array([0.0, 1.0, 1.0 - 2**-20, 1.0 + 2**-20, 1e-6, 50.0, 1e5])
    values = np.concatenate((steps * beta, -steps * beta, [1e-12, 1e30]))
    shape = (dims["N"], dims["D"])
    return {"pred": rng.choice(values, shape), "target": np.zeros(shape)}


def _nonfinite_differences(
    rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]
) -> Arrays:
    inputs = _differences(rng, dims, attributes)
    spoil(rng, inputs["pred"], 0.1)
    return inputs


DIFFERENCES = {
    "ordinary": _differences,
    "adversarial": _kinks,
    "nonfinite": _nonfinite_differences,
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
    "ordinary": family(_uncertain, extent=4.0),
    "extreme": family(_uncertain, extent=50.0),
    "nonfinite": family(_uncertain, extent=4.0, spoilt=0.1),
}
