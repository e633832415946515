"""Oriented boxes: the columns in which they are held, and their exact overlap in NumPy.

An oriented box is cx, cy, w, h and the angle in radians that turns the side w from +x towards +y,
clockwise on a screen. As a row of a `box` column it has WIDTH numbers: x, y, width and height of
the box around it, like any other box, and then its own five numbers and the cosine and sine of its
angle. Whatever looks for boxes near each other reads the first four and need not know of it.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np

from lossexport.boxes.boxset import MAX_COORDINATE, Bool, Float64, fail, too_large
from lossexport.errors import LossexportError

FIELDS = ("rbox", "obb")
"""The names of the field in files; hotcoco reads the second."""
WIDTH = 11
PLAIN = slice(4)
"""The columns of the box around it."""
OWN = slice(4, 9)
"""Those of the oriented box."""
FULL_TURN = 6.3
"""Largest size of an angle: a full turn, also of one that was rounded up."""


def are_oriented(box: Float64) -> bool:
    """Whether a column of boxes holds oriented ones."""
    return bool(box.shape[1] == WIDTH)


def rows_of(rbox: Float64) -> Float64:
    """The rows [n,WIDTH] of oriented boxes [n,5]."""
    angles = rbox[:, 4].tolist()
    # The C library's functions: those of NumPy depend on the processor.
    cos, sin = (np.fromiter(map(f, angles), np.float64, len(rbox)) for f in (math.cos, math.sin))
    w, h = np.abs(rbox[:, 2]), np.abs(rbox[:, 3])
    size = np.stack([w * np.abs(cos) + h * np.abs(sin), w * np.abs(sin) + h * np.abs(cos)], axis=1)
    return np.concatenate(
        [rbox[:, :2] - 0.5 * size, size, rbox, cos[:, None], sin[:, None]], axis=1
    )


def sides(box: Float64) -> Float64:
    """Width and height [n,2] of boxes of either kind."""
    return box[:, 6:8] if are_oriented(box) else box[:, 2:4]


def areas(box: Float64) -> Float64:
    """Width x height [n] of boxes of either kind."""
    size = sides(box)
    area: Float64 = size[:, 0] * size[:, 1]
    return area


def inverted(box: Float64) -> Bool:
    """Which boxes [n] of either kind have a negative side."""
    size = sides(box)
    found: Bool = (size[:, 0] < 0) | (size[:, 1] < 0)
    return found


def check_oriented(
    path: Path, rbox: Float64, where: Callable[[int, int], str], *, inverted: bool
) -> None:
    """Refuse oriented boxes [n,5] that are not finite, too large or turned by more than FULL_TURN.

    So are those with a side below 0, unless `inverted`. `where(row, column)` names a value.
    """
    most = np.array([MAX_COORDINATE] * 4 + [FULL_TURN])
    bad = ~(np.abs(rbox) <= most)
    if not inverted:
        bad[:, 2:4] |= rbox[:, 2:4] < 0
    if not bad.any():
        return
    row, column = (int(i) for i in np.argwhere(bad)[0])
    value = float(rbox[row, column])
    if column == 4 and math.isfinite(value):
        why = "an angle is in radians, from -2 pi to 2 pi: is it in degrees?"
    else:
        why = too_large(value, MAX_COORDINATE) or "a reference must not have a negative size"
    fail(path, where(row, column), value, why)


def refuse_variances(path: Path, where: str) -> NoReturn:
    """Raise LossexportError on a log variance of an oriented box."""
    raise LossexportError(
        f"{path}: {where} is that of x1, y1, x2, y2: oriented boxes cannot have one"
    )


def overlap(pred: Float64, ref: Float64, crowd: Bool) -> Float64:
    """IoU [n] of rows [n,WIDTH]; for a crowd the part of the prediction inside it.

    Every operation is that of plugins/host/oriented.h, in its order. The common area is a contour
    integral, as in lossexport/families/rotated/overlap.py, which explains it.
    """
    px, py, pw, ph, _, pc, ps = pred[:, 4:].T
    rx, ry, rw, rh, _, rc, rs = ref[:, 4:].T
    # The prediction in the frame of the reference.
    cos, sin = pc * rc + ps * rs, ps * rc - pc * rs
    x, y = px - rx, py - ry
    x, y = rc * x + rs * y, rc * y - rs * x
    half_w, half_h, width, height = pw * 0.5, ph * 0.5, rw * 0.5, rh * 0.5
    wx, wy, hx, hy = half_w * cos, half_w * sin, -half_h * sin, half_h * cos
    xs = (x + wx - hx, x + wx + hx, x - wx + hx, x - wx - hx)
    ys = (y + wy - hy, y + wy + hy, y - wy + hy, y - wy - hy)
    along = ((2 * hx, 2 * hy), (-2 * wx, -2 * wy), (-2 * hx, -2 * hy), (2 * wx, 2 * wy))
    middle = _within(x, width)
    inside = np.zeros(len(pred))
    for k, (run_x, run_y) in enumerate(along):
        start, end = ys[k], ys[(k + 1) % 4]
        low, high = _within(start, height), _within(end, height)
        enter, leave = _part(low - start, run_y), 1 + _part(high - end, run_y)
        first, span = xs[k] + enter * run_x, (leave - enter) * run_x
        last = first + span
        left, right = _within(first, width), _within(last, width)
        cut = _part((first - left) + (last - right), span)
        mean = ((left + right) + (right - left) * cut) * 0.5
        inside = inside + (mean - middle) * (high - low)
    turn_c, turn_s = np.abs(cos), np.abs(sin)
    meet = (np.abs(x) < width + (half_w * turn_c + half_h * turn_s)) & (
        np.abs(y) < height + (half_w * turn_s + half_h * turn_c)
    )
    meet &= (np.abs(cos * x + sin * y) < half_w + (width * turn_c + height * turn_s)) & (
        np.abs(cos * y - sin * x) < half_h + (width * turn_s + height * turn_c)
    )
    meet &= (pw > 0) & (ph > 0) & (rw > 0) & (rh > 0) & (inside > 0)
    area = pw * ph
    union = np.where(crowd, area, area + rw * rh - inside)
    iou: Float64 = np.divide(inside, union, out=np.zeros_like(inside), where=meet)
    return np.minimum(iou, 1.0)


def _within(value: Float64, bound: Float64) -> Float64:
    return np.maximum(np.minimum(value, bound), -bound)


def _part(value: Float64, whole: Float64) -> Float64:
    """`value / whole` in [-1, 1]; 0 for a whole of 0."""
    size = np.abs(whole)
    return np.maximum(np.minimum(value, size), -size) / np.where(whole == 0, 1.0, whole)
