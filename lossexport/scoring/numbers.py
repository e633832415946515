"""The numbers of a summary, from what a scoring run or an evaluator has counted."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from lossexport.boxes.boxset import Category, Float32, Float64, Int8, Int32, Int64
from lossexport.boxes.matching import IGNORED, MATCHED, UNMATCHED
from lossexport.boxes.quality import statistics
from lossexport.scoring import calibration, confidence
from lossexport.scoring.coco_ap import CocoResult
from lossexport.scoring.ranked import Cuts, Ranked, mean_lrp, optimal_lrp, whole_lrp

SCHEMA_VERSION = 3


class Rated(msgspec.Struct, frozen=True):
    """What the scores and the matches alone tell, which needs no curve of COCO."""

    best: dict[str, Any]
    lrp: dict[str, Any]
    calibration: dict[str, Any]
    wanted: dict[str, Any]
    """The cuts of rates that are asked for."""
    rows: list[dict[str, Any]]
    """The same of each category."""


class Tally(msgspec.Struct, frozen=True):
    """The outcomes of N predictions and the references of K categories, in any order of rows."""

    images: int
    categories: Sequence[Category]
    category: Int32
    """[N] position in `categories`."""
    score: Float64
    """[N]"""
    status: Int8
    """[N] as in `Matching`."""
    inverted: int
    """Predictions with a negative side."""
    references: Int64
    """[K] references, ignored ones included."""
    missed: Int64
    """[K] references that count and have no match."""
    ignored: int
    """Ignored references of all categories."""
    quality: Mapping[str, Float32]
    """[M] each metric of the matched predictions, rising by their row."""
    estimate: Float32
    """[N] the quality that the detector predicts; NaN for predictions without one."""
    coco: CocoResult
    threshold: float
    """IoU from which boxes were matched."""
    rated: Rated | None = None
    """If it is known already."""


def rate(
    category: Int32,
    score: Float64,
    status: Int8,
    iou: Float32,
    missed: Int64,
    threshold: float,
    wanted: Mapping[str, float],
) -> Rated:
    """Of what is called the same in a `Tally`; `wanted` is as for `numbers`."""
    whole, each = Ranked.of(category, score, status, iou, missed)
    pooled, cuts = Cuts.of(whole), Cuts.of(each)
    optimal = optimal_lrp(cuts, threshold)
    best = cuts.highest(cuts.f1).tolist()
    rows: list[dict[str, Any]] = [
        {"best": cuts.rates(first), "lrp": error}
        for first, error in zip(best, optimal, strict=True)
    ]
    return Rated(
        pooled.rates(int(pooled.highest(pooled.f1)[0])),
        {"all": whole_lrp(whole, threshold), **mean_lrp(optimal)},
        calibration.block(whole, each),
        _wanted(pooled, cuts, rows, wanted),
        rows,
    )


def numbers(tally: Tally, wanted: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Counts, statistics, AP and AR and the table of categories; no bit depends on the order of N.

    Precision, recall and F1 are those of all predictions; `best` has those at the score cut with
    the highest F1. Statistics without a matched pair are None; AP and AR without a reference -1.
    `wanted` has rates ("precision", "recall") whose cut of the score is to be found: the lowest one
    with this precision, the highest one with this recall.
    """
    status = tally.status
    matched = np.flatnonzero(status == MATCHED)
    wrong = int(np.count_nonzero(status == UNMATCHED))
    missed = int(tally.missed.sum())
    rated = tally.rated or rate(
        tally.category,
        tally.score,
        status,
        tally.quality["iou"],
        tally.missed,
        tally.threshold,
        wanted or {},
    )
    rows = zip(_categories(tally, matched), rated.rows, strict=True)
    return {
        "schema_version": SCHEMA_VERSION,
        "counts": {
            "images": tally.images,
            "categories": len(tally.categories),
            "predictions": len(status),
            "references": int(tally.references.sum()),
            "matched": len(matched),
            "unmatched": missed,
            "unmatched_predictions": wrong,
            "unmatched_references": missed,
            "ignored_predictions": int(np.count_nonzero(status == IGNORED)),
            "ignored_references": tally.ignored,
            "inverted": tally.inverted,
        },
        **_rates(len(matched), wrong, missed),
        "best": rated.best,
        **{metric: statistics(values) for metric, values in tally.quality.items()},
        "quality": confidence.block(tally.estimate, matched, tally.quality["iou"]),
        **tally.coco.values,
        "lrp": rated.lrp,
        "calibration": rated.calibration,
        **rated.wanted,
        "categories": [row | more for row, more in rows],
    }


def _wanted(
    pooled: Cuts, cuts: Cuts, rows: list[dict[str, Any]], wanted: Mapping[str, float]
) -> dict[str, Any]:
    """The cuts for wanted rates, of all categories together; those of each go into its row."""
    found = {}
    for name, rate in wanted.items():
        key, search = AT[name]
        for row, cut in zip(rows, search(cuts, rate).tolist(), strict=True):
            row[key] = cuts.rates(cut)
        found[key] = pooled.rates(int(search(pooled, rate)[0]))
    return found


AT = {
    "precision": ("at_precision", Cuts.least_precise),
    "recall": ("at_recall", Cuts.most_strict),
}
"""Rate -> its key in a summary, and what finds its cut."""


def _rates(matched: int, wrong: int, missed: int) -> dict[str, float | None]:
    """Precision, recall and F1 at the IoU threshold; None if undefined."""
    return {
        "precision": matched / (matched + wrong) if matched + wrong else None,
        "recall": matched / (matched + missed) if matched + missed else None,
        "f1": 2 * matched / (2 * matched + wrong + missed) if matched + wrong + missed else None,
    }


def _categories(tally: Tally, matched: Int64) -> list[dict[str, Any]]:
    """One row for each category, in the order of the ids."""
    size = len(tally.categories)
    coco = tally.coco
    predictions = np.bincount(tally.category, minlength=size)
    hits = np.bincount(tally.category[matched], minlength=size)
    wrong = np.bincount(tally.category[tally.status == UNMATCHED], minlength=size)
    total = _sums(tally.category[matched], tally.quality["iou"], size)
    return [
        {
            "id": kind.id,
            "name": kind.name,
            "references": int(tally.references[k]),
            "predictions": int(predictions[k]),
            "matched": int(hits[k]),
            **_rates(int(hits[k]), int(wrong[k]), int(tally.missed[k])),
            "iou_mean": float(total[k] / hits[k]) if hits[k] else None,
            "AP": float(coco.category_ap[k].mean()),
            "AP50": float(coco.category_ap[k, 0]),
            "AP75": float(coco.category_ap[k, 5]),
            **dict(zip(("APs", "APm", "APl"), coco.category_size_ap[k].tolist(), strict=True)),
        }
        for k, kind in enumerate(tally.categories)
    ]


def _sums(category: Int32, iou: Float32, size: int) -> Float64:
    """Sum [K] of `iou` [M], none below 0, of each `category` [M], added up in rising order."""
    # The bits of such numbers rise with them, and whole numbers are sorted fastest.
    keys = category.astype(np.uint64) << np.uint64(32) | np.abs(iou).view(np.uint32)
    keys.sort()
    rising = keys.astype(np.uint32).view(np.float32)
    kinds = (keys >> np.uint64(32)).astype(np.intp)
    return np.bincount(kinds, rising, minlength=size).astype(np.float64, copy=False)
