"""What a format of detections is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lossexport.boxes.side import Side
from lossexport.formats.source import Advance

Given = Literal["file", "folder", "file or folder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format of detections and of references."""

    name: str
    """On the command line."""
    title: str
    """One line for the help and the pages."""
    given: Given
    """What an input in this format is."""
    unit: Literal["pixels", "parts"] = "pixels"
    """Of the boxes; `parts` are parts of the image, 0 to 1."""
    stream: Callable[[Path, bool, Advance], Side]
    """Reads predictions (True) or references, and tells of its progress."""
