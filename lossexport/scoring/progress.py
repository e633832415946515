"""Progress of a scoring run, for a person at a terminal or for a caller's own display."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

Progress = Callable[[str, float], None]
"""Called with the name of the step and the part of it that is done, 0 to 1."""

PATIENCE = 2.0
"""Seconds before a bar appears: short runs stay quiet."""


@contextlib.contextmanager
def follow(progress: bool | Progress) -> Iterator[Progress]:
    """Yield what to call: the caller's function, a bar on a terminal, or nothing at all."""
    if callable(progress):
        yield progress
    elif progress and sys.stderr.isatty():
        with contextlib.ExitStack() as stack:
            yield _bar(stack)
    else:
        yield lambda step, part: None


def _bar(stack: contextlib.ExitStack) -> Progress:
    begun = time.monotonic()
    bar: Bar | None = None
    tasks: dict[str, int] = {}

    def update(step: str, part: float) -> None:
        nonlocal bar
        if bar is None:
            if time.monotonic() - begun < PATIENCE:
                return
            from rich.console import Console
            from rich.progress import Progress as RichProgress

            bar = stack.enter_context(RichProgress(console=Console(stderr=True), transient=True))
        if step not in tasks:
            tasks[step] = bar.add_task(step, total=1.0)
        bar.update(tasks[step], completed=part)  # type: ignore[arg-type]

    return update
