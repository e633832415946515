"""The numbers of a comparison, as `summary.json` holds them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lossexport.boxes.boxset import Float32, Float64, Int32, Int64
from lossexport.boxes.oriented import sides as sides_of
from lossexport.boxes.quality import statistics
from lossexport.comparison.match import SIZES, size_of
from lossexport.comparison.record import Run
from lossexport.names import METRICS, STATISTICS

Places = Int32 | Int64

SCHEMA_VERSION = 1
COUNTS = (
    *("images", "categories", "parent", "child", "matched", "lost", "new"),
    *("lost_below_threshold", "new_below_threshold", "without_area"),
)
RATES = ("kept", "agreement")
DRIFT = (*STATISTICS, "max_abs")
GATE_NAMES = (
    *RATES,
    *(f"{metric}_{statistic}" for metric in METRICS for statistic in STATISTICS),
    *(f"drift_{statistic}" for statistic in DRIFT),
    *COUNTS,
)

INTERVALS = tuple(n for n in GATE_NAMES if n not in COUNTS and n != "drift_max_abs")
"""Numbers that get an interval."""


def summarize(run: Run) -> dict[str, Any]:
    """Collect counts, statistics, the tables of categories and of sizes, settings and inputs.

    Undefined statistics and rates are None.
    """
    sides, result, quality = run.sides, run.result, run.quality
    drift = run.drift
    matched, lost, new = (len(rows) for rows in (result.parent, result.lost, result.new))
    boxes = np.concatenate(
        [
            sides.parent.box[np.concatenate([result.parent, result.lost])],
            sides.child.box[np.concatenate([result.child, result.new])],
        ]
    )
    kinds = [kind.name for kind in sides.categories]
    summary: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "counts": {
            "images": len(sides.images),
            "categories": len(sides.categories),
            "parent": matched + lost,
            "child": matched + new,
            "matched": matched,
            "lost": lost,
            "new": new,
            "lost_below_threshold": int(np.count_nonzero(result.child_below >= 0)),
            "new_below_threshold": int(np.count_nonzero(result.parent_below >= 0)),
            "without_area": int(np.count_nonzero((sides_of(boxes) <= 0).any(axis=1))),
        },
        **_rates(matched, lost, new),
        **{metric: statistics(values) for metric, values in quality.items()},
        "drift": {**statistics(drift), "max_abs": float(np.abs(drift).max()) if matched else None},
        "sizes": _rows(
            SIZES,
            size_of(sides.parent.box[result.parent]),
            size_of(sides.parent.box[result.lost]),
            size_of(sides.child.box[result.new]),
            quality["iou"],
            drift,
        ),
        "categories": [
            {"id": kind.id, **row}
            for kind, row in zip(
                sides.categories,
                _rows(
                    kinds,
                    sides.parent.category[result.parent],
                    sides.parent.category[result.lost],
                    sides.child.category[result.new],
                    quality["iou"],
                    drift,
                ),
                strict=True,
            )
            if row["parent"] or row["child"]
        ],
        "settings": dict(run.settings),
        "backend": run.backend,
        "inputs": {
            side: {"name": value.name, "sha256": value.sha256}
            for side, value in sides.inputs.items()
        },
        "notes": list(sides.notes),
    }
    return summary


def _rates(matched: int, lost: int, new: int) -> dict[str, float | None]:
    """The part of the parent's boxes that the child has, and the F1 of both sides."""
    return {
        "kept": matched / (matched + lost) if matched + lost else None,
        "agreement": 2 * matched / (2 * matched + lost + new) if matched + lost + new else None,
    }


def _rows(
    names: Sequence[str],
    matched: Places,
    lost: Places,
    new: Places,
    iou: Float32,
    drift: Float64,
) -> list[dict[str, Any]]:
    """One row for each name, from the positions in `names` of the boxes of each kind."""
    both, gone, come = (np.bincount(rows, minlength=len(names)) for rows in (matched, lost, new))
    total, shift = (np.bincount(matched, v, minlength=len(names)) for v in (iou, drift))
    most = np.zeros(len(names))
    np.maximum.at(most, matched, np.abs(drift))
    return [
        {
            "name": name,
            "parent": int(both[k] + gone[k]),
            "child": int(both[k] + come[k]),
            "matched": int(both[k]),
            "lost": int(gone[k]),
            "new": int(come[k]),
            **_rates(int(both[k]), int(gone[k]), int(come[k])),
            "iou_mean": float(total[k] / both[k]) if both[k] else None,
            "drift_mean": float(shift[k] / both[k]) if both[k] else None,
            "drift_max_abs": float(most[k]) if both[k] else None,
        }
        for k, name in enumerate(names)
    ]
