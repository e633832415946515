"""The three files of a run, written together."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lossexport.files import appear_together

SUMMARY, BOXES, REPORT = "summary.json", "boxes.parquet", "report.html"


def write(
    folder: Path,
    summary: Mapping[str, Any],
    table: Callable[[Path], None],
    page: Callable[[], str],
    advance: Callable[[float], None],
) -> None:
    """Write summary, table and report to `folder`, all or none of them.

    `table` writes the boxes to the path that it is given, `page` returns the HTML of the report.
    """
    with appear_together(folder) as stage:
        text = json.dumps(summary, indent=2, allow_nan=False)
        (stage / SUMMARY).write_text(text + "\n", encoding="utf-8")
        advance(0.1)
        table(stage / BOXES)
        advance(0.8)
        (stage / REPORT).write_text(page(), encoding="utf-8", errors="replace")
        advance(1.0)
