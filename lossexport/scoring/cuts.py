"""Precision, recall and F1 of the predictions whose score is at or above a cut."""

from dataclasses import dataclass

import numpy as np

from lossexport.boxes.boxset import Float64
from lossexport.boxes.matching import IGNORED, MATCHED, Matching


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates [n] if the predictions from a score [n] on are kept, over all categories."""

    precision: Float64
    recall: Float64
    f1: Float64


def rates(score: Float64, matching: Matching, cuts: Float64) -> Rates:
    """Rates of the predictions of `score` [N] at `cuts` [n], each of which keeps at least one.

    Needs a match. Predictions take their references by falling score, so leaving out the lower ones
    changes no match.
    """
    counted = np.sort(score[matching.status != IGNORED])
    hits = np.sort(score[matching.status == MATCHED])
    positives = len(hits) + len(matching.unmatched_refs)
    seen = len(counted) - np.searchsorted(counted, cuts, "left")
    hit = len(hits) - np.searchsorted(hits, cuts, "left")
    return Rates(hit / seen, hit / positives, 2 * hit / (seen + positives))


def best(score: Float64, matching: Matching) -> dict[str, float | None]:
    """The `best` of a summary: the score to cut at for the highest F1, and the rates there.

    Of several such scores, the highest; all None without a match.
    """
    # Lowering a cut gains only where it lets in a match.
    cuts = np.unique(score[matching.status == MATCHED])[::-1]
    if not len(cuts):
        return dict.fromkeys(("score", "precision", "recall", "f1"))
    found = rates(score, matching, cuts)
    at = int(np.argmax(found.f1))
    return {
        "score": float(cuts[at]),
        "precision": float(found.precision[at]),
        "recall": float(found.recall[at]),
        "f1": float(found.f1[at]),
    }
