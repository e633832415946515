"""The rows of COCO json by the library, which reads plain ones alone, as nearly all files have.

`reader` reads a file again that has anything else in it, and one with an error.
"""

import numpy as np

from lossexport.boxes import boxset
from lossexport.boxes.boxset import Int32, check_rows
from lossexport.formats.coco.file import File
from lossexport.formats.coco.json_stream import JsonStream, NotPlainError
from lossexport.runtime.rows import Reader, Rows, available, number_ids

__all__ = ["NotPlainError", "available", "take_annotations", "take_detections"]


def take_detections(file: File, stream: JsonStream) -> None:
    """Read detections. Raises NotPlainError, also on an impossible value."""
    limits = boxset.MAX_COORDINATE, boxset.MAX_SCORE
    reader, codes = Reader(True, boxset.MAX_PREDICTIONS, *limits), _Codes(file)
    for rows in stream.plain_rows(reader, file.where):
        codes.add(rows, reader.count, scored=True)
    found = reader.all()
    file.side.boxes.add(*codes.columns(), found.box, score=found.score, owned=True)


def take_annotations(file: File, stream: JsonStream) -> None:
    """Read annotations. Raises NotPlainError, also on an impossible value."""
    limits = boxset.MAX_COORDINATE, boxset.MAX_SCORE
    reader, codes = Reader(False, boxset.MAX_REFERENCES, *limits), _Codes(file)
    for rows in stream.plain_rows(reader, file.where):
        file.ignore_flags += int(np.count_nonzero(rows.ignore))
        codes.add(rows, reader.count, scored=False)
    found = reader.all()
    file.annotation_ids.append(found.id)
    file.side.boxes.add(
        *codes.columns(), found.box, area=found.area, ignored=found.crowd, owned=True
    )


class _Codes:
    """The image and category ids of a file as codes."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._tables = file.side.images.ids, file.side.categories.ids
        self._blocks: tuple[list[Int32], list[Int32]] = [], []

    def add(self, rows: Rows, count: int, *, scored: bool) -> None:
        """Code the ids of `rows`, of `count` so far."""
        check_rows(self._file.path, count, scored)
        for ids, table, blocks in zip(
            (rows.image, rows.category), self._tables, self._blocks, strict=True
        ):
            number, distinct = number_ids(ids)
            raws = distinct.tolist()
            table.add_numbers([raw for raw in raws if raw not in table])
            blocks.append(table.codes(raws)[number])
        self._file.check_ids()

    def columns(self) -> tuple[Int32, Int32]:
        """The codes of all rows."""
        image, category = (np.concatenate([_NONE, *blocks]) for blocks in self._blocks)
        return image, category


_NONE = np.empty(0, np.int32)
