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

MAX_FILE = 1 << 20
"""Thousands of objects; the tree of a file takes up to 55 times its size."""

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read(pred: Path, ref: Path, watch: Watch) -> Dataset:
    """Read two folders of annotation files. Objects marked difficult are not counted."""
    tables = Tables()
    references, ref_input = _read_folder(ref, tables, False, watch("reading references"))
    known = len(tables.images.ids)
    predictions, pred_input = _read_folder(pred, tables, True, watch("reading predictions"))
    if len(tables.images.ids) > known:
        stem = tables.images.ids[known]
        raise LossexportError(f"{pred}: {stem}.xml: the references have no such image")
    inputs = {"pred": pred_input, "ref": ref_input}
    names: dict[Id, str] = {}
    return build(pred, tables, predictions, references, known, inputs, names, [])


def _read_folder(
    folder: Path, tables: Tables, scored: bool, advance: Advance
) -> tuple[BoxColumns, Input]:
    columns = BoxColumns()
    digest = FolderDigest()
    files = list_folder(folder, ".xml")
    limit = MAX_PREDICTIONS if scored else MAX_REFERENCES
    for done, path in enumerate(files):
        data = read_bytes(path, MAX_FILE)
        digest.add(path, data)
        objects = _parse(path, data).findall("object")
        check_count(path, "boxes", columns.count + len(objects), limit)
        image = tables.images[path.stem]
        if objects:
            _add(path, objects, image, tables, columns, scored)
        check_count(path, "kinds of object", len(tables.categories.ids), MAX_CATEGORIES)
        advance((done + 1) / len(files))
    return columns, digest.finish(folder)


def _add(
    path: Path,
    objects: list[ElementTree.Element],
    image: int,
    tables: Tables,
    columns: BoxColumns,
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
    columns.add(
        np.full(len(objects), image, np.int32),
        tables.categories.codes(kinds),
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
