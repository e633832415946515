"""Quality without references: what a detector's predicted variances say about its boxes.

The estimate of IoU comes from the exported artifact `localization_confidence`; where a box has a
match, its IoU tells how far the estimate can be trusted.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from lossexport.boxes.boxset import Float32, Float64, Predictions
from lossexport.boxes.matching import Matching
from lossexport.boxes.quality import corners, open_artifact, rows_at_once, statistics

BINS = 10


def predicted_quality(
    predictions: Predictions,
    backend: str | None = None,
    advance: Callable[[float], None] | None = None,
) -> Float32:
    """Estimated IoU [N] of every prediction with a log variance; NaN for those without.

    Raises LossexportError where there is any and `backend` cannot run here.
    """
    found = np.full(len(predictions), np.nan, np.float32)
    if predictions.log_variance is None:
        return found
    session = open_artifact("localization_confidence", backend)
    step = rows_at_once(session)
    for start in range(0, len(found), step):
        rows = slice(start, start + step)
        box, log_variance = predictions.box[rows], predictions.log_variance[rows]
        found[rows] = session(boxes=corners(box, box), log_variance=log_variance)["quality"]
        if advance:
            advance(min(start + step, len(found)) / len(found))
    return found


def matched_quality(
    confidence: Float32, matching: Matching, iou: Float32
) -> tuple[Float64, Float64]:
    """Estimate and IoU of the matched predictions that have an estimate."""
    estimate = confidence[matching.pairs()[0]].astype(np.float64)
    known = ~np.isnan(estimate)
    return estimate[known], iou[known].astype(np.float64)


def block(confidence: Float32, matching: Matching, iou: Float32) -> dict[str, Any]:
    """The `quality` of a summary: statistics of all estimates, and how they agree with the IoU.

    `pairs` counts those with a match, over which `spearman` is the rank correlation with IoU.
    """
    known = confidence[~np.isnan(confidence)]
    estimate, real = matched_quality(confidence, matching, iou)
    return {
        "count": len(known),
        **statistics(known),
        "pairs": len(estimate),
        "spearman": rank_correlation(estimate, real),
    }


def rank_correlation(a: Float64, b: Float64) -> float | None:
    """Spearman's coefficient, equal values sharing their mean rank; None where one is constant."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: Float64) -> Float64:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    mean: Float64 = np.cumsum(count) - (count - 1) / 2
    return mean[place]


def bins(estimate: Float64, iou: Float64) -> tuple[Float64, Float64]:
    """Mean estimate and mean IoU of up to ten bins of about equal numbers of boxes, rising.

    Equal estimates share a bin.
    """
    edges = np.unique(np.quantile(estimate, np.linspace(0, 1, BINS + 1))[1:-1])
    place = np.searchsorted(edges, estimate, "right")
    size = np.bincount(place)
    some = size > 0
    first, second = (np.bincount(place, values)[some] / size[some] for values in (estimate, iou))
    return first, second
