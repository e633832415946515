"""Attributes of images: columns of a CSV file, or fields of the `images` of a COCO file."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from lossexport.boxes.boxset import Id, fail
from lossexport.boxes.columns import plain_id
from lossexport.errors import LossexportError
from lossexport.files import read_bytes
from lossexport.formats.coco.json_stream import JsonStream
from lossexport.formats.source import Source

MAX_BYTES = 256 * 2**20
KEYS = ("image_id", "file_name")
_ROWS = msgspec.json.Decoder(list[dict[str, Any]])

Values = dict[str, dict[int, str]]
"""Of each attribute: its values by the positions of images; an image without one is left out."""


class Images(Protocol):
    """A table of images."""

    @property
    def images(self) -> Sequence[Id]:
        """Their ids."""

    @property
    def files(self) -> Sequence[tuple[str, ...]]:
        """Names that the file of each may have; empty if unknown."""


def of_csv(path: Path, data: Images) -> Values:
    """Read a file with a column `image_id` or `file_name`, and a column for each attribute.

    An empty cell gives the image no value. Raises LossexportError on an image that neither input
    has or that comes twice, and on anything that is no such file.
    """
    try:
        text = read_bytes(path, MAX_BYTES).decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise LossexportError(f"{path}: is no CSV file in UTF-8: {error}") from error
    header = rows[0] if rows else []
    key = next((name for name in KEYS if name in header), None)
    names = [name for name in header if name not in KEYS]
    if key is None or not names or not all(names) or len(set(header)) != len(header):
        raise LossexportError(
            f"{path}: the first line is {','.join(header)[:100]!r}: expected image_id or file_name "
            "and at least one attribute, each once"
        )
    if key == "file_name" and not data.files:
        raise LossexportError(f"{path}: names of files are not known here: image_id is needed")
    find = _by_id(data) if key == "image_id" else _by_name(data)
    found: Values = {name: {} for name in names}
    seen: dict[int, int] = {}
    for line, row in enumerate(rows[1:], 2):
        if not row:
            continue
        if len(row) != len(header):
            raise LossexportError(
                f"{path}: row {line} has {len(row)} fields: expected {len(header)}, as in the first"
            )
        cells = dict(zip(header, row, strict=True))
        image = find.get(_folded(key, cells[key]))
        if image is None:
            fail(path, f"{key} of row {line}", cells[key], "no input has such an image")
        if image in seen:
            fail(path, f"{key} of row {line}", cells[key], f"row {seen[image]} is of this image")
        seen[image] = line
        for name in names:
            if cells[name]:
                found[name][image] = cells[name]
    return found


def _folded(key: str, value: str) -> Id | None:
    return plain_id(value) if key == "image_id" else value


def _by_id(data: Images) -> dict[Id | None, int]:
    return {plain_id(value): i for i, value in enumerate(data.images)}


def _by_name(data: Images) -> dict[Id | None, int]:
    """Positions by the names of files, and by the last parts of paths that no other image has."""
    found: dict[Id | None, int] = {}
    last: dict[str, set[int]] = {}
    for i, names in enumerate(data.files):
        for name in names:
            found[name] = i
            last.setdefault(name.rpartition("/")[2], set()).add(i)
    alone = {name: min(places) for name, places in last.items() if len(places) == 1}
    return alone | found


def of_coco(path: Path, names: Sequence[str], data: Images) -> Values:
    """Read fields of `images`; one of a nested object is named with a dot.

    A null or missing field gives the image no value. Raises LossexportError on a field that no
    image has, and on one whose value is no text, number or truth value.
    """
    place = _by_id(data)
    found: Values = {name: {} for name in names}
    index = 0
    for row in _images(path):
        image = place.get(plain_id(row["id"]) if isinstance(row.get("id"), str | int) else None)
        for name in names:
            value = _field(row, name)
            if value is None:
                continue
            if not isinstance(value, str | int | float):
                fail(path, f"images[{index}].{name}", value, "a text or a number is expected")
            if image is not None:
                found[name][image] = str(value).lower() if isinstance(value, bool) else str(value)
        index += 1
    for name in names:
        if not found[name]:
            raise LossexportError(f"{path}: images have no field {name!r}: slices need one")
    return found


def _field(row: Any, name: str) -> Any:
    """The value of a field, or of the field of nested objects that the dots lead to."""
    if name in row:
        return row[name]
    first, dot, rest = name.partition(".")
    inner = row.get(first)
    return _field(inner, rest) if dot and isinstance(inner, dict) else None


def _images(path: Path) -> Iterator[dict[str, Any]]:
    with Source(path) as source:
        stream = JsonStream(source)
        if stream.peek() != b"{":
            raise LossexportError(f"{path}: is no COCO dictionary, whose images have fields")
        for key in stream.members():
            if key != "images":
                stream.skip()
                continue
            for rows in stream.rows(_ROWS, key):
                yield from rows
            return
