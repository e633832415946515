"""Readers of detections and references, one module a format."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

from lossexport.errors import LossexportError
from lossexport.scoring.boxset import Dataset
from lossexport.scoring.formats.shared import Watch
from lossexport.scoring.formats.source import ignore_progress

FORMATS = ("coco", "yolo", "mot", "voc")


def read(pred: Path, ref: Path, format: str, watch: Watch | None = None) -> Dataset:
    """Read predictions and references. Raises LossexportError on anything that is wrong in them."""
    if format not in FORMATS:
        raise LossexportError(f"format {format!r} is not one of {', '.join(FORMATS)}")
    module = import_module(f"lossexport.scoring.formats.{format}")
    reader = cast(Callable[[Path, Path, Watch], Dataset], module.read)
    return reader(pred, ref, watch or (lambda _: ignore_progress))
