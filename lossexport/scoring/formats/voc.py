"""Pascal VOC: a folder of `IMAGE.xml`; corners count pixels from 1 with both ends included.

Predictions are such files too, with a `score` in each object.
"""

from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np

from lossexport.errors import LossexportError
from lossexport.files import read_bytes
from lossexport.scoring.boxset import (
    MAX_CATEGORIES,
    MAX_COORDINATE,
    MAX_PREDICTIONS,
    MAX_REFERENCES,
    Input,
    check_boxes,
    check_count,
    check_scores,
    fail,
)
from lossexport.scoring.formats.shared import number
from lossexport.scoring.formats.source import Advance, FolderDigest, list_folder
from lossexport.scoring.side import Entry, Side, Size

MAX_FILE = 1 << 20
"""Thousands of objects; the tree of a file takes up to 55 times its size."""

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read(path: Path, scored: bool, advance: Advance) -> Side:
    """Read a folder of annotation files. Objects marked difficult are not counted."""
    digest = FolderDigest()
    side = Side(path, Input("", ""))
    side.images.rows, side.images.stems = {}, True
    side.categories.rows = {}
    files = list_folder(path, ".xml")
    limit = MAX_PREDICTIONS if scored else MAX_REFERENCES
    for done, file in enumerate(files):
        data = read_bytes(file, MAX_FILE)
        digest.add(file, data)
        root = _parse(file, data)
        objects = root.findall("object")
        check_count(file, "boxes", side.boxes.count + len(objects), limit)
        image = side.images.ids[file.stem]
        side.images.rows[side.images.ids.ids[image]] = Entry(file.stem, _size(root))
        if objects:
            _add(file, objects, image, side, scored)
        check_count(file, "kinds of object", len(side.categories.ids.ids), MAX_CATEGORIES)
        advance((done + 1) / len(files))
    side.categories.rows = {value: Entry(str(value)) for value in side.categories.ids.ids}
    side.input = digest.finish(path)
    return side


def _size(root: ElementTree.Element) -> Size | None:
    """Width and height, where the file states them."""
    try:
        wide, high = (number(root.findtext(f"size/{name}") or "") for name in ("width", "height"))
    except ValueError:
        return None
    return (wide, high) if 0 < wide < MAX_COORDINATE and 0 < high < MAX_COORDINATE else None


def _add(
    path: Path,
    objects: list[ElementTree.Element],
    image: int,
    side: Side,
    scored: bool,
) -> None:
    kinds = [_text(path, item, i, "name") for i, item in enumerate(objects)]
    corners = np.array(
        [
            [_number(path, item, i, f"bndbox/{c}") for c in _CORNERS]
            for i, item in enumerate(objects)
        ]
    )
    low, high = corners[:, :2], corners[:, 2:]
    check_boxes(path, corners, lambda r, c: f"object[{r}]/bndbox/{_CORNERS[c]}", inverted=True)
    box = np.column_stack([low - 1, high - low + 1])
    check_boxes(
        path, box, lambda r, c: f"object[{r}] {('x', 'y', 'width', 'height')[c]}", inverted=scored
    )
    score = ignored = None
    if scored:
        score = np.array([_number(path, item, i, "score") for i, item in enumerate(objects)])
        check_scores(path, score, lambda r: f"object[{r}]/score")
    else:
        ignored = np.array([_difficult(path, item, i) for i, item in enumerate(objects)], np.bool_)
    side.boxes.add(
        np.full(len(objects), image, np.int32),
        side.categories.ids.codes(kinds),
        box,
        score=score,
        ignored=ignored,
    )


def _parse(path: Path, data: bytes) -> ElementTree.Element:
    """Parse one file; a document type, the door to entity expansion, is refused unread."""

    def refuse(*_: object) -> NoReturn:
        raise LossexportError(f"{path}: DOCTYPE is refused: it could declare entities")

    guard = expat.ParserCreate()
    guard.StartDoctypeDeclHandler = refuse
    guard.EntityDeclHandler = refuse
    try:
        guard.Parse(data, True)
        root = ElementTree.fromstring(data)
    except (expat.ExpatError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise LossexportError(f"{path}: not XML: {error}") from error
    if root.tag != "annotation":
        fail(path, "root element", root.tag, "annotation is expected")
    return root


def _text(path: Path, item: ElementTree.Element, index: int, name: str) -> str:
    text = (item.findtext(name) or "").strip()
    if not text:
        raise LossexportError(f"{path}: object[{index}]/{name} is missing")
    return text


def _number(path: Path, item: ElementTree.Element, index: int, name: str) -> float:
    text = _text(path, item, index, name)
    try:
        return number(text)
    except ValueError:
        fail(path, f"object[{index}]/{name}", text, "a number is expected")


def _difficult(path: Path, item: ElementTree.Element, index: int) -> bool:
    text = (item.findtext("difficult") or "0").strip()
    if text not in ("0", "1"):
        fail(path, f"object[{index}]/difficult", text, "0 or 1 is expected")
    return text == "1"
