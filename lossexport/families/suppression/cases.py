"""Inputs of the suppression ops on which float32 and float64 must make the same decisions.

Corners, scores and variances have at most eight significant bits, so that float16 and bfloat16
hold them exactly. Equal scores, equal boxes and overlaps of exactly the threshold are therefore
ties in every precision, and the IoU of such boxes is a quotient of exact numbers. Values that are
still so close to a decision that rounding could change it (a distance term, a faded score) are
moved away, which is found by running the op in float64.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lossexport.catalog.draw_boxes import spoil_boxes
from lossexport.catalog.draw_numbers import spoil
from lossexport.catalog.spec import Arrays, Dims, Sampler

# Scores and metrics closer to a decision than this are moved; their errors are far smaller.
MARGIN = 1e-4
# The most times that a case is corrected and run again.
PASSES = 50

Drawn = tuple[np.ndarray, np.ndarray]


def _upright(corners: np.ndarray) -> np.ndarray:
    """Whole corners in [0, 255], the smaller first."""
    corners = np.clip(np.rint(corners), 0, 255)
    low, high = corners[:, :2], corners[:, 2:]
    return np.concatenate((np.minimum(low, high), np.maximum(low, high)), axis=1)


def exact_scores(rng: np.random.Generator, n: int) -> np.ndarray:
    """Eight significant bits, from about 0.001 to 1, half of them above 0.5."""
    return rng.integers(128, 256, n) * 2.0 ** -(8 + np.minimum(rng.geometric(0.5, n) - 1, 9))


def _ordinary(rng: np.random.Generator, n: int, attributes: Mapping[str, Any]) -> Drawn:
    """About twelve detections of each object, each side off by 1 % to 20 %."""
    objects = max(1, n // 12)
    side = rng.integers(16, 97, (objects, 2))
    low = rng.integers(0, 256 - side)
    which = rng.integers(0, objects, n)
    corners = np.concatenate((low, low + side), axis=1)[which]
    spread = np.tile(side[which], 2) * rng.choice([0.01, 0.05, 0.2], (n, 1))
    return _upright(corners + rng.normal(0, 1, (n, 4)) * spread) * rng.choice([1, 1 / 256]), (
        exact_scores(rng, n)
    )


def _structured(rng: np.random.Generator, n: int, attributes: Mapping[str, Any]) -> Drawn:
    """Corners on a grid of five lines, five scores: equal boxes, points, exact halves, ties.

    A handful of such groups apart from each other, at scales from 1e-4 to 6e4.
    """
    groups = max(1, n // 24)
    offset = 8.0 * rng.integers(0, 32, (groups, 2))
    scale = np.exp2(rng.integers(-13, 9, (groups, 1)))
    which = rng.integers(0, groups, n)
    grid = _upright(rng.integers(0, 5, (n, 4)))
    boxes = (grid + np.tile(offset, 2)[which]) * scale[which]
    return boxes, rng.integers(0, 5, n) / 4


def _adversarial(rng: np.random.Generator, n: int, attributes: Mapping[str, Any]) -> Drawn:
    """Chains in which each box removes the next, and a box over all others."""
    step = rng.integers(1, 24, n)[np.arange(n) // 48]
    place = np.arange(n) % 48
    left = (place * step) % 192
    top = 4 * (np.arange(n) // 48 % 32)
    boxes = np.stack((left, top, left + 63, top + 63), axis=1).astype(float)
    odd = rng.random(n) < 0.1
    boxes[odd] = _upright(rng.uniform(0, 256, (int(odd.sum()), 4)))
    boxes[rng.random(n) < 0.02] = (0, 0, 255, 255)
    rising = np.sort(exact_scores(rng, n))
    return boxes, rising[::-1].copy() if rng.random() < 0.7 else rising


def _below(rng: np.random.Generator, n: int, attributes: Mapping[str, Any]) -> Drawn:
    """Every score below the threshold."""
    boxes, scores = _ordinary(rng, n, attributes)
    threshold = attributes["score_threshold"]
    low = 2.0 ** math.floor(math.log2(threshold) - 1) if threshold > 0 else -1.0
    return boxes, scores * low


def _nonfinite(rng: np.random.Generator, n: int, attributes: Mapping[str, Any]) -> Drawn:
    """Ordinary boxes, with NaN or infinity in a sixth of the rows and of the scores."""
    boxes, scores = _ordinary(rng, n, attributes)
    spoil_boxes(rng, boxes)
    spoil(rng, scores, 1 / 6)
    return boxes, scores


FAMILIES: dict[str, Callable[..., Drawn]] = {
    "ordinary": _ordinary,
    "structured": _structured,
    "adversarial": _adversarial,
    "below": _below,
    "nonfinite": _nonfinite,
}


def metric_of(
    box: np.ndarray, boxes: np.ndarray, beta: float | None = None, offset: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """IoU, or DIoU with `beta`, of one box with many, and its distance term."""
    x1, y1, x2, y2 = boxes.T
    width = np.minimum(box[2], x2) - np.maximum(box[0], x1) + offset
    height = np.minimum(box[3], y2) - np.maximum(box[1], y1) + offset
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    area = (x2 - x1 + offset) * (y2 - y1 + offset)
    union = (box[2] - box[0] + offset) * (box[3] - box[1] + offset) + area - shared
    iou = np.divide(shared, union, out=np.zeros_like(union), where=union > 0)
    if beta is None:
        return iou, np.zeros_like(iou)
    outer = np.maximum(box[2:], boxes[:, 2:]) - np.minimum(box[:2], boxes[:, :2])
    diagonal = (outer**2).sum(1)
    shift = (((box[:2] + box[2:]) - (boxes[:, :2] + boxes[:, 2:])) ** 2).sum(1) / 4
    term = np.divide(shift, diagonal, out=np.zeros_like(iou), where=diagonal > 0) ** beta
    return iou - term, term


def usable_rows(*arrays: np.ndarray) -> np.ndarray:
    """Which rows are of finite numbers only."""
    return np.asarray(np.isfinite(np.column_stack(arrays)).all(1))


# The metric of a box with each of others, and where a metric of exactly the threshold is a tie in
# every precision.
Measure = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def _settle(
    boxes: np.ndarray, scores: np.ndarray, measure: Measure, attributes: Mapping[str, Any]
) -> None:
    """Run greedy NMS; replace boxes too close to the threshold by the box that they are close to.

    Equal boxes overlap by exactly 1.
    """
    threshold = attributes["iou_threshold"]
    live = usable_rows(boxes, scores) & (scores >= attributes["score_threshold"])
    for _ in range(attributes["max_output"]):
        if not live.any():
            return
        pick = int(np.where(live, scores, -1).argmax())
        rivals = np.flatnonzero(live)
        metric, exact = measure(boxes[pick], boxes[rivals])
        close = (np.abs(metric - threshold) < MARGIN) & ((metric != threshold) | ~exact)
        boxes[rivals[close]] = boxes[pick]
        live[rivals[np.where(close, 1.0, metric) > threshold]] = False
        live[pick] = False


def _upright_measure(beta: float | None) -> Measure:
    def measure(box: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        metric, term = metric_of(box, boxes, beta)
        return metric, term == 0

    return measure


def _rotated_measure(box: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import torch  # declarations import no torch

    from lossexport.families.rotated.overlap import box_rotated_iou

    pred = torch.from_numpy(np.broadcast_to(box, boxes.shape).copy())
    return box_rotated_iou(pred, torch.from_numpy(boxes)).numpy(), np.zeros(len(boxes), bool)


def greedy(metric: str | None) -> dict[str, Sampler]:
    """Samplers of the greedy NMS by "iou", by "diou" or by the attribute `metric`."""

    def sampler(family: Callable[..., Drawn]) -> Sampler:
        def draw(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
            boxes, scores = family(rng, dims["N"], attributes)
            chosen = metric or attributes["metric"]
            measure = _upright_measure(attributes["beta"] if chosen == "diou" else None)
            with np.errstate(invalid="ignore"):
                _settle(boxes, scores, measure, attributes)
            return {"boxes": boxes, "scores": scores}

        return draw

    return {name: sampler(family) for name, family in FAMILIES.items()}


def _rotated(family: Callable[..., Drawn]) -> Sampler:
    """The boxes of a family, half of them turned, in numbers of eight significant bits."""

    def draw(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
        n = dims["N"]
        corners, scores = family(rng, n, attributes)
        angle = rng.integers(-255, 256, n) / 64 * (rng.random(n) < 0.5)
        with np.errstate(invalid="ignore"):
            low, high = corners[:, :2], corners[:, 2:]
            boxes = np.column_stack(((low + high) / 2, high - low, angle))
            mantissa, exponent = np.frexp(boxes)
            boxes = np.ldexp(np.rint(mantissa * 256), exponent - 8)
            _settle(boxes, scores, _rotated_measure, attributes)
        return {"boxes": boxes, "scores": scores}

    return draw


ROTATED: dict[str, Sampler] = {name: _rotated(family) for name, family in FAMILIES.items()}


@dataclass(slots=True)
class _Run:
    """The indices of scores and boxes in a run whose decisions rounding could change."""

    close_scores: set[int] = field(default_factory=set)
    close_boxes: dict[int, int] = field(default_factory=dict)


def _run(
    boxes: np.ndarray,
    scores: np.ndarray,
    log_variance: np.ndarray | None,
    attributes: Mapping[str, Any],
) -> _Run:
    """Pick, fade and remove in float64. Without `log_variance` it is Soft-NMS."""
    floor = attributes["score_threshold"]
    sigma = attributes["sigma" if log_variance is None else "soft_sigma"]
    hard = attributes["iou_threshold"] if attributes.get("method") == "hard" else None
    given = (boxes, scores) if log_variance is None else (boxes, scores, log_variance)
    usable = usable_rows(*given)
    live = usable & (scores >= (floor if log_variance is None else 0))
    clean, now = np.where(usable[:, None], boxes, 0), scores.copy()
    faded = np.zeros(len(scores), bool)
    run = _Run()
    for _ in range(attributes["max_output"]):
        if not live.any():
            break
        pick = int(np.where(live, now, -1).argmax())
        rivals = np.flatnonzero(live & (now > 0) & (np.abs(now - now[pick]) <= MARGIN * now[pick]))
        unlike = (clean[rivals] != clean[pick]).any(1) | (scores[rivals] != scores[pick])
        moved = faded[rivals] | faded[pick]
        run.close_scores.update(rivals[unlike & moved].tolist())
        iou = metric_of(clean[pick], clean, offset=attributes.get("offset", 0.0))[0]
        iou[pick] = 1
        for bound in (hard, attributes.get("vote_threshold")):
            if bound is not None:
                close = live & (np.abs(iou - bound) < MARGIN * bound) & (iou != bound)
                run.close_boxes.update(dict.fromkeys(np.flatnonzero(close).tolist(), pick))
        live[pick] = False
        touched = live & (iou > 0)
        fallen = now * np.exp(-(iou**2) / sigma) if hard is None else np.where(iou > hard, 0, now)
        fallen[fallen < np.finfo(np.float32).tiny] = 0
        now[touched] = fallen[touched]
        faded[touched] |= hard is None
        close = touched & faded & (np.abs(now - floor) <= MARGIN * floor)
        run.close_scores.update(np.flatnonzero(close).tolist())
        live &= ~(touched & (now < floor))
    return run


def _faded(family: Callable[..., Drawn], voting: bool) -> Sampler:
    def draw(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
        n = dims["N"]
        boxes, scores = family(rng, n, attributes)
        arrays = {"boxes": boxes, "scores": scores}
        log_variance = None
        if voting:
            log_variance = rng.integers(-64, 65, (n, 4)) / rng.choice([1, 16, 64])
            if family is _nonfinite:
                log_variance[rng.random(n) < 0.1, 2] = np.nan
            arrays["log_variance"] = log_variance
        with np.errstate(invalid="ignore", over="ignore"):
            for _ in range(PASSES):
                run = _run(boxes, scores, log_variance, attributes)
                if not run.close_scores and not run.close_boxes:
                    break
                scores[list(run.close_scores)] *= 0.5
                for place, pick in run.close_boxes.items():
                    boxes[place] = boxes[pick]
        return arrays

    return draw


SOFT: dict[str, Sampler] = {name: _faded(family, False) for name, family in FAMILIES.items()}
VOTING: dict[str, Sampler] = {name: _faded(family, True) for name, family in FAMILIES.items()}
