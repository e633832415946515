"""Processes that make the graphs and engines of an export beside the one that writes the files.

They put what they make into the cache. Every task is made by the process that claims it first; a
claim is a file that only one process can create. One that a process claimed and did not finish is
made again by the exporting process, which so meets and reports every error itself.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from lossexport import cache
from lossexport.catalog.variant import Variant
from lossexport.exporter import checked
from lossexport.exporter.checked import Described
from lossexport.exporter.versions import OPSET
from lossexport.names import Builder

_FEWEST = 3  # tasks for each process: importing torch takes as long as two of them
_MOST = 8


class Task(Struct, frozen=True):
    """A variant of a built-in op for an opset, and the builder of its engine, if it has one."""

    what: Described
    opset: int
    builder: Builder | None
    compute_capabilities: tuple[str, ...]

    @classmethod
    def of(
        cls,
        variant: Variant,
        builder: Builder | None,
        compute_capabilities: tuple[str, ...],
        opset: int = OPSET,
    ) -> "Task":
        """The task of making a variant."""
        return cls(Described.of(variant), opset, builder, compute_capabilities)

    def variant(self) -> Variant:
        """The variant to make."""
        return self.what.variant()


class _Work(Struct, frozen=True):
    claims: str
    tasks: dict[int, Task]


def made(task: Task, variant: Variant) -> tuple[checked.Graph, checked.Engine | None]:
    """The graph of a task, and its engine, if it is to have one. Raises what making them raises."""
    builder = task.builder
    if builder is None:
        return checked.graph(variant, task.opset), None
    # Before the comparison, since the builder refuses in seconds.
    engines: list[checked.Engine] = []

    def build(model: bytes) -> None:
        engines.append(checked.built(variant, model, builder, task.compute_capabilities))

    graph = checked.graph(variant, task.opset, first=build)
    if not engines:
        build(graph.model)
    return graph, engines[0]


class Crew:
    """The claims that the exporting process shares with its helpers."""

    def __init__(self, claims: Path, processes: Sequence["subprocess.Popen[bytes]"]) -> None:
        self._claims, self._processes = claims, processes

    def claim(self, index: int) -> bool:
        """Whether this process is to make the task with this index now."""
        return _claim(self._claims, index)

    @property
    def claimed(self) -> int:
        """The number of tasks that are done or being made."""
        return len(os.listdir(self._claims))  # noqa: PTH208

    def wait(self) -> None:
        """Wait until the helpers have finished what they claimed."""
        for process in self._processes:
            process.wait()


@contextlib.contextmanager
def crew(tasks: Mapping[int, Task]) -> Iterator[Crew]:
    """Start helpers for tasks by index; they end with the block.

    There is none if there is but one core, if there are few tasks, or without a cache.
    """
    cores = len(os.sched_getaffinity(0))
    wanted = min(cores, len(tasks) // _FEWEST, _MOST) - 1 if cache.usable() else 0
    with tempfile.TemporaryDirectory() as claims:
        data = msgspec.msgpack.encode(_Work(claims, dict(tasks)))
        processes = [_started(data) for _ in range(wanted)]
        try:
            yield Crew(Path(claims), processes)
        finally:
            for process in processes:
                process.kill()
                process.wait()


def _started(data: bytes) -> "subprocess.Popen[bytes]":
    # The modules are those of this process; -P keeps the working folder off the search path.
    paths = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": paths},
    )
    assert process.stdin is not None
    with contextlib.suppress(OSError), process.stdin as stream:  # it died: the others do its work
        stream.write(data)
    return process


def _claim(claims: Path, index: int) -> bool:
    try:
        os.close(os.open(claims / str(index), os.O_CREAT | os.O_EXCL))
    except OSError:  # taken, or the exporting process has ended
        return False
    return True


def _help(stream: BinaryIO) -> None:
    work = msgspec.msgpack.decode(stream.read(), type=_Work)
    for index, task in work.tasks.items():
        if _claim(Path(work.claims), index):
            with contextlib.suppress(Exception):  # the exporting process meets it, too
                made(task, task.variant())


if __name__ == "__main__":
    _help(sys.stdin.buffer)
