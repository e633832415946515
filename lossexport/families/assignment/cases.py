"""Inputs of the assignments on which float32 and float64 must make the same choices.

Corners, points and scores have at most eight significant bits, so that every precision holds them
exactly, and equal boxes and scores are ties in all of them. Of two points that a target wants
almost equally, one gets half of its score; an overlap too close to 0, or to that of another target
of the point, is changed by giving the point the box of a target.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lossexport.catalog.draw_boxes import spoil_boxes
from lossexport.catalog.draw_numbers import LOGITS, spoil
from lossexport.catalog.spec import Arrays, Dims, Sampler
from lossexport.families.logit_sampling import family
from lossexport.families.matching.cases import scores as score_matrix
from lossexport.families.suppression.cases import exact_scores

# Metrics whose quotient is closer to 1 than this are too close, and overlaps closer to each other.
_MARGIN = 1e-3
_OVERLAP_MARGIN = 1e-4
# The least overlap that is not 0: the relative error of smaller ones is large.
_LEAST = 0.02
_PASSES = 100
_PATIENCE = 10
# More targets than this are repeated, as too many overlaps would be close to each other.
_DISTINCT = 16

_EPS = 1e-7


def _parts(rng: np.random.Generator, n: int) -> np.ndarray:
    """Boxes cx, cy, w, h inside of the image, with sides of 1 % to 90 %."""
    side = np.exp(rng.uniform(np.log(0.01), np.log(0.9), (n, 2)))
    return np.concatenate((rng.uniform(side / 2, 1 - side / 2), side), axis=1)


def _cost_case(
    rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any], logits: str
) -> Arrays:
    """Queries near the targets; with other than ordinary logits also equal boxes and points."""
    n, m, classes = dims["N"], dims["M"], dims["C"]
    targets = _parts(rng, m)
    boxes = targets[rng.integers(0, m, n)] * rng.lognormal(0, 0.2, (n, 4)).clip(0.5, 1.5)
    if logits != "ordinary":
        boxes[rng.random(n) < 0.2] = targets[0]
        boxes[rng.random(n) < 0.1, 2:] = 0
        targets[rng.random(m) < 0.1, 2:] = 0
    if logits == "nonfinite":
        spoil_boxes(rng, boxes)
        spoil_boxes(rng, targets)
    return {
        "logits": LOGITS[logits](rng, (n, classes)),
        "boxes": boxes,
        "labels": rng.integers(0, classes, m),
        "targets": targets,
    }


COSTS: Mapping[str, Sampler] = {name: family(_cost_case, logits=name) for name in LOGITS}


def _lattice(rng: np.random.Generator, n: int, least: int, most: int) -> np.ndarray:
    """Boxes with whole corners in [0, 255]."""
    side = rng.integers(least, most + 1, (n, 2))
    low = rng.integers(0, 256 - side)
    return np.concatenate((low, low + side), axis=1).astype(float)


def _ordinary(rng: np.random.Generator, dims: Dims) -> Arrays:
    """Targets of 8 to 128 pixels, of which one in five is not valid; boxes off by up to 20 %."""
    targets = _lattice(rng, dims["T"], 8, 128)
    return _around(rng, dims, targets, rng.random(dims["T"]) < 0.8)


def _crowded(rng: np.random.Generator, dims: Dims) -> Arrays:
    """A few boxes and scores that many points share, and targets of which some are equal."""
    few = _lattice(rng, 3, 16, 160)
    targets = few[rng.integers(0, 3, dims["T"])]
    arrays = _around(rng, dims, targets, np.ones(dims["T"], bool))
    same = rng.random(dims["A"]) < 0.7
    arrays["boxes"][same] = few[rng.integers(0, 3, dims["A"])][same]
    arrays["scores"][same] = rng.choice([0.0, 0.25, 1.0], (dims["A"], dims["C"]))[same]
    return arrays


def _small(rng: np.random.Generator, dims: Dims) -> Arrays:
    """Targets of 0 to 12 pixels, lines and points among them."""
    targets = _lattice(rng, dims["T"], 0, 12)
    return _around(rng, dims, targets, np.ones(dims["T"], bool))


def _missed(rng: np.random.Generator, dims: Dims) -> Arrays:
    """No target, or none that has a point inside of it."""
    targets = _lattice(rng, dims["T"], 8, 64)
    arrays = _around(rng, dims, targets, np.zeros(dims["T"], bool))
    if rng.random() < 0.5:
        arrays["points"] += 512
        arrays["valid"][:] = True
    return arrays


def _nonfinite(rng: np.random.Generator, dims: Dims) -> Arrays:
    """Ordinary numbers, some of which are NaN or infinite."""
    arrays = _ordinary(rng, dims)
    spoil_boxes(rng, arrays["boxes"])
    spoil_boxes(rng, arrays["targets"])
    spoil(rng, arrays["points"], 0.05)
    spoil(rng, arrays["scores"], 0.05 / dims["C"])
    return arrays


def _around(rng: np.random.Generator, dims: Dims, targets: np.ndarray, valid: np.ndarray) -> Arrays:
    """Points all over the image, of which half are near a target; a box near one for each."""
    count, classes = dims["A"], dims["C"]
    points = rng.integers(0, 256, (count, 2)).astype(float)
    boxes = _lattice(rng, count, 4, 128)
    labels = rng.integers(0, classes, len(targets))
    if len(targets) > _DISTINCT:
        which = rng.integers(0, _DISTINCT, len(targets))
        targets, labels, valid = targets[which], labels[which], valid[which]
    if len(targets):
        own = rng.integers(0, len(targets), count)
        near = rng.random(count) < 0.6
        centre = (targets[own, :2] + targets[own, 2:]) / 2
        side = targets[own, 2:] - targets[own, :2]
        spread = np.rint(rng.normal(centre, side / 4 + 2)).clip(0, 255)
        points[near] = spread[near]
        moved = targets[own] + rng.normal(0, 0.1, (count, 4)) * np.tile(side, 2)
        moved = np.rint(moved).clip(0, 255)
        upright = (moved[:, :2] <= moved[:, 2:]).all(1)
        boxes[upright & near] = moved[upright & near]
    scores = exact_scores(rng, count * classes).reshape(count, classes)
    return {
        "scores": scores,
        "boxes": boxes,
        "points": points,
        "labels": labels,
        "targets": targets,
        "valid": valid.copy(),
    }


def _ciou(boxes: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """CIoU [T,A] in float64, which differs from that of the op by less than the margins."""
    return score_matrix("ciou", targets, boxes, _EPS)


def _candidates(arrays: Arrays, small_side: float) -> np.ndarray:
    """Which points [T,A] are inside of which targets."""
    targets, points = arrays["targets"][:, None], arrays["points"]
    centre, side = (targets[..., :2] + targets[..., 2:]) / 2, targets[..., 2:] - targets[..., :2]
    half = np.maximum(side, small_side) / 2
    sound = np.isfinite(arrays["boxes"]).all(1) & np.isfinite(arrays["scores"]).all(1)
    fit = np.isfinite(arrays["targets"]).all(1) & arrays["valid"]
    inside = (np.abs(points - centre) < half).all(-1)
    return np.asarray(inside & sound & fit[:, None])


def _settle(arrays: Arrays, attributes: Mapping[str, Any], patient: bool) -> bool:
    """Change what makes choices too close; whether there was anything.

    A point that gets the box of a target may come too close to another one. Where it is not
    `patient`, it is moved out of the image instead.
    """
    boxes, scores, labels = arrays["boxes"], arrays["scores"], arrays["labels"]
    told = np.column_stack((arrays["targets"], labels, arrays["valid"]))
    distinct = np.unique(told, axis=0, return_index=True)[1]
    targets, labels = arrays["targets"][distinct], labels[distinct]
    candidate = _candidates(arrays, attributes["small_side"])[distinct]
    overlap = np.where(candidate, _ciou(boxes, targets), -1.0)
    # Overlaps around 0, and of two targets for the same point.
    low = candidate & (np.abs(overlap) < _LEAST)
    ranked = np.sort(overlap, axis=0)[::-1]
    for first, second in itertools.pairwise(ranked):
        gap = first - second
        close = (gap > 0) & (gap < _OVERLAP_MARGIN) & (first > 0)
        low |= close & (overlap == first)
    target, point = np.nonzero(low)
    if len(point):
        out = (targets[target, 2:] <= targets[target, :2]).any(1) | (not patient)
        boxes[point] = targets[target]
        arrays["points"][point[out]] = 4096
        return True
    # Scores, of which the smaller one is halved.
    chance = scores[:, labels].T
    metric = np.where(candidate, chance, 0) ** attributes["alpha"]
    metric *= np.where(candidate, overlap, 0).clip(0) ** attributes["beta"]
    order = np.argsort(-metric, axis=1, kind="stable")
    ranks = np.take_along_axis(metric, order, 1)
    close = (ranks[:, 1:] < ranks[:, :-1]) & (ranks[:, 1:] > ranks[:, :-1] * (1 - _MARGIN))
    close[:, attributes["topk"] :] = False
    target, place = np.nonzero(close)
    scores[order[target, place + 1], labels[target]] *= 0.5
    return bool(len(place))


def _settled(draw: Callable[[np.random.Generator, Dims], Arrays]) -> Sampler:
    def sample(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
        arrays = draw(rng, dims)
        with np.errstate(invalid="ignore"):
            for run in range(_PASSES if dims["T"] else 0):
                if not _settle(arrays, attributes, run < _PATIENCE):
                    break
        return arrays

    return sample


ALIGNED: Mapping[str, Sampler] = {
    "ordinary": _settled(_ordinary),
    "crowded": _settled(_crowded),
    "small": _settled(_small),
    "missed": _settled(_missed),
    "nonfinite": _settled(_nonfinite),
}
