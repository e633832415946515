"""Inputs to verify the whole losses with, in float64: heads near their targets, and extremes.

Numbers are drawn from all of the reals, so that no two choices are closer than rounding.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lossexport.catalog.draw_boxes import jittered, spoil_boxes
from lossexport.catalog.draw_numbers import LOGITS, spoil
from lossexport.catalog.spec import Arrays, Dims, Sampler

_SIDE = 256.0
_STRIDES = np.array([8.0, 16.0, 32.0])

Draw = Callable[[np.random.Generator, Dims, str], Arrays]


def _targets(rng: np.random.Generator, dims: Dims, family: str) -> Arrays:
    """Targets of 12 to 128 pixels inside of the image, three in four of them valid."""
    shape = dims["B"], dims["T"]
    side = np.exp(rng.uniform(np.log(12), np.log(128), (*shape, 2)))
    low = rng.uniform(0, _SIDE - side)
    valid = rng.random(shape) < (0.0 if family == "missed" else 0.75)
    targets = np.concatenate((low, low + side), -1)
    if family == "nonfinite":
        spoil_boxes(rng, flat := targets.reshape(-1, 4))
        targets = flat.reshape(targets.shape)
        valid &= np.isfinite(targets).all(-1) | (rng.random() < 0.3)
    return {
        "labels": rng.integers(0, dims["C"], shape),
        "targets": targets,
        "valid": valid,
    }


def _points(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres of cells [A,2] in pixels, and the strides of their levels [A]."""
    stride = rng.choice(_STRIDES, count, p=[0.5, 0.3, 0.2])
    points = (np.floor(rng.uniform(0, _SIDE / stride[:, None], (count, 2))) + 0.5) * stride[:, None]
    return points, stride


def _near(rng: np.random.Generator, points: np.ndarray, told: Arrays) -> tuple[Any, Any]:
    """A target [B,A] around each point, and a box [B,A,4] near it; any one if there is none."""
    targets = np.nan_to_num(told["targets"], nan=0.0, posinf=0.0, neginf=0.0)
    batch, count = targets.shape[0], len(points)
    if not targets.shape[1]:
        targets = np.tile([96.0, 96.0, 160.0, 160.0], (batch, 1, 1))
    inside = (points[:, None] > targets[:, None, :, :2]) & (
        points[:, None] < targets[:, None, :, 2:]
    )
    own = (inside.all(-1) + 0.1 * rng.random((batch, count, targets.shape[1]))).argmax(-1)
    boxes = np.take_along_axis(targets, own[..., None], 1)
    moved = jittered(rng, boxes.reshape(-1, 4), 0.1).reshape(boxes.shape)
    return own, moved


def _logits(
    rng: np.random.Generator, family: str, shape: tuple[int, ...], own: Any, told: Arrays
) -> np.ndarray:
    """Class logits [B,A,C], which half of the points raise at the class of their target.

    They are extreme where no target has to choose by them.
    """
    logits = LOGITS["tails" if family == "missed" else "ordinary"](rng, shape)
    if family == "nonfinite":
        spoil(rng, logits, 0.01)
    if told["labels"].shape[1]:
        label = np.take_along_axis(told["labels"], own, 1)[..., None]
        raised = np.take_along_axis(logits, label, -1) + 4.0 * (rng.random(label.shape) < 0.5)
        np.put_along_axis(logits, label, raised, -1)
    return logits


def _yolo(rng: np.random.Generator, dims: Dims, family: str) -> Arrays:
    told = _targets(rng, dims, family)
    points, stride = _points(rng, dims["A"])
    own, boxes = _near(rng, points, told)
    classes = _logits(rng, family, (*own.shape, dims["C"]), own, told)
    sides = np.concatenate((points - boxes[..., :2], boxes[..., 2:] - points), -1) / stride[:, None]
    bins = dims["D"] // 4
    if bins > 1:
        draw = LOGITS["tails" if family == "tails" else "ordinary"]
        box = draw(rng, (*own.shape, 4, bins)) * (1.0 if family == "tails" else 0.3)
        box -= 2 * np.abs(np.arange(bins) - sides[..., None])
    else:
        box = sides[..., None]
    if family == "nonfinite":
        spoil(rng, box, 0.5 / max(box.size, 1))
    return {
        "box_logits": box.reshape(*own.shape, -1).swapaxes(1, 2),
        "class_logits": classes.swapaxes(1, 2),
        "points": points / stride[:, None],
        "stride": stride,
        **told,
    }


def _retinanet(rng: np.random.Generator, dims: Dims, family: str) -> Arrays:
    told = _targets(rng, dims, family)
    centre = rng.uniform(0, _SIDE, (dims["A"], 2))
    side = np.exp(rng.uniform(np.log(12), np.log(128), (dims["A"], 2)))
    anchors = np.concatenate((centre - side / 2, centre + side / 2), -1)
    if told["targets"].shape[1]:
        known = np.nan_to_num(told["targets"], posinf=0.0, neginf=0.0).reshape(-1, 4)
        near = rng.random(dims["A"]) < 0.5
        anchors[near] = jittered(rng, known[rng.integers(0, len(known), near.sum())], 0.15)
    own, _ = _near(rng, centre, told)
    deltas = rng.normal(0, 0.5, (*own.shape, 4))
    if family == "nonfinite":
        spoil_boxes(rng, deltas[0, :3])
    return {
        "class_logits": _logits(rng, family, (*own.shape, dims["C"]), own, told),
        "deltas": deltas,
        "anchors": anchors,
        **told,
    }


def _fcos(rng: np.random.Generator, dims: Dims, family: str) -> Arrays:
    told = _targets(rng, dims, family)
    points, stride = _points(rng, dims["A"])
    own, boxes = _near(rng, points, told)
    sides = np.concatenate((points - boxes[..., :2], boxes[..., 2:] - points), -1)
    distances = np.abs(sides) / stride[:, None]
    if family == "nonfinite":
        spoil_boxes(rng, distances[0, :3])
    return {
        "class_logits": _logits(rng, family, (*own.shape, dims["C"]), own, told),
        "distances": distances,
        "centre_logits": LOGITS["tails" if family == "tails" else "ordinary"](rng, own.shape),
        "points": points,
        "stride": stride,
        **told,
    }


def _centred(boxes: np.ndarray) -> np.ndarray:
    """Boxes cx, cy, w, h in parts of the image."""
    low, high = boxes[..., :2] / _SIDE, boxes[..., 2:] / _SIDE
    return np.concatenate(((low + high) / 2, high - low), -1)


def _detr(rng: np.random.Generator, dims: Dims, family: str) -> Arrays:
    told = _targets(rng, dims, family)
    batch, queries, count = dims["B"], dims["N"], dims["T"]
    own, boxes = _near(rng, rng.uniform(0, _SIDE, (queries, 2)), told)
    match = np.full((batch, count), -1)
    for image in range(batch):
        some = min(queries, count)
        match[image, rng.permutation(count)[:some]] = rng.permutation(queries)[:some]
    found = _centred(boxes)
    with np.errstate(invalid="ignore"):
        told["targets"] = _centred(told["targets"])
    if family == "nonfinite":
        spoil_boxes(rng, found[0, :3])
    # The last class of the softmax is that of no object.
    told["labels"] = told["labels"].clip(0, max(dims["C"] - 2, 0))
    return {
        "logits": _logits(rng, family, (batch, queries, dims["C"]), own, told),
        "boxes": found,
        **told,
        "match": match,
    }


def _families(draw: Draw) -> Mapping[str, Sampler]:
    def sampler(family: str) -> Sampler:
        def sample(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
            return draw(rng, dims, family)

        return sample

    return {name: sampler(name) for name in ("ordinary", "tails", "missed", "nonfinite")}


YOLO, RETINANET, FCOS, DETR = map(_families, (_yolo, _retinanet, _fcos, _detr))
