"""COCO json: a result list, or a dictionary of images, categories and annotations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
import numpy as np

from lossexport.errors import LossexportError
from lossexport.scoring.boxset import (
    MAX_CATEGORIES,
    MAX_IMAGES,
    MAX_PREDICTIONS,
    MAX_REFERENCES,
    Category,
    Dataset,
    Id,
    Input,
    Int32,
    Int64,
    check_boxes,
    check_count,
    check_scores,
    fail,
    sort_ids,
)
from lossexport.scoring.columns import BoxColumns, IdTable, RawId, box_array, optional, plain_id
from lossexport.scoring.formats.json_stream import JsonStream
from lossexport.scoring.formats.source import Advance, Source, ignore_progress

Box = tuple[float, float, float, float]


class _Detection(msgspec.Struct, gc=False):
    image_id: RawId
    category_id: RawId
    bbox: Box
    score: float


class _Annotation(msgspec.Struct, gc=False):
    id: RawId
    image_id: RawId
    category_id: RawId
    bbox: Box
    area: float | None = None
    iscrowd: bool | int = 0


class _Image(msgspec.Struct, gc=False):
    id: RawId
    file_name: str | None = None


class _Category(msgspec.Struct, gc=False):
    id: RawId
    name: str | None = None


class _Entry(NamedTuple):
    """A row of the images or the categories table."""

    id: Id
    name: str | None


_DETECTIONS = msgspec.json.Decoder(list[_Detection])
_ANNOTATIONS = msgspec.json.Decoder(list[_Annotation])
_IMAGES = msgspec.json.Decoder(list[_Image])
_CATEGORIES = msgspec.json.Decoder(list[_Category])

T = TypeVar("T")


@dataclass(slots=True)
class _File:
    """What one file holds; ids are codes of the two tables of ids."""

    path: Path
    input: Input
    field: str
    boxes: BoxColumns
    image_ids: IdTable
    category_ids: IdTable
    annotation_ids: Int64
    images: list[_Entry] | None = None
    categories: list[_Entry] | None = None


def read(
    pred: Path, ref: Path, advance: Callable[[str], Advance] = lambda _: ignore_progress
) -> Dataset:
    """Read a result list or dictionary, and a reference dictionary, each plain or gzipped.

    A prediction dictionary with tables of its own is joined by file name and by category name in
    lower case where the names meet the references' at all, otherwise by id.
    """
    references = _read_file(ref, _ANNOTATIONS, _add_references, advance("reading references"))
    if references.images is None or references.categories is None:
        missing = "images" if references.images is None else "categories"
        raise LossexportError(f"{ref}: {missing} is missing: references are a COCO dictionary")
    detections = _read_file(pred, _DETECTIONS, _add_detections, advance("reading predictions"))

    images, image_position = sort_ids([entry.id for entry in references.images])
    ids, category_position = sort_ids([entry.id for entry in references.categories])
    names: list[str | None] = [None] * len(ids)
    for entry, position in zip(references.categories, category_position, strict=True):
        names[position] = entry.name
    categories = [
        Category(i, str(i) if name is None else name) for i, name in zip(ids, names, strict=True)
    ]

    image, category = references.boxes.codes()
    image = _locate(references, "image_id", image, references.image_ids, _by_id(images))
    category = _locate(references, "category_id", category, references.category_ids, _by_id(ids))
    truth = references.boxes.references(image, category, references.annotation_ids)

    image, category = detections.boxes.codes()
    notes: list[str] = []
    by_file = {
        entry.name: int(position)
        for entry, position in zip(references.images, image_position, strict=True)
        if entry.name is not None
    }
    by_name = {name.lower(): i for i, name in enumerate(names) if name is not None}
    image_index = _by_id(images)
    if len(by_file) == len(images):
        image_index = _join_by_name(
            image_index, by_file, detections.images, "images by file name", notes
        )
    category_index = _by_id(ids)
    if len(by_name) == len(ids):
        lower = detections.categories and [
            _Entry(e.id, e.name and e.name.lower()) for e in detections.categories
        ]
        category_index = _join_by_name(
            category_index, by_name, lower, "categories by name", notes
        )
    image = _locate(detections, "image_id", image, detections.image_ids, image_index)
    category = _locate(detections, "category_id", category, detections.category_ids, category_index)
    found = detections.boxes.predictions(image, category)

    inputs = {"pred": detections.input, "ref": references.input}
    if truth.zero_id.any():
        notes.append(
            "A reference has annotation id 0; as in pycocotools, AP and AR count no match with it."
        )
    return Dataset(images, categories, found, truth, inputs, notes)


def _by_id(ids: Sequence[Id]) -> dict[Id, int]:
    return {value: position for position, value in enumerate(ids)}


def _join_by_name(
    by_id: dict[Id, int],
    by_name: dict[str, int],
    table: list[_Entry] | None,
    what: str,
    notes: list[str],
) -> dict[Id, int]:
    """Map the ids of a prediction file's own table to positions in the references' table."""
    if not table or not any(entry.name in by_name for entry in table):
        return by_id
    joined = {e.id: by_name[e.name] for e in table if e.name is not None and e.name in by_name}
    if any(by_id.get(i) != position for i, position in joined.items()):
        notes.append(f"Prediction ids differ from the references'; joined {what}.")
    return joined


def _locate(
    file: _File, name: str, codes: Int32, table: IdTable, index: dict[Id, int]
) -> Int32:
    """Turn the codes of a file into positions of the references' table; refuse unknown ids."""
    lookup = np.array([index.get(value, -1) for value in table.ids], np.int32)
    positions = lookup[codes] if len(codes) else codes
    if len(positions) and positions.min() < 0:
        row = int(np.argmax(positions < 0))
        kind = name.removesuffix("_id")
        where = f"{file.field}[{row}].{name}"
        fail(file.path, where, table.ids[codes[row]], f"the references have no such {kind}")
    return positions


def _read_file(
    path: Path,
    decoder: msgspec.json.Decoder[list[T]],
    add: Callable[[_File, Sequence[T], int], None],
    advance: Advance,
) -> _File:
    with Source(path, advance) as source:
        stream = JsonStream(source)
        file = _File(
            path, Input("", ""), "", BoxColumns(), IdTable(), IdTable(), np.empty(0, np.int64)
        )
        ids: list[Int64] = []

        def take(rows: Sequence[T]) -> None:
            start = file.boxes.count
            add(file, rows, start)
            if isinstance(rows[0], _Annotation):
                ids.append(file.annotation_ids)

        if stream.peek() == b"[" and decoder is _DETECTIONS:
            for rows in stream.rows(decoder, ""):
                take(rows)
        else:
            file.field = "annotations"
            found = False
            for key in stream.members():
                if key == "annotations":
                    found = True
                    for rows in stream.rows(decoder, key):
                        take(rows)
                elif key == "images":
                    file.images = _table(path, key, stream.rows(_IMAGES, key), MAX_IMAGES)
                elif key == "categories":
                    file.categories = _table(
                        path, key, stream.rows(_CATEGORIES, key), MAX_CATEGORIES
                    )
                else:
                    stream.skip()
            if not found:
                raise LossexportError(f"{path}: annotations is missing")
        stream.end()
        file.input = source.finish()
    return file
