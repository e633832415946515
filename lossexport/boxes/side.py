"""One input as its reader leaves it: boxes, and tables that name their images and categories."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, cast

from lossexport.boxes.boxset import Id, Input, Int64
from lossexport.boxes.columns import ID, BoxColumns, IdTable, RawId, plain_id

_UNREAD = Input("", "")

Size = tuple[float, float]
"""Width and height in pixels."""


class Entry(NamedTuple):
    """What an input says of an image or a category besides its id."""

    name: str | None = None
    """Of an image its file name, with or without folder."""
    size: Size | None = None
    """Of an image, where the input states it."""


@dataclass(slots=True)
class Table:
    """The images or the categories of one input."""

    ids: IdTable = field(default_factory=IdTable)
    """Ids of the boxes; a box holds a position in `ids.ids`."""
    rows: dict[Id, Entry] | None = None
    """The listed rows; None if the input has no such table, like a result list."""
    text: bool = False
    """Every listed id was written as text: their order is that of texts, as in pycocotools."""
    stems: bool = False
    """Names are file names without suffix, and the ids are made from them (YOLO, VOC, MOT)."""

    def start(self) -> None:
        """Begin a table whose rows `add` lists; there may be none."""
        self.rows, self.text = {}, True

    def add(self, raw: RawId, entry: Entry) -> str:
        """List a row, after `start`. The answer is why it cannot be listed, else nothing."""
        value = plain_id(raw)
        if value is None:
            return ID
        _ = self.ids[raw]
        self.text &= isinstance(raw, str)
        same = cast(dict[Id, Entry], self.rows).setdefault(value, entry) == entry
        return "" if same else "the id appears twice with other values"

    def name_by_ids(self) -> None:
        """List every id, each as its own name."""
        self.rows = {value: Entry(str(value)) for value in self.ids.ids}

    def name(self, value: Id) -> str | None:
        """Name of `value`, where the input gives one."""
        row = (self.rows or {}).get(value)
        return None if row is None else row.name

    def name_rows(self, rows: Mapping[Id, Entry] | None) -> None:
        """Take the rows of another table, where this input has none of its own."""
        if self.rows is None and rows:
            self.rows = {value: rows[value] for value in self.ids.ids if value in rows} or None


@dataclass(slots=True)
class Side:
    """Predictions or references as one file or folder holds them."""

    path: Path
    input: Input = _UNREAD
    """Known once all is read."""
    boxes: BoxColumns = field(default_factory=BoxColumns)
    """Image and category codes are positions in the tables' `ids.ids`."""
    images: Table = field(default_factory=Table)
    categories: Table = field(default_factory=Table)
    notes: list[str] = field(default_factory=list)
    """What was passed over or read in an unexpected way, one sentence each."""
    parts: bool = False
    """Boxes are in parts of their image, not in pixels."""
    classes: bool | None = True
    """Whether the boxes have classes; None where there is no box to tell."""
    annotation_ids: Int64 | None = None
    """Of COCO references, whose id 0 pycocotools takes for "no match"."""
