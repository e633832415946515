"""Overlapping pairs of predictions and references, and the greedy assignment over them.

The arithmetic is that of the COCO API, in float64, so that every decision is the same everywhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lossexport.boxes.boxset import Bool, Dataset, Float64, Int32, Int64
from lossexport.errors import LossexportError

MAX_PAIRS = 20_000_000
"""Most overlapping pairs that are held; real sets have a few for each reference."""
PAIRS_AT_ONCE = 1 << 14
ASSIGNED_AT_ONCE = 1 << 15
CELLS_AT_ONCE = 1 << 21
"""Pairs times assignments that are held; a group of more pairs runs fewer assignments at a time."""


@dataclass(frozen=True, slots=True)
class Order:
    """Predictions by (category, image, falling score), references by (category, image)."""

    pred: Int64
    """[N] file position of each prediction in this order; ties of score keep the file's order."""
    pred_group: Int64
    """[N] category x images + image, rising."""
    rank: Int64
    """[N] place of each prediction within its group, from 0."""
    ref: Int64
    """[R] file position of each reference in this order; a group keeps the file's order. One that
    acts on predictions of every category is in the group of each category."""
    ref_group: Int64
    """[R] rising."""


def sort_boxes(data: Dataset) -> Order:
    """Group the boxes by category and image."""
    predictions, references = data.predictions, data.references
    images = np.int64(max(len(data.images), 1))
    group = predictions.category * images + predictions.image
    pred = np.lexsort((-predictions.score, group))
    group = group[pred]
    files, category = _everywhere(data)
    ref_group = category * images + references.image[files]
    ref = np.argsort(ref_group, kind="stable")
    return Order(pred, group, ranks(group), files[ref], ref_group[ref])


def ranks(group: Int64) -> Int64:
    """Place of each row [N] within its group, from 0; the rows of a group are adjacent."""
    start = np.flatnonzero(np.diff(group, prepend=-1))
    size = np.diff(start, append=len(group))
    return np.arange(len(group)) - np.repeat(start, size)


def _everywhere(data: Dataset) -> tuple[Int64, Int64]:
    """File position and category of each reference; one that acts on every class has several."""
    references, predictions = data.references, data.predictions
    files = np.arange(len(references))
    category = references.category.astype(np.int64)
    if references.any_class is None:
        return files, category
    kinds = np.int64(max(len(data.categories), 1))
    present = np.unique(predictions.image * kinds + predictions.category)
    first = np.searchsorted(present, references.image * kinds)
    count = np.searchsorted(present, (references.image + np.int64(1)) * kinds) - first
    count[~references.any_class] = 0
    copies = np.repeat(files, count)
    offset = np.arange(len(copies)) - np.repeat(np.cumsum(count) - count, count)
    others = present[first[copies] + offset] % kinds
    new = others != category[copies]
    return np.append(files, copies[new]), np.append(category, others[new])


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs within one image and category, by prediction then reference, as places in an Order."""

    pred: Int32
    ref: Int32
    iou: Float64

    def at_least(self, threshold: float, kept: Bool) -> "Pairs":
        """Pairs of an overlap of `threshold` or more whose prediction is `kept` [N]."""
        mask = (self.iou >= threshold) & kept[self.pred]
        if mask.all():
            return self
        return Pairs(self.pred[mask], self.ref[mask], self.iou[mask])


def cap(threshold: float) -> float:
    """The number that COCO uses in place of `threshold`, so that equal boxes match at 1.0."""
    return min(threshold, 1 - 1e-10)


def find_pairs(data: Dataset, order: Order, threshold: float) -> Pairs:
    """All pairs whose overlap is `threshold` (> 0) or more."""
    first = np.searchsorted(order.ref_group, order.pred_group, "left")
    count = np.searchsorted(order.ref_group, order.pred_group, "right") - first
    pred_box, ref_box = data.predictions.box, data.references.box
    low, high = _sides(pred_box[order.pred])
    ref_low, ref_high = _sides(ref_box[order.ref])
    places = np.flatnonzero(count)
    total = np.cumsum(count[places])
    found: list[tuple[Int32, Int32, Float64]] = [
        (np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0))
    ]
    start = held = 0
    while start < len(places):
        done = int(total[start - 1]) if start else 0
        stop = max(int(np.searchsorted(total, done + PAIRS_AT_ONCE, "right")), start + 1)
        here = places[start:stop]
        each = count[here]
        ref = np.repeat(first[here] - (total[start:stop] - each - done), each)
        ref += np.arange(len(ref))
        pred = np.repeat(here, each)
        # Most boxes of an image are beside each other, and then most often in x.
        for axis in range(2):
            meet = np.minimum(high[axis][pred], ref_high[axis][ref]) > np.maximum(
                low[axis][pred], ref_low[axis][ref]
            )
            pred, ref = pred[meet], ref[meet]
        files = order.ref[ref]
        crowd = data.references.ignored[files]
        iou = _overlap(pred_box[order.pred[pred]], ref_box[files], crowd)
        mask = iou >= threshold
        found.append((pred[mask].astype(np.int32), ref[mask].astype(np.int32), iou[mask]))
        held += len(found[-1][0])
        if held > MAX_PAIRS:
            raise LossexportError(
                f"predictions and references overlap in more than {MAX_PAIRS} pairs, "
                "the most that are scored"
            )
        start = stop
    return Pairs(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _sides(box: Float64) -> tuple[Float64, Float64]:
    """Low and high sides [2,n] of boxes x, y, width, height [n,4]."""
    return box[:, :2].T.copy(), (box[:, 2:] + box[:, :2]).T.copy()


def _overlap(pred: Float64, ref: Float64, crowd: Bool) -> Float64:
    """IoU of rows of x, y, width, height; for a crowd the part of the prediction inside it."""
    px, py, pw, ph = pred.T
    rx, ry, rw, rh = ref.T
    width = np.minimum(pw + px, rw + rx) - np.maximum(px, rx)
    height = np.minimum(ph + py, rh + ry) - np.maximum(py, ry)
    inside = np.where((width > 0) & (height > 0), width * height, 0.0)
    area = pw * ph
    union = np.where(crowd, area, area + rw * rh - inside)
    overlap: Float64 = np.divide(inside, union, out=np.zeros_like(inside), where=inside > 0)
    return overlap


def assign(
    pairs: Pairs, order: Order, crowd: Bool, ignored: Bool, thresholds: Float64
) -> Iterator[tuple[Int32, Int64]]:
    """Assign each prediction, best score first, the free reference of highest overlap.

    There is one assignment for each column of `ignored` [R,A] and each of `thresholds` [T]; the
    rows of `ignored` and `crowd` [R] are in the order's places. A reference that is not ignored is
    preferred to one that is, and a later one to an earlier one of equal overlap. A crowd is never
    used up. Yields, block by block, the places [D] of predictions that have a pair, and the index
    of the pair of each [D,A,T], or -1.
    """
    group = order.pred_group[pairs.pred]
    start = 0
    while start < len(group):
        last = group[min(start + ASSIGNED_AT_ONCE, len(group)) - 1]
        stop = int(np.searchsorted(group, last, "right"))
        block = Pairs(pairs.pred[start:stop], pairs.ref[start:stop], pairs.iou[start:stop])
        places, winner = _assign_block(block, group[start:stop], crowd, ignored, thresholds)
        winner[winner >= 0] += start
        yield places, winner.reshape(len(places), ignored.shape[1], len(thresholds))
        start = stop


def _assign_block(
    pairs: Pairs, group: Int64, crowd: Bool, ignored: Bool, thresholds: Float64
) -> tuple[Int32, Int64]:
    count = len(pairs.pred)
    first = np.flatnonzero(np.diff(pairs.pred, prepend=-1))
    places = pairs.pred[first]
    pred = np.repeat(np.arange(len(places), dtype=np.int32), np.diff(first, append=count))
    # A prediction depends only on the better ones of its own group. All groups therefore assign
    # their first prediction together, then their second, and so on.
    pred_group = group[first]
    turn = np.arange(len(places)) - np.searchsorted(pred_group, pred_group, "left")
    by_turn = np.lexsort((pairs.iou, pred, turn[pred]))  # stable: equal ones by their reference
    iou, pred = pairs.iou[by_turn], pred[by_turn]
    # The references of a block are adjacent, whether or not they have a pair.
    low = int(pairs.ref.min())
    ref = (pairs.ref - low)[by_turn]
    refs = slice(low, low + int(ref.max()) + 1)
    segment = np.flatnonzero(np.diff(pred, prepend=-1))
    turn_of_segment = turn[pred[segment]]
    bounds = np.searchsorted(turn_of_segment, np.arange(turn_of_segment[-1] + 2))
    segment = np.append(segment, count)

    lanes = ignored.shape[1] * len(thresholds)
    winner = np.full((len(places), lanes), -1, np.int64)
    step = max(CELLS_AT_ONCE // count, 1)
    for lane in range(0, lanes, step):
        area, level = np.divmod(np.arange(lane, min(lane + step, lanes)), len(thresholds))
        # Within a prediction the place in this order rises with overlap, then with the reference:
        # it serves as the key to maximise, with a bonus for references that are not ignored.
        # Twice MAX_PAIRS fits 32 bits.
        bonus = ~ignored[refs][:, area]
        key = np.arange(count, dtype=np.int32)[:, None] + np.int32(count) * bonus[ref]
        keys = np.where(iou[:, None] >= thresholds[level], key, -1)
        taken = np.zeros(bonus.shape, np.bool_)
        for begin, end in pairwise(bounds):
            rows = slice(segment[begin], segment[end])
            free = np.where(taken[ref[rows]], -1, keys[rows])
            best = np.maximum.reduceat(free, segment[begin:end] - segment[begin], axis=0)
            hit = best >= 0
            best[hit] %= count
            winner[pred[segment[begin:end]], lane : lane + step] = np.where(hit, by_turn[best], -1)
            _, column = np.nonzero(hit)
            used = ref[best[hit]]
            once = ~crowd[refs][used]
            taken[used[once], column[once]] = True
    return places, winner


def overlap_matrix(pred: Float64, ref: Float64, crowd: Bool) -> Float64:
    """[D,G] overlap of each of `pred` [D,4] with each of `ref` [G,4], some of them a `crowd`."""
    rows = np.repeat(pred, len(ref), axis=0), np.tile(ref, (len(pred), 1))
    return _overlap(*rows, np.tile(crowd, len(pred))).reshape(len(pred), len(ref))
