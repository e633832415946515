"""Long work is seen: a bar on a terminal, in a pipe a line after two seconds, then every ten."""

import contextlib
import importlib
import io
import os
import pty
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from lossexport import progress
from lossexport.cli import cli
from lossexport.errors import LossexportError
from lossexport.progress import follow


class Clock:
    """An event: `waits` waits of it pass without taking any time, then the work ends."""

    def __init__(self, waits: int) -> None:
        self.now, self.left = 1000.0, waits

    def wait(self, seconds: float) -> bool:
        if self.left == 0:
            return True
        self.left -= 1
        self.now += seconds
        return False

    def set(self) -> None:
        self.left = 0


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run `work(step)` under a clock on which `waits` intervals pass; the lines on stderr."""

    def run(
        waits: int, verb: str = "exporting", *steps: tuple[int, int, str], **options: Any
    ) -> io.StringIO:
        clock, stream = Clock(waits), options.pop("stream", io.StringIO())
        monkeypatch.delenv(progress.ENVIRONMENT, raising=False)
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(progress, "monotonic", lambda: clock.now)
        go = threading.Event()
        monkeypatch.setattr(progress, "Event", lambda: clock)
        wait = clock.wait
        monkeypatch.setattr(clock, "wait", lambda seconds: go.wait(5) and wait(seconds))
        with progress.steps(verb, **options) as step:
            for one in steps:
                step(*one)
            go.set()
            for thread in threading.enumerate():
                if thread.name == "lossexport-progress":
                    thread.join(5)
        return stream

    return run


def test_a_single_long_step_gives_lines(lines: Callable[..., Any]) -> None:
    stream = lines(3, "exporting", (12, 47, "ciou_loss"))
    assert stream.getvalue().splitlines() == [
        "exporting: 12/47 ciou_loss (2 s)",
        "exporting: 12/47 ciou_loss (12 s)",
        "exporting: 12/47 ciou_loss (22 s)",
    ]


def test_below_two_seconds_nothing_is_printed(lines: Callable[..., Any]) -> None:
    assert lines(0, "exporting", (0, 1, "a"), (1, 1, "done")).getvalue() == ""


def test_percent_and_names_that_move_a_terminal(lines: Callable[..., Any]) -> None:
    assert lines(1).getvalue() == "exporting (2 s)\n"
    found = lines(1, "scoring", (45, 100, "a\x1b[2Jb"), percent=True).getvalue()
    assert found == "scoring: a\\x1b[2Jb 45 % (2 s)\n"


class Gone(io.StringIO):
    """A reader who went away."""

    def __init__(self) -> None:
        super().__init__()
        self.tried = 0

    def write(self, text: str) -> int:
        self.tried += 1
        raise BrokenPipeError


def test_a_reader_who_goes_away_stops_the_lines_and_nothing_else(lines: Callable[..., Any]) -> None:
    assert lines(3, "verifying", (0, 1, "a"), stream=Gone()).tried == 1
    closed = io.StringIO()
    closed.close()
    with pytest.raises(ValueError, match="closed file"):
        lines(3, "verifying", (0, 1, "a"), stream=closed).getvalue()


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_it_can_be_off(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO | None) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv(progress.ENVIRONMENT, "0" if stream else "10")
    before = threading.active_count()
    with progress.steps("exporting") as step:
        step(0, 1, "a")
        assert threading.active_count() == before
    assert stream is None or stream.getvalue() == ""


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", "1e9"])
def test_a_wrong_interval_is_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(progress.ENVIRONMENT, text)
    message = f"LOSSEXPORT_PROGRESS='{text}': must be seconds from 0"
    with (
        pytest.raises(LossexportError, match=re.escape(message)),
        progress.steps("exporting"),
    ):
        pass


def test_the_thread_ends_with_the_work_and_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(progress.ENVIRONMENT, "10")
    start = time.monotonic()
    with pytest.raises(KeyError), progress.steps("exporting"):
        raise KeyError
    assert "lossexport-progress" not in [thread.name for thread in threading.enumerate()]
    assert time.monotonic() - start < 5


def test_scoring_tells_a_function_or_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    with follow(lambda name, part: told.append((name, part)), "scoring") as tell:
        tell("reading", 0.5)
    assert told == [("reading", 0.5)]
    monkeypatch.setenv(progress.ENVIRONMENT, "0.01")
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    with follow(True, "comparing") as tell:
        tell("reading", 0.5)
        while not stream.getvalue():
            time.sleep(0.01)
    assert stream.getvalue().startswith("comparing: reading 50 % (0 s)\n")


@pytest.mark.parametrize(
    ("arguments", "worker", "line"),
    [
        (["export", "box_iou", "--out", "o"], "lossexport.exporter.export", "exporting: 1/2 x ("),
        (["verify", "o"], "lossexport.parity.verify.verify", "verifying: 1/2 x ("),
        (["bench"], "lossexport.bench.run", "timing: 1/2 x ("),
        (
            ["attach", "d.onnx", "--op", "nms", "--map", "boxes=b", "--out", "o.onnx"],
            "lossexport.wiring.attach.attach",
            "attaching: 1/2 x (",
        ),
    ],
)
def test_every_verb_shows_it(
    arguments: list[str], worker: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()

    def work(*given: Any, **options: Any) -> None:
        step = options.get("progress") or next(filter(callable, given), None)
        if step:
            step(1, 2, "x")
        for _ in range(500):
            if line in stream.getvalue():
                raise LossexportError("seen")
            time.sleep(0.01)

    module, _, name = worker.rpartition(".")
    monkeypatch.setattr(importlib.import_module(module), name, work)
    monkeypatch.setenv(progress.ENVIRONMENT, "0.02")
    monkeypatch.setattr(sys, "stderr", stream)
    with pytest.raises(LossexportError, match="seen"):
        cli.main(arguments, standalone_mode=False)


def test_a_bar_shows_while_a_single_step_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    # A terminal of its own, so that nothing depends on where the tests run.
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(progress.ENVIRONMENT, "10")
    monkeypatch.setattr(progress, "PATIENCE", 0.05)
    own, other = pty.openpty()
    with open(other, "w") as terminal:  # noqa: PTH123  a descriptor
        monkeypatch.setattr(sys, "stderr", terminal)
        with progress.steps("exporting") as step:
            step(1, 3, "ciou_loss")
            seen = b""
            while b"ciou_loss" not in seen:
                seen += os.read(own, 4096)
    os.close(own)
    assert b"1/3" in seen or b"ciou_loss" in seen


@pytest.mark.parametrize("seconds", ["0", "10"])
def test_a_signal_that_a_finalizer_swallows_ends_the_next_step(
    seconds: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(progress.ENVIRONMENT, seconds)
    monkeypatch.setattr(progress, "_signals", [])
    handlers = signal.signal(signal.SIGTERM, progress.end)
    try:
        with progress.steps("exporting") as step:
            step(0, 2, "first")
            with contextlib.suppress(SystemExit):
                signal.raise_signal(signal.SIGTERM)
            with pytest.raises(SystemExit) as ended:
                step(1, 2, "second")
    finally:
        signal.signal(signal.SIGTERM, handlers)
    assert ended.value.code == 128 + signal.SIGTERM
