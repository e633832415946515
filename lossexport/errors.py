"""Errors that users see: one line each, naming the file, the field and the value."""

import math
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class LossexportError(ValueError):
    """Bad usage or bad input. The command line prints the message and exits with 2."""


class NotRunHereError(LossexportError):
    """A sound file that this machine cannot run."""


class CheckFailedError(Exception):
    """A check ran and failed (parity, gate). The command line exits with 1."""


def error_line(message: str) -> str:
    """The line that is printed for an error; long words and long messages lose their middles.

    Both begin with the file and the field and end with what was expected, which is kept.
    """
    words = (_shortened(word, 200, 60) for word in message.split())
    return f"error: {_shortened(' '.join(words), 1200, 300)}\n"


def _shortened(text: str, start: int, end: int) -> str:
    left_out = len(text) - start - end
    return text if left_out <= 0 else f"{text[:start]}[...{left_out} more...]{text[-end:]}"


class _Shown(reprlib.Repr):
    """A `repr` that works for every value and formats no more of it than is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = 20
        self.maxstring = self.maxother = self.maxlong = 200

    def repr_int(self, x: int, level: int) -> str:
        """Python refuses to write a number of more than 4300 digits."""
        digits = int((x.bit_length() - 1) * math.log10(2)) + 1
        return repr(x) if digits <= self.maxlong else f"a whole number of some {digits} digits"

    def repr_instance(self, x: Any, level: int) -> str:
        """A value of any other type; a scalar of NumPy or PyTorch is shown as a plain number."""
        try:
            plain = x.item() if hasattr(x, "item") and not getattr(x, "shape", ()) else x
            if isinstance(plain, bool | float | complex):
                return repr(plain)
            if plain is not x and isinstance(plain, int | str):
                return self.repr1(plain, level)
            return super().repr_instance(x, level)
        except Exception:  # the value's own code
            return f"a {type(x).__name__} that cannot be shown"


_SHOWN = _Shown()
_MOST_SHOWN = 80


def shown(value: object) -> str:
    """`value` in a message: its `repr` in at most 80 printable characters, whatever it is."""
    text = printable(_SHOWN.repr(value)).replace("\n", "\\n")
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 3]}..."


def printable(text: str) -> str:
    """`text` with everything escaped that a terminal would obey or could not show."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in text
    )


@contextmanager
def within(where: object) -> Iterator[None]:
    """Put the name of the file, or other source, before the message of a LossexportError."""
    try:
        yield
    except LossexportError as error:
        raise LossexportError(f"{where}: {error}") from error


def one_line(error: object) -> str:
    """Another package's message on one line, printable and cut at 300 characters."""
    text = " ".join(printable(str(error)).split())
    return text if len(text) <= 300 else f"{text[:297]}..."
