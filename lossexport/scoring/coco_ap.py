"""Average precision and recall by the COCO protocol, equal to pycocotools' COCOeval for boxes."""

from dataclasses import dataclass

import numpy as np

from lossexport.boxes.boxset import Bool, Dataset, Float64, Int8, Int32, Int64, UInt8
from lossexport.boxes.pairs import Order, Pairs, assign, cap
from lossexport.names import COCO_NUMBERS, COCO_OF_SIZE

THRESHOLDS: Float64 = np.linspace(0.5, 0.95, 10)
RECALLS: Float64 = np.linspace(0.0, 1.0, 101)
AREAS: Float64 = np.array([[0, 1e5**2], [0, 32**2], [32**2, 96**2], [96**2, 1e5**2]], np.float64)
"""Smallest and largest area of: all, small, medium, large."""
AREA_BITS: UInt8 = np.array([1, 2, 4, 8], np.uint8)
MAX_DETECTIONS = (1, 10, 100)
TRUE, IGNORED = 1, 2


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What COCO's matching says of N predictions, which are ordered.

    The order is that of an `Order`: by category, image and falling score.
    """

    category: Int32
    """[N] rising"""
    rank: Int64
    """[N] place within the image and category, from 0."""
    score: Float64
    """[N]"""
    inside: UInt8
    """[N] a bit for each of AREAS: whether the prediction counts as false if nothing matches."""
    place: Int32
    """[C] the predictions that the outcomes are of, rising; all others have no match."""
    outcome: Int8
    """[C,A,T] TRUE, IGNORED or 0."""
    positives: Int64
    """[A,K] references that count."""


@dataclass(frozen=True, slots=True)
class CocoResult:
    """The results of the evaluation; -1 means that there is no such reference."""

    values: dict[str, float]
    """The twelve numbers of COCO, in the order of names.COCO_NUMBERS."""
    precision: Float64
    """[10,101] precision at each threshold and recall, mean over categories; -1 without any."""
    category_ap: Float64
    """[K,10] average precision of each category at each threshold, all areas."""


def evaluate(data: Dataset, order: Order, pairs: Pairs) -> CocoResult:
    """Evaluate. `pairs` must hold at least every pair with an overlap of 0.5 or more."""
    return accumulate(match(data, order, pairs), parts=data.parts)


def match(data: Dataset, order: Order, pairs: Pairs) -> Outcomes:
    """Match at all thresholds and areas; `pairs` as for `evaluate`."""
    references, predictions = data.references, data.predictions
    area = references.area[order.ref]
    crowd = references.ignored[order.ref]
    outside = (area[:, None] < AREAS[:, 0]) | (area[:, None] > AREAS[:, 1])
    ignored = outside | crowd[:, None]
    kept = pairs.at_least(cap(THRESHOLDS[0]), order.rank < MAX_DETECTIONS[-1])
    place, outcome = _outcomes(kept, order, crowd, ignored, references.zero_id[order.ref])
    categories = len(data.categories)
    ref_category = references.category[order.ref]
    positives = np.stack(
        [np.bincount(ref_category[~column], minlength=categories) for column in ignored.T]
    )
    size = (predictions.box[:, 2] * predictions.box[:, 3])[order.pred]
    inside = np.zeros(len(size), np.uint8)
    for bit, (least, most) in zip(AREA_BITS, AREAS, strict=True):
        inside |= bit * ((size >= least) & (size <= most))
    return Outcomes(
        predictions.category[order.pred],
        order.rank,
        predictions.score[order.pred],
        inside,
        place,
        outcome,
        positives,
    )


def accumulate(found: Outcomes, *, parts: bool) -> CocoResult:
    """Average precision and recall; with `parts` sizes in pixels are not known.

    The means are taken over the same arrays, in the same order, as in pycocotools.
    """
    category, place, positives = found.category, found.place, found.positives
    categories = positives.shape[1]
    recall = _recall(found.outcome == TRUE, found.rank[place], category[place], positives)
    counted = found.rank < MAX_DETECTIONS[-1]
    present = np.flatnonzero(positives.any(axis=0))
    precision = np.full((len(AREAS), len(THRESHOLDS), len(RECALLS), len(present)), -1.0)
    bounds = np.searchsorted(category, np.arange(categories + 1))
    cuts = np.searchsorted(place, bounds)
    for column, k in enumerate(present):
        # By falling score; equal scores keep the order of images.
        first, last = bounds[k], bounds[k + 1]
        ranked = first + np.flatnonzero(counted[first:last])
        ranked = ranked[np.argsort(-found.score[ranked], kind="stable")]
        position = np.empty(last - first, np.int64)
        position[ranked - first] = np.arange(len(ranked))
        own = slice(cuts[k], cuts[k + 1])
        at = position[place[own] - first]
        by_position = np.argsort(at)
        at, results = at[by_position], found.outcome[own][by_position]
        inside = found.inside[ranked, None] & AREA_BITS != 0
        for a in np.flatnonzero(positives[:, k]):
            curves = _precision(results[:, a], at, inside[:, a], int(positives[a, k]))
            precision[a, :, :, column] = curves
    shown = precision[0][:, :, positives[0, present] > 0]
    curve = shown.mean(axis=2) if shown.size else np.full(shown.shape[:2], -1.0)
    category_ap = np.full((categories, len(THRESHOLDS)), -1.0)
    category_ap[present] = precision[0].mean(axis=1).T
    values = _summary(precision, recall)
    if parts:
        values |= dict.fromkeys(COCO_OF_SIZE, -1.0)
    return CocoResult(values, curve, category_ap)


def _outcomes(
    pairs: Pairs, order: Order, crowd: Bool, ignored: Bool, zero_id: Bool
) -> tuple[Int32, Int8]:
    """Places [C] of predictions with a pair, and their outcomes [C,A,T]: true, ignored or 0."""
    places: list[Int32] = [np.empty(0, np.int32)]
    shape = (0, len(AREAS), len(THRESHOLDS))
    outcomes = [np.empty(shape, np.int8)]
    thresholds = np.array([cap(t) for t in THRESHOLDS])
    # pycocotools stores the matched annotation's id where 0 means "no match".
    kind = np.where(ignored, IGNORED, np.where(zero_id, 0, TRUE)[:, None]).astype(np.int8)
    area = np.arange(len(AREAS))[:, None]
    for place, winner in assign(pairs, order, crowd, ignored, thresholds):
        places.append(place)
        outcomes.append(np.where(winner >= 0, kind[pairs.ref[winner], area], np.int8(0)))
    return np.concatenate(places), np.concatenate(outcomes)


def _recall(true: Bool, rank: Int64, category: Int32, positives: Int64) -> Float64:
    """Recall [M,A,T,K] with the first 1, 10 and 100 predictions of each image; -1 undefined."""
    areas, categories = positives.shape
    recall = np.full((len(MAX_DETECTIONS), areas, len(THRESHOLDS), categories), -1.0)
    lanes = areas * len(THRESHOLDS)
    row, lane = np.nonzero(true.reshape(len(true), lanes))
    cell = lane * categories + category[row]
    wanted = positives[:, None, :]
    for m, most in enumerate(MAX_DETECTIONS):
        hits = np.bincount(cell[rank[row] < most], minlength=categories * lanes)
        hits = hits.reshape(areas, len(THRESHOLDS), categories)
        np.divide(hits, wanted, out=recall[m], where=wanted > 0)
    return recall


def _precision(
    outcome: Int8,
    place: Int64,
    inside: Bool,
    positives: int,
) -> Float64:
    """Precision [T,101] of one category and area at the COCO recalls.

    `inside` [n] tells which predictions, best first, count as false when nothing matches;
    `outcome` [c,T] is that of the predictions at `place` [c], which have a pair.
    """
    false_before = np.cumsum(inside)[place] if len(place) else np.zeros(0, np.int64)
    true = outcome == TRUE
    spared = np.cumsum(inside[place][:, None] & (outcome != 0), axis=0)
    false = (false_before[:, None] - spared).astype(np.float64)
    hits = np.cumsum(true, axis=0).astype(np.float64)
    precision = hits / (false + hits + np.spacing(1))
    # The recall after k hits is k / positives, so it rises only at hits.
    needed = np.searchsorted(np.arange(positives + 1) / positives, RECALLS, "left")
    needed = np.maximum(needed, 1)
    curves = np.zeros((len(THRESHOLDS), len(RECALLS)))
    for t in range(len(THRESHOLDS)):
        at_hits = precision[true[:, t], t]
        envelope = np.maximum.accumulate(at_hits[::-1])[::-1]
        reached = needed <= len(envelope)
        curves[t, reached] = envelope[needed[reached] - 1]
    return curves


def _summary(precision: Float64, recall: Float64) -> dict[str, float]:
    """Average `precision` [A,T,101,P] and `recall` [M,A,T,K] into the twelve numbers."""
    numbers = [
        precision[0],
        precision[0, 0],
        precision[0, 5],
        *precision[1:],
        *recall[:, 0],
        *recall[2, 1:],
    ]
    means = [float(n[n > -1].mean()) if np.any(n > -1) else -1.0 for n in numbers]
    return dict(zip(COCO_NUMBERS, means, strict=True))
