"""Errors that users see: one line each, naming the file, the field and the value."""

from collections.abc import Iterator
from contextlib import contextmanager


class LossexportError(ValueError):
    """Bad usage or bad input. The command line prints the message and exits with 2."""


class CheckFailedError(Exception):
    """A check ran and failed (parity, gate). The command line exits with 1."""


def error_line(message: str) -> str:
    """The line that stands for an error: long words and long messages without their middles.

    At the start of either stand the file and the field, at the end what was expected.
    """
    words = (_shortened(word, 200, 60) for word in message.split())
    return f"error: {_shortened(' '.join(words), 1200, 300)}\n"


def _shortened(text: str, start: int, end: int) -> str:
    left_out = len(text) - start - end
    return text if left_out <= 0 else f"{text[:start]}[...{left_out} more...]{text[-end:]}"


def printable(text: str) -> str:
    """`text` with everything escaped that a terminal would obey or could not show."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in text
    )


@contextmanager
def within(where: object) -> Iterator[None]:
    """Name the file, or what else the input came from, before a LossexportError's message."""
    try:
        yield
    except LossexportError as error:
        raise LossexportError(f"{where}: {error}") from error
