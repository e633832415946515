"""What is kept and found at every cut of the score, by category; and which cut to deploy."""

from typing import Any

import msgspec
import numpy as np

from lossexport import arguments
from lossexport.boxes.boxset import Float32, Float64, Int8, Int32, Int64
from lossexport.boxes.matching import IGNORED, MATCHED
from lossexport.errors import LossexportError
from lossexport.runtime import coco as native


class Ranked(msgspec.Struct, frozen=True):
    """The n predictions that count, by category and falling score, and the m of them with a match.

    Of equal scores the overlaps are in rising order, and nothing depends on that of the rows.
    """

    first: Int64
    """[K+1] where each category begins, and the end."""
    score: Float64
    """[n]"""
    hit: Int64
    """[m] positions of those with a match, rising."""
    end: Int64
    """[m] the position after the last prediction of the category with the score of the match."""
    iou: Float64
    """[m] their overlaps."""
    missed: Int64
    """[K] references that count and have no match."""

    @classmethod
    def of(
        cls, category: Int32, score: Float64, status: Int8, iou: Float32, missed: Int64
    ) -> tuple["Ranked", "Ranked"]:
        """All categories as one, and each by itself.

        Of `category`, `score` and `status` [N], and the `iou` of the matches by rising row.
        """
        if native.available():
            counted = len(status) - int(np.count_nonzero(status == IGNORED))
            of_all, starts, own = native.rank(category, score, status, iou, counted, len(missed))
            everything, total = np.array([0, counted]), missed.sum(keepdims=True)
            return cls(everything, *of_all, total), cls(starts, *own, missed)
        rows = np.flatnonzero(status != IGNORED)
        ranked = -score[rows]
        rows = rows[np.argsort(ranked)]
        np.take(score, rows, out=ranked)
        hit = status[rows] == MATCHED
        matched = np.flatnonzero(status == MATCHED)
        by_iou = np.lexsort((iou, -score[matched]))
        overlap = iou[by_iou].astype(np.float64)
        pooled = np.array([0, len(rows)])
        places = np.flatnonzero(hit)
        whole = cls(
            pooled,
            ranked,
            places,
            _ends(pooled, ranked, places),
            overlap,
            missed.sum(keepdims=True),
        )
        # Whole numbers of 16 bits are sorted by their digits.
        code = category.astype(np.min_scalar_type(len(missed)), copy=False)
        kind, of_hits = code[rows], code[matched[by_iou]]
        del rows
        place = np.argsort(kind, kind="stable")
        first = np.append(0, np.cumsum(np.bincount(kind, minlength=len(missed))))
        score, places = ranked[place], np.flatnonzero(hit[place])
        overlap = overlap[np.argsort(of_hits, kind="stable")]
        return whole, cls(first, score, places, _ends(first, score, places), overlap, missed)


def _ends(first: Int64, score: Float64, hit: Int64) -> Int64:
    """[m] the `end` of a `Ranked`."""
    ends = np.append(np.flatnonzero(np.diff(score)), len(score) - 1) + 1
    of_score = ends[np.searchsorted(ends, hit, "right")]
    found: Int64 = np.minimum(of_score, first[np.searchsorted(first, hit, "right")])
    return found


class Cuts(msgspec.Struct, frozen=True):
    """The c scores at which a cut lets in a match, by category and falling score.

    No measure here is best at any other score: a cut that only lets in wrong boxes is worse.
    """

    category: Int64
    """[c]"""
    score: Float64
    """[c] predictions with this score or a higher one are kept."""
    seen: Int64
    """[c] predictions that are kept."""
    hits: Int64
    """[c] those of them with a match."""
    loss: Float64
    """[c] sum of their 1 - IoU."""
    positives: Int64
    """[K] references that count."""

    @classmethod
    def of(cls, ranked: Ranked) -> "Cuts":
        """All cuts of all categories."""
        score, first, hit = ranked.score, ranked.first, ranked.hit
        before = np.searchsorted(hit, first)
        kind = np.repeat(np.arange(len(ranked.missed)), np.diff(before))
        # The last hit of each score of a category.
        last = np.append((np.diff(kind) != 0) | (np.diff(ranked.end) != 0), np.True_)
        done = np.flatnonzero(last[: len(hit)]) + 1
        kind = kind[done - 1]
        loss = np.append(0.0, np.cumsum(1 - ranked.iou))
        return cls(
            kind,
            score[hit[done - 1]],
            ranked.end[done - 1] - first[kind],
            done - before[kind],
            np.maximum(loss[done] - loss[before[kind]], 0.0),
            np.diff(before) + ranked.missed,
        )

    @property
    def precision(self) -> Float64:
        """[c]"""
        found: Float64 = self.hits / self.seen
        return found

    @property
    def recall(self) -> Float64:
        """[c]"""
        found: Float64 = self.hits / self.positives[self.category]
        return found

    @property
    def f1(self) -> Float64:
        """[c]"""
        found: Float64 = 2 * self.hits / (self.seen + self.positives[self.category])
        return found

    def lrp(self, threshold: float) -> Float64:
        """Localisation, recall and precision error [c] of boxes matched at the IoU `threshold`."""
        wrong = self.seen + self.positives[self.category] - 2 * self.hits
        found: Float64 = (wrong + scaled(self.loss, threshold)) / (wrong + self.hits)
        return found

    def highest(self, value: Float64) -> Int64:
        """[K] the cut of each category with the highest `value` [c], of equal ones the first."""
        first = np.flatnonzero(np.diff(self.category, prepend=-1))
        if not len(first):
            return self._each(first)
        most = np.maximum.reduceat(value, first)
        size = np.diff(first, append=len(value))
        return self._each(np.flatnonzero(value == np.repeat(most, size))[::-1])

    def least_precise(self, wanted: float) -> Int64:
        """[K] the lowest score at which the precision is `wanted` or more."""
        return self._each(np.flatnonzero(self.precision >= wanted))

    def most_strict(self, wanted: float) -> Int64:
        """[K] the highest score at which the recall is `wanted` or more."""
        return self._each(np.flatnonzero(self.recall >= wanted)[::-1])

    def _each(self, cuts: Int64) -> Int64:
        """[K] the last of `cuts` of each category, -1 without any."""
        found = np.full(len(self.positives), -1)
        found[self.category[cuts]] = cuts
        return found

    def rates(self, cut: int) -> dict[str, float | None]:
        """Score, precision, recall and F1 at a cut, as a summary has them; None for -1."""
        if cut < 0:
            return dict.fromkeys(("score", "precision", "recall", "f1"))
        seen, hits = int(self.seen[cut]), int(self.hits[cut])
        positives = int(self.positives[self.category[cut]])
        return {
            "score": float(self.score[cut]),
            "precision": hits / seen,
            "recall": hits / positives,
            "f1": 2 * hits / (seen + positives),
        }


def check_rate(name: str, value: object) -> float:
    """`value` as a float. Raises LossexportError if it is not a number in (0, 1]."""
    rate = arguments.number(name, value)
    if not 0 < rate <= 1:
        raise LossexportError(f"{name} is {rate}: above 0 and at most 1 is expected")
    return rate


def scaled(loss: Float64, threshold: float) -> Float64:
    """The error of places, 1 for an overlap of the `threshold`; 0 if only equal boxes match."""
    return loss / (1 - threshold) if threshold < 1 else np.zeros_like(loss)


def whole_lrp(ranked: Ranked, threshold: float) -> float | None:
    """LRP error of all predictions, all categories together; None without any box."""
    hits, missed = len(ranked.hit), int(ranked.missed.sum())
    total = len(ranked.score) + missed
    loss = scaled(np.array(np.sort(1 - ranked.iou).sum()), threshold)
    return float((total - hits + loss) / total) if total else None


def optimal_lrp(cuts: Cuts, threshold: float) -> list[dict[str, Any]]:
    """[K] the lowest LRP error of each category and its parts; all None without a reference.

    The parts are the mean 1 - IoU of the matches, and 1 - precision and 1 - recall. Without a match
    the error is 1, at no score.
    """
    error = cuts.lrp(threshold)
    rows: list[dict[str, Any]] = []
    for k, cut in enumerate(cuts.highest(-error).tolist()):
        values: tuple[float | None, ...] = (None,) * len(PARTS)
        if cut >= 0:
            hits = int(cuts.hits[cut])
            values = (
                float(error[cut]),
                float(cuts.loss[cut] / hits),
                float(1 - hits / cuts.seen[cut]),
                float(1 - hits / cuts.positives[k]),
                float(cuts.score[cut]),
            )
        elif cuts.positives[k]:
            values = (1.0, None, 0.0, 1.0, None)
        rows.append(dict(zip(PARTS, values, strict=True)))
    return rows


PARTS = ("optimal", "localization", "false_positive", "false_negative", "score")


def mean_lrp(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    """The mean of each part over the categories that have it."""
    found = {}
    for name in PARTS[:-1]:
        known = [row[name] for row in rows if row[name] is not None]
        found[name] = float(np.mean(known)) if known else None
    return found
