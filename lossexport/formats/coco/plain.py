"""The rows of COCO json by the library, which reads plain ones alone, as nearly all files have.

`reader` reads a file again that has anything else in it, and one with an error.
"""

import numpy as np

from lossexport.boxes.boxset import Int32, Int64
from lossexport.boxes.columns import IdTable
from lossexport.formats.coco.file import File
from lossexport.formats.coco.json_stream import JsonStream, NotPlainError
from lossexport.runtime.rows import Reader, Rows, available, number_ids

__all__ = ["NotPlainError", "available", "take_annotations", "take_detections"]


def take_detections(file: File, stream: JsonStream) -> None:
    """Read detections. Raises NotPlainError, and LossexportError on an impossible value."""
    for rows in stream.plain_rows(Reader(scored=True), file.where):
        file.check_detections(rows.box, rows.score)
        file.side.boxes.add(*_codes(file, rows), rows.box.copy(), score=rows.score.copy())


def take_annotations(file: File, stream: JsonStream) -> None:
    """Read annotations. Raises NotPlainError, and LossexportError on an impossible value."""
    for rows in stream.plain_rows(Reader(scored=False), file.where):
        file.check_annotations(rows.box)
        area = file.areas(rows.area, rows.box)
        file.annotation_ids.append(rows.id.copy())
        file.ignore_flags += int(np.count_nonzero(rows.ignore))
        codes = _codes(file, rows)
        file.side.boxes.add(*codes, rows.box.copy(), area=area, ignored=rows.crowd.copy())


def _codes(file: File, rows: Rows) -> tuple[Int32, Int32]:
    """Code the image and category ids."""
    image = _coded(file.side.images.ids, rows.image)
    category = _coded(file.side.categories.ids, rows.category)
    file.check_ids()
    return image, category


def _coded(table: IdTable, ids: Int64) -> Int32:
    number, distinct = number_ids(ids)
    return table.codes(distinct.tolist())[number]
