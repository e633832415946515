"""Reads one input on a thread of its own while the caller reads the other.

Only reading by the library of kernels gains from it: what runs in Python waits for its turn.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import Thread

from lossexport.boxes.side import Side
from lossexport.formats.source import Advance, ignore_progress
from lossexport.runtime import rows
from lossexport.threads import cores


def worth_while(*formats: str) -> bool:
    """Whether inputs in these formats are read sooner together than one after the other."""
    return set(formats) == {"coco"} and rows.available() and cores() > 1


class _StoppedError(Exception):
    """Nobody waits for the input any more."""


class Beside(AbstractContextManager["Beside"]):
    """An input that is being read; left early, the reading stops at its next block."""

    def __init__(self, read: Callable[[Advance], Side]) -> None:
        """Start to `read`."""
        self._read = read
        self._advance: Advance = ignore_progress
        self._stopped = False
        self._found: Side | BaseException = _StoppedError()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._found = self._read(self._tell)
        except BaseException as error:  # raised again where the result is wanted
            self._found = error

    def _tell(self, part: float) -> None:
        if self._stopped:
            raise _StoppedError
        self._advance(part)

    def result(self, advance: Advance) -> Side:
        """Wait for the input; `advance` hears from now on how far it is. Raises what reading did.

        Until now nobody hears of it, so that the steps of a run come one after the other.
        """
        self._advance = advance
        self._thread.join()
        if isinstance(self._found, BaseException):
            raise self._found
        advance(1.0)
        return self._found

    def __exit__(self, *_: object) -> None:
        """Stop, and wait until that is done."""
        self._stopped = True
        self._thread.join()
