"""YOLO labels: a folder of `IMAGE.txt` with lines `class cx cy w h [score]` in parts of the image.

Sizes of images are not known, so boxes stay in these units: IoU and GIoU are those of pixels, the
distance and aspect terms of DIoU and CIoU are those of a square image, and by area every box is
"small" for COCO.
"""

from pathlib import Path

import numpy as np

from lossexport.errors import LossexportError
from lossexport.files import read_bytes
from lossexport.scoring.boxset import (
    MAX_PREDICTIONS,
    MAX_REFERENCES,
    Dataset,
    Id,
    Input,
    check_boxes,
    check_count,
    check_scores,
    fail,
)
from lossexport.scoring.columns import BoxColumns
from lossexport.scoring.formats.shared import Tables, Watch, build, number
from lossexport.scoring.formats.source import Advance, FolderDigest, list_folder

MAX_FILE = 4 << 20
MAX_CLASS = 99_999
NAMES_FILE = "classes.txt"

_FIELDS = ("class", "cx", "cy", "w", "h", "score")
_NOTE = (
    "YOLO boxes are in parts of the image: DIoU and CIoU are those of a square image, "
    "and APs, APm and APl do not tell the sizes in pixels."
)


def read(pred: Path, ref: Path, watch: Watch) -> Dataset:
    """Read two folders of label files; prediction lines have a score, reference lines have none."""
    tables = Tables()
    names: dict[Id, str] = {}
    references, ref_input = _read_folder(ref, tables, names, False, watch("reading references"))
    known = len(tables.images.ids)
    predictions, pred_input = _read_folder(pred, tables, names, True, watch("reading predictions"))
    inputs = {"pred": pred_input, "ref": ref_input}
    return build(pred, tables, predictions, references, known, inputs, names, [_NOTE])


def _read_folder(
    folder: Path, tables: Tables, names: dict[Id, str], scored: bool, advance: Advance
) -> tuple[BoxColumns, Input]:
    columns = BoxColumns()
    digest = FolderDigest()
    files = list_folder(folder, ".txt")
    for done, path in enumerate(files):
        data = read_bytes(path, MAX_FILE)
        digest.add(path, data)
        try:
            lines = data.decode("utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise LossexportError(f"{path}: is not a text file: {error}") from error
        if path.name == NAMES_FILE:
            _add_names(path, lines, names)
        else:
            _read_file(path, lines, tables, columns, scored)
        advance((done + 1) / len(files))
    return columns, digest.finish(folder)


def _add_names(path: Path, lines: list[str], names: dict[Id, str]) -> None:
    """Take in a name a line, of class 0, 1, 2...; refuse one that is not the references'."""
    check_count(path, "names", len(lines), MAX_CLASS + 1)
    for index, line in enumerate(lines):
        name = line.strip()
        if name and names.setdefault(index, name) != name:
            fail(path, f"line {index + 1}", name, f"the references call it {names[index]!r}")


def _read_file(
    path: Path, lines: list[str], tables: Tables, columns: BoxColumns, scored: bool
) -> None:
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
    image = tables.images[path.stem]
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
        tables.categories.codes([row[0] for row in rows]),
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
