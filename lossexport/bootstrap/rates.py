"""Rates, cuts and statistics with a weight for each image."""

from dataclasses import dataclass

import numpy as np

from lossexport.boxes.boxset import Bool, Float32, Float64, Int8, Int32
from lossexport.boxes.matching import IGNORED, MATCHED, UNMATCHED
from lossexport.names import RATES, STATISTICS
from lossexport.runtime import weighted as native
from lossexport.scoring.ranked import Cuts, Ranked

_PARTS = (0.5, 0.05, 0.95)


def total(weight: Int32, image: Int32) -> Float64:
    """Weights [D,I] of the boxes on `image` [n], added up: [D]."""
    boxes = np.bincount(image, minlength=weight.shape[1])
    sums: Float64 = (weight * boxes).sum(axis=1).astype(np.float64)
    return sums


def ratio(part: Float64, whole: Float64) -> Float64:
    """Their ratio [D]; NaN where `whole` is 0."""
    found = np.full(len(part), np.nan)
    np.divide(part, whole, out=found, where=whole > 0)
    return found


def f1(hits: Float64, wrong: Float64, missed: Float64) -> Float64:
    """[D]"""
    return ratio(2 * hits, 2 * hits + wrong + missed)


class Cut:
    """Predictions that count, by falling score, and the images of references without a match."""

    def __init__(self, score: Float64, image: Int32, status: Int8, missed: Int32) -> None:
        """`status` [N] is as in `Matching`, `missed` [m] are images."""
        counted = np.flatnonzero(status != IGNORED)
        counted = counted[np.argsort(-score[counted], kind="stable")]
        self._score, self._image = score[counted], image[counted]
        self._right: Bool = status[counted] == MATCHED
        self._status, self._missed = status[counted], missed
        self._last = np.append(self._score[1:] != self._score[:-1], True)[: len(counted)]

    def rates(self, weight: Int32) -> dict[str, Float64]:
        """Precision, recall and F1 [D] of all predictions, and `best_` ones with their score."""
        hits = total(weight, self._image[self._right])
        wrong = total(weight, self._image[self._status == UNMATCHED])
        missed = total(weight, self._missed)
        rates = ratio(hits, hits + wrong), ratio(hits, hits + missed), f1(hits, wrong, missed)
        best = self._best(weight)
        names = [f"best_{name}" for name in ("score", *RATES)]
        return dict(zip((*RATES, *names), (*rates, *best.T), strict=True))

    def _best(self, weight: Int32) -> Float64:
        if native.available():
            right, last = self._right.view(np.uint8), self._last.view(np.uint8)
            return native.best(weight, self._score, self._image, right, last, self._missed)
        rows = []
        for one in weight:
            times = one[self._image]
            score, status = np.repeat(self._score, times), np.repeat(self._status, times)
            found = _best_cut(score, status, int(one[self._missed].sum()))
            rows.append([np.nan if value is None else value for value in found.values()])
        return np.array(rows)


def _best_cut(score: Float64, status: Int8, missed: int) -> dict[str, float | None]:
    overlaps = np.zeros(np.count_nonzero(status == MATCHED), np.float32)
    kinds = np.zeros(len(score), np.int32)
    ranked, _ = Ranked.of(kinds, score, status, overlaps, np.array([missed]))
    cuts = Cuts.of(ranked)
    return cuts.rates(int(cuts.highest(cuts.f1)[0]))


@dataclass(frozen=True, slots=True)
class Measured:
    """A number of each of some boxes, rising."""

    value: Float64
    image: Int32

    @classmethod
    def of(cls, value: Float32 | Float64, image: Int32) -> "Measured":
        """Of values [n] in any order; NaN is none."""
        known = np.flatnonzero(~np.isnan(value))
        # Equal values by image, so that no order of the rows changes a bit.
        rising = known[np.lexsort((image[known], value[known]))]
        return cls(value[rising].astype(np.float64), image[rising])

    def mean(self, weight: Int32) -> Float64:
        """[D]; NaN without a box."""
        images = weight.shape[1]
        sums = np.bincount(self.image, self.value, images)
        return ratio((weight * sums).sum(axis=1), total(weight, self.image))

    def statistics(self, weight: Int32) -> dict[str, Float64]:
        """Mean, median and 5th and 95th percentile [D] of all copies, as in a summary."""
        columns = np.full((len(STATISTICS), len(weight)), np.nan)
        columns[0] = self.mean(weight)
        for draw, one in enumerate(weight):
            upto = np.cumsum(one[self.image])
            count = int(upto[-1]) if len(upto) else 0
            if not count:
                continue
            place = np.array(_PARTS) * (count - 1)
            low = place.astype(np.int64)
            ends = np.stack([low, np.minimum(low + 1, count - 1)])
            first, second = self.value[np.searchsorted(upto, ends, "right")]
            columns[1:, draw] = first + (second - first) * (place - low)
        return dict(zip(STATISTICS, columns, strict=True))
