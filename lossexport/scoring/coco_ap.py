"""Average precision and recall by the COCO protocol, equal to pycocotools' COCOeval for boxes."""

from dataclasses import dataclass

import numpy as np

from lossexport.boxes.boxset import Bool, Dataset, Float64, Int8, Int32, Int64
from lossexport.boxes.pairs import Order, Pairs, assign, cap
from lossexport.names import COCO_NUMBERS, COCO_OF_SIZE

THRESHOLDS: Float64 = np.linspace(0.5, 0.95, 10)
RECALLS: Float64 = np.linspace(0.0, 1.0, 101)
AREAS: Float64 = np.array([[0, 1e5**2], [0, 32**2], [32**2, 96**2], [96**2, 1e5**2]], np.float64)
"""Smallest and largest area of: all, small, medium, large."""
MAX_DETECTIONS = (1, 10, 100)
_TRUE, _IGNORED = 1, 2


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
    references = data.references
    area = references.area[order.ref]
    crowd = references.ignored[order.ref]
    outside = (area[:, None] < AREAS[:, 0]) | (area[:, None] > AREAS[:, 1])
    ignored = outside | crowd[:, None]
    counted = order.rank < MAX_DETECTIONS[-1]
    kept = pairs.at_least(cap(THRESHOLDS[0]), counted)
    place, outcome = _outcomes(kept, order, crowd, ignored, references.zero_id[order.ref])

    categories = len(data.categories)
    ref_category = references.category[order.ref]
    # [A,K] references that count.
    positives = np.stack(
        [np.bincount(ref_category[~column], minlength=categories) for column in ignored.T]
    )
    category = data.predictions.category[order.pred]
    recall = _recall(outcome == _TRUE, order.rank[place], category[place], positives)

    score = data.predictions.score[order.pred]
    size = (data.predictions.box[:, 2] * data.predictions.box[:, 3])[order.pred]
    precision = np.full((categories, len(AREAS), len(THRESHOLDS)), -1.0)
    curve = np.zeros((len(THRESHOLDS), len(RECALLS)))
    bounds = np.searchsorted(category, np.arange(categories + 1))
    cuts = np.searchsorted(place, bounds)
    for k in np.flatnonzero(positives.any(axis=0)):
        # By falling score; equal scores keep the order of images.
        first, last = bounds[k], bounds[k + 1]
        ranked = first + np.flatnonzero(counted[first:last])
        ranked = ranked[np.argsort(-score[ranked], kind="stable")]
        position = np.empty(last - first, np.int64)
        position[ranked - first] = np.arange(len(ranked))
        found = slice(cuts[k], cuts[k + 1])
        at = position[place[found] - first]
        by_position = np.argsort(at)
        at, results = at[by_position], outcome[found][by_position]
        inside = (size[ranked, None] >= AREAS[:, 0]) & (size[ranked, None] <= AREAS[:, 1])
        for a in np.flatnonzero(positives[:, k]):
            curves = _precision(results[:, a], at, inside[:, a], int(positives[a, k]))
            precision[k, a] = curves.mean(axis=1)
            if a == 0:
                curve += curves
    present = int(np.count_nonzero(positives[0]))
    curve = curve / present if present else np.full_like(curve, -1.0)
    values = _summary(precision, recall)
    if data.parts:  # sizes in pixels are unknown
        values |= dict.fromkeys(COCO_OF_SIZE, -1.0)
    return CocoResult(values, curve, precision[:, 0])


def _outcomes(
    pairs: Pairs, order: Order, crowd: Bool, ignored: Bool, zero_id: Bool
) -> tuple[Int32, Int8]:
    """Places [C] of predictions with a pair, and their outcomes [C,A,T]: true, ignored or 0."""
    places: list[Int32] = [np.empty(0, np.int32)]
    shape = (0, len(AREAS), len(THRESHOLDS))
    outcomes = [np.empty(shape, np.int8)]
    thresholds = np.array([cap(t) for t in THRESHOLDS])
    # pycocotools stores the matched annotation's id where 0 means "no match".
    kind = np.where(ignored, _IGNORED, np.where(zero_id, 0, _TRUE)[:, None]).astype(np.int8)
    area = np.arange(len(AREAS))[:, None]
    for place, winner in assign(pairs, order, crowd, ignored, thresholds):
        places.append(place)
        outcomes.append(np.where(winner >= 0, kind[pairs.ref[winner], area], np.int8(0)))
    return np.concatenate(places), np.concatenate(outcomes)


def _recall(true: Bool, rank: Int64, category: Int32, positives: Int64) -> Float64:
    """Recall [M,A,K,T] with the first 1, 10 and 100 predictions of each image; -1 undefined."""
    areas, categories = positives.shape
    recall = np.full((len(MAX_DETECTIONS), areas, categories, len(THRESHOLDS)), -1.0)
    lanes = areas * len(THRESHOLDS)
    row, lane = np.nonzero(true.reshape(len(true), lanes))
    cell = category[row] * lanes + lane
    for m, most in enumerate(MAX_DETECTIONS):
        hits = np.bincount(cell[rank[row] < most], minlength=categories * lanes)
        np.divide(
            hits.reshape(categories, areas, len(THRESHOLDS)).transpose(1, 0, 2),
            positives[:, :, None],
            out=recall[m],
            where=positives[:, :, None] > 0,
        )
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
    true = outcome == _TRUE
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
    """Average `precision` [K,A,T] and `recall` [M,A,K,T] into the twelve numbers."""
    numbers = [
        precision[:, 0],
        precision[:, 0, 0],
        precision[:, 0, 5],
        *(precision[:, a] for a in (1, 2, 3)),
        *(recall[m, 0] for m in (0, 1, 2)),
        *(recall[2, a] for a in (1, 2, 3)),
    ]
    means = [float(n[n > -1].mean()) if np.any(n > -1) else -1.0 for n in numbers]
    return dict(zip(COCO_NUMBERS, means, strict=True))
