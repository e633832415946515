"""How an image becomes the input tensor of a detector."""

import math
from typing import Annotated, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta

from lossexport.boxes.boxset import Float32, Float64, Int32, Int64, UInt8
from lossexport.detectors.graph import MAX_SIDE
from lossexport.detectors.layout import Name, Section, Size

Side = Annotated[int, Meta(ge=1, le=MAX_SIDE)]
Triple = tuple[float, float, float]
Extra = float | list[float | Literal["width", "height"]]
"""The value of a second input: a number that fills it, or numbers and sides of the tensor."""


class Prepared(NamedTuple):
    """The tensor [1,3,height,width] of an image.

    A point of the image is, in pixels of the tensor, at its position times `scale` plus `shift`;
    both are in x and y.
    """

    tensor: Float32
    scale: Float64
    shift: Float64


class Picture(Section, frozen=True):
    """`[input]`: how an image becomes the tensor [1,3,height,width].

    `letterbox` keeps the aspect ratio: the image goes into the top left corner or, with `place`, to
    the centre, and the rest is filled with `pad`. With `stride`, the rest is only filled up to the
    next multiple of it. `stretch` fills the tensor. `none` leaves the image as large as it is;
    only this needs no `width` and `height`. Each value then becomes (value - mean) / std; both are
    in the order of the channels. `extra` gives the values of other inputs.
    """

    tensor: Name
    colour: Literal["rgb", "bgr"]
    resize: Literal["letterbox", "stretch", "none"]
    width: Side | None = None
    height: Side | None = None
    place: Literal["corner", "centre"] = "corner"
    stride: Side | None = None
    pad: Annotated[float, Meta(ge=0, le=255)] = 114.0
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)
    extra: dict[str, Extra] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse values that are out of range."""
        if not all(map(math.isfinite, (*self.mean, *self.std, self.pad))) or min(self.std) <= 0:
            raise ValueError("mean, std and pad must be finite, and std above 0")
        if self.resize != "none":
            for side in ("width", "height"):
                if getattr(self, side) is None:
                    raise ValueError(f"Object missing required field `{side}`")
        if self.stride and self.resize == "stretch":
            raise ValueError("stride is the step of the filling: resize must be letterbox or none")

    def prepare(self, image: UInt8) -> Prepared:
        """The tensor of an RGB image [h,w,3], with its scale and shift against the image."""
        (wide, high), (width, height), (left, top) = self._places(image.shape[1], image.shape[0])
        small = resized(image, wide, high)
        channels = small if self.colour == "rgb" else small[..., ::-1]
        tensor = np.full((1, 3, height, width), self.pad, np.float32)
        tensor[0, :, top : top + high, left : left + wide] = channels.transpose(2, 0, 1)
        mean, std = (np.array(v, np.float32)[:, None, None] for v in (self.mean, self.std))
        tensor -= mean
        tensor /= std
        scale = np.array([width / image.shape[1], height / image.shape[0]])
        if self.resize == "letterbox":
            scale[:] = self._ratio(image.shape[1], image.shape[0])
        elif self.resize == "none":
            scale[:] = 1
        return Prepared(tensor, scale, np.array([left, top], np.float64))

    def _ratio(self, wide: int, high: int) -> float:
        """How much a letterbox scales an image."""
        width, height = self.width or wide, self.height or high
        return min(width / wide, height / high)

    def _places(self, wide: int, high: int) -> tuple[Size, Size, Size]:
        """Sizes of the scaled image and of the tensor, and the place of the one in the other."""
        size = self.width or wide, self.height or high
        if self.resize == "stretch":
            return size, size, (0, 0)
        small = wide, high
        if self.resize == "letterbox":
            ratio, centred = self._ratio(wide, high), self.place == "centre"
            # YOLOX, which puts images into the corner, cuts sizes off; the others round them.
            whole = round if centred else int
            small = max(whole(wide * ratio), 1), max(whole(high * ratio), 1)
        if self.stride:
            step = self.stride
            size = -(-small[0] // step) * step, -(-small[1] // step) * step
        elif self.resize == "none":
            size = small
        if max(size) > MAX_SIDE:
            raise ValueError(f"the tensor would have {size[0]} x {size[1]} pixels: resize is none")
        if self.place == "corner":
            return small, size, (0, 0)
        left, top = (round((s - p) / 2 - 0.1) for s, p in zip(size, small, strict=True))
        return small, size, (max(left, 0), max(top, 0))


def resized(image: UInt8, width: int, height: int) -> Float32:
    """An image [h,w,3] resized as by OpenCV's INTER_LINEAR, to the last bit.

    Detectors are trained and deployed with it, and other bilinear filters change their scores. It
    uses weights of 11 bits and drops bits between its two passes.
    """
    rows, next_row, upper, lower = _taps(height, image.shape[0])
    columns, next_column, left, right = _taps(width, image.shape[1])

    def across(lines: Int64) -> Int32:
        strip = image.take(lines, axis=0)
        first, second = strip.take(columns, axis=1), strip.take(next_column, axis=1)
        return first * left[:, None] + second * right[:, None]

    top = upper[:, None, None] * (across(rows) >> 4) >> 16
    bottom = lower[:, None, None] * (across(next_row) >> 4) >> 16
    small: Float32 = ((top + bottom + 2) >> 2).astype(np.float32)
    return small


def _taps(size: int, original: int) -> tuple[Int64, Int64, Int32, Int32]:
    """For each of `size` pixels, its two neighbours in the original, and their weights of 2048."""
    at = ((np.arange(size) + 0.5) * (original / size) - 0.5).astype(np.float32)
    first = np.floor(at).astype(np.int64)
    part = at - first.astype(np.float32)
    part[(first < 0) | (first >= original - 1)] = 0
    first = np.clip(first, 0, original - 1)
    weights = (np.rint(value * np.float32(2048)).astype(np.int32) for value in (1 - part, part))
    left, right = weights
    return first, np.minimum(first + 1, original - 1), left, right
