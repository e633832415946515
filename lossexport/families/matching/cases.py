"""Inputs of `best_match` on which float32 and float64 must make the same choices.

Corners have at most eight significant bits, so that every precision holds them exactly and equal
boxes are ties in all of them. Two partners that are almost equally good are made equal boxes.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lossexport.catalog.draw_boxes import jittered, spoil_boxes
from lossexport.catalog.spec import Arrays, Dims, Sampler

# Scores closer than this are made equal; it is ten times their error.
_MARGIN = 5e-5
_PASSES = 100

_Drawn = tuple[np.ndarray, np.ndarray]


def _lattice(corners: np.ndarray) -> np.ndarray:
    """Whole corners in [0, 255]."""
    return np.asarray(np.clip(np.rint(corners), 0, 255))


def _ordinary(rng: np.random.Generator, n: int, m: int) -> _Drawn:
    """Predictions for each reference in turn, with sides that are off by up to 20 %."""
    side = rng.integers(8, 97, (m, 2))
    low = rng.integers(0, 256 - side)
    target = np.concatenate((low, low + side), axis=1).astype(float)
    pred = _lattice(jittered(rng, target[rng.integers(0, m, n)], float(rng.choice([0.02, 0.2]))))
    unit = rng.choice([1.0, 1 / 256])
    return pred * unit, target * unit


def _structured(rng: np.random.Generator, n: int, m: int) -> _Drawn:
    """Corners on a grid of five lines, including points and lines, scaled by 1e-4 to 6e4."""
    corners = rng.integers(0, 5, (n + m, 4)).astype(float) * np.exp2(rng.integers(-13, 14))
    low, high = (
        np.minimum(corners[:, :2], corners[:, 2:]),
        np.maximum(corners[:, :2], corners[:, 2:]),
    )
    boxes = np.concatenate((low, high), axis=1)
    return boxes[:n], boxes[n:]


def _apart(rng: np.random.Generator, n: int, m: int) -> _Drawn:
    """Nothing overlaps: references in the left half, predictions in the right."""
    boxes = np.concatenate((rng.integers(0, 64, (n + m, 2)), rng.integers(64, 120, (n + m, 2))), 1)
    boxes = boxes.astype(float)
    boxes[:n, [0, 2]] += 128
    return boxes[:n], boxes[n:]


def _nonfinite(rng: np.random.Generator, n: int, m: int) -> _Drawn:
    """Ordinary boxes; in a sixth of the rows one coordinate is NaN or infinite."""
    drawn = _ordinary(rng, n, m)
    for boxes in drawn:
        spoil_boxes(rng, boxes)
    return drawn


_FAMILIES: dict[str, Callable[..., _Drawn]] = {
    "ordinary": _ordinary,
    "structured": _structured,
    "apart": _apart,
    "nonfinite": _nonfinite,
}


def scores(metric: str, pred: np.ndarray, target: np.ndarray, eps: float) -> np.ndarray:
    """The metric of every prediction with every reference in float64: [N,4], [M,4] to [N,M]."""
    p, t = pred[:, None], target[None]
    shared = np.minimum(p[..., 2:], t[..., 2:]) - np.maximum(p[..., :2], t[..., :2])
    outer = np.maximum(p[..., 2:], t[..., 2:]) - np.minimum(p[..., :2], t[..., :2])
    inside = np.maximum(shared, 0).prod(-1)
    sides = p[..., 2:] - p[..., :2], t[..., 2:] - t[..., :2]
    union = sides[0].prod(-1) + sides[1].prod(-1) - inside
    iou = _ratio(inside, union)
    if metric == "iou":
        return np.asarray(iou)
    if metric == "giou":
        return np.asarray(iou - _ratio(outer.prod(-1) - union, outer.prod(-1)))
    shift = p[..., :2] - t[..., :2] + (p[..., 2:] - t[..., 2:])
    diou = iou - (shift**2).sum(-1) / 4 / np.maximum((outer**2).sum(-1) + eps, 1e-300)
    if metric == "diou":
        return np.asarray(diou)
    angles = [np.arctan2(side[..., 0], side[..., 1]) * 2 / math.pi for side in sides]
    v = (angles[1] - angles[0]) ** 2
    return np.asarray(diou - v * v / np.maximum(1 - iou + v + eps, 1e-300))


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(np.divide(a, b, out=np.zeros_like(b), where=b > 0))


def _rivals(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns of the best of each row, and of the next best if it is close but not equal."""
    best = matrix.argmax(1)
    top = matrix[np.arange(len(matrix)), best]
    lower = np.where(matrix < top[:, None], matrix, -np.inf)
    second = lower.argmax(1)
    close = top - lower[np.arange(len(matrix)), second] < _MARGIN
    return best[close], second[close]


def _settled(sample: Callable[..., _Drawn]) -> Sampler:
    """`sample`, with every partner that is almost as good as the best one made equal to it."""

    def draw(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
        pred, target = sample(rng, dims["N"], dims["M"])
        known = [np.flatnonzero(np.isfinite(boxes).all(1)) for boxes in (pred, target)]
        p, t = pred[known[0]], target[known[1]]
        for _ in range(_PASSES if len(p) and len(t) else 0):
            matrix = scores(attributes["metric"], p, t, attributes["eps"])
            best, second = _rivals(matrix)
            t[second] = t[best]
            best_pred, second_pred = _rivals(matrix.T)
            p[second_pred] = p[best_pred]
            if not len(best) and not len(best_pred):
                break
        pred[known[0]], target[known[1]] = p, t
        return {"pred": pred, "target": target}

    return draw


SAMPLERS: Mapping[str, Sampler] = {name: _settled(sample) for name, sample in _FAMILIES.items()}
