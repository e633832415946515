"""COCO json: a result list, or a dictionary of images, categories and annotations.

As in pycocotools `iscrowd` alone makes a reference ignored (a field `ignore` does not), and the
size of a reference is its `area`, or width x height where there is none. Beyond COCO a detection
may have a `log_variance`: log sigma^2 of x1, y1, x2, y2 in the unit of its box.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
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
    Float32,
    Id,
    Input,
    Int32,
    Int64,
    check_boxes,
    check_count,
    check_log_variance,
    check_scores,
    fail,
    sort_ids,
)
from lossexport.scoring.columns import BoxColumns, IdTable, RawId, box_array, plain_id
from lossexport.scoring.formats.json_stream import JsonStream
from lossexport.scoring.formats.shared import Watch
from lossexport.scoring.formats.source import Advance, Source

Box = tuple[float, float, float, float]


class _Detection(msgspec.Struct, gc=False):
    image_id: RawId
    category_id: RawId
    bbox: Box
    score: float
    log_variance: Box | None = None


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


class Entry(NamedTuple):
    """A row of the images or the categories table; an image is named by its file."""

    id: Id
    name: str | None


DETECTIONS = msgspec.json.Decoder(list[_Detection])
_ANNOTATIONS = msgspec.json.Decoder(list[_Annotation])
_IMAGES: msgspec.json.Decoder[list[_Image | _Category]] = msgspec.json.Decoder(list[_Image])
_CATEGORIES: msgspec.json.Decoder[list[_Image | _Category]] = msgspec.json.Decoder(list[_Category])

_BAD_ID = "an id is a whole number from 0 up, or a string"

T = TypeVar("T")


@dataclass(slots=True)
class File:
    """What one file holds; the boxes' ids are codes of the two tables of ids.

    `images` and `categories` are None where the file has no such table.
    """

    path: Path
    where: str = "annotations"
    input: Input = field(default_factory=lambda: Input("", ""))
    boxes: BoxColumns = field(default_factory=BoxColumns)
    image_ids: IdTable = field(default_factory=IdTable)
    category_ids: IdTable = field(default_factory=IdTable)
    annotation_ids: list[Int64] = field(default_factory=list)
    images: list[Entry] | None = None
    categories: list[Entry] | None = None


def read(pred: Path, ref: Path, watch: Watch) -> Dataset:
    """Read a result list or dictionary, and a reference dictionary, each plain or gzipped.

    A prediction dictionary with tables of its own is joined by file name and by category name in
    lower case where the names meet the references' at all, otherwise by id.
    """
    references = read_file(
        ref, _ANNOTATIONS, _add_annotations, watch("reading references"), bare=False
    )
    if references.images is None or references.categories is None:
        missing = "images" if references.images is None else "categories"
        raise LossexportError(f"{ref}: {missing} is missing: references are a COCO dictionary")
    detections = read_file(
        pred, DETECTIONS, add_detections, watch("reading predictions"), bare=True
    )

    images, image_position = sort_ids([entry.id for entry in references.images])
    ids, category_position = sort_ids([entry.id for entry in references.categories])
    names = _names(references.categories, category_position)
    categories = [
        Category(i, str(i) if name is None else name) for i, name in zip(ids, names, strict=True)
    ]

    image, category = references.boxes.codes()
    image = _locate(references, "image_id", image, references.image_ids, _by_id(images))
    category = _locate(references, "category_id", category, references.category_ids, _by_id(ids))
    truth = references.boxes.references(image, category, _distinct(references))

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
            Entry(e.id, e.name and e.name.lower()) for e in detections.categories
        ]
        category_index = _join_by_name(category_index, by_name, lower, "categories by name", notes)
    image = _locate(detections, "image_id", image, detections.image_ids, image_index)
    category = _locate(detections, "category_id", category, detections.category_ids, category_index)
    found = detections.boxes.predictions(image, category)

    inputs = {"pred": detections.input, "ref": references.input}
    tables = (f.image_ids for f in (references, detections))
    if any(table.respelled for table in tables):
        notes.append('Image ids such as "17" or 17.0 were read as the number 17.')
    if truth.zero_id.any():
        notes.append(
            "A reference has annotation id 0; as in pycocotools, AP and AR count no match with it."
        )
    files = _names(references.images, image_position)
    return Dataset(images, categories, found, truth, inputs, notes, files)


def _names(entries: Sequence[Entry], position: Int32) -> list[str | None]:
    """What a table calls its rows, by their final position."""
    names: list[str | None] = [None] * len(entries)
    for entry, place in zip(entries, position, strict=True):
        names[place] = entry.name
    return names


def _by_id(ids: Sequence[Id]) -> dict[Id, int]:
    return {value: position for position, value in enumerate(ids)}


def _join_by_name(
    by_id: dict[Id, int],
    by_name: dict[str, int],
    table: list[Entry] | None,
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


def _locate(file: File, name: str, codes: Int32, table: IdTable, index: dict[Id, int]) -> Int32:
    """Turn the codes of a file into positions of the references' table; refuse unknown ids."""
    lookup = np.array([index.get(value, -1) for value in table.ids], np.int32)
    positions = lookup[codes] if len(codes) else codes
    if len(positions) and positions.min() < 0:
        row = int(np.argmax(positions < 0))
        kind = name.removesuffix("_id")
        where = f"{file.where}[{row}].{name}"
        fail(file.path, where, table.ids[codes[row]], f"the references have no such {kind}")
    return positions


def read_file(
    path: Path,
    decoder: msgspec.json.Decoder[list[T]],
    add: Callable[[File, Sequence[T]], None],
    advance: Advance,
    *,
    bare: bool,
) -> File:
    """Read a dictionary, or (where `bare` lists are allowed) a list of boxes alone.

    `add` takes in the boxes, some thousands that `decoder` read at a time. Raises LossexportError
    on a file that is not of this form.
    """
    with Source(path, advance) as source:
        stream = JsonStream(source)
        file = File(path)
        if stream.peek() == b"[":
            if not bare:
                raise LossexportError(f"{path}: is a list: references are a COCO dictionary")
            file.where = ""
            for rows in stream.rows(decoder, ""):
                add(file, rows)
        else:
            _read_dictionary(file, stream, decoder, add)
        stream.end()
        file.input = source.finish()
    return file


def _read_dictionary(
    file: File,
    stream: JsonStream,
    decoder: msgspec.json.Decoder[list[T]],
    add: Callable[[File, Sequence[T]], None],
) -> None:
    found = False
    for key in stream.members():
        if key == file.where:
            found = True
            for rows in stream.rows(decoder, key):
                add(file, rows)
        elif key == "images":
            file.images = _table(file.path, key, stream.rows(_IMAGES, key), MAX_IMAGES)
        elif key == "categories":
            file.categories = _table(file.path, key, stream.rows(_CATEGORIES, key), MAX_CATEGORIES)
        else:
            stream.skip()
    if not found:
        raise LossexportError(f"{file.path}: {file.where} is missing")


def _table(
    path: Path, key: str, blocks: Iterator[Sequence[_Image | _Category]], limit: int
) -> list[Entry]:
    """Read a table of ids and names; ids are distinct."""
    entries: list[Entry] = []
    seen: set[Id] = set()
    for rows in blocks:
        check_count(path, key, len(entries) + len(rows), limit)
        for row in rows:
            value = _id(path, f"{key}[{len(entries)}].id", row.id)
            if value in seen:
                fail(path, f"{key}[{len(entries)}].id", value, "the id appears twice")
            seen.add(value)
            entries.append(Entry(value, row.file_name if isinstance(row, _Image) else row.name))
    return entries


def _id(path: Path, where: str, raw: RawId) -> Id:
    value = plain_id(raw)
    if value is None:
        fail(path, where, raw, _BAD_ID)
    return value


def _add_ids(file: File, rows: Sequence[_Detection | _Annotation]) -> tuple[Int32, Int32]:
    """Code the image and category ids of `rows`."""
    image = file.image_ids.codes([row.image_id for row in rows])
    category = file.category_ids.codes([row.category_id for row in rows])
    for name, codes in (("image_id", image), ("category_id", category)):
        if codes.min() < 0:
            row = int(np.argmax(codes < 0))
            where = f"{file.where}[{file.boxes.count + row}].{name}"
            fail(file.path, where, getattr(rows[row], name), _BAD_ID)
    check_count(file.path, "different image ids", len(file.image_ids.ids), MAX_IMAGES)
    check_count(file.path, "different category ids", len(file.category_ids.ids), MAX_CATEGORIES)
    return image, category


def add_detections(file: File, rows: Sequence[_Detection]) -> None:
    """Take in rows of `DETECTIONS`. Raises LossexportError on a value that cannot be."""
    start = file.boxes.count
    check_count(file.path, "predictions", start + len(rows), MAX_PREDICTIONS)
    box = box_array([row.bbox for row in rows])
    check_boxes(file.path, box, lambda r, c: f"{file.where}[{start + r}].bbox[{c}]", inverted=True)
    score = np.array([row.score for row in rows], np.float64)
    check_scores(file.path, score, lambda r: f"{file.where}[{start + r}].score")
    variance = _log_variance(file, rows)
    file.boxes.add(*_add_ids(file, rows), box, score=score, log_variance=variance)


def _log_variance(file: File, rows: Sequence[_Detection]) -> Float32 | None:
    """The column [n,4], NaN where a row has none; None where no row has."""
    given = {i: row.log_variance for i, row in enumerate(rows) if row.log_variance is not None}
    if not given:
        return None
    places, values = list(given), box_array(list(given.values()))
    start = file.boxes.count

    def where(row: int, column: int) -> str:
        return f"{file.where}[{start + places[row]}].log_variance[{column}]"

    check_log_variance(file.path, values, where)
    column = np.full((len(rows), 4), np.nan, np.float32)
    column[places] = values
    return column


def _add_annotations(file: File, rows: Sequence[_Annotation]) -> None:
    start = file.boxes.count
    check_count(file.path, "references", start + len(rows), MAX_REFERENCES)
    box = box_array([row.bbox for row in rows])
    check_boxes(file.path, box, lambda r, c: f"{file.where}[{start + r}].bbox[{c}]", inverted=False)
    ids = [plain_id(row.id) for row in rows]
    for i, (row, number) in enumerate(zip(rows, ids, strict=True)):
        if not isinstance(number, int):
            why = _BAD_ID if number is None else "must be a whole number"
            fail(file.path, f"{file.where}[{start + i}].id", row.id, why)
        if row.iscrowd not in (0, 1):
            fail(file.path, f"{file.where}[{start + i}].iscrowd", row.iscrowd, "must be 0 or 1")
    area = np.array([row.area for row in rows], np.float64)  # None becomes NaN
    if (area < 0).any():
        i = int(np.argmax(area < 0))
        where = f"{file.where}[{start + i}].area"
        fail(file.path, where, float(area[i]), "must not be negative")
    area = np.where(np.isnan(area), box[:, 2] * box[:, 3], area)
    file.annotation_ids.append(np.array(ids, np.int64))
    ignored = np.array([row.iscrowd for row in rows], np.bool_)
    file.boxes.add(*_add_ids(file, rows), box, area=area, ignored=ignored)


def _distinct(file: File) -> Int64:
    """Join the annotation ids of all blocks; refuse an id that appears twice."""
    ids = np.concatenate([np.empty(0, np.int64), *file.annotation_ids])
    order = np.argsort(ids, kind="stable")
    again = order[1:][ids[order[1:]] == ids[order[:-1]]]
    if again.size:
        row = int(again.min())
        fail(file.path, f"{file.where}[{row}].id", int(ids[row]), "the id appears twice")
    return ids
