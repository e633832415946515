"""Progress of long work on stderr: a bar on a terminal, lines anywhere else."""

import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING, NoReturn, TextIO

from lossexport import arguments
from lossexport.errors import LossexportError, printable

if TYPE_CHECKING:
    from rich.console import Console

PATIENCE = 2.0
"""Seconds before the bar or the first line appears: short runs stay quiet."""
INTERVAL = 10.0
"""Seconds between two lines."""
ENVIRONMENT = "LOSSEXPORT_PROGRESS"
"""Environment variable with the seconds between two lines; 0 turns lines and bar off."""

Step = Callable[[int, int, str], None]
"""Called with the number of parts done, the number of all, and the name of the next part."""

Progress = Callable[[str, float], None]
"""Called with the name of the step and the part of it that is done, 0 to 1."""

_signals: list[int] = []


def end(number: int, frame: object) -> NoReturn:
    """Handler of a signal that is to end the process.

    The exception is lost if the signal comes while code runs that ignores exceptions, such as a
    finalizer; the next step raises it again.
    """
    _signals.append(number)
    sys.exit(128 + number)


@contextmanager
def follow(progress: bool | Progress, verb: str) -> Iterator[Progress]:
    """Yield the function to call: the caller's, one that shows "`verb`: ...", or an idle one.

    Raises LossexportError if `progress` is neither a bool nor a function.
    """
    if callable(progress):
        yield progress
    elif not isinstance(progress, bool):
        raise arguments.refuse("progress", progress, "a bool or a function")
    elif progress:
        with steps(verb, percent=True) as step:
            yield lambda name, part: step(round(100 * part), 100, name)
    else:
        yield lambda name, part: None


@contextmanager
def steps(verb: str, *, percent: bool = False) -> Iterator[Step]:
    """Yield the function to call at every step. `verb` names the work, as "exporting".

    With `percent`, the parts are hundredths of the named step. A thread shows them, so that even a
    single step of several minutes is visible. Raises LossexportError if LOSSEXPORT_PROGRESS is not
    a number of seconds.
    """

    def checked(step: Step) -> Step:
        def call(done: int, total: int, name: str) -> None:
            if _signals:
                sys.exit(128 + _signals[0])
            step(done, total, name)

        return call

    interval, stream = _interval(), sys.stderr
    if interval == 0 or stream is None or stream.closed:
        yield checked(lambda done, total, name: None)
        return
    console = _terminal() if stream.isatty() else None
    with _bar(console) if console else _lines(verb, interval, stream, percent) as step:
        yield checked(step)


def _terminal() -> "Console | None":
    """The terminal that stderr is, if it can show a bar."""
    from rich.console import Console

    console = Console(stderr=True)
    return console if console.is_terminal and not console.is_dumb_terminal else None


def _interval() -> float:
    text = os.environ.get(ENVIRONMENT, "").strip()
    try:
        seconds = float(text or INTERVAL)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= 86400:  # false for NaN, too
        raise LossexportError(f"{ENVIRONMENT}={text!r}: must be seconds from 0 (off) to 86400")
    return seconds


@contextmanager
def _bar(console: "Console") -> Iterator[Step]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    task = bar.add_task("", total=None)

    began = monotonic()

    def step(done: int, total: int, name: str) -> None:
        bar.update(task, completed=done, total=total, description=printable(name))
        if monotonic() - began >= PATIENCE:
            start()

    def start() -> bool:
        bar.start()
        return False

    try:
        with _every(PATIENCE, start):
            yield step
    finally:
        if bar.live.is_started:
            bar.stop()


@contextmanager
def _lines(verb: str, interval: float, stream: TextIO, percent: bool) -> Iterator[Step]:
    began = monotonic()
    where = ""

    def step(done: int, total: int, name: str) -> None:
        nonlocal where
        where = f": {name} {done} %" if percent else f": {done}/{total} {name}"

    def show() -> bool:
        try:
            line = f"{verb}{where} ({monotonic() - began:.0f} s)"
            stream.write(f"{printable(line)}\n")
            stream.flush()
        except (OSError, ValueError):  # the reader went away, or the stream was closed
            return False
        return True

    with _every(interval, show, min(PATIENCE, interval)):
        yield step


@contextmanager
def _every(seconds: float, act: Callable[[], bool], first: float | None = None) -> Iterator[None]:
    """Call `act` in a thread every so many seconds, until it returns False or the block ends.

    It is called for the first time after `first` seconds, if that is given.
    """
    ended = Event()

    def beat() -> None:
        pause = seconds if first is None else first
        while not ended.wait(pause) and act():
            pause = seconds

    thread = Thread(target=beat, name="lossexport-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
