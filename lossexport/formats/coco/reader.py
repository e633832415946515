"""COCO json: a result list, or a dictionary of images, categories and annotations.

As in pycocotools, only `iscrowd` makes a reference ignored (a field `ignore` does not), and the
size of a reference is its `area`, or width x height if it has none. As an addition to COCO, a
detection may have a `log_variance`: log sigma^2 of x1, y1, x2, y2 in the unit of its box. Rows with
`rbox` or `obb`, cx, cy, w, h and an angle in radians, are oriented boxes; their `bbox` is not read.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
import numpy as np
from msgspec import UNSET

from lossexport.boxes.assemble import plural
from lossexport.boxes.boxset import (
    MAX_CATEGORIES,
    MAX_COORDINATE,
    MAX_IMAGES,
    Float32,
    Float64,
    Int32,
    Int64,
    check_count,
    check_log_variance,
    fail,
)
from lossexport.boxes.columns import ID, RawId, box_array, plain_id
from lossexport.boxes.oriented import FIELDS, refuse_variances
from lossexport.boxes.side import Entry, Side, Size, Table
from lossexport.errors import LossexportError
from lossexport.formats.coco import plain, refusal
from lossexport.formats.coco.file import File, Take
from lossexport.formats.coco.json_stream import JsonStream
from lossexport.formats.source import Advance, Source

Box = tuple[float, float, float, float]
OrientedBox = tuple[float, float, float, float, float]
_MISSING: Any = UNSET
"""Stands where a row lacks a field, so that the message can count such rows."""


class _Row(msgspec.Struct, gc=False):
    image_id: RawId = _MISSING
    category_id: RawId = _MISSING
    bbox: Box = _MISSING
    rbox: OrientedBox | None = None
    obb: OrientedBox | None = None


class _Detection(_Row, gc=False):
    score: float = _MISSING
    log_variance: Box | None = None


class _Annotation(_Row, gc=False):
    id: RawId = _MISSING
    area: float | None = None
    iscrowd: bool | int | float | None = 0
    ignore: object = None


class _Image(msgspec.Struct, gc=False):
    id: RawId
    file_name: str | None = None
    # These may have any type; only a pair of positive numbers is used as the size.
    width: object = None
    height: object = None
    # Fields of LVIS, where a category is judged on some of the images only.
    neg_category_ids: object = None
    not_exhaustive_category_ids: object = None


class _Category(msgspec.Struct, gc=False):
    id: RawId
    name: str | int | float | None = None


DETECTIONS = msgspec.json.Decoder(list[_Detection])
_ANY = msgspec.json.Decoder(list[msgspec.Raw])
_ANNOTATIONS = msgspec.json.Decoder(list[_Annotation])
_IMAGES = msgspec.json.Decoder(list[_Image])
_CATEGORIES = msgspec.json.Decoder(list[_Category])

_FIELDS = attrgetter(
    "file_name", "width", "height", "neg_category_ids", "not_exhaustive_category_ids"
)
_REQUIRED = ("id", "image_id", "category_id", "bbox", "score")

T = TypeVar("T")
N = TypeVar("N", _Image, _Category)


def read(path: Path, scored: bool, advance: Advance) -> Side:
    """Read a result list or dictionary (`scored`), or a reference dictionary; plain or gzipped."""
    file = _read_plain(path, scored, advance)
    if file is None and scored:
        file = _read_file(path, _rows(DETECTIONS, _add_detections), advance, bare=True)
    elif file is None:
        file = _read_file(path, _rows(_ANNOTATIONS, _add_annotations), advance, bare=False)
    side = file.side
    if scored:
        return side
    for name, table in (("images", side.images), ("categories", side.categories)):
        if table.rows is None:
            raise LossexportError(f"{path}: {name} is missing: references are a COCO dictionary")
    ids = _annotation_ids(file)
    kept = _of_tables(side)
    side.annotation_ids = ids if kept is None else ids[kept]
    if file.ignore_flags:
        side.notes.append(
            f"{path.name}: `ignore` is not read, as in pycocotools; "
            f"{plural(file.ignore_flags, 'reference')} with it set "
            f"{'counts' if file.ignore_flags == 1 else 'count'}."
        )
    if file.federated:
        side.notes.append(
            f"{path.name}: neg_category_ids and not_exhaustive_category_ids are not applied: AP is "
            "that of COCO, not of LVIS."
        )
    return side


def _of_tables(side: Side) -> Int64 | None:
    """Leave out references outside of the tables, as pycocotools does. Returns the rows kept."""
    codes = side.boxes.peek_codes()
    tables = side.images, side.categories
    if all(len(table.rows or ()) == len(table.ids.ids) for table in tables):
        return None  # each row has an id there, so that there are no others
    listed = [
        np.array([value in (table.rows or ()) for value in table.ids.ids], np.bool_)[code]
        for table, code in zip(tables, codes, strict=True)
    ]
    if all(known.all() for known in listed):
        return None
    for name, table, code, known in zip(
        ("images", "categories"), tables, codes, listed, strict=True
    ):
        if not known.all():
            first = table.ids.ids[int(code[np.argmin(known)])]
            side.notes.append(
                f"{side.path.name}: {plural(int(np.count_nonzero(~known)), 'annotation')} left "
                f"out, as in pycocotools: {name} has no row of the id (the first: {first!r})."
            )
    kept = np.flatnonzero(listed[0] & listed[1])
    side.boxes.keep(kept)
    return kept


def read_tables(path: Path, advance: Advance) -> Side:
    """Read the images and the categories of a COCO dictionary; its annotations are skipped."""
    side = _read_file(path, _rows(_ANY, lambda *_: None), advance, bare=False).side
    if side.images.rows is None:
        raise LossexportError(f"{path}: images is missing: a COCO dictionary is expected")
    return side


def _read_plain(path: Path, scored: bool, advance: Advance) -> File | None:
    """The same as from `_read_file` for a file whose boxes the library reads, else None.

    None is also the answer to a file with an error, which is then found again and named.
    """
    if not plain.available():
        return None
    with suppress(plain.NotPlainError, LossexportError, MemoryError):
        take = plain.take_detections if scored else plain.take_annotations
        return _read_file(path, take, advance, bare=scored)
    return None


def _rows(decoder: msgspec.json.Decoder[list[T]], add: Callable[[File, Sequence[T]], None]) -> Take:
    """Takes the boxes with `decoder`, and calls `add` with some thousands at a time."""

    def take(file: File, stream: JsonStream) -> None:
        for rows in stream.rows(decoder, file.where):
            _add(file, rows, add)

    return take


def _read_file(path: Path, take: Take, advance: Advance, *, bare: bool) -> File:
    """Read a dictionary or, if `bare` is true, also a plain list of boxes, which `take` reads.

    Raises LossexportError on a file that is not of this form.
    """
    file = File(Side(path))
    try:
        with Source(path, advance) as source:
            stream = JsonStream(source)
            if stream.peek() == b"[":
                if not bare:
                    raise LossexportError(
                        f"{path}: is a list: references are a COCO dictionary of images, "
                        "categories and annotations; is this a file of predictions?"
                    )
                file.where = ""
                take(file, stream)
            else:
                _read_dictionary(file, stream, take, bare=bare)
            stream.end()
            file.side.input = source.finish()
    except LossexportError as error:
        form = refusal.form(path)
        if form:
            raise LossexportError(f"{path}: {form}") from error
        raise
    return file


def _add(file: File, rows: Sequence[T], add: Callable[[File, Sequence[T]], None]) -> None:
    """Add a block of rows. A missing field is UNSET, which cannot be converted to a number."""
    start = file.side.boxes.count
    try:
        add(file, rows)
    except TypeError:
        for i, row in enumerate(rows):
            for name in _REQUIRED:
                if getattr(row, name, None) is UNSET:
                    refusal.refuse_missing(file.path, file.where, start + i, name)
        raise


def _read_dictionary(file: File, stream: JsonStream, take: Take, *, bare: bool) -> None:
    keys: list[str] = []
    for key in stream.members():
        keys.append(key)
        if key == file.where:
            take(file, stream)
        elif key == "images":
            images = stream.rows(_IMAGES, key)
            _add_rows(file, key, file.side.images, images, _images, MAX_IMAGES)
        elif key == "categories":
            kinds = stream.rows(_CATEGORIES, key)
            _add_rows(file, key, file.side.categories, kinds, _categories, MAX_CATEGORIES)
        elif len(keys) == refusal.MOST_KEYS and not set(refusal.TABLES) & set(keys):
            break
        else:
            stream.skip()
    if file.where not in keys:
        refusal.refuse_dictionary(file.path, keys, stream, scored=bare)


def _add_rows(
    file: File,
    key: str,
    table: Table,
    blocks: Iterator[Sequence[N]],
    entries_of: Callable[[File, Sequence[N]], Sequence[Entry]],
    limit: int,
) -> None:
    """Read a table of ids and names. Rows with the same id must be equal."""
    table.start()
    count = 0
    for block in blocks:
        check_count(file.path, key, count + len(block), limit)
        entries = entries_of(file, block)
        if not table.add_all([row.id for row in block], entries):
            for i, (row, entry) in enumerate(zip(block, entries, strict=True)):
                why = table.add(row.id, entry)
                if why:
                    fail(file.path, f"{key}[{count + i}].id", row.id, why)
        count += len(block)


def _images(file: File, block: Sequence[_Image]) -> list[Entry]:
    names, wide, high, *of_lvis = zip(*map(_FIELDS, block), strict=True)
    file.federated |= any(column.count(None) < len(block) for column in of_lvis)
    sides: Any = wide + high
    sizes: Any = zip(wide, high, strict=True)
    if set(map(type, sides)) != {int} or min(sides) <= 0 or max(sides) >= MAX_COORDINATE:
        sizes = map(_size, sizes)
    return list(map(Entry, names, sizes))


def _size(size: tuple[object, object]) -> Size | None:
    known = all(isinstance(side, int | float) and 0 < side < MAX_COORDINATE for side in size)
    return cast(Size, size) if known else None


def _categories(_: File, block: Sequence[_Category]) -> list[Entry]:
    return [Entry(None if row.name is None else str(row.name)) for row in block]


def _add_ids(file: File, rows: Sequence[_Row]) -> tuple[Int32, Int32]:
    """Code the image and category ids of `rows`."""
    image = file.side.images.ids.codes([row.image_id for row in rows])
    category = file.side.categories.ids.codes([row.category_id for row in rows])
    for name, codes in (("image_id", image), ("category_id", category)):
        if codes.min() < 0:
            row = int(np.argmax(codes < 0))
            where = f"{file.where}[{file.side.boxes.count + row}].{name}"
            fail(file.path, where, getattr(rows[row], name), ID)
    file.check_ids()
    return image, category


def _boxes(file: File, rows: Sequence[_Row], *, inverted: bool) -> Float64:
    """The boxes [n,4], or of oriented ones, which have to be all or none, the rows [n,11]."""
    field = next((f for f in FIELDS if any(getattr(row, f) is not None for row in rows)), "bbox")
    start, before = file.side.boxes.count, file.side.box_field
    if start and field != before:
        wanted = before if field == "bbox" else field
        refusal.refuse_missing(file.path, file.where, start if field == "bbox" else 0, wanted)
    if field == "bbox":
        return box_array([row.bbox for row in rows])
    found = [getattr(row, field) for row in rows]
    if None in found:
        refusal.refuse_missing(file.path, file.where, start + found.index(None), field)
    return file.oriented(box_array(found, 5), field, inverted=inverted)


def _add_detections(file: File, rows: Sequence[_Detection]) -> None:
    """Add rows of detections. Raises LossexportError on an impossible value."""
    box = _boxes(file, rows, inverted=True)
    score = np.array([row.score for row in rows], np.float64)
    file.check_detections(box, score)
    variance = _log_variance(file, rows)
    file.side.boxes.add(*_add_ids(file, rows), box, score=score, log_variance=variance)


def _log_variance(file: File, rows: Sequence[_Detection]) -> Float32 | None:
    """The column [n,4], with NaN for rows without one; None if no row has one."""
    given = {i: row.log_variance for i, row in enumerate(rows) if row.log_variance is not None}
    if not given:
        return None
    places, values = list(given), box_array(list(given.values()))
    start = file.side.boxes.count
    if file.side.box_field in FIELDS:
        refuse_variances(file.path, f"{file.where}[{start + places[0]}].log_variance")

    def where(row: int, column: int) -> str:
        return f"{file.where}[{start + places[row]}].log_variance[{column}]"

    check_log_variance(file.path, values, where)
    column = np.full((len(rows), 4), np.nan, np.float32)
    column[places] = values
    return column


def _add_annotations(file: File, rows: Sequence[_Annotation]) -> None:
    start = file.side.boxes.count
    box = _boxes(file, rows, inverted=False)
    file.check_annotations(box)
    ids = [plain_id(row.id) for row in rows]
    for i, (row, number) in enumerate(zip(rows, ids, strict=True)):
        if not isinstance(number, int):
            why = ID if number is None else "must be a whole number"
            fail(file.path, f"{file.where}[{start + i}].id", row.id, why)
        if row.iscrowd not in (0, 1, None):
            fail(file.path, f"{file.where}[{start + i}].iscrowd", row.iscrowd, "must be 0 or 1")
    stated = np.array([row.area for row in rows], np.float64)  # None becomes NaN
    area = file.areas(stated, box)
    file.annotation_ids.append(np.array(ids, np.int64))
    file.ignore_flags += sum(map(bool, [row.ignore for row in rows]))
    ignored = np.array([bool(row.iscrowd) for row in rows], np.bool_)
    file.side.boxes.add(*_add_ids(file, rows), box, area=area, ignored=ignored)


def _annotation_ids(file: File) -> Int64:
    """Join the annotation ids of all blocks; refuse an id that occurs twice with other values."""
    ids = np.concatenate([np.empty(0, np.int64), *file.annotation_ids])
    order = np.argsort(ids, kind="stable")
    twice = np.flatnonzero(ids[order[1:]] == ids[order[:-1]])
    first, again = order[twice], order[twice + 1]
    differ = again[~file.side.boxes.equal(first, again)] if again.size else again
    if differ.size:
        row = int(differ.min())
        more = f" (and {len(differ) - 1} more such)" if len(differ) > 1 else ""
        why = f"the id appears twice with other values{more}"
        fail(file.path, f"{file.where}[{row}].id", int(ids[row]), why)
    if again.size:
        file.side.notes.append(
            f"{file.path.name}: annotations are repeated in {plural(len(again), 'row')}, which "
            "count again, as in pycocotools."
        )
    return ids
