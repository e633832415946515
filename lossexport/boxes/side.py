"""An input after reading: its boxes, and tables that name their images and categories."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

import msgspec

from lossexport.boxes.boxset import Id, Input, Int64
from lossexport.boxes.columns import (
    ID,
    LEAST_ID,
    MOST_ID,
    BoxColumns,
    IdTable,
    RawId,
    plain_id,
)

_UNREAD = Input("", "")

Size = tuple[float, float]
"""Width and height in pixels."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """The name of an image or a category in an input, and the size of an image."""

    name: str | None = None
    """For an image its file name, with or without folder."""
    size: Size | None = None
    """For an image, if the input states it."""


class Table(msgspec.Struct):
    """The images or the categories of one input."""

    ids: IdTable = msgspec.field(default_factory=IdTable)
    """Ids of the boxes; a box holds a position in `ids.ids`."""
    rows: dict[Id, Entry] | None = None
    """The listed rows; None if the input has no such table, like a result list."""
    text: bool = False
    """Whether every listed id was written as text; they are sorted as texts, as in pycocotools."""
    stems: bool = False
    """Whether names are file names without suffix from which ids are made (YOLO, VOC, MOT)."""

    def start(self) -> None:
        """Begin a table, which may stay empty; `add` lists its rows."""
        self.rows, self.text = {}, True

    def add(self, raw: RawId, entry: Entry) -> str:
        """List a row, after `start`. Returns the reason if that is impossible, else ""."""
        value = plain_id(raw)
        if value is None:
            return ID
        _ = self.ids[raw]
        self.text &= isinstance(raw, str)
        same = cast(dict[Id, Entry], self.rows).setdefault(value, entry) == entry
        return "" if same else "the id appears twice with other values"

    def add_all(self, raws: Sequence[RawId], entries: Sequence[Entry]) -> bool:
        """List rows as `add` does, or none: False if an id is no number or is there already."""
        rows = cast(dict[Id, Entry], self.rows)
        if set(map(type, raws)) != {int} or len(set(raws)) != len(raws):
            return False
        numbers = cast(Sequence[int], raws)
        if (
            min(numbers) < LEAST_ID
            or max(numbers) > MOST_ID
            or not self.ids.keys().isdisjoint(raws)
        ):
            return False
        self.ids.add_numbers(numbers)
        self.text = False
        rows.update(zip(numbers, entries, strict=True))
        return True

    def name_by_ids(self) -> None:
        """List every id, each as its own name."""
        self.rows = {value: Entry(str(value)) for value in self.ids.ids}

    def name(self, value: Id) -> str | None:
        """The name of `value`, if the input gives one."""
        row = (self.rows or {}).get(value)
        return None if row is None else row.name

    def names(self, values: Iterable[Id]) -> list[str | None]:
        """The name of each of `values`, or None, as from `name`."""
        if not self.rows:
            return [None for _ in values]
        return [None if row is None else row.name for row in map(self.rows.get, values)]

    def name_rows(self, rows: Mapping[Id, Entry] | None) -> None:
        """Take the rows of another table if this input has none of its own."""
        if self.rows is None and rows:
            self.rows = {value: rows[value] for value in self.ids.ids if value in rows} or None


class Side(msgspec.Struct):
    """The predictions or references of one file or folder."""

    path: Path
    input: Input = _UNREAD
    """Known after all has been read."""
    box_field: str = "bbox"
    """The name of the boxes in the input."""
    boxes: BoxColumns = msgspec.field(default_factory=BoxColumns)
    """Image and category codes are positions in the tables' `ids.ids`."""
    images: Table = msgspec.field(default_factory=Table)
    categories: Table = msgspec.field(default_factory=Table)
    notes: list[str] = msgspec.field(default_factory=list)
    """A sentence for everything that was skipped or read in an unexpected way."""
    parts: bool = False
    """Boxes are in parts of their image, not in pixels."""
    classes: bool | None = True
    """Whether the boxes have classes; None if there is no box to tell."""
    annotation_ids: Int64 | None = None
    """Only for COCO references; pycocotools takes the id 0 for "no match"."""
