"""Results of the VOC development kit: `comp4_det_test_CLASS.txt`, a file for each class.

Lines are `IMAGE score xmin ymin xmax ymax`, in pixels from 1 with both ends included.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lossexport.boxes.boxset import (
    MAX_CATEGORIES,
    Input,
    check_count,
    check_rows,
    check_scores,
    fail,
)
from lossexport.boxes.side import Side
from lossexport.errors import LossexportError
from lossexport.folder import Folder
from lossexport.formats.shared import number_at, text_lines
from lossexport.formats.source import Advance, FolderDigest, Source
from lossexport.formats.voc.pixels import CORNERS, box_of

MAX_FILE = 1 << 30
WANTED = "comp3_ or comp4_det_SET_CLASS.txt"

_NAME = re.compile(r"(?:.*[/_-])?comp[0-9]+_(?:.+_)?det_[^_/]+_([^/]+)\.txt", re.IGNORECASE)
_FIELDS = ("score", *CORNERS)


def class_of(name: str) -> str | None:
    """The class in the name of a file of results; None for other names."""
    match = _NAME.fullmatch(name)
    return match[1] if match else None


def read_file(path: Path, advance: Advance) -> Side:
    """Read the results of one class."""
    kind = class_of(path.name)
    if kind is None:
        raise LossexportError(f"{path}: a folder, or a file of results ({WANTED}) is expected")
    side = Side(path)
    with Source(path, advance) as source:
        data = source.read(MAX_FILE + 1)
        check_count(path, "bytes", len(data), MAX_FILE)
        side.input = source.finish()
    _add(path, data, kind, side)
    side.images.name_by_ids()
    side.categories.name_by_ids()
    return side


def read_folder(folder: Folder, files: Sequence[str], side: Side, advance: Advance) -> Input:
    """Read the results in `files` of a folder. Raises LossexportError on two of one class."""
    digest = FolderDigest()
    kinds: dict[str, str] = {}
    for name, data in digest.read(folder, files, MAX_FILE, advance):
        kind = class_of(name) or ""
        if kinds.setdefault(kind, name) != name:
            raise LossexportError(
                f"{folder.path / name}: is of the same class as {kinds[kind]}: keep one"
            )
        _add(folder.path / name, data, kind, side)
    check_count(folder.path, "classes", len(kinds), MAX_CATEGORIES)
    side.images.name_by_ids()
    return digest.finish(folder.path)


def _add(path: Path, data: bytes, kind: str, side: Side) -> None:
    images: list[str] = []
    values: list[list[float]] = []
    lines: list[str] = []
    for index, line in enumerate(text_lines(path, data), 1):
        texts = line.rsplit(None, len(_FIELDS))  # image names may contain spaces
        if not texts:
            continue
        where = f"line {index}, "
        if len(texts) <= len(_FIELDS):
            fail(path, f"line {index}", line, f"image {' '.join(_FIELDS)} is expected")
        images.append(texts[0].strip())
        row = zip(_FIELDS, texts[1:], strict=True)
        values.append([number_at(path, f"{where}{name}", text) for name, text in row])
        lines.append(where)
    check_rows(path, side.boxes.count + len(images), scored=True)
    category = side.categories.ids[kind]
    if not images:
        return
    rows = np.array(values)
    check_scores(path, rows[:, 0], lambda r: f"{lines[r]}score")
    side.boxes.add(
        side.images.ids.codes(images),
        np.full(len(images), category, np.int32),
        box_of(path, rows[:, 1:], lines, inverted=True),
        score=rows[:, 0].copy(),
    )
