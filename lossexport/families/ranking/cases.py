"""Ranked logits to verify AP loss and DR loss with."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lossexport.catalog.draw_numbers import LOGITS
from lossexport.catalog.spec import Arrays, Dims
from lossexport.families.logit_sampling import family

# Binary steps that every float type holds at this size, so that differences are exact.
STEP = 2.0**-12


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
    return {"logits": LOGITS[logits](rng, (n, classes)), "labels": labels}


RANKED = {name: family(_ranked, logits=name) for name in LOGITS} | {
    "background": family(_ranked, logits="tails", high=0),
    "ignored": family(_ranked, logits="ordinary", high=-1),
    "positive": family(_ranked, logits="ordinary", low=1),
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
    x = LOGITS[logits](rng, (count,))
    if step:
        x = np.round(x / step) * step
    target = -(rng.random(count) < 0.1).astype(np.int64)
    most = min(count, attributes["max_positives"], 1 + int(positives * count))
    target[rng.permutation(count)[: most if positives else 0]] = 1
    return {"logits": x, "target": target}


def _apart(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
    """Logits close together, and one positive so far below that differences from it round."""
    inputs = _precision(rng, dims, attributes, logits="ordinary", positives=0.3)
    inputs["logits"] = np.round(inputs["logits"]) * STEP
    inputs["logits"][np.argmax(inputs["target"])] = -6e4
    return inputs


PRECISION = {name: family(_precision, logits=name, positives=0.1) for name in LOGITS} | {
    # Steps of half of delta, so that some differences are on the corners of the ramp.
    "ties": family(_precision, logits="ordinary", positives=0.3, step=0.5),
    # As many positives as a graph has slots; in the other cases a tenth of the elements.
    "many": family(_precision, logits="ordinary", positives=0.7),
    "many_ties": family(_precision, logits="special", positives=0.5),
    "no_positive": family(_precision, logits="ordinary", positives=0.0),
    "all_positive": family(_precision, logits="ordinary", positives=1.0),
    "apart": _apart,
}
