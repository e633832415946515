"""The exact IoU of rotated boxes, by a contour integral of fixed size.

In the frame of the target, which spans |x| <= W and |y| <= H, Green's theorem gives the common area
as the integral of clamp(x, -W, W) dy along those parts of the prediction's four edges on which
|y| <= H. The edges of the target, whose clipping would have to agree with that of the others, are
not needed, nor are the corners of the common polygon and their order. An edge contributes a
function that is continuous in the corners, so that parallel and equal edges are no special cases,
and rounding moves the area by no more than it moves the corners.

A clamp at its bound has half of its slope, as a minimum has at a tie. Equal boxes therefore have an
IoU of 1 and a gradient of 0.
"""

import torch
from torch import Tensor

from lossexport.families.rotated.boxes import Box, Turn, offset
from lossexport.ops.common import reduce


def _clamp(value: Tensor, bound: Tensor) -> Tensor:
    """`value` in [-bound, bound]."""
    return torch.maximum(torch.minimum(value, bound), -bound)


def _divisor(value: Tensor) -> Tensor:
    """`value`, with 1 for 0, where the dividend is 0 too."""
    return torch.where(value == 0, 1, value)


def _part(value: Tensor, whole: Tensor) -> Tensor:
    """`value / whole` in [-1, 1]; 0 for a whole of 0. No slope overflows."""
    return _clamp(value, whole.abs()) / _divisor(whole)


def _common_area(p: Box, t: Box) -> Tensor:
    turn, (x, y) = Turn.between(p, t), offset(p, t)
    half_w, half_h, width, height = (side * 0.5 for side in (p.w, p.h, t.w, t.h))
    # Half of the vectors along the sides of the prediction.
    wx, wy, hx, hy = (
        half_w * turn.cos, half_w * turn.sin, -half_h * turn.sin, half_h * turn.cos
    )  # fmt: skip
    # The edges, from corner to corner: right, bottom, left, top of an unturned box on a screen.
    xs = torch.stack((x + wx - hx, x + wx + hx, x - wx + hx, x - wx - hx))
    corners = (y + wy - hy, y + wy + hy, y - wy + hy, y - wy - hy)
    start, end = torch.stack(corners), torch.stack((*corners[1:], corners[0]))
    along_x, along_y = (2 * torch.stack((h, -w, -h, w)) for w, h in ((wx, hx), (wy, hy)))

    # The part of an edge between the lines y = -H and H.
    low, high = _clamp(start, height), _clamp(end, height)
    enter, leave = _part(low - start, along_y), 1 + _part(high - end, along_y)
    first, span = xs + enter * along_x, (leave - enter) * along_x
    last = first + span
    # The mean of clamp(x) on it: that of the ends, moved by what is cut off on either side.
    left, right = _clamp(first, width), _clamp(last, width)
    cut = _part((first - left) + (last - right), span)
    mean = ((left + right) + (right - left) * cut) * 0.5
    # The heights add up to 0, so any number may be taken from the means: with this one, all terms
    # are 0 for boxes beside each other.
    area = ((mean - _clamp(x, width).detach()) * (high - low)).sum(0)

    # Otherwise the terms of separate boxes cancel, but for rounding.
    cos, sin = turn.cos.abs(), turn.sin.abs()
    beside = (turn.cos * x + turn.sin * y).abs() < half_w + (width * cos + height * sin)
    above = (turn.cos * y - turn.sin * x).abs() < half_h + (width * sin + height * cos)
    return torch.where(beside & above, area, 0).clamp(min=0)


def iou(p: Box, t: Box) -> Tensor:
    """The IoU of boxes that broadcast against each other; sides below 0 are 0."""
    p, t = (box._replace(w=box.w.clamp(min=0), h=box.h.clamp(min=0)) for box in (p, t))
    common = _common_area(p, t)
    union = (p.w * p.h + t.w * t.h) - common
    return (common / _divisor(union)).clamp(max=1)


def box_rotated_iou(pred: Tensor, target: Tensor) -> Tensor:
    """IoU of `pred[i]` with `target[i]`: [N,5] and [N,5] (cx, cy, w, h, radians) to [N]."""
    return iou(Box.of(pred), Box.of(target))


def pairwise_rotated_iou(pred: Tensor, target: Tensor) -> Tensor:
    """IoU of every `pred[i]` with every `target[j]`: [N,5] and [M,5] to [N,M]."""
    return iou(Box.of(pred.unsqueeze(1)), Box.of(target.unsqueeze(0)))


def rotated_iou_loss(pred: Tensor, target: Tensor, reduction: str = "none") -> Tensor:
    """1 - IoU of `pred[i]` with `target[i]`: [N,5] (cx, cy, w, h, radians) to [N]."""
    return reduce(1 - iou(Box.of(pred, target), Box.of(target)), reduction)
