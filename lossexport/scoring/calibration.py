"""How far scores are from the precision that they promise.

D-ECE: Kueppers et al., Multivariate Confidence Calibration for Object Detection, CVPR Workshops
2020 (arXiv 2004.13546). LaECE: Oksuz et al., Towards Building Self-Aware Object Detectors via
Reliable Uncertainty Quantification and Calibration, CVPR 2023 (arXiv 2307.00934). The bins are
those of uq-detr 0.1.1.
"""

from typing import Any

import numpy as np

from lossexport.boxes.boxset import Float64, Int64
from lossexport.scoring.ranked import Ranked

BINS = 25


def block(whole: Ranked, each: Ranked) -> dict[str, Any]:
    """The `calibration` of a summary; all None if there is no score, or one outside of 0 to 1.

    `whole` has all categories as one.

    `dece` is the mean over the predictions of the gap between mean score and precision of their
    bin, and `mce` the largest gap of a bin. `laece` takes the IoU of each match in place of 1 and
    bins within each category, and is the mean over the categories with a prediction. `bins` are the
    rows of a reliability table.
    """
    score = whole.score
    if not len(score) or score[-1] < 0 or score[0] > 1:
        return {"dece": None, "laece": None, "mce": None, "bins": []}
    count, right, mean, iou, edges = (part[0] for part in _bins(whole))
    some = np.flatnonzero(count)
    size = np.maximum(count, 1)
    mean, precision, iou = mean / size, right / size, iou / size
    gap = np.abs(mean - precision)
    return {
        "dece": float((count * gap).sum() / len(score)),
        "laece": _by_category(each),
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
            for k in some.tolist()
        ],
    }


def _by_category(each: Ranked) -> float:
    count, _, score, iou, _ = _bins(each)
    size = count.sum(axis=1)
    return float((np.abs(score - iou).sum(axis=1)[size > 0] / size[size > 0]).mean())


def _bins(ranked: Ranked) -> tuple[Int64, Int64, Float64, Float64, Float64]:
    """[K,BINS] predictions, matches, sum of scores and of overlaps of each bin; [K,BINS+1] edges.

    A score on an edge belongs to the bin below it.
    """
    first, score = ranked.first, ranked.score
    size = np.diff(first)
    some = np.flatnonzero(size)
    edges = np.zeros((len(size), BINS + 1))
    edges[some] = np.linspace(score[first[1:][some] - 1], score[first[some]], BINS + 1, axis=1)
    # Scores fall, so the bins of a category lie one after the other, the highest first.
    cuts = np.repeat(first[1:, None], BINS + 1, axis=1)
    cuts[:, BINS] = first[:-1]
    for k in some.tolist():
        own = score[first[k] : first[k + 1]]
        cuts[k, 1:BINS] -= np.searchsorted(own[::-1], edges[k, 1:BINS], "right")
    hits = np.searchsorted(ranked.hit, cuts)
    sums, iou = _up_to(score, cuts), _up_to(ranked.iou, hits)
    count, right, sums, iou = (-np.diff(values, axis=1) for values in (cuts, hits, sums, iou))
    return count, right, sums, iou, edges


def _up_to(values: Float64, stops: Int64) -> Float64:
    """The sums of the first values, as many as `stops` says."""
    total = np.zeros(len(values) + 1)
    np.cumsum(values, out=total[1:])
    return total[stops]
