"""YOLO labels: a folder of `IMAGE.txt` with lines `class cx cy w h [score]` in parts of the image.

Sizes of images are not known, so boxes stay in these units: IoU and GIoU are those of pixels, the
distance and aspect terms of DIoU and CIoU are those of a square image, and by area every box is
"small" for COCO.
"""

from pathlib import Path
from typing import cast

import numpy as np

from lossexport.errors import LossexportError
from lossexport.files import read_bytes
from lossexport.scoring.boxset import (
    MAX_PREDICTIONS,
    MAX_REFERENCES,
    Id,
    Input,
    check_boxes,
    check_count,
    check_scores,
    fail,
)
from lossexport.scoring.formats.shared import number
from lossexport.scoring.formats.source import Advance, FolderDigest, list_folder
from lossexport.scoring.side import Entry, Side

MAX_FILE = 4 << 20
MAX_CLASS = 99_999
NAMES_FILE = "classes.txt"

_FIELDS = ("class", "cx", "cy", "w", "h", "score")


def read(path: Path, scored: bool, advance: Advance) -> Side:
    """Read a folder of label files; lines of predictions (`scored`) end in a score."""
    digest = FolderDigest()
    side = Side(path, Input("", ""), parts=True)
    side.images.rows, side.images.stems = {}, True
    files = list_folder(path, ".txt")
    for done, file in enumerate(files):
        data = read_bytes(file, MAX_FILE)
        digest.add(file, data)
        try:
            lines = data.decode("utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise LossexportError(f"{file}: is not a text file: {error}") from error
        if file.name == NAMES_FILE:
            _add_names(file, lines, side)
        else:
            _read_file(file, lines, side, scored)
        advance((done + 1) / len(files))
    side.input = digest.finish(path)
    return side


def _add_names(path: Path, lines: list[str], side: Side) -> None:
    """Take in a name a line, of class 0, 1, 2..."""
    check_count(path, "names", len(lines), MAX_CLASS + 1)
    names = {index: line.strip() for index, line in enumerate(lines) if line.strip()}
    side.categories.rows = {index: Entry(name) for index, name in names.items()}
    side.categories.ids.codes(list(names))


def _read_file(path: Path, lines: list[str], side: Side, scored: bool) -> None:
    columns = side.boxes
    wanted = len(_FIELDS) if scored else len(_FIELDS) - 1
    limit = MAX_PREDICTIONS if scored else MAX_REFERENCES
    check_count(path, "boxes", columns.count + len(lines), limit)
    rows: list[list[float]] = []
    numbers: list[int] = []
    for index, line in enumerate(lines, 1):
        texts = line.split()
        if not texts:
            continue
        if len(texts) != wanted:
            fail(path, f"line {index}", line, f"{' '.join(_FIELDS[:wanted])} is expected")
        rows.append(
            [_number(path, index, name, text) for name, text in zip(_FIELDS, texts, strict=False)]
        )
        numbers.append(index)
    # A file without a line is an image without a box: it still counts as an image.
    image = side.images.ids[path.stem]
    cast(dict[Id, Entry], side.images.rows)[side.images.ids.ids[image]] = Entry(path.stem)
    if not rows:
        return
    values = np.array(rows, np.float64)
    check_boxes(
        path,
        values[:, 1:5],
        lambda r, c: f"line {numbers[r]}, {_FIELDS[1 + c]}",
        inverted=scored,
    )
    wild = np.argwhere((values[:, 1:5] < -1) | (values[:, 1:5] > 2))
    if wild.size:
        row, column = (int(i) for i in wild[0])
        where = f"line {numbers[row]}, {_FIELDS[1 + column]}"
        fail(
            path, where, float(values[row, 1 + column]), "parts of the image, 0 to 1, are expected"
        )
    if scored:
        check_scores(path, values[:, 5], lambda r: f"line {numbers[r]}, score")
    box = np.column_stack([values[:, 1:3] - values[:, 3:5] / 2, values[:, 3:5]])
    columns.add(
        np.full(len(rows), image, np.int32),
        side.categories.ids.codes([row[0] for row in rows]),
        box,
        score=values[:, 5] if scored else None,
    )


def _number(path: Path, line: int, name: str, text: str) -> float:
    try:
        value = number(text)
    except ValueError:
        fail(path, f"line {line}, {name}", text, "a number is expected")
    if name == "class" and not (value.is_integer() and 0 <= value <= MAX_CLASS):
        fail(
            path, f"line {line}, {name}", text, f"a whole number from 0 to {MAX_CLASS} is expected"
        )
    return value
