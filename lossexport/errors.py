"""Errors that users see: one line each, naming the file, the field and the value."""

from collections.abc import Iterator
from contextlib import contextmanager


class LossexportError(ValueError):
    """Bad usage or bad input. The command line prints the message and exits with 2."""


class CheckFailedError(Exception):
    """A check ran and failed (parity, gate). The command line exits with 1."""


@contextmanager
def within(where: object) -> Iterator[None]:
    """Name the file, or what else the input came from, before a LossexportError's message."""
    try:
        yield
    except LossexportError as error:
        raise LossexportError(f"{where}: {error}") from error
