"""Distances in bins, and qualities of matched elements, to verify with."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lossexport.catalog.draw_numbers import LOGITS, spoil
from lossexport.catalog.spec import Arrays, Dims
from lossexport.families.logit_sampling import family

# What is added to the logits of the bins beside a distance, so that they are found, or missed.
_LEADS = {"right": 30.0, "wrong": -30.0}


def _distances(
    rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any], logits: str, lead: float
) -> Arrays:
    """Distances inside the bins and beyond both ends, whole and half ones, and close to whole."""
    n, bins = dims["N"], dims["K"]
    inside = rng.uniform(-1.0, bins, n)
    near = rng.integers(0, bins, n) + rng.choice([0.0, 0.5, 2.0**-20, -(2.0**-20)], n)
    target = np.where(rng.random(n) < 0.5, inside, near)
    drawn = LOGITS[logits](rng, (n, bins))
    drawn += lead * (np.abs(np.arange(bins) - target[:, None]) < 1)
    if logits == "nonfinite":
        spoil(rng, target, 0.1)
    return {"logits": drawn, "target": target}


DISTANCES = {name: family(_distances, logits=name, lead=0.0) for name in LOGITS} | {
    name: family(_distances, logits="ordinary", lead=lead) for name, lead in _LEADS.items()
}


def _qualities(
    rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any], logits: str, share: float
) -> Arrays:
    """Elements of which a `share` is matched, with IoUs of which some are 0 and some are 1."""
    shape = (dims["N"], dims["C"])
    ends = rng.choice([0.0, 1.0, 1e-6, 1.0 - 2.0**-20], shape)
    quality = np.where(rng.random(shape) < 0.5, rng.random(shape), ends)
    if logits == "nonfinite":
        spoil(rng, quality, 0.1)
    return {
        "logits": LOGITS[logits](rng, shape),
        "quality": quality,
        "matched": rng.random(shape) < share,
    }


MATCHES = {name: family(_qualities, logits=name, share=0.3) for name in LOGITS} | {
    "unmatched": family(_qualities, logits="ordinary", share=0.0),
    "all_matched": family(_qualities, logits="tails", share=1.0),
}
