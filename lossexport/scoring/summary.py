"""The numbers of a scoring run, as `summary.json` holds them."""

from typing import Any

import numpy as np
from msgspec.structs import replace

from lossexport.boxes.boxset import Dataset, Int64
from lossexport.boxes.matching import Matching
from lossexport.names import COCO_NUMBERS, METRICS, RATES, STATISTICS
from lossexport.scoring.numbers import numbers
from lossexport.scoring.ranked import PARTS
from lossexport.scoring.record import Run

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
    *(f"lrp_{name}" for name in ("all", *PARTS[:-1])),
    *(f"calibration_{name}" for name in ("dece", "laece", "mce")),
    *COUNTS,
)
INTERVALS = tuple(
    name
    for name in GATE_NAMES
    if name == "quality_mean"
    or not (name in COUNTS or name.startswith(("quality_", "lrp_", "calibration_")))
)
"""Numbers that get an interval."""


def missed_of(data: Dataset, matching: Matching) -> Int64:
    """[K] references of each category that count and have no match."""
    kinds = data.references.category[matching.unmatched_refs]
    return np.bincount(kinds, minlength=len(data.categories))


def summarize(run: Run) -> dict[str, Any]:
    """Add settings, inputs and notes to the numbers."""
    return {
        **numbers(replace(run.results.tally(), rated=run.rated)),
        "settings": dict(run.settings),
        "backend": run.backend,
        "inputs": {
            side: {"name": value.name, "sha256": value.sha256}
            for side, value in sorted(run.data.inputs.items())
        },
        "notes": list(run.data.notes),
    }
