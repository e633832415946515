"""Pixels of Pascal VOC, which are counted from 1 and include both ends of a box."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lossexport.boxes.boxset import Float64, check_boxes

CORNERS = ("xmin", "ymin", "xmax", "ymax")


def box_of(path: Path, corners: Float64, names: Sequence[str], *, inverted: bool) -> Float64:
    """Turn corners [n,4] in pixels from 1, both ends included, into x, y, width, height.

    `names` [n] are put before the name of a corner in messages. Raises LossexportError
    as `check_boxes` does.
    """
    check_boxes(path, corners, lambda r, c: f"{names[r]}{CORNERS[c]}", inverted=True)
    low, high = corners[:, :2], corners[:, 2:]
    box = np.column_stack([low - 1, high - low + 1])
    sides = ("x", "y", "width (xmax - xmin + 1)", "height (ymax - ymin + 1)")
    check_boxes(path, box, lambda r, c: f"{names[r]}{sides[c]}", inverted=inverted)
    return box
