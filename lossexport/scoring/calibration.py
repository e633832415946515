"""How far scores are from the precision that they promise.

D-ECE: Kueppers et al., Multivariate Confidence Calibration for Object Detection, CVPR Workshops
2020 (arXiv 2004.13546). LaECE: Oksuz et al., Towards Building Self-Aware Object Detectors via
Reliable Uncertainty Quantification and Calibration, CVPR 2023 (arXiv 2307.00934). The bins are
those of uq-detr 0.1.1.
"""

from typing import Any

import numpy as np

from lossexport.boxes.boxset import Float64, Int32
from lossexport.scoring.ranked import Ranked

BINS = 25


def block(ranked: Ranked) -> dict[str, Any]:
    """The `calibration` of a summary; all None if there is no score, or one outside of 0 to 1.

    `dece` is the mean over the predictions of the gap between mean score and precision of their
    bin, and `mce` the largest gap of a bin. `laece` takes the IoU of each match in place of 1 and
    bins within each category, and is the mean over the categories with a prediction. `bins` are the
    rows of a reliability table.
    """
    score = ranked.score
    if not len(score) or score.min() < 0 or score.max() > 1:
        return {"dece": None, "laece": None, "mce": None, "bins": []}
    low, high = score.min(), score.max()
    place = _bin(score, low, high)
    count = np.bincount(place, minlength=BINS)
    some = count > 0
    size = np.maximum(count, 1)
    mean = np.bincount(place, score, BINS) / size
    precision = np.bincount(place[ranked.hit], minlength=BINS) / size
    iou = np.bincount(place[ranked.hit], ranked.iou, BINS) / size
    gap = np.abs(mean - precision)
    edges = np.linspace(low, high, BINS + 1)
    return {
        "dece": float((count * gap).sum() / len(score)),
        "laece": _by_category(ranked),
        "mce": float(gap[some].max()),
        "bins": [
            {
                "low": float(edges[k]),
                "high": float(edges[k + 1]),
                "count": int(count[k]),
                "score": float(mean[k]),
                "precision": float(precision[k]),
                "iou": float(iou[k]),
            }
            for k in np.flatnonzero(some).tolist()
        ],
    }


def _by_category(ranked: Ranked) -> float:
    kinds, score = ranked.category, ranked.score
    start = np.flatnonzero(np.diff(kinds, prepend=-1))
    size = np.diff(start, append=len(kinds))
    low, high = (np.repeat(score[at], size) for at in (start + size - 1, start))
    place = np.repeat(np.arange(0, len(start) * BINS, BINS), size) + _bin(score, low, high)
    total = len(start) * BINS
    gap = np.bincount(place, score, total)
    gap -= np.bincount(place[ranked.hit], ranked.iou, total)
    return float((np.abs(gap).reshape(-1, BINS).sum(axis=1) / size).mean())


def _bin(score: Float64, low: Float64 | np.float64, high: Float64 | np.float64) -> Int32:
    """[n] the bin of each score among BINS equal ones from `low` to `high`, of all or of each.

    A score on an edge belongs to the bin below it, with the edges that numpy.linspace gives.
    """
    step = (high - low) / BINS
    place = np.ceil((score - low) / np.maximum(step, np.finfo(np.float64).tiny))
    place = np.clip(place, 1, BINS)
    # The quotient may be rounded across an edge.
    place -= (score <= (place - 1) * step + low) & (place > 1)
    place += (score > place * step + low) & (place < BINS)
    return place.astype(np.int32) - np.int32(1)
