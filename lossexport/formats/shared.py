"""Helpers that several formats share."""

import re
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import cast

from lossexport.boxes.boxset import Id, fail
from lossexport.boxes.side import Entry, Side, Size
from lossexport.errors import LossexportError

MARK = b"\xef\xbb\xbf"
"""The byte order mark in UTF-8, which is no content."""
SHOWN = 3

_WIDE = (b"\xff\xfe", b"\xfe\xff")


def number(text: str) -> float:
    """Turn plain text into a float. Raises ValueError, also for digits grouped by underscores."""
    if "_" in text:
        raise ValueError(text)
    return float(text)


def number_at(path: Path, where: str, text: str) -> float:
    """`text` as a number. Raises LossexportError if it is not one."""
    try:
        return number(text)
    except ValueError:
        hint = ", with a point for the fraction" if "," in text else ""
        fail(path, where, text, f"a number is expected{hint}")


def is_number(text: str) -> bool:
    """Whether `number` accepts `text`."""
    try:
        number(text)
    except ValueError:
        return False
    return True


def refuse_wide(path: Path, data: bytes) -> None:
    """Raise LossexportError if `data`, the start of a text file, is UTF-16 or holds NUL."""
    if data.startswith(_WIDE):
        raise LossexportError(f"{path}: is text in UTF-16: save it as UTF-8")
    if b"\0" in data:
        raise LossexportError(
            f"{path}: is not a text file: it holds NUL bytes (if it is UTF-16, save it as UTF-8)"
        )


def text_lines(path: Path, data: bytes) -> list[str]:
    """Lines of UTF-8 with or without a byte order mark; all three line ends are read.

    Raises LossexportError if it is not UTF-8.
    """
    refuse_wide(path, data)
    try:
        text = data.removeprefix(MARK).decode("utf-8")
    except UnicodeDecodeError as error:
        raise LossexportError(
            f"{path}: is not a text file in UTF-8: {error.reason} at byte {error.start}"
        ) from error
    return re.split("\r\n|\r|\n", text)


def suffix(name: str) -> str:
    """Suffix of a file name in lower case, without the dot; "" if it has none."""
    return PurePosixPath(name).suffix[1:].lower()


def image_name(name: str, folder: str) -> str:
    """Name of a label file's image: its path without suffix and without folders named `folder`."""
    path = PurePosixPath(name)
    parts = [part for part in path.parts[:-1] if part.lower() != folder]
    return "/".join([*parts, path.stem])


def add_image(side: Side, name: str, file: str, files: dict[Id, str], size: Size | None) -> int:
    """Add the image that `file` describes to the table of `side`, and return its code.

    `files` maps the images so far to their files. Raises LossexportError if another file describes
    the same image.
    """
    code = side.images.ids[name]
    value = side.images.ids.ids[code]
    if value in files:
        raise LossexportError(
            f"{side.path / file}: is of the same image as {side.path / files[value]}: keep one"
        )
    files[value] = file
    cast(dict[Id, Entry], side.images.rows)[value] = Entry(name, size)
    return code


def called(path: Path) -> str:
    """The name of an input for notes."""
    return path.name or str(path)


def note_passed(side: Side, what: str, names: list[str]) -> None:
    """Note how many files were skipped because they hold no `what`, and the first name."""
    if names:
        shown = [name if name.isprintable() else ascii(name) for name in sorted(names)[:SHOWN]]
        files = "file that holds" if len(names) == 1 else "files that hold"
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        side.notes.append(
            f"{called(side.path)}: {len(names)} {files} no {what} passed over: "
            f"{', '.join(shown)}{more}."
        )


def check_found(
    side: Side, wanted: str, others: list[str], foreign: Collection[str], scored: bool
) -> None:
    """Check a folder in which no file of boxes was found.

    For predictions this means that there are none, unless files with a suffix in `foreign` show
    that it is in another format. Raises LossexportError then, and always for references.
    """
    strange = [name for name in others if suffix(name) in foreign]
    if strange:
        raise LossexportError(
            f"{side.path}: the folder has no {wanted}, but {strange[0]}: is it of another format?"
        )
    if not scored:
        raise LossexportError(f"{side.path}: the folder has no {wanted}")


def check_class(path: Path, where: str, text: str, most: int) -> int:
    """`text` as a class. Raises LossexportError unless it is a whole number from 0 to `most`."""
    why = f"a whole number from 0 to {most} is expected"
    try:
        value = number(text)
    except ValueError:
        fail(path, where, text, why)
    if not (value.is_integer() and 0 <= value <= most):
        fail(path, where, text, why)
    return int(value)


def counted(bad: int, total: int, many: str) -> str:
    """The number affected, such as " (3 of 8 lines)"; "" if there is only one."""
    return f" ({bad} of {total} {many})" if bad > 1 else ""
