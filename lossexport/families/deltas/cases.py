"""Deltas to verify the decoding with."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lossexport.catalog.draw_boxes import adversarial_pairs, nonfinite_pairs, random_boxes
from lossexport.catalog.spec import Arrays, Dims


def _deltas(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
    n = dims["N"]
    weights = np.array(attributes["weights"])
    return {
        "deltas": rng.normal(0.0, [0.3, 0.3, 0.5, 0.5], (n, 4)) * weights,
        "anchors": random_boxes(rng, n),
    }


def _extreme_deltas(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
    """Deltas at, around and far beyond the clip, on anchors of every kind."""
    inputs = _deltas(rng, dims, attributes)
    clip = attributes["clip"]
    values = np.array([0.0, clip, -clip, 2 * clip, -50.0, 1000.0])
    weights = np.array(attributes["weights"])
    inputs["deltas"][:, 2:] = rng.choice(values, (dims["N"], 2)) * weights[2:]
    inputs["anchors"] = adversarial_pairs(rng, dims["N"])[0]
    return inputs


def _nonfinite_deltas(
    rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]
) -> Arrays:
    inputs = _deltas(rng, dims, attributes)
    inputs["anchors"] = nonfinite_pairs(rng, dims["N"])[0]
    return inputs


DELTAS = {
    "ordinary": _deltas,
    "adversarial": _extreme_deltas,
    "nonfinite": _nonfinite_deltas,
}
