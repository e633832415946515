"""A progress bar that only a terminal sees, and only where the work takes over two seconds."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

PATIENCE = 2.0
"""Seconds before the bar appears: short runs stay quiet."""


@contextmanager
def progress() -> Iterator[Callable[[int, int, str], None]]:
    """Yield a callback `(done, total, name)` that draws the bar."""
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
        if bar.console.is_terminal and time.monotonic() - start > PATIENCE:
            bar.start()

    try:
        yield step
    finally:
        if bar.live.is_started:
            bar.stop()
