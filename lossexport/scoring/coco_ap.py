"""Average precision and recall by the COCO protocol, equal to pycocotools' COCOeval for boxes."""

from collections.abc import Iterator
from functools import partial
from itertools import pairwise, starmap

import msgspec
import numpy as np

from lossexport.boxes.boxset import Bool, Dataset, Float64, Int8, Int32, Int64
from lossexport.boxes.oriented import areas
from lossexport.boxes.outcomes import Assign, outcomes
from lossexport.boxes.pairs import Order, Pairs, assign, cap, shares
from lossexport.names import COCO_NUMBERS, COCO_OF_SIZE
from lossexport.runtime import coco as native
from lossexport.scoring.protocol import (
    AREAS,
    COCO,
    IGNORED,
    MAX_DETECTIONS,
    RECALLS,
    THRESHOLDS,
    TRUE,
    Outcomes,
    Protocol,
)
from lossexport.threads import at_once

MOST_SHARED = 1000
"""Categories that are divided among the cores."""


class CocoResult(msgspec.Struct, frozen=True):
    """The results of the evaluation; -1 means that there is no such reference."""

    values: dict[str, float]
    """The twelve numbers of COCO, in the order of names.COCO_NUMBERS."""
    precision: Float64
    """[10,101] precision at each threshold and recall, mean over categories; -1 without any."""
    category_ap: Float64
    """[K,10] average precision of each category at each threshold, all areas."""
    category_size_ap: Float64
    """[K,3] average precision of each category's small, medium and large boxes."""


def match(
    data: Dataset,
    order: Order,
    pairs: Pairs,
    protocol: Protocol = COCO,
    *,
    size: Float64 | None = None,
    assign: Assign = assign,
) -> Outcomes:
    """Match at all thresholds and areas.

    `pairs` must hold at least every pair of the lowest threshold. `size` [N] are the areas of the
    predictions by position in the file; without it they are width x height. `assign` may take the
    place of `pairs.assign`.
    """
    references, predictions = data.references, data.predictions
    ignored = outside(references.area[order.ref], protocol.areas)
    ignored |= references.ignored[order.ref][:, None]
    kept = candidates(order, pairs, protocol)
    place, outcome = _outcomes(kept, data, order, ignored, protocol, assign)
    categories = len(data.categories)
    ref_category = references.category[order.ref]
    positives = np.stack(
        [np.bincount(ref_category[~column], minlength=categories) for column in ignored.T]
    )
    if size is None:
        size = areas(predictions.box)
    return Outcomes(
        predictions.category[order.pred],
        order.rank,
        predictions.score[order.pred],
        protocol.bits(size, order.pred),
        place,
        outcome,
        positives,
    )


def outside(area: Float64, areas: Float64) -> Bool:
    """[n,A] whether each area [n] is outside of each range [A,2]."""
    found: Bool = (area[:, None] < areas[:, 0]) | (area[:, None] > areas[:, 1])
    return found


def candidates(order: Order, pairs: Pairs, protocol: Protocol) -> Pairs:
    """The pairs that may match at some threshold."""
    return pairs.at_least(cap(protocol.thresholds.min()), order.rank < protocol.max_detections[-1])


def accumulate(found: Outcomes, *, parts: bool) -> CocoResult:
    """Average precision and recall of COCO; with `parts` sizes in pixels are not known.

    The means are taken over the same arrays, in the same order, as in pycocotools.
    """
    positives = found.positives
    present = np.flatnonzero(positives.any(axis=0))
    counted = at_once([partial(_tables, part) for part in _by_core(found)])
    recall, precision = (
        tables[0] if len(tables) == 1 else np.concatenate(tables, axis=3)
        for tables in zip(*counted, strict=True)
    )
    shown = precision[0][:, :, positives[0, present] > 0]
    curve = shown.mean(axis=2) if shown.size else np.full(shown.shape[:2], -1.0)
    category_ap = np.full((positives.shape[1], len(THRESHOLDS)), -1.0)
    category_ap[present] = precision[0].mean(axis=1).T
    category_size_ap = np.full((positives.shape[1], len(AREAS) - 1), -1.0)
    values = _summary(precision, recall)
    if parts:
        values |= dict.fromkeys(COCO_OF_SIZE, -1.0)
    else:
        category_size_ap[present] = precision[1:].mean(axis=(1, 2)).T
    return CocoResult(values, curve, category_ap, category_size_ap)


def curves(found: Outcomes) -> Iterator[tuple[int, Float64, Float64]]:
    """Category, and precision and score [T,R] over recall, of those with a reference; all areas.

    Precision and score are 0 where a recall is not reached.
    """
    for k, a, drawn in _curves(found, COCO, MAX_DETECTIONS[-1]):
        if a == 0:
            yield k, drawn.precision(), drawn.scores()


def _by_core(found: Outcomes) -> list[Outcomes]:
    """The outcomes of some of the categories for each core."""
    # In NumPy nothing would be gained; with many categories the tables would take much memory.
    kinds = found.positives.shape[1]
    parts = shares(found.category) if native.available() and kinds <= MOST_SHARED else []
    if len(parts) < 2:
        return [found]
    first = [0, *found.category[[rows.start for rows in parts[1:]]].tolist(), kinds]
    cuts = np.searchsorted(found.place, [rows.start for rows in parts] + [parts[-1].stop])
    return [
        Outcomes(
            found.category[rows] - np.int32(begin),
            found.rank[rows],
            found.score[rows],
            found.inside[rows],
            found.place[listed] - np.int32(rows.start),
            found.outcome[listed],
            found.positives[:, begin:end],
        )
        for rows, listed, (begin, end) in zip(
            parts, starmap(slice, pairwise(cuts)), pairwise(first), strict=True
        )
    ]


def _tables(found: Outcomes) -> tuple[Float64, Float64]:
    """Recall [M,A,T,K] and, of the categories with references, precision [A,T,R,P]."""
    present = np.flatnonzero(found.positives.any(axis=0))
    return _recall(found, MAX_DETECTIONS), _precision(found, present)


class Tables(msgspec.Struct, frozen=True):
    """What COCOeval keeps in `eval`; -1 where there is no reference."""

    precision: Float64
    """[T,R,K,A,M]"""
    recall: Float64
    """[T,K,A,M]"""
    scores: Float64
    """[T,R,K,A,M] the score at which each recall is reached; 0 where it is not."""

    @classmethod
    def empty(cls, protocol: Protocol, categories: int) -> "Tables":
        """All undefined."""
        levels, recalls = len(protocol.thresholds), len(protocol.recalls)
        cells = categories, len(protocol.areas), len(protocol.max_detections)
        return cls(
            np.full((levels, recalls, *cells), -1.0),
            np.full((levels, *cells), -1.0),
            np.full((levels, recalls, *cells), -1.0),
        )


def tabulate(found: Outcomes, protocol: Protocol) -> Tables:
    """The tables of the whole protocol."""
    tables = Tables.empty(protocol, found.positives.shape[1])
    tables.recall[:] = _recall(found, protocol.max_detections).transpose(2, 3, 1, 0)
    for m, most in enumerate(protocol.max_detections):
        for k, a, curves in _curves(found, protocol, most):
            tables.precision[:, :, k, a, m] = curves.precision()
            tables.scores[:, :, k, a, m] = curves.scores()
    return tables


def _outcomes(
    pairs: Pairs,
    data: Dataset,
    order: Order,
    ignored: Bool,
    protocol: Protocol,
    assign: Assign,
) -> tuple[Int32, Int8]:
    """Places [C] of predictions with a pair, rising, and their outcomes [C,A,T]."""
    thresholds = np.array([cap(t) for t in protocol.thresholds])
    # pycocotools stores the matched annotation's id where 0 means "no match".
    zero_id = data.references.zero_id[order.ref]
    kind = np.where(ignored, IGNORED, np.where(zero_id, 0, TRUE)[:, None]).astype(np.int8)
    crowd = data.references.ignored[order.ref]
    blocks = [*outcomes(pairs, order, crowd, ignored, thresholds, kind, assign)]
    if len(blocks) == 1:
        place, outcome = blocks[0]
    else:
        none = np.empty((0, ignored.shape[1], len(thresholds)), np.int8)
        place = np.concatenate([np.empty(0, np.int32), *(place for place, _ in blocks)])
        outcome = np.concatenate([none, *(outcome for _, outcome in blocks)])
        blocks.clear()
    if (place[1:] > place[:-1]).all():
        return place, outcome
    rising = np.argsort(place, kind="stable")
    return place[rising], outcome[rising]


def _native(found: Outcomes) -> native.Outcomes | None:
    """The outcomes for the library; None without one, and for more areas than it takes."""
    if not native.available() or len(found.positives) > native.MOST_AREAS:
        return None
    return native.Outcomes(
        found.category,
        found.rank,
        found.score,
        found.inside.astype(np.uint8, copy=False),
        found.place,
        found.outcome,
        found.positives.shape[1],
    )


def _recall(found: Outcomes, most: tuple[int, ...]) -> Float64:
    """Recall [M,A,T,K] with the first `most` [M] predictions of each image; -1 undefined."""
    given = _native(found)
    hits = np.stack([_hits(found, one) for one in most]) if given is None else given.hits(most)
    recall = np.full(hits.shape, -1.0)
    wanted = found.positives[:, None, :]
    np.divide(hits, wanted, out=recall, where=wanted > 0)
    return recall


def _hits(found: Outcomes, most: int) -> Int64:
    """True predictions [A,T,K] among the first `most` of each image."""
    shape = *found.outcome.shape[1:], found.positives.shape[1]
    true = (found.outcome == TRUE) & (found.rank[found.place] < most)[:, None, None]
    row, lane = np.nonzero(true.reshape(len(true), shape[0] * shape[1]))
    cell = lane * shape[2] + found.category[found.place[row]]
    return np.bincount(cell, minlength=shape[0] * shape[1] * shape[2]).reshape(shape)


def _precision(found: Outcomes, present: Int64) -> Float64:
    """Precision [A,T,R,P] of the categories `present` [P] by COCO; -1 undefined."""
    shape = len(AREAS), len(THRESHOLDS), len(RECALLS), len(present)
    precision = np.full(shape, -1.0)
    column = np.full(found.positives.shape[1], -1)
    column[present] = np.arange(len(present))
    given = _native(found)
    if given is not None:
        given.precision(found.positives, RECALLS, MAX_DETECTIONS[-1], column, precision)
        return precision
    for k, a, curves in _curves(found, COCO, MAX_DETECTIONS[-1]):
        precision[a, :, :, column[k]] = curves.precision()
    return precision


def _curves(found: Outcomes, protocol: Protocol, most: int) -> Iterator[tuple[int, int, "Curves"]]:
    """Category, range of areas and curves with the first `most` predictions of each image."""
    category, place, positives = found.category, found.place, found.positives
    counted = found.rank < most
    bounds = np.searchsorted(category, np.arange(positives.shape[1] + 1))
    cuts = np.searchsorted(place, bounds)
    for k in np.flatnonzero(positives.any(axis=0)):
        # By falling score; equal scores keep the order of images.
        first, last = bounds[k], bounds[k + 1]
        ranked = first + np.flatnonzero(counted[first:last])
        ranked = ranked[np.argsort(-found.score[ranked], kind="stable")]
        position = np.full(last - first, -1, np.int64)
        position[ranked - first] = np.arange(len(ranked))
        own = slice(cuts[k], cuts[k + 1])
        at = position[place[own] - first]
        by_position = np.argsort(at)[np.count_nonzero(at < 0) :]
        at, results = at[by_position], found.outcome[own][by_position]
        inside = protocol.has(found.inside[ranked])
        for a in np.flatnonzero(positives[:, k]):
            wanted = int(positives[a, k])
            score = found.score[ranked]
            yield (
                int(k),
                int(a),
                Curves.of(results[:, a], at, inside[:, a], score, wanted, protocol.recalls),
            )


class Curves(msgspec.Struct, frozen=True):
    """Precision and score over recall of one category and range of areas, at T thresholds."""

    hits: list[Int64]
    """Of each threshold: the predictions that are true, by rank of the score."""
    envelope: list[Float64]
    """Of each threshold: the highest precision from that hit on."""
    needed: Int64
    """[R] hits that reach each recall; 0 is reached without one."""
    score: Float64
    """[n] falling"""

    @classmethod
    def of(
        cls,
        outcome: Int8,
        place: Int64,
        inside: Bool,
        score: Float64,
        positives: int,
        recalls: Float64,
    ) -> "Curves":
        """From n predictions, best first, and `positives` references.

        `inside` [n] tells which of them count as false when nothing matches; `outcome` [c,T] is
        that of the predictions at `place` [c], which have a pair.
        """
        false_before = np.cumsum(inside)[place] if len(place) else np.zeros(0, np.int64)
        true = outcome == TRUE
        spared = np.cumsum(inside[place][:, None] & (outcome != 0), axis=0)
        false = (false_before[:, None] - spared).astype(np.float64)
        count = np.cumsum(true, axis=0).astype(np.float64)
        precision = count / (false + count + np.spacing(1))
        hits, envelope = [], []
        for t in range(outcome.shape[1]):
            at_hits = precision[true[:, t], t]
            hits.append(place[true[:, t]])
            envelope.append(np.maximum.accumulate(at_hits[::-1])[::-1])
        # The recall after k hits is k / positives, so it rises only at hits. A reference that
        # matches more than once lets it rise above 1.
        most = max(positives, *(len(found) for found in hits))
        needed = np.searchsorted(np.arange(most + 1) / positives, recalls, "left")
        return cls(hits, envelope, needed, score)

    def precision(self) -> Float64:
        """[T,R]; 0 where a recall is not reached."""
        table = np.zeros((len(self.hits), len(self.needed)))
        needed = np.maximum(self.needed, 1)
        for t, envelope in enumerate(self.envelope):
            reached = self._reached(needed, len(envelope))
            table[t, reached] = envelope[needed[reached] - 1]
        return table

    def scores(self) -> Float64:
        """[T,R]; 0 where a recall is not reached."""
        table = np.zeros((len(self.hits), len(self.needed)))
        if not len(self.score):
            return table
        for t, hits in enumerate(self.hits):
            reached = self._reached(self.needed, len(hits))
            # No hit is needed for a recall of 0, so it has the score of the first prediction.
            table[t, reached] = self.score[np.append(0, hits)[self.needed[reached]]]
        return table

    def _reached(self, needed: Int64, hits: int) -> Bool:
        """pycocotools leaves out all recalls after the first that is not reached."""
        return np.logical_and.accumulate(needed <= hits)


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
