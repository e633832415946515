"""The rows of COCO json by the library, which reads plain ones alone, as nearly all files have.

`reader` reads a file again that has anything else in it, and one with an error.
"""

import numpy as np

from lossexport.boxes import boxset
from lossexport.boxes.boxset import Int32, Int64, check_rows
from lossexport.boxes.columns import IdTable
from lossexport.formats.coco.file import File
from lossexport.formats.coco.json_stream import JsonStream, NotPlainError
from lossexport.runtime.rows import Reader, Rows, available, number_ids

__all__ = ["NotPlainError", "available", "take_annotations", "take_detections"]


def take_detections(file: File, stream: JsonStream) -> None:
    """Read detections. Raises NotPlainError, also on an impossible value, and LossexportError."""
    found = _all(file, stream, Reader(True, boxset.MAX_PREDICTIONS, *_limits()), scored=True)
    file.side.boxes.add(*_codes(file, found), found.box, score=found.score, owned=True)


def take_annotations(file: File, stream: JsonStream) -> None:
    """Read annotations. Raises NotPlainError, also on an impossible value, and LossexportError."""
    found = _all(file, stream, Reader(False, boxset.MAX_REFERENCES, *_limits()), scored=False)
    file.ignore_flags += int(np.count_nonzero(found.ignore))
    file.annotation_ids.append(found.id)
    file.side.boxes.add(
        *_codes(file, found), found.box, area=found.area, ignored=found.crowd, owned=True
    )


def _limits() -> tuple[float, float]:
    return boxset.MAX_COORDINATE, boxset.MAX_SCORE


def _all(file: File, stream: JsonStream, reader: Reader, *, scored: bool) -> Rows:
    for _ in stream.plain_rows(reader, file.where):
        check_rows(file.path, reader.count, scored)
    return reader.all()


def _codes(file: File, rows: Rows) -> tuple[Int32, Int32]:
    """The codes of the image and category ids, of which new ones are added to the tables."""
    side = file.side
    image, category = (
        _coded(rows.image, side.images.ids),
        _coded(rows.category, side.categories.ids),
    )
    file.check_ids()
    return image, category


def _coded(ids: Int64, table: IdTable) -> Int32:
    number, distinct = number_ids(ids)
    raws = distinct.tolist()
    table.add_numbers([raw for raw in raws if raw not in table])
    codes = table.codes(raws)
    return number if np.array_equal(codes, np.arange(len(codes))) else codes[number]
