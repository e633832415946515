"""Sets of boxes to verify with, in float64: ordinary, structured, adversarial and non-finite.

Upright boxes are xyxy, rotated ones cx, cy, w, h and an angle in radians. The sets of a draw are
near each other, like predictions and their targets.
"""

from collections.abc import Callable

import numpy as np

from lossexport.catalog.draw_numbers import NONFINITE

# Relations of a prediction to the unit target (0,0,1,1), each exact in binary: identical, shifted,
# nested both ways, sharing edges, touching at an edge and a corner, crossing, disjoint on one axis
# and on both, far away.
_RELATIONS = np.array(
    [
        (0, 0, 1, 1),
        (0.5, 0, 1.5, 1),
        (0.25, 0.25, 0.75, 0.75),
        (-0.5, -0.5, 1.5, 1.5),
        (0, 0, 0.5, 1),
        (0, 0.25, 1, 2),
        (1, 0, 2, 1),
        (1, 1, 2, 2),
        (-1, 0.25, 2, 0.75),
        (0.25, -1, 0.75, 2),
        (2, 0, 3, 1),
        (2, 3, 3, 4),
        (-4, -4, -3, -2),
        (100, 100, 101, 101),
    ]
)
# Boxes without area: factors for the coordinates of a unit box.
_DEGENERATE = np.array([(0.5, 0.5, 0.5, 0.5), (0, 0.5, 1, 0.5), (0.5, 0, 0.5, 1), (0, 0, 0, 0)])


def random_boxes(rng: np.random.Generator, n: int, extent: float = 640.0) -> np.ndarray:
    """`n` boxes with log-uniform sides from 1 unit up to the extent, as in images."""
    side = np.exp(rng.uniform(0.0, np.log(extent), (n, 2)))
    low = rng.uniform(-0.1, 1.0, (n, 2)) * (extent - 0.5 * side)
    return np.concatenate((low, low + side), axis=1)


def jittered(rng: np.random.Generator, boxes: np.ndarray, amount: float) -> np.ndarray:
    """The boxes with every corner moved by about `amount` of the side, still upright."""
    side = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)
    corners = boxes + rng.normal(0.0, amount, boxes.shape) * np.tile(side, 2)
    return np.concatenate(
        (np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])),
        axis=1,
    )


def spoil_boxes(rng: np.random.Generator, boxes: np.ndarray) -> None:
    """Put NaN or an infinity, in place, into one coordinate in about a sixth of the rows."""
    rows = np.flatnonzero(rng.random(len(boxes)) < 1 / 6)
    values = rng.choice(NONFINITE, len(rows))
    boxes[rows, rng.integers(0, boxes.shape[1], len(rows))] = values


def _ordinary(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictions off their targets by 1 % to 50 % of a side, in pixels or normalised."""
    target = random_boxes(rng, n)
    pred = jittered(rng, target, float(rng.choice([0.01, 0.1, 0.5])))
    unit = rng.choice([1.0, 1 / 640])
    return pred * unit, target * unit


def _structured(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Every relation at sides from 1e-4 to 1e5, as powers of two so that the relation is exact."""
    scale = np.exp2(rng.integers(-13, 11, (n, 1)).astype(float))
    place = np.concatenate([np.arange(len(_RELATIONS)), rng.integers(0, len(_RELATIONS), n)])[:n]
    offset = rng.integers(-64, 64, (n, 2)) * scale
    move = np.tile(offset, 2)
    return _RELATIONS[place] * scale + move, np.array([0.0, 0.0, 1.0, 1.0]) * scale + move


def adversarial_pairs(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Degenerate boxes, far offsets, extreme aspects, almost identical boxes, 1e-4 to 1e5."""
    target = random_boxes(rng, n)
    pred = jittered(rng, target, 0.2)
    kind = rng.permutation(n) % 6
    for boxes, which in ((pred, 0), (target, 1)):
        rows = np.flatnonzero((kind == which) | (kind == 2))
        boxes[rows] = _DEGENERATE[rng.integers(0, len(_DEGENERATE), len(rows))] * 32 + 4
    far = np.flatnonzero(kind == 3)
    shift = 10.0 ** rng.uniform(3, 5, (len(far), 1))
    pred[far] = pred[far] / 64 + shift
    target[far] = target[far] / 64 + shift
    thin = np.flatnonzero(kind == 4)
    pred[thin] *= np.array([1.0, 1e-4, 1.0, 1e-4])
    target[thin] *= np.array([1e-4, 1.0, 1e-4, 1.0])
    near = np.flatnonzero(kind == 5)
    scale = 10.0 ** rng.uniform(-6, 2, (len(near), 1))
    target[near] *= scale
    pred[near] = jittered(rng, target[near], 1e-6)
    return pred, target


def nonfinite_pairs(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Ordinary pairs; in a third of the rows one coordinate is NaN or infinite."""
    pred, target = _ordinary(rng, n)
    for boxes in (pred, target):
        spoil_boxes(rng, boxes)
    return pred, target


Sets = tuple[np.ndarray, np.ndarray]
UPRIGHT: dict[str, Callable[[np.random.Generator, int], Sets]] = {
    "ordinary": _ordinary,
    "structured": _structured,
    "adversarial": adversarial_pairs,
    "nonfinite": nonfinite_pairs,
}
"""Predictions and targets [n,4] by family; the first is what a detector sees."""


def turned(rng: np.random.Generator, boxes: np.ndarray, amount: float) -> np.ndarray:
    """Rotated boxes moved, stretched and turned by about `amount` of a side and of a radian."""
    moved = boxes.copy()
    moved[:, :2] += rng.normal(0.0, amount, (len(boxes), 2)) * boxes[:, 2:4]
    moved[:, 2:4] *= np.exp(rng.normal(0.0, amount, (len(boxes), 2)))
    moved[:, 4] += rng.normal(0.0, amount, len(boxes))
    return moved


def _rotated(rng: np.random.Generator, n: int) -> Sets:
    """Predictions off their targets by 1 % to 30 % of a side, at every angle."""
    boxes = random_boxes(rng, n)
    sides = boxes[:, 2:] - boxes[:, :2]
    angle = rng.uniform(-np.pi / 2, np.pi / 2, (n, 1))
    target = np.concatenate((boxes[:, :2] + sides / 2, sides, angle), axis=1)
    return turned(rng, target, float(rng.choice([0.01, 0.1, 0.3]))), target


def _rotated_adversarial(rng: np.random.Generator, n: int) -> Sets:
    """Equal boxes, quarter turns, boxes far apart, extreme aspects, sides of 0."""
    pred, target = _rotated(rng, n)
    kind = rng.permutation(n) % 5
    pred[kind == 0] = target[kind == 0]
    quarter = np.flatnonzero(kind == 1)
    target[quarter, 4] = rng.choice([0.0, np.pi / 4, np.pi / 2, np.pi], len(quarter))
    pred[quarter] = target[quarter]
    pred[quarter, 4] += rng.choice([np.pi / 2, -np.pi / 2, np.pi], len(quarter))
    pred[kind == 2, :2] += 10.0 ** rng.uniform(3, 5, (int((kind == 2).sum()), 2))
    for boxes in (pred, target):
        boxes[kind == 3, 2] *= 1e-3
        flat = np.flatnonzero(kind == 4)
        boxes[flat, rng.integers(2, 4, len(flat))] = 0.0
    return pred, target


def _rotated_structured(rng: np.random.Generator, n: int) -> Sets:
    """Every relation at sides from 1e-4 to 1e5, unturned or turned together, by up to 20 radians.

    Half of the predictions are named by another side, or after half turns.
    """
    upright = _structured(rng, n)
    angle = np.where(rng.random(n) < 0.5, 0.0, rng.uniform(-20.0, 20.0, n))
    corner = upright[1][:, :2]
    sets = []
    for boxes in upright:
        x, y = ((boxes[:, :2] + boxes[:, 2:]) / 2 - corner).T
        cos, sin = np.cos(angle), np.sin(angle)
        centre = corner + np.stack((cos * x - sin * y, sin * x + cos * y), axis=1)
        sets.append(np.column_stack((centre, boxes[:, 2:] - boxes[:, :2], angle)))
    pred, target = sets
    quarters = np.where(rng.random(n) < 0.5, 0, rng.integers(-4, 5, n))
    odd = quarters % 2 == 1
    pred[odd, 2:4] = pred[odd, 3:1:-1]
    pred[:, 4] += quarters * (np.pi / 2)
    return pred, target


def _rotated_nonfinite(rng: np.random.Generator, n: int) -> Sets:
    pred, target = _rotated(rng, n)
    for boxes in (pred, target):
        spoil_boxes(rng, boxes)
    return pred, target


ROTATED: dict[str, Callable[[np.random.Generator, int], Sets]] = {
    "ordinary": _rotated,
    "structured": _rotated_structured,
    "adversarial": _rotated_adversarial,
    "nonfinite": _rotated_nonfinite,
}
"""The same of rotated boxes [n,5]."""
