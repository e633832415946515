"""Rotated boxes as planes, and the angle between two of them.

A box is cx, cy, w, h and the angle in radians that turns the w axis from +x towards +y: clockwise
on a screen, whose y points down. The functions of this family are invariant to a half turn, and to
a quarter turn that swaps the sides.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lossexport.ops.common import poison


class Box(NamedTuple):
    """The planes of a set of rotated boxes."""

    x: Tensor
    y: Tensor
    w: Tensor
    h: Tensor
    angle: Tensor

    @classmethod
    def of(cls, boxes: Tensor, *others: Tensor) -> "Box":
        """The planes of boxes [...,5]; all NaN in a row in which a number is not finite.

        So are the gradients of such a row. Rows of `others` have to be finite too.
        """
        return cls(*(boxes * (1 + poison(boxes, *others)).unsqueeze(-1)).unbind(-1))


class Frame(NamedTuple):
    """The offset of one box from another one, along the axes of the latter."""

    x: Tensor
    y: Tensor


def offset(box: Box, origin: Box) -> Frame:
    """The centre of `box` in the frame of `origin`."""
    cos, sin = torch.cos(origin.angle), torch.sin(origin.angle)
    x, y = box.x - origin.x, box.y - origin.y
    return Frame(cos * x + sin * y, cos * y - sin * x)


class Turn(NamedTuple):
    """The cosine and the sine of the angle from one box to another.

    The difference comes first: it is exact for angles near each other, however large they are.
    """

    cos: Tensor
    sin: Tensor

    @classmethod
    def between(cls, box: Box, origin: Box) -> "Turn":
        """The angle of `box` in the frame of `origin`."""
        angle = box.angle - origin.angle
        return cls(torch.cos(angle), torch.sin(angle))
