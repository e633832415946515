"""Formats of detections and references, and their readers.

An installed package can add a format with an entry point in the group `lossexport.formats`. Its
name is the name of the format, and it refers to a `Format`.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lossexport import arguments
from lossexport.boxes.assemble import dataset
from lossexport.boxes.boxset import Dataset
from lossexport.boxes.join import check_match_by
from lossexport.boxes.side import Side
from lossexport.errors import LossexportError
from lossexport.formats import beside
from lossexport.formats.format import Format
from lossexport.formats.memory import Detections, side_in_memory
from lossexport.formats.source import Advance, ignore_progress
from lossexport.names import EXTRA_CATEGORIES, Extra, MatchBy
from lossexport.registry import Registry

__all__ = ["FORMATS", "Format", "Watch", "read", "read_side"]

FORMATS = Registry(
    Format,
    "format",
    "lossexport.formats",
    {
        name: f"lossexport.formats.{name}:FORMAT"
        for name in ("coco", "yolo", "mot", "voc", "parquet")
    },
)

Watch = Callable[[str], Advance]
"""Given the name of a step, returns what is to be told of its progress."""


def read_side(path: Path, format: str, scored: bool, advance: Advance = ignore_progress) -> Side:
    """Read predictions (`scored`) or references.

    Raises LossexportError on an unknown format and on anything that is wrong in the input.
    """
    form = FORMATS.find(of_path(path, format))
    _check_given(path, form)
    return form.side(path, scored, advance)


def of_path(path: Path, format: str) -> str:
    """`format`, or "parquet" for a file of that suffix in place of the default, "coco"."""
    return "parquet" if format == "coco" and path.suffix.lower() == ".parquet" else format


def _check_given(path: Path, form: Format) -> None:
    """Raise LossexportError on a folder in place of a file, or a file in place of a folder."""
    for kind, is_one in (("folder", os.path.isdir), ("file", os.path.isfile)):
        if is_one(path) and kind not in form.given:
            others = [name for name in FORMATS.builtin if kind in FORMATS.find(name).given]
            raise LossexportError(
                f"{path}: is a {kind}, and {form.name} reads a {form.given}; --format "
                f"{' or '.join(others)} reads a {kind}"
            )


def of_both(format: str, pred_format: str | None, ref_format: str | None) -> tuple[str, str]:
    """The formats of predictions and references: `format` for one that has none of its own.

    Raises LossexportError on a name that is none.
    """
    pred, ref = (format if own is None else own for own in (pred_format, ref_format))
    for form in (pred, ref):
        FORMATS.find(form)
    return pred, ref


def read_references(ref: Path | Detections, format: str, advance: Advance) -> Side:
    """References in `format`, which is that of a path, or in memory."""
    if isinstance(ref, Path):
        return read_side(ref, format, False, advance)
    return side_in_memory("references", ref, scored=False)


def read(
    pred: Path | Detections | Side,
    ref: Path | Detections | Side,
    format: str,
    watch: Watch | None = None,
    *,
    ref_format: str | None = None,
    match_by: MatchBy | None = None,
    extra_categories: Extra = "count",
) -> Dataset:
    """Read predictions in `format` and references in `ref_format` (None: the same).

    A format is that of a path; detections in memory have none, and those that were read are taken
    as they are.

    Raises LossexportError on any error in them.
    """
    check_match_by(match_by)
    arguments.choice("extra_categories", extra_categories, EXTRA_CATEGORIES)
    watch = watch or (lambda _: ignore_progress)
    ref_format = ref_format or format
    if (
        isinstance(pred, Path)
        and isinstance(ref, Path)
        and beside.worth_while(of_path(pred, format), of_path(ref, ref_format))
    ):
        # An error in the references comes first, as it does where one is read after the other.
        with beside.Beside(partial(read_side, pred, format, True)) as reading:
            references = read_references(ref, ref_format, watch("reading references"))
            predictions = reading.result(watch("reading predictions"))
        return dataset(predictions, references, match_by, extra_categories)
    if isinstance(ref, Side):
        references = ref
    else:
        references = read_references(ref, ref_format, watch("reading references"))
    if isinstance(pred, Side):
        predictions = pred
    elif isinstance(pred, Path):
        predictions = read_side(pred, format, True, watch("reading predictions"))
    else:
        predictions = side_in_memory("predictions", pred, scored=True)
    return dataset(predictions, references, match_by, extra_categories)
