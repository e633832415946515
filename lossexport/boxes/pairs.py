"""Overlapping pairs of predictions and references, and the greedy assignment over them.

The arithmetic is that of the COCO API, in float64, so that every decision is the same everywhere.
Both are computed by the library of kernels or, where there is none, in NumPy: `forest` finds the
pairs and `greedy` assigns them. Neither looks at all pairs of boxes, and the memory is bounded
however many of them overlap.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec.structs import replace

from lossexport.boxes import forest, greedy
from lossexport.boxes.boxset import (
    Bool,
    Dataset,
    Float64,
    Int32,
    Int64,
    Predictions,
    References,
)
from lossexport.runtime import coco as native_order
from lossexport.runtime import pairs as native
from lossexport.runtime.pairs import Boxes, Found, Rules
from lossexport.threads import at_once, cores

MAX_PAIRS = 1 << 22
"""Most overlapping pairs that are listed; real sets have a few for each reference."""
PAIRS_AT_ONCE = 1 << 18
ASSIGNED_AT_ONCE = 1 << 15
SHARED_FROM = 1 << 14
"""So many predictions are worth a thread."""
BOXES_AT_ONCE = 1 << 16
"""Predictions whose pairs are not listed."""


class Order(msgspec.Struct, frozen=True):
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
    pred = in_order(data, data.predictions, data.predictions.score)
    references = data.references
    if references.any_class is None:
        return Order(*pred, *in_order(data, references)[:2])
    files, category = _everywhere(data, references.any_class)
    everywhere = replace(references.take(files), category=category)
    ref, ref_group, _ = in_order(data, everywhere)
    return Order(*pred, files[ref], ref_group)


def in_order(
    data: Dataset, boxes: Predictions | References, score: Float64 | None = None
) -> tuple[Int64, Int64, Int64]:
    """Row, group and rank [n] of boxes by category, image and falling score."""
    images = max(len(data.images), 1)
    if native_order.available():
        kinds = max(len(data.categories), 1)
        return native_order.order(boxes.category, boxes.image, score, kinds, images)
    group = boxes.category * np.int64(images) + boxes.image
    row = np.argsort(group, kind="stable") if score is None else np.lexsort((-score, group))
    return row, group[row], ranks(group[row])


def ranks(group: Int64) -> Int64:
    """Place of each row [N] within its group, from 0; the rows of a group are adjacent."""
    start = np.flatnonzero(np.diff(group, prepend=-1))
    size = np.diff(start, append=len(group))
    return np.arange(len(group)) - np.repeat(start, size)


def _everywhere(data: Dataset, any_class: Bool) -> tuple[Int64, Int32]:
    """File position and category of each reference; one that acts on every class has several."""
    references, predictions = data.references, data.predictions
    files = np.arange(len(references))
    category = references.category
    kinds = np.int64(max(len(data.categories), 1))
    present = np.unique(predictions.image * kinds + predictions.category)
    first = np.searchsorted(present, references.image * kinds)
    count = np.searchsorted(present, (references.image + np.int64(1)) * kinds) - first
    count[~any_class] = 0
    copies = np.repeat(files, count)
    offset = np.arange(len(copies)) - np.repeat(np.cumsum(count) - count, count)
    others = (present[first[copies] + offset] % kinds).astype(np.int32)
    new = others != category[copies]
    return np.append(files, copies[new]), np.append(category, others[new])


class Rest(msgspec.Struct, frozen=True):
    """Predictions of groups whose pairs are found when they are assigned: together too many."""

    places: Int64
    """Rising."""
    threshold: float
    """The smallest overlap of a pair."""
    pred_box: Float64
    """[N,4] x, y, width, height in the order of the file."""
    ref_box: Float64
    """[R,4]"""


class Pairs(msgspec.Struct, frozen=True):
    """Pairs within one image and category, by prediction then reference, as places in an Order."""

    pred: Int32
    """[P]"""
    ref: Int32
    """[P]; with a `rest`, then every place of a reference, so that the index that `assign` gives
    of a pair that is not listed leads to its reference too."""
    iou: Float64
    """[P]"""
    rest: Rest | None = None
    """The groups whose pairs are not listed, or None: all are."""

    def at_least(self, threshold: float, kept: Bool) -> "Pairs":
        """Pairs of an overlap of `threshold` or more whose prediction is `kept` [N]."""
        mask = (self.iou >= threshold) & kept[self.pred]
        if self.rest is None:
            if mask.all():
                return self
            return Pairs(self.pred[mask], self.ref[mask], self.iou[mask])
        listed = len(self.iou)
        rest = replace(
            self.rest,
            places=self.rest.places[kept[self.rest.places]],
            threshold=max(threshold, self.rest.threshold),
        )
        ref = np.append(self.ref[:listed][mask], self.ref[listed:])
        return Pairs(self.pred[mask], ref, self.iou[mask], rest)


def cap(threshold: float) -> float:
    """The number that COCO uses in place of `threshold`, so that equal boxes match at 1.0."""
    return min(threshold, 1 - 1e-10)


def find_pairs(data: Dataset, order: Order, threshold: float) -> Pairs:
    """All pairs whose overlap is `threshold` (> 0) or more; the `rest` beyond MAX_PAIRS of them."""
    pred_box, ref_box = data.predictions.box, data.references.box
    pred = Boxes(pred_box, order.pred, order.pred_group)
    ref = Boxes(ref_box, order.ref, order.ref_group)
    listed, stop = _list_pairs(pred, ref, data.references.ignored[order.ref], threshold)
    if stop == len(pred):
        return listed
    rest = Rest(np.arange(stop, len(pred)), threshold, pred_box, ref_box)
    every = np.arange(len(ref), dtype=np.int32)
    return Pairs(listed.pred, np.append(listed.ref, every), listed.iou, rest)


def _list_pairs(pred: Boxes, ref: Boxes, crowd: Bool, threshold: float) -> tuple[Pairs, int]:
    """The pairs of the first groups that have at most MAX_PAIRS, and where the next one begins."""
    if native.available():
        all_pairs = _share_pairs(pred, ref, crowd, threshold)
        if all_pairs is not None:
            return all_pairs, len(pred)
        pieces = native.find(pred, ref, crowd, threshold, min(PAIRS_AT_ONCE, MAX_PAIRS))
    else:
        pieces = forest.find(pred, ref, crowd, threshold)
    found = [forest.nothing(0)]
    held = 0
    for piece in pieces:
        held += len(piece.iou)
        if held > MAX_PAIRS:
            break
        found.append(piece)
    done = found[-1].following
    pairs = _joined(found)
    if done == len(pred):
        return pairs, done
    stop = int(np.searchsorted(pred.group, pred.group[done]))
    count = int(np.searchsorted(pairs.pred, stop))
    return Pairs(pairs.pred[:count], pairs.ref[:count], pairs.iou[:count]), stop


def _share_pairs(pred: Boxes, ref: Boxes, crowd: Bool, threshold: float) -> Pairs | None:
    """All pairs, found by several threads; None if they are too many, or too few for that."""

    def find(rows: slice) -> list[Found] | None:
        here = Boxes(pred.box, pred.row[rows], pred.group[rows])
        found = [forest.nothing(0)]
        held = 0
        for piece in native.find(here, ref, crowd, threshold, min(PAIRS_AT_ONCE, MAX_PAIRS)):
            held += len(piece.iou)
            if held > MAX_PAIRS:
                break
            piece.pred[:] += np.int32(rows.start)
            found.append(piece)
        return found if found[-1].following == len(here) else None

    parts = shares(pred.group)
    if len(parts) < 2:
        return None
    results = at_once([partial(find, rows) for rows in parts])
    found = [piece for result in results for piece in result or ()]
    if None in results or sum(len(piece.iou) for piece in found) > MAX_PAIRS:
        return None
    return _joined(found)


def _joined(found: Sequence[native.Found]) -> Pairs:
    return Pairs(
        np.concatenate([piece.pred for piece in found]),
        np.concatenate([piece.ref for piece in found]),
        np.concatenate([piece.iou for piece in found]),
    )


def every_pair(pred: Boxes, ref: Boxes, crowd: Bool, threshold: float) -> Iterator[Found]:
    """Yield all pairs whose overlap is `threshold` (> 0) or more, some at a time.

    `crowd` [R] is by place. A piece has at most PAIRS_AT_ONCE pairs, or those of one prediction.
    """
    done = 0
    if native.available():
        for piece in native.find(pred, ref, crowd, threshold, PAIRS_AT_ONCE):
            yield piece
            done = piece.following
    if done < len(pred):
        later = Boxes(pred.box, pred.row[done:], pred.group[done:])
        for piece in forest.find(later, ref, crowd, threshold):
            yield Found(piece.pred + np.int32(done), piece.ref, piece.iou, piece.following + done)


def assign(
    pairs: Pairs, order: Order, crowd: Bool, ignored: Bool, thresholds: Float64
) -> Iterator[tuple[Int32, Int64]]:
    """Assign each prediction, best score first, the free reference of highest overlap.

    There is one assignment for each column of `ignored` [R,A] and each of `thresholds` [T]; the
    rows of `ignored` and `crowd` [R] are in the order's places. A reference that is not ignored is
    preferred to one that is, and a later one to an earlier one of equal overlap. A crowd is never
    used up. Yields, block by block, the places [D] of predictions that have a pair, and the index
    in `pairs.ref` of the pair of each [D,A,T], or -1. Of the `rest`, predictions without any are
    left out.
    """
    rules = Rules(crowd, ignored, thresholds)
    shape = (-1, ignored.shape[1], len(thresholds))
    for places, winner in _assign_listed(pairs, order.pred_group, rules):
        yield places, winner.reshape(shape)
    if pairs.rest is not None:
        listed = np.int64(len(pairs.iou))
        for places, ref in _assign_rest(pairs.rest, order, rules):
            yield places, np.where(ref >= 0, ref + listed, -1).reshape(shape)


def shares(group: Int64 | Int32) -> list[slice]:
    """Cut rows [n] of rising `group` into whole groups for each core; few rows into one part."""
    count = cores() if len(group) >= SHARED_FROM else min(len(group), 1)
    wanted = group[[len(group) * i // count for i in range(count)]]
    # Not by np.unique, whose first call imports numpy.ma.
    cuts = [*sorted(set(np.searchsorted(group, wanted).tolist())), len(group)]
    return [slice(*ends) for ends in pairwise(cuts)]


class _Block(NamedTuple):
    """Pairs of some groups."""

    start: int
    """Index of the first one."""
    pairs: tuple[Int32, Int32, Float64]
    """[P] predictions, references and overlaps, as in `Pairs`."""
    group: Int64
    """[P]"""
    places: Int32
    """[D] the predictions."""
    low: int
    """The first of the references, which are adjacent, whether or not they have a pair."""
    high: int
    """The place after the last of them."""


def _blocks(pairs: Pairs, pred_group: Int64) -> Iterator[_Block]:
    """The pairs that are listed, whole groups at a time."""
    listed = len(pairs.iou)
    group = pred_group[pairs.pred]
    start = 0
    while start < listed:
        last = group[min(start + ASSIGNED_AT_ONCE, listed) - 1]
        stop = int(np.searchsorted(group, last, "right"))
        pred, ref = pairs.pred[start:stop], pairs.ref[start:stop]
        yield _Block(
            start,
            (pred, ref, pairs.iou[start:stop]),
            group[start:stop],
            pred[np.flatnonzero(np.diff(pred, prepend=-1))],
            int(ref.min()),
            int(ref.max()) + 1,
        )
        start = stop


def _assign_listed(pairs: Pairs, pred_group: Int64, rules: Rules) -> Iterator[tuple[Int32, Int64]]:
    """Places [D] of predictions and the index of the pair of each lane [D,A*T], or -1."""
    for block in _blocks(pairs, pred_group):
        pred, ref, iou = block.pairs
        here = rules.of(block.low, block.high)
        if native.available():
            winner = native.assign_pairs(pred, ref, iou, block.low, here, len(block.places))
        else:
            winner = greedy.assign_pairs(pred, ref - block.low, iou, block.group, here)
        winner[winner >= 0] += block.start
        yield block.places, winner


def _assign_rest(rest: Rest, order: Order, rules: Rules) -> Iterator[tuple[Int32, Int32]]:
    """Places [D] of predictions and that of the reference of each lane [D,A*T], or -1."""
    group = order.pred_group[rest.places]
    start = 0
    while start < len(group):
        last = group[min(start + BOXES_AT_ONCE, len(group)) - 1]
        stop = int(np.searchsorted(group, last, "right"))
        low, high = np.searchsorted(order.ref_group, [group[start], last + 1]).tolist()
        places = rest.places[start:stop]
        pred = Boxes(rest.pred_box, order.pred[places], group[start:stop])
        ref = Boxes(rest.ref_box, order.ref[low:high], order.ref_group[low:high])
        choose = native.assign_boxes if native.available() else _assign_boxes
        winner = choose(pred, ref, rules.of(low, high), rest.threshold)
        winner[winner >= 0] += low
        won = np.flatnonzero((winner >= 0).any(axis=1))
        yield places[won].astype(np.int32), winner[won]
        start = stop


def _assign_boxes(pred: Boxes, ref: Boxes, rules: Rules, least: float) -> Int32:
    """What the library's function of this name does, in NumPy."""
    winner = np.full((len(pred), rules.lanes), -1, np.int32)
    start = 0
    while start < len(pred):
        here = Boxes(pred.box, pred.row[start:], pred.group[start:])
        listed, count = _list_pairs(here, ref, rules.crowd, least)
        for places, won in _assign_listed(listed, here.group, rules):
            winner[start + places] = np.where(won >= 0, listed.ref[won], -1)
        if not count:  # a single group has too many
            count = int(np.searchsorted(here.group, here.group[0], "right"))
            winner[start : start + count] = greedy.assign_group(
                Boxes(here.box, here.row[:count], here.group[:count]), ref, rules, least
            )
        start += count
    return winner


def overlap_matrix(pred: Float64, ref: Float64, crowd: Bool) -> Float64:
    """[D,G] overlap of each of `pred` [D,4] with each of `ref` [G,4], some of them a `crowd`."""
    rows = np.repeat(pred, len(ref), axis=0), np.tile(ref, (len(pred), 1))
    return forest.overlap(*rows, np.tile(crowd, len(pred))).reshape(len(pred), len(ref))
