"""What the verbs share: a progress bar that only a terminal sees, tables, KEY=VALUE options."""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from lossexport.errors import LossexportError, printable

_PATIENCE_S = 2.0


@contextmanager
def progress() -> Iterator[Callable[[int, int, str], None]]:
    """A callback `(done, total, name)` that draws a bar once the work takes over two seconds."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task("", total=None)
    start = time.monotonic()

    def step(done: int, total: int, name: str) -> None:
        bar.update(task, completed=done, total=total, description=name)
        if bar.console.is_terminal and time.monotonic() - start > _PATIENCE_S:
            bar.start()

    try:
        yield step
    finally:
        if bar.live.is_started:
            bar.stop()


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], right: int = 0) -> None:
    """Print a table; the last `right` columns are numbers and stand to the right."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        number = index >= len(columns) - right
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(printable(cell)) for cell in row))
    console = Console(force_terminal=os.isatty(1))  # sys.stdout is held back, see cli.main
    if not console.is_terminal:
        console.width = 200  # a log has no edge to wrap at
    console.print(table)


def assignments(items: Sequence[str], option: str) -> dict[str, str]:
    """Split NAME=VALUE. Raises LossexportError on an item without a name or given twice."""
    found: dict[str, str] = {}
    for item in items:
        name, separator, value = item.partition("=")
        if not separator or not name or not value:
            raise LossexportError(f"{option} {item!r}: expected NAME=VALUE")
        if name in found:
            raise LossexportError(f"{option} {item!r}: {name} is given twice")
        found[name] = value
    return found


def attributes(items: Sequence[str]) -> dict[str, Any]:
    """Values of `--set NAME=VALUE` as JSON; what is not JSON is a bare word."""
    found: dict[str, Any] = assignments(items, "--set")
    for name, text in found.items():
        try:
            found[name] = json.loads(text)
        except ValueError:
            continue
        except RecursionError as error:
            raise LossexportError(f"--set {name}={text!r}: nested too deeply") from error
    return found
