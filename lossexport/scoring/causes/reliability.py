"""The reliability table: how often boxes of a score are right."""

from collections.abc import Mapping
from typing import Any

from lossexport.reports.document import signed
from lossexport.scoring.causes.flat import columns
from lossexport.scoring.causes.record import Diagnosis, Finding, PageTable, Table, shown
from lossexport.scoring.record import Run


def find(_: Run, summary: Mapping[str, Any]) -> Finding:
    """The bins of the calibration in the summary, the highest scores first."""
    bins = summary["calibration"]["bins"][::-1]
    rows = [
        (
            f"{one['low']:.3f} to {one['high']:.3f}",
            f"{one['count']:,}",
            *(shown(one[name]) for name in ("score", "precision")),
            signed(one["score"] - one["precision"]),
            shown(one["iou"]),
        )
        for one in bins
    ]
    header = ("Score", "Boxes", "Mean score", "Precision", "Too sure by", "Mean IoU, 0 if wrong")
    return Finding({}, PageTable(header, rows) if rows else None, Table(*columns(bins)))


RELIABILITY = Diagnosis(
    name="reliability",
    title="Are scores calibrated?",
    caption="In 25 bins of equal width from the lowest to the highest score. D-ECE is the mean gap "
    "of a box between score and precision.",
    find=find,
)
