"""A COCO file while it is read, and the checks of its columns."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from lossexport.boxes.boxset import (
    MAX_CATEGORIES,
    MAX_IMAGES,
    Float64,
    Int64,
    check_areas,
    check_boxes,
    check_count,
    check_rows,
    check_scores,
)
from lossexport.boxes.oriented import are_oriented, areas, check_oriented, rows_of
from lossexport.boxes.side import Side
from lossexport.formats.coco.json_stream import JsonStream


class File(msgspec.Struct):
    """A side while it is read; `where` is the name of its rows in messages.

    The checks are of the rows that come next, and raise LossexportError.
    """

    side: Side
    where: str = "annotations"
    annotation_ids: list[Int64] = msgspec.field(default_factory=list)
    ignore_flags: int = 0
    """Number of references whose field `ignore` is set. The field has no effect."""
    federated: bool = False
    """Whether images list categories as in LVIS."""

    @property
    def path(self) -> Path:
        """The file."""
        return self.side.path

    def check_detections(self, box: Float64, score: Float64) -> None:
        """Refuse too many rows, and impossible boxes [n,4] and scores [n]."""
        start = self.side.boxes.count
        check_rows(self.path, start + len(box), scored=True)
        if not are_oriented(box):
            self._check_boxes(box, inverted=True)
        check_scores(self.path, score, lambda r: f"{self.where}[{start + r}].score")

    def check_annotations(self, box: Float64) -> None:
        """Refuse too many rows, and impossible boxes [n,4]."""
        check_rows(self.path, self.side.boxes.count + len(box), scored=False)
        if not are_oriented(box):
            self._check_boxes(box, inverted=False)

    def oriented(self, rbox: Float64, field: str, *, inverted: bool) -> Float64:
        """The rows [n,11] of oriented boxes [n,5] in `field`, of which impossible ones are refused.

        Those above with this result have no other check of the boxes.
        """
        start = self.side.boxes.count

        def where(row: int, column: int) -> str:
            return f"{self.where}[{start + row}].{field}[{column}]"

        check_oriented(self.path, rbox, where, inverted=inverted)
        self.side.box_field = field
        return rows_of(rbox)

    def areas(self, stated: Float64, box: Float64) -> Float64:
        """The areas [n] that are `stated`, and width x height where that is NaN."""
        start = self.side.boxes.count
        check_areas(self.path, stated, lambda r: f"{self.where}[{start + r}].area")
        return np.where(np.isnan(stated), areas(box), stated)

    def check_ids(self) -> None:
        """Refuse too many different ids."""
        for what, table, most in (
            ("different image ids", self.side.images, MAX_IMAGES),
            ("different category ids", self.side.categories, MAX_CATEGORIES),
        ):
            check_count(self.path, what, len(table.ids.ids), most)

    def _check_boxes(self, box: Float64, *, inverted: bool) -> None:
        start = self.side.boxes.count

        def where(row: int, column: int) -> str:
            return f"{self.where}[{start + row}].bbox[{column}]"

        check_boxes(self.path, box, where, inverted=inverted)


Take = Callable[[File, JsonStream], None]
"""Reads the boxes of a file, which come next."""
