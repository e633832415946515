"""Inputs of `matrix_nms` on which float32 and float64 must put the boxes in the same order."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lossexport.catalog.spec import Arrays, Dims, Sampler
from lossexport.families.suppression.cases import (
    FAMILIES,
    MARGIN,
    PASSES,
    Drawn,
    metric_of,
    usable_rows,
)

_CLASSES = 3


def _decays(
    boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, attributes: Mapping[str, Any]
) -> np.ndarray:
    """The factors of usable boxes by falling score, in float64."""
    overlap = np.array([metric_of(box, boxes)[0] for box in boxes])
    overlap[labels[:, None] != labels] = 0
    overlap = np.triu(overlap, 1)
    most = overlap.max(0)[:, None]
    if attributes["kernel"] == "linear":
        ratio = np.where(most < 1, (1 - overlap) / np.where(most < 1, 1 - most, 1), 1)
    else:
        ratio = np.exp(-attributes["sigma"] * (overlap**2 - most**2))
    decays: np.ndarray = np.minimum(np.triu(ratio, 1) + np.tril(np.ones_like(ratio)), 1).min(0)
    return decays


def _close(
    boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, attributes: Mapping[str, Any]
) -> np.ndarray:
    """Boxes whose new scores are too close to another one or to the threshold."""
    floor = attributes["score_threshold"]
    which = np.flatnonzero(usable_rows(boxes, scores) & (scores >= floor))
    if not len(which):
        return which
    which = which[np.argsort(-scores[which], kind="stable")]
    decays = _decays(boxes[which], scores[which], labels[which], attributes)
    faded = scores[which] * decays
    order = np.argsort(-faded, kind="stable")
    now, before = order[1:], order[:-1]
    near = np.abs(faded[now] - faded[before]) <= MARGIN * faded[now]
    same = (scores[which[now]] == scores[which[before]]) & (decays[now] == decays[before])
    close = np.zeros(len(which), bool)
    close[now[near & ~same]] = True
    close |= (np.abs(faded - floor) <= MARGIN * floor) & (decays < 1)
    return which[close]


def _sampler(family: Callable[..., Drawn]) -> Sampler:
    def draw(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
        boxes, scores = family(rng, dims["N"], attributes)
        labels = rng.integers(0, _CLASSES, dims["N"])
        with np.errstate(invalid="ignore"):
            for _ in range(PASSES):
                if not len(close := _close(boxes, scores, labels, attributes)):
                    break
                scores[close] = -1  # takes no part
        return {"boxes": boxes, "scores": scores, "labels": labels}

    return draw


SAMPLERS: dict[str, Sampler] = {name: _sampler(family) for name, family in FAMILIES.items()}
