"""The numbers of a scoring run, as `summary.json` holds them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lossexport.boxes.boxset import Dataset, Float32
from lossexport.boxes.matching import IGNORED, MATCHED, UNMATCHED, Matching
from lossexport.boxes.quality import statistics
from lossexport.names import COCO_NUMBERS, METRICS, RATES, STATISTICS
from lossexport.scoring.coco_ap import CocoResult
from lossexport.scoring.cuts import best
from lossexport.scoring.record import Run

SCHEMA_VERSION = 2
COUNTS = (
    *("images", "categories", "predictions", "references", "matched", "unmatched"),
    *("unmatched_predictions", "unmatched_references"),
    *("ignored_predictions", "ignored_references", "inverted"),
)
PREDICTED = ("count", *STATISTICS, "pairs", "spearman")
GATE_NAMES = (
    *COCO_NUMBERS,
    *(f"{metric}_{statistic}" for metric in METRICS for statistic in STATISTICS),
    *(f"quality_{name}" for name in PREDICTED),
    *RATES,
    *(f"best_{name}" for name in ("score", *RATES)),
    *COUNTS,
)


def summarize(run: Run, predicted: Mapping[str, Any]) -> dict[str, Any]:
    """Collect counts, statistics, AP and AR, the table of categories, settings and inputs.

    Precision, recall and F1 are those of all predictions; `best` has those at the score cut with
    the highest F1. `predicted` is the block about the quality that the detector predicts.
    Statistics without a matched pair are None; AP and AR without a reference are -1.
    """
    data, matching, quality, coco = run.data, run.matching, run.quality, run.coco
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
        "settings": dict(run.settings),
        "backend": run.backend,
        "inputs": {
            side: {"name": value.name, "sha256": value.sha256}
            for side, value in sorted(data.inputs.items())
        },
        "notes": list(data.notes),
    }


def _rates(matched: int, wrong: int, missed: int) -> dict[str, float | None]:
    """Precision, recall and F1 at the IoU threshold; None if undefined."""
    return {
        "precision": matched / (matched + wrong) if matched + wrong else None,
        "recall": matched / (matched + missed) if matched + missed else None,
        "f1": 2 * matched / (2 * matched + wrong + missed) if matched + wrong + missed else None,
    }


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
