"""Precision, recall and F1 of the predictions whose score is at or above a cut."""

from dataclasses import dataclass

import numpy as np

from lossexport.boxes.boxset import Float64, Int8
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
