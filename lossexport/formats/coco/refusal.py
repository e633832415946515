"""Explains why a file could not be read as COCO json, after reading has failed."""

import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import msgspec

from lossexport.boxes.oriented import FIELDS
from lossexport.errors import LossexportError
from lossexport.formats.coco.json_stream import JsonStream
from lossexport.formats.source import Source

MOST_ROWS = 100_000
"""Rows that are counted for a message."""
MOST_KEYS = 100
"""Keys of a dictionary after which it is no COCO dictionary, where none of those was met."""
SHOWN = 6

TABLES = ("images", "categories", "annotations")
_ROW = '{"image_id": 1, "category_id": 1, "bbox": [x, y, width, height], "score": 0.9}'
_KEYS = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])

_UTF8 = "save it as UTF-8"
_STARTS = (
    (rb"\xff\xfe\0\0|\0\0\xfe\xff|[\[{]\0\0\0|\0\0\0[\[{]", f"is text in UTF-32: {_UTF8}"),
    (rb"\xff\xfe|\xfe\xff|[\[{]\0|\0[\[{]", f"is text in UTF-16: {_UTF8}"),
    (rb"\s*\Z", "is empty: no prediction at all is written as []"),
    (rb"PK\x03\x04", "is a zip archive (.npz is one too): COCO json is expected, plain or gzipped"),
    (rb"\x93NUMPY", "is a numpy array: COCO json is expected"),
    (rb"\x80[\x02-\x05]", "is a pickle, which is never read: COCO json is expected"),
    (rb"PAR1", "is a Parquet file: COCO json is expected"),
    (rb"BZh|\xfd7zXZ\0|\x28\xb5\x2f\xfd", "is compressed: plain or gzipped COCO json is expected"),
    (
        rb"\s*<(?=[^>]*>\s*<(folder|filename|object)\b|annotation)",
        "is an annotation of VOC: --format voc reads the folder of such files",
    ),
    (
        rb"(?is)\s*<(!doctype\s+)?html",
        "is a page of HTML: was a download refused?",
    ),
    (rb"\s*<", "is XML: COCO json is expected"),
    (
        rb"\s*\d+ *(, *[-+.\deE]+ *){5,}",
        "is a table of numbers: --format mot reads frame,id,x,y,w,h,conf",
    ),
    (
        rb"\s*\d+( +[-+.\deE]+){4,5}\s",
        "is a table of numbers: --format yolo reads the folder of such files",
    ),
    (rb"[^\[{\n]*[,;\t][^\n]*\n", "is a table of columns (CSV): COCO json is expected"),
)


def form(path: Path) -> str:
    """The kind of a file from its first bytes, with a remedy; "" if it may be json."""
    with suppress(LossexportError), Source(path) as source:
        start = source.read(1 << 12).removeprefix(b"\xef\xbb\xbf")
        for pattern, words in _STARTS:
            if re.match(pattern, start):
                return words
    return ""


def refuse_dictionary(
    path: Path, keys: Sequence[str], stream: JsonStream, *, scored: bool
) -> NoReturn:
    """Raise LossexportError on a dictionary without annotations; `keys` are its keys in order."""
    if len(keys) < MOST_KEYS and stream.peek() == b"{":
        raise LossexportError(
            f"{path}: one object a line (JSON Lines) is not read: write the rows as one list, "
            f"[{_ROW}, ...]"
        )
    wanted = f"a dictionary with {', '.join(map(repr, TABLES))}"
    if scored:
        wanted = "a list, or a dictionary with 'annotations',"
    shown = ", ".join(repr(key) for key in keys[:SHOWN]) or "nothing"
    more = ", ..." if len(keys) > SHOWN else ""
    rows = f" (rows are {_ROW})" if scored else ""
    raise LossexportError(f"{path}: {wanted} is expected; this one has {shown}{more}{rows}")


def refuse_missing(path: Path, where: str, index: int, field: str) -> NoReturn:
    """Raise LossexportError on `field`, which row `index` of the list `where` does not have."""
    keys, missing, total = _rows_without(path, where, index, field)
    rows = (
        f" (in {missing} of {'the first ' * (total == MOST_ROWS)}{total} rows)" if missing else ""
    )
    raise LossexportError(f"{path}: {where}[{index}].{field} is missing{rows}{_hint(field, keys)}")


def _rows_without(
    path: Path, where: str, index: int, field: str
) -> tuple[Collection[str], int, int]:
    """Keys of row `index`, number of rows without `field`, number of rows; empty and 0 on error."""
    keys: Collection[str] = ()
    missing = total = 0
    with suppress(LossexportError), Source(path) as source:
        stream = JsonStream(source)
        if where:
            for key in stream.members():
                if key == where:
                    break
                stream.skip()
        for block in stream.rows(_KEYS, where):
            for row in block:
                if total == index:
                    keys = tuple(row)
                missing += field not in row
                total += 1
                if total == MOST_ROWS:
                    return keys, missing, total
        return keys, missing, total
    return (), 0, 0


def _hint(field: str, keys: Collection[str]) -> str:
    if field in FIELDS:
        return ": either all rows are oriented boxes or none"
    if field == "bbox" and "segmentation" in keys:
        return ": a box is needed; masks are not scored"
    if field == "bbox" and "keypoints" in keys:
        return ": a box is needed; keypoints are not scored"
    if field == "score" and not {"iscrowd", "area", "ignore"}.isdisjoint(keys):
        return ": predictions have scores; is this a file of references?"
    return f": the row has {', '.join(list(keys)[:SHOWN])}" if keys else ""
