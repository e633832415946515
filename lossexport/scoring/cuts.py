"""Precision, recall and F1 of the predictions whose score is at or above a cut."""

from dataclasses import dataclass

import numpy as np

from lossexport.boxes.boxset import Float64, Int8, Int64
from lossexport.boxes.matching import IGNORED, MATCHED


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates [n] over all categories if only predictions with at least a score [n] are kept."""

    precision: Float64
    recall: Float64
    f1: Float64


def rates(score: Float64, status: Int8, missed: int, cuts: Float64) -> Rates:
    """Rates of the predictions with `score` [N] at `cuts` [n], each of which keeps at least one.

    `status` [N] is as in `Matching`, and `missed` the number of references without a match. Needs
    a match. Predictions are matched by falling score, so leaving out the lower ones changes
    no match.
    """
    counted = np.sort(score[status != IGNORED])
    hits = np.sort(score[status == MATCHED])
    positives = len(hits) + missed
    seen = len(counted) - np.searchsorted(counted, cuts, "left")
    hit = len(hits) - np.searchsorted(hits, cuts, "left")
    return Rates(hit / seen, hit / positives, 2 * hit / (seen + positives))


def best(score: Float64, status: Int8, missed: int) -> dict[str, float | None]:
    """The `best` of a summary: the score to cut at for the highest F1, and the rates there.

    The arguments are those of `rates`. Of several such scores it is the highest; all are None
    without a match.
    """
    # Lowering a cut raises F1 only if it lets in a match.
    hits = np.sort(score[status == MATCHED])[::-1]
    if not len(hits):
        return dict.fromkeys(("score", "precision", "recall", "f1"))
    positives = len(hits) + missed
    hit = np.flatnonzero(np.append(hits[1:] != hits[:-1], True)) + 1
    cuts = hits[hit - 1]
    near, seen = _near_the_best(score[status != IGNORED], cuts, hit, positives)
    hit, cuts = hit[near], cuts[near]
    f1 = 2 * hit / (seen + positives)
    at = int(np.argmax(f1))
    return {
        "score": float(cuts[at]),
        "precision": float(hit[at] / seen[at]),
        "recall": float(hit[at] / positives),
        "f1": float(f1[at]),
    }


def _near_the_best(
    counted: Float64, cuts: Float64, hit: Int64, positives: int
) -> tuple[Int64, Int64]:
    """Places [n] in `cuts` that may have the highest F1, and how many of `counted` each keeps.

    `hit` are the matches that each of the falling `cuts` keeps. Scores with equal leading bits are
    counted together, which bounds F1 from both sides; the few that matter are then sorted.
    """
    group, own = _leading_bits(counted), _leading_bits(cuts)
    least = group.min()
    group -= least
    own -= least
    size = np.bincount(group)
    low, high = _from_above(size)[own + 1], _from_above(size)[own]
    near = np.flatnonzero(
        2 * hit / (np.maximum(low, hit) + positives) >= (2 * hit / (high + positives)).max()
    )
    own = own[near]
    wanted = np.zeros(len(size), np.bool_)
    wanted[own] = True
    among = np.sort(counted[wanted[group]])
    kept = len(among) - np.searchsorted(among, cuts[near], "left")
    return near, kept + _from_above(np.where(wanted, 0, size))[own]


def _leading_bits(values: Float64) -> Int64:
    """Whole numbers [n] that rise with `values`; near ones share a number."""
    bits = (values + 0.0).view(np.int64)  # -0 becomes 0
    if bits.min() < 0:
        bits ^= (bits >> 63) & np.iinfo(np.int64).max
    bits >>= 46
    return bits


def _from_above(size: Int64) -> Int64:
    """Sum of `size` [n] from each place on, and 0 at the end [n+1]."""
    return np.append(np.cumsum(size[::-1])[::-1], 0)
