"""Runs functions at once, for work that the library and NumPy do without the interpreter."""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from threading import Thread
from typing import Generic, TypeVar

from lossexport.runtime import binding

T = TypeVar("T")


def cores() -> int:
    """Threads that can run at once: the cores of this process, or fewer by LOSSEXPORT_THREADS.

    Raises LossexportError if that is no number.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    here = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(here, binding.most_threads() or here)


class Aside(AbstractContextManager["Aside[T]"], Generic[T]):
    """A function that runs on a thread of its own; on one core it runs when it is asked for."""

    def __init__(self, task: Callable[[], T]) -> None:
        """Start it."""
        self._task = task
        self._found: list[T] = []
        self._error: BaseException | None = None
        self._thread: Thread | None = None
        if cores() > 1:
            self._thread = Thread(target=self._run, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        try:
            self._found.append(self._task())
        except BaseException as error:  # raised again where the result is wanted
            self._error = error

    def result(self) -> T:
        """Wait for it. Raises what it raised."""
        if self._thread is None:
            return self._task()
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._found[0]

    def __exit__(self, *_: object) -> None:
        """Wait for it."""
        if self._thread is not None:
            self._thread.join()


def at_once(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """The results of all, which run at once. Raises what the first of them that failed raised."""
    others = [Aside(task) for task in tasks[1:]]
    try:
        first = [task() for task in tasks[:1]]
    finally:
        for one in others:
            one.__exit__()
    return first + [one.result() for one in others]
