"""The files of a run, written together."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lossexport.errors import LossexportError
from lossexport.files import appear_together, check_folder
from lossexport.origin import install_command
from lossexport.runtime.backends import has_module

SUMMARY, BOXES, REPORT = "summary.json", "boxes.parquet", "report.html"


def check_summary_folder(folder: Path) -> None:
    """Check a folder that gets a summary alone, as `check_folder` does.

    Raises LossexportError if it has the other files of an earlier run, too.
    """
    check_folder(folder)
    for name in (BOXES, REPORT):
        if (folder / name).exists():
            raise LossexportError(f"{folder / name}: is of an earlier run: delete it")


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Write the summary to the folder, which is that of a run that is not finished yet."""
    text = json.dumps(summary, indent=2, allow_nan=False)
    (folder / SUMMARY).write_text(text + "\n", encoding="utf-8")


def refuse_stale(path: Path, why: str) -> None:
    """Raise LossexportError if there is a table that this run does not write."""
    if path.exists():
        raise LossexportError(f"{path}: is of an earlier run: delete it; {why}")


def write(
    folder: Path,
    summary: dict[str, Any],
    table: Callable[[Path], None],
    page: Callable[[], str],
    advance: Callable[[float], None],
    more: Mapping[str, Callable[[Path], None]] | None = None,
) -> None:
    """Write summary, tables and report to `folder`, all or none of them.

    `table` writes the boxes to the path that it is given, `page` returns the HTML of the report,
    and `more` writes other tables, by the names of their files. Without pyarrow there is no table,
    as a note in the summary says; a table of an earlier run in the folder raises LossexportError
    then.
    """
    tables = {BOXES: table, **(more or {})}
    tabled = has_module("pyarrow")
    if not tabled:
        missing = f"pyarrow is not installed: {install_command('parquet')}"
        for name in tables:
            refuse_stale(folder / name, missing)
        verb = "was" if len(tables) == 1 else "were"
        summary["notes"].append(f"{', '.join(tables)} {verb} not written, because {missing}")
    with appear_together(folder) as stage:
        write_summary(stage, summary)
        advance(0.1)
        for name, fill in tables.items() if tabled else ():
            fill(stage / name)
        advance(0.8)
        (stage / REPORT).write_text(page(), encoding="utf-8", errors="replace")
        advance(1.0)
