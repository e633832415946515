"""Readers of detections and references, one module for each format."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

from lossexport import arguments
from lossexport.boxes.assemble import dataset
from lossexport.boxes.boxset import Dataset
from lossexport.boxes.join import check_match_by
from lossexport.boxes.side import Side
from lossexport.formats.source import Advance, ignore_progress
from lossexport.names import EXTRA_CATEGORIES, Extra, MatchBy

_READERS = {
    "coco": "lossexport.formats.coco.reader",
    "yolo": "lossexport.formats.yolo.reader",
    "mot": "lossexport.formats.mot",
    "voc": "lossexport.formats.voc.annotations",
}
FORMATS = tuple(_READERS)

Watch = Callable[[str], Advance]
"""Given the name of a step, returns what is to be told of its progress."""


def read_side(path: Path, format: str, scored: bool, advance: Advance = ignore_progress) -> Side:
    """Read predictions (`scored`) or references.

    Raises LossexportError on an unknown format and on anything that is wrong in the input.
    """
    arguments.choice("format", format, FORMATS)
    module = import_module(_READERS[format])
    reader = cast(Callable[[Path, bool, Advance], Side], module.read)
    return reader(path, scored, advance)


def read(
    pred: Path,
    ref: Path,
    format: str,
    watch: Watch | None = None,
    *,
    ref_format: str | None = None,
    match_by: MatchBy | None = None,
    extra_categories: Extra = "count",
) -> Dataset:
    """Read predictions in `format` and references in `ref_format` (None: the same).

    Raises LossexportError on anything that is wrong in them.
    """
    check_match_by(match_by)
    arguments.choice("extra_categories", extra_categories, EXTRA_CATEGORIES)
    watch = watch or (lambda _: ignore_progress)
    references = read_side(
        ref, format if ref_format is None else ref_format, False, watch("reading references")
    )
    predictions = read_side(pred, format, True, watch("reading predictions"))
    return dataset(predictions, references, match_by, extra_categories)
