"""The numbers of a scoring run, as `summary.json` holds them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lossexport.scoring.boxset import Dataset, Float32, Float64
from lossexport.scoring.coco_ap import NAMES, CocoResult
from lossexport.scoring.cuts import best
from lossexport.scoring.matching import IGNORED, MATCHED, UNMATCHED, Matching
from lossexport.scoring.metrics import METRICS

SCHEMA_VERSION = 2
COUNTS = (
    *("images", "categories", "predictions", "references", "matched", "unmatched"),
    *("unmatched_predictions", "unmatched_references"),
    *("ignored_predictions", "ignored_references", "inverted"),
)
RATES = ("precision", "recall", "f1")
STATISTICS = ("mean", "median", "p5", "p95")
PREDICTED = ("count", *STATISTICS, "pairs", "spearman")
GATE_NAMES = (
    *NAMES,
    *(f"{metric}_{statistic}" for metric in METRICS for statistic in STATISTICS),
    *(f"quality_{name}" for name in PREDICTED),
    *RATES,
    *(f"best_{name}" for name in ("score", *RATES)),
    *COUNTS,
)


def summarize(
    data: Dataset,
    matching: Matching,
    quality: Mapping[str, Float32],
    predicted: Mapping[str, Any],
    coco: CocoResult,
    settings: Mapping[str, Any],
    backend: str,
) -> dict[str, Any]:
    """Collect counts, statistics, AP and AR, the table of categories, settings and inputs.

    Precision, recall and F1 are those of all predictions, `best` has those of the score to cut at
    for the highest F1. `predicted` is the block of the quality that the detector predicts.
    Statistics without a matched pair are None; AP and AR without a reference are -1.
    """
    status = matching.status
    box = data.predictions.box
    matched = int(np.count_nonzero(status == MATCHED))
    wrong = int(np.count_nonzero(status == UNMATCHED))
    missed = len(matching.unmatched_refs)
    return {
        "schema_version": SCHEMA_VERSION,
        "counts": {
            "images": len(data.images),
            "categories": len(data.categories),
            "predictions": len(data.predictions),
            "references": len(data.references),
            "matched": matched,
            "unmatched": missed,
            "unmatched_predictions": wrong,
            "unmatched_references": missed,
            "ignored_predictions": int(np.count_nonzero(status == IGNORED)),
            "ignored_references": int(np.count_nonzero(data.references.ignored)),
            "inverted": int(np.count_nonzero((box[:, 2:] < 0).any(axis=1))),
        },
        **_rates(matched, wrong, missed),
        "best": best(data.predictions.score, matching),
        **{metric: statistics(quality[metric]) for metric in METRICS},
        "quality": dict(predicted),
        **coco.values,
        "categories": _categories(data, matching, quality["iou"], coco),
        "settings": dict(settings),
        "backend": backend,
        "inputs": {
            side: {"name": value.name, "sha256": value.sha256}
            for side, value in sorted(data.inputs.items())
        },
        "notes": list(data.notes),
    }


def _rates(matched: int, wrong: int, missed: int) -> dict[str, float | None]:
    """Precision, recall and F1 at the IoU threshold; None where nothing defines them."""
    return {
        "precision": matched / (matched + wrong) if matched + wrong else None,
        "recall": matched / (matched + missed) if matched + missed else None,
        "f1": 2 * matched / (2 * matched + wrong + missed) if matched + wrong + missed else None,
    }


def statistics(values: Float32 | Float64) -> dict[str, float | None]:
    """Mean, median and 5th and 95th percentile of `values` [n]; None of nothing."""
    if not len(values):
        return dict.fromkeys(STATISTICS)
    exact = values.astype(np.float64)
    median, p5, p95 = np.percentile(exact, [50, 5, 95])
    numbers = (exact.mean(), median, p5, p95)
    return {name: float(number) for name, number in zip(STATISTICS, numbers, strict=True)}


def _categories(
    data: Dataset, matching: Matching, iou: Float32, coco: CocoResult
) -> list[dict[str, Any]]:
    """One row for each category, in the order of the ids."""
    size = len(data.categories)
    category = data.predictions.category
    pred, _ = matching.pairs()
    references = np.bincount(data.references.category, minlength=size)
    predictions = np.bincount(category, minlength=size)
    matched = np.bincount(category[pred], minlength=size)
    wrong = np.bincount(category[matching.status == UNMATCHED], minlength=size)
    missed = np.bincount(data.references.category[matching.unmatched_refs], minlength=size)
    total = np.bincount(category[pred], iou, minlength=size)
    return [
        {
            "id": kind.id,
            "name": kind.name,
            "references": int(references[k]),
            "predictions": int(predictions[k]),
            "matched": int(matched[k]),
            **_rates(int(matched[k]), int(wrong[k]), int(missed[k])),
            "iou_mean": float(total[k] / matched[k]) if matched[k] else None,
            "AP": float(coco.category_ap[k].mean()),
            "AP50": float(coco.category_ap[k, 0]),
            "AP75": float(coco.category_ap[k, 5]),
        }
        for k, kind in enumerate(data.categories)
    ]
