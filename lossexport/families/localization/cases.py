"""Boxes and variances to verify the confidence with."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lossexport.catalog.draw_boxes import adversarial_pairs, random_boxes
from lossexport.catalog.draw_numbers import spoil
from lossexport.catalog.spec import Arrays, Dims, Sampler


def _ordinary(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
    """Corners that are off by 0.1 % to 100 % of the side."""
    boxes = random_boxes(rng, dims["N"])
    side = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    return {
        "boxes": boxes,
        "log_variance": 2 * np.log(side * 10.0 ** rng.uniform(-3, 0, boxes.shape)),
    }


def _extreme(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
    """Boxes of every kind, points and lines too, with variances over the whole range."""
    boxes = adversarial_pairs(rng, dims["N"])[0]
    ends = rng.choice([-200.0, -160.0, -80.0, 0.0, 80.0, 160.0, 176.0, 178.0, 200.0], boxes.shape)
    anywhere = rng.uniform(-200.0, 200.0, boxes.shape)
    return {
        "boxes": boxes,
        "log_variance": np.where(rng.random((dims["N"], 1)) < 0.5, ends, anywhere),
    }


def _nonfinite(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
    inputs = _ordinary(rng, dims, attributes)
    for array in inputs.values():
        spoil(rng, array, 0.05)
    return inputs


SAMPLERS: dict[str, Sampler] = {"ordinary": _ordinary, "extreme": _extreme, "nonfinite": _nonfinite}
