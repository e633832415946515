"""COCO's numbers with a weight for each image, from the outcomes of one matching.

They are those of a set in which an image is as often as its weight says, copies of one next to each
other in the order of ids. That decides between equal scores: a block of an image's predictions of
this score comes as a whole for each copy, which is what pycocotools makes of such a set.
"""

from dataclasses import dataclass

import numpy as np

from lossexport.boxes.boxset import Float64, Int32, Int64, UInt8
from lossexport.names import COCO_NUMBERS, COCO_OF_SIZE
from lossexport.runtime import weighted as native
from lossexport.runtime.weighted import Ranked
from lossexport.scoring import coco_ap, protocol
from lossexport.scoring.protocol import MAX_DETECTIONS, RECALLS, Outcomes
from lossexport.scoring.results import Results

CATEGORY_NUMBERS = ("AP", "AP50", "AP75")
_OF_CATEGORIES = [COCO_NUMBERS.index(name) for name in CATEGORY_NUMBERS]
_UNDEFINED = -1


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcomes of a set whose images are known: N predictions, R references that count."""

    outcomes: Outcomes
    image: Int32
    """[N] in the order of the outcomes: by category, image and falling score."""
    ref_category: Int32
    """[R] rising"""
    ref_image: Int32
    """[R]"""
    ref_counted: UInt8
    """[R] a bit for each range of areas in which it counts."""
    parts: bool
    """Boxes are in parts of their image: no number of a size is defined."""

    @classmethod
    def of(cls, found: Results) -> "Outcome":
        """Those of a run or an evaluator."""
        rows = np.flatnonzero(found.ref_counted)
        rows = rows[np.argsort(found.ref_category[rows], kind="stable")]
        return cls(
            found.outcomes,
            found.image[found.row],
            found.ref_category[rows],
            found.ref_image[rows],
            found.ref_counted[rows],
            found.parts,
        )

    @property
    def categories(self) -> int:
        """Number of categories."""
        return int(self.outcomes.positives.shape[1])

    def ranked(self) -> Ranked:
        """The predictions in the order in which the library counts them."""
        found = self.outcomes
        kept = np.flatnonzero(found.rank < MAX_DETECTIONS[-1])
        kept = kept[np.lexsort((-found.score[kept], found.category[kept]))]
        row = np.full(len(found.score), -1, np.int32)
        row[found.place] = np.arange(len(found.place), dtype=np.int32)
        columns = found.category[kept], found.score[kept], self.image[kept]
        tied = np.zeros(len(kept), np.uint8)
        tied[1:] = np.all([column[1:] == column[:-1] for column in columns], axis=0)
        rank = found.rank[kept]
        early = (rank < MAX_DETECTIONS[0]).astype(np.uint8)
        early |= (rank < MAX_DETECTIONS[1]).astype(np.uint8) << np.uint8(1)
        kinds = np.arange(self.categories + 1)
        return Ranked(
            np.searchsorted(columns[0], kinds),
            columns[2],
            found.inside[kept].astype(np.uint8, copy=False),
            early,
            tied,
            row[kept],
            found.outcome,
            np.searchsorted(self.ref_category, kinds),
            self.ref_image,
            self.ref_counted,
        )


class Coco:
    """COCO's numbers of one set under any weights."""

    def __init__(self, given: Outcome) -> None:
        """Put the predictions in order, once for all draws."""
        self._given = given
        self._ranked = given.ranked() if native.available() else None

    def __call__(self, weight: Int32) -> tuple[dict[str, Float64], Float64]:
        """The twelve numbers [D] and those of the categories [D,K,3] under weights [D,I].

        NaN is undefined. Without the library NumPy counts copies of the images, one draw after the
        other, to the same numbers within 1e-12.
        """
        if self._ranked is None:
            each = np.stack([_of_copies(copies(self._given, row)) for row in weight])
        else:
            each = self._ranked.numbers(weight, RECALLS)
        known = ~np.isnan(each)
        count = known.sum(axis=1)
        total = np.where(known, each, 0.0).sum(axis=1)
        mean = np.full(total.shape, np.nan)
        np.divide(total, count, out=mean, where=count > 0)
        numbers = dict(zip(COCO_NUMBERS, mean.T, strict=True))
        if self._given.parts:
            numbers |= {name: np.full(len(weight), np.nan) for name in COCO_OF_SIZE}
        return numbers, each[:, :, _OF_CATEGORIES]


def _of_copies(found: Outcomes) -> Float64:
    """COCO's numbers of each category [K,12]; NaN is undefined."""
    tables = coco_ap.tabulate(found, protocol.COCO)
    # [T,R,K,A,M] to [K,A,T], and [T,K,A,M] to [K,A,M], means over recalls and over thresholds.
    precision = tables.precision[..., -1].mean(axis=1).transpose(1, 2, 0)
    recall = tables.recall.mean(axis=0)
    numbers = np.concatenate(
        [
            precision[:, :1].mean(axis=2),
            precision[:, 0][:, [0, 5]],
            precision[:, 1:].mean(axis=2),
            recall[:, 0],
            recall[:, 1:, -1],
        ],
        axis=1,
    )
    numbers[numbers == _UNDEFINED] = np.nan
    return numbers


def copies(given: Outcome, weight: Int32) -> Outcomes:
    """The outcomes of the set in which each image is as often as its `weight` [I] says."""
    found = given.outcomes
    rows = copied(found.category.astype(np.int64) * len(weight) + given.image, weight[given.image])
    positives = np.zeros_like(found.positives)
    for a, counts in enumerate(positives):
        counted = (given.ref_counted >> np.uint8(a) & 1) * weight[given.ref_image]
        counts[:] = np.bincount(given.ref_category, counted, len(counts))
    return found.take(rows, positives)


def copied(group: Int64, weight: Int32) -> Int64:
    """The rows of all copies, if each row has a `weight` [n] that is one of its `group` [n].

    Rows of a group are adjacent; a copy is of a whole group.
    """
    start = np.flatnonzero(np.diff(group, prepend=-1))
    size = np.diff(start, append=len(group))
    times = weight[start]
    first, length = np.repeat(start, times), np.repeat(size, times)
    begin = np.cumsum(length) - length
    rows: Int64 = np.arange(length.sum()) + np.repeat(first - begin, length)
    return rows
