"""Frames of boxes from a file of COCO results, or from lines of JSON as they come."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
from msgspec import Struct

from lossexport.boxes.columns import RawId
from lossexport.errors import LossexportError, one_line
from lossexport.files import open_regular
from lossexport.formats import read_side

STDIN = "-"
LINES = (".jsonl", ".ndjson")
MAX_LINE = 64 * 2**20

Frame = dict[str, Any]
"""Arguments of `Watch.update`."""


class _Line(Struct):
    boxes: list[tuple[float, float, float, float]]
    scores: list[float]
    labels: list[RawId]
    image_id: RawId | None = None


def frames_of(pred: str) -> Iterator[tuple[str, Frame]]:
    """Where each frame is from, for messages, and the frame.

    `pred` is a file of COCO results, a file of lines (.jsonl, .ndjson), or "-" for lines on the
    standard input. Raises LossexportError, naming file and line, on anything else.
    """
    if pred == STDIN:
        if sys.stdin is None:
            raise LossexportError(f"{name_of(pred)}: is closed")
        yield from _lines(name_of(pred), sys.stdin.buffer)
    elif Path(pred).suffix.lower() in LINES:
        with open_regular(Path(pred)) as stream:
            yield from _lines(pred, stream)
    else:
        yield from _coco(Path(pred))


def name_of(pred: str) -> str:
    """What messages call the input."""
    return "standard input" if pred == STDIN else pred


def is_list(pred: str) -> bool:
    """Whether `pred` is a file of COCO results."""
    return pred != STDIN and Path(pred).suffix.lower() not in LINES


def _lines(name: str, stream: BinaryIO) -> Iterator[tuple[str, Frame]]:
    decode = msgspec.json.Decoder(_Line).decode
    number = 0
    while line := stream.readline(MAX_LINE + 1):
        number += 1
        where = f"{name}: line {number}"
        if len(line) > MAX_LINE:
            raise LossexportError(f"{where}: more than the limit of {MAX_LINE} bytes")
        if not line.strip():
            continue
        try:
            found = decode(line)
        except msgspec.ValidationError as error:
            raise LossexportError(f"{where}: {one_line(error)}") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise LossexportError(f"{where}: not JSON: {one_line(error)}") from error
        yield (
            where,
            {
                "boxes": np.array(found.boxes, np.float64).reshape(-1, 4),
                "scores": np.array(found.scores, np.float64),
                "labels": found.labels,
                "image_id": found.image_id,
            },
        )


def _coco(path: Path) -> Iterator[tuple[str, Frame]]:
    """The images of a file: those of its table, then others as they appear in it."""
    side = read_side(path, "coco", True)
    images, kinds = side.images.ids.ids, side.categories.ids.ids
    image, category = side.boxes.codes()
    boxes = side.boxes.predictions(image, category)
    order = np.argsort(image, kind="stable")
    bounds = np.searchsorted(image[order], np.arange(len(images) + 1))
    corners = boxes.box.copy()
    corners[:, 2:] += corners[:, :2]
    labels = np.array(kinds, object)[category] if kinds else np.empty(0, object)
    listed = [side.images.ids[value] for value in side.images.rows or ()]
    for code in dict.fromkeys([*listed, *range(len(images))]):
        rows = order[bounds[code] : bounds[code + 1]]
        yield (
            str(path),
            {
                "boxes": corners[rows],
                "scores": boxes.score[rows],
                "labels": labels[rows],
                "image_id": images[code],
            },
        )
