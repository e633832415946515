"""Formats of detections, and how an input in a format is read."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from lossexport import arguments
from lossexport.boxes.side import Side
from lossexport.errors import LossexportError, one_line
from lossexport.files import reason
from lossexport.formats.columns import Columns, side_of
from lossexport.formats.source import Advance, hashed

Given = Literal["file", "folder", "file or folder"]
Unit = Literal["pixels", "parts"]
Read = Callable[[Path, bool], Columns]
Stream = Callable[[Path, bool, Advance], Side]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format of detections and of references.

    `read(path, scored)` returns predictions (`scored`) or references as columns, see
    `lossexport.formats.columns`. An exception in it becomes an error that names the file. A format
    that has to read large files in pieces has a `stream` instead, which makes the `Side` itself and
    reports to `advance` the part of the input that has been read.

    Raises LossexportError if both or neither are given, and on a field of the wrong type.
    """

    name: str
    """The name on the command line."""
    title: str
    """One line for the help and the documentation."""
    given: Given = "file"
    """Whether an input is a file or a folder."""
    unit: Unit = "pixels"
    """The unit of the boxes; `parts` are parts of the image, from 0 to 1."""
    stems: bool = False
    """Whether names of images are file names without their suffix."""
    read: Read | None = None
    stream: Stream | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        arguments.text("name", self.name)
        arguments.text("title", self.title)
        arguments.choice("given", self.given, get_args(Given))
        arguments.choice("unit", self.unit, get_args(Unit))
        arguments.check_function("read", self.read)
        arguments.check_function("stream", self.stream)
        if (self.read is None) == (self.stream is None):
            raise LossexportError(f"format {self.name!r} needs one of read and stream")

    def side(self, path: Path, scored: bool, advance: Advance) -> Side:
        """Read predictions (`scored`) or references.

        Raises LossexportError, naming the file, on any error in them.
        """
        if self.stream is not None:
            side = self.stream(path, scored, advance)
        else:
            source = hashed(path)
            side = side_of(path, self._columns(path, scored), scored)
            side.input = source
            advance(1.0)
        side.parts, side.images.stems = self.unit == "parts", self.stems
        return side

    def _columns(self, path: Path, scored: bool) -> Columns:
        try:
            return cast(Read, self.read)(path, scored)
        except LossexportError as error:
            if str(error).startswith(str(path)):
                raise
            raise LossexportError(f"{path}: {error}") from error
        except UnicodeDecodeError as error:
            raise LossexportError(
                f"{path}: is not text in {error.encoding}: {error.reason} at byte {error.start}"
            ) from error
        except OSError as error:
            raise LossexportError(f"{path}: cannot be read: {reason(error)}") from error
        except Exception as error:  # another package's code, on a file that may be broken
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            why = one_line(f"{kind}{error}")
            raise LossexportError(f"{path}: cannot be read as {self.name}: {why}") from error
