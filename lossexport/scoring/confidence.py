"""Estimates the quality of boxes without references, from the variances that a detector predicts.

The exported artifact `localization_confidence` estimates the IoU. For boxes with a match, the IoU
shows how far the estimate can be trusted.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from lossexport.boxes.boxset import Float32, Float64, Int64, Predictions
from lossexport.boxes.quality import corners, open_artifact, rows_at_once, statistics

BINS = 10


def predicted_quality(
    predictions: Predictions,
    backend: str | None = None,
    advance: Callable[[float], None] | None = None,
) -> Float32:
    """Estimated IoU [N] of every prediction with a log variance; NaN for those without.

    Raises LossexportError if there is any and `backend` cannot run here.
    """
    found = np.full(len(predictions), np.nan, np.float32)
    if predictions.log_variance is None:
        return found
    rows = np.flatnonzero(~np.isnan(predictions.log_variance).any(axis=1))
    # By image, so that a backend gets the same blocks whatever the order of the images.
    rows = rows[np.argsort(predictions.image[rows], kind="stable")]
    box = predictions.box[rows]
    found[rows] = estimates(corners(box, box), predictions.log_variance[rows], backend, advance)
    return found


def estimates(
    box: Float32,
    log_variance: Float32,
    backend: str | None = None,
    advance: Callable[[float], None] | None = None,
) -> Float32:
    """Estimated IoU [n] of boxes x1, y1, x2, y2 [n,4] with a `log_variance` [n,4].

    Raises LossexportError if there is any and `backend` cannot run here.
    """
    found = np.empty(len(box), np.float32)
    if not len(box):
        return found
    session = open_artifact("localization_confidence", backend)
    step = rows_at_once(session)
    for start in range(0, len(found), step):
        rows = slice(start, start + step)
        found[rows] = session(boxes=box[rows], log_variance=log_variance[rows])["quality"]
        if advance:
            advance(min(start + step, len(found)) / len(found))
    return found


def matched_quality(estimate: Float32, iou: Float32) -> tuple[Float64, Float64]:
    """Estimate and IoU of the matched predictions [M] that have an estimate, in rising order."""
    known = ~np.isnan(estimate)
    first, second = estimate[known].astype(np.float64), iou[known].astype(np.float64)
    order = np.lexsort((second, first))
    return first[order], second[order]


def block(confidence: Float32, matched: Int64, iou: Float32) -> dict[str, Any]:
    """The `quality` of a summary: statistics of all estimates, and their agreement with the IoU.

    `confidence` [N] is NaN for predictions without an estimate; `matched` [M] are those whose IoU
    is in `iou`.
    `pairs` is the number of estimates with a match, and `spearman` their rank correlation with IoU.
    """
    known = confidence[~np.isnan(confidence)]
    estimate, real = matched_quality(confidence[matched], iou)
    return {
        "count": len(known),
        **statistics(known),
        "pairs": len(estimate),
        "spearman": rank_correlation(estimate, real),
    }


def rank_correlation(a: Float64, b: Float64) -> float | None:
    """Spearman's coefficient, equal values sharing their mean rank; None if one is constant."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    a, b = (ranks - ranks.mean() for ranks in (_ranks(a), _ranks(b)))
    # No product of BLAS, whose sums depend on its threads.
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


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
