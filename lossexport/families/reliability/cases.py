"""Boxes and scores on grids: no IoU and no score is so close to a threshold that rounding decides.

Corners are whole numbers up to 255 and scores are multiples of 1/64, so that every type that a
graph may have holds them exactly, and no score is 0.05, 0.3 or 0.4.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lossexport.catalog.draw_boxes import spoil_boxes
from lossexport.catalog.draw_numbers import spoil
from lossexport.catalog.spec import Arrays, Dims, Sampler
from lossexport.families.suppression.cases import metric_of, usable_rows

Drawn = tuple[np.ndarray, np.ndarray]


def _scores(rng: np.random.Generator, shape: int | tuple[int, ...]) -> np.ndarray:
    """Multiples of 1/64 in [1/64, 1], most of them low."""
    found: np.ndarray = np.ceil(64 * rng.random(shape) ** 2 + 1e-9).clip(1, 64) / 64
    return found


def _clusters(rng: np.random.Generator, n: int) -> Drawn:
    """Boxes around a few objects, as a detector has them before NMS."""
    corner = rng.integers(0, 160, (max(1, n // 8), 2))
    size = rng.integers(16, 64, corner.shape)
    which = rng.integers(0, len(corner), n)
    shake = rng.integers(-5, 6, (n, 4))
    boxes = np.concatenate((corner, corner + size), axis=1)[which] + shake
    return np.clip(boxes, 0, 255).astype(float), _scores(rng, n)


def _apart(rng: np.random.Generator, n: int) -> Drawn:
    """Points, lines and small boxes, few of which remove another."""
    low = rng.integers(0, 250, (n, 2))
    boxes = np.concatenate((low, low + rng.integers(0, 6, (n, 2))), axis=1)
    return boxes.astype(float), _scores(rng, n)


def _equal(rng: np.random.Generator, n: int) -> Drawn:
    """Equal boxes: groups whose hull is the box itself."""
    boxes, scores = _clusters(rng, n)
    return boxes[rng.integers(0, max(1, n // 6), n)], scores


def _nonfinite(rng: np.random.Generator, n: int) -> Drawn:
    boxes, scores = _clusters(rng, n)
    spoil_boxes(rng, boxes)
    spoil(rng, scores, 1 / 6)
    return boxes, scores


def _kept(boxes: np.ndarray, scores: np.ndarray, threshold: float, most: int) -> np.ndarray:
    """What greedy NMS keeps, padded with -1."""
    live = usable_rows(boxes, scores)
    kept = np.full(most, -1)
    for place in range(most):
        if not live.any():
            break
        kept[place] = pick = int(np.where(live, scores, -1).argmax())
        live &= ~(metric_of(boxes[pick], boxes)[0] > threshold)
        live[pick] = False
    return kept


def _sampler(family: Callable[..., Drawn]) -> Sampler:
    def draw(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
        boxes, scores = family(rng, dims["N"])
        with np.errstate(invalid="ignore"):
            kept = _kept(boxes, scores, attributes["iou_threshold"], dims["K"])
        return {"boxes": boxes, "scores": scores, "indices": kept}

    return draw


SUPPRESSION: dict[str, Sampler] = {
    name: _sampler(family)
    for name, family in (
        ("clusters", _clusters), ("apart", _apart), ("equal", _equal), ("nonfinite", _nonfinite),
    )
}  # fmt: skip


def _ordinary(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
    scores = _scores(rng, (dims["N"], dims["K"]))
    # The boxes of some images end early; the rest is padding.
    end = rng.integers(0, dims["K"] + 1, (dims["N"], 1))
    return {"scores": np.where(np.arange(dims["K"]) < end, scores, 0)}


def _one_side(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
    """Images whose scores are all low, all high or all 0."""
    scores = _scores(rng, (dims["N"], dims["K"]))
    side = rng.integers(0, 3, (dims["N"], 1))
    return {"scores": np.select([side == 0, side == 1], [scores / 4, 1 - scores / 4], 0.0)}


def _spoiled(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
    inputs = _ordinary(rng, dims, attributes)
    spoil(rng, inputs["scores"], 0.05)
    return inputs


CONFIDENCE: dict[str, Sampler] = {
    "ordinary": _ordinary, "one_side": _one_side, "nonfinite": _spoiled,
}  # fmt: skip
