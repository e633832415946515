"""Distributions to verify the decoding of distances with."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lossexport.catalog.draw_numbers import spoil
from lossexport.catalog.spec import Arrays, Dims, Sampler


def _ordinary(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
    n = dims["N"]
    return {
        "distribution": rng.normal(0.0, 2.0, (n, 4, attributes["bins"])),
        "points": rng.uniform(0.0, 1280.0, (n, 2)),
        "stride": rng.choice([8.0, 16.0, 32.0, 64.0], n),
    }


def _extreme(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
    """Certain and undecided distributions, logits of +-50, strides from 1e-4 to 1e4."""
    n, bins = dims["N"], attributes["bins"]
    rows = np.stack(
        [
            rng.choice([-50.0, 50.0], (n, 4, bins)),
            np.full((n, 4, bins), 50.0),
            np.where(rng.permuted(np.tile(np.arange(bins), (n, 4, 1)), axis=2) == 0, 50.0, -50.0),
            rng.uniform(-50.0, 50.0, (n, 4, bins)),
        ]
    )
    return {
        "distribution": rows[rng.integers(len(rows), size=n), np.arange(n)],
        "points": rng.choice([-1.0, 1.0], (n, 2)) * 10.0 ** rng.uniform(-4.0, 4.0, (n, 2)),
        "stride": 10.0 ** rng.uniform(-4.0, 4.0, n),
    }


def _nonfinite(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
    inputs = _ordinary(rng, dims, attributes)
    for array in inputs.values():
        spoil(rng, array, 0.3 / max(1, array[0].size))
    return inputs


SAMPLERS: dict[str, Sampler] = {"ordinary": _ordinary, "extreme": _extreme, "nonfinite": _nonfinite}
