"""Runs an .onnx detector on images as its description file says, with resizing and NMS in numpy."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import msgspec
import numpy as np
from msgspec import Meta

from lossexport.boxes.boxset import (
    Category,
    Float32,
    Float64,
    Input,
    Int32,
    Int64,
    UInt8,
)
from lossexport.detectors import LAYOUTS
from lossexport.detectors.layout import Found, Keys, Layout, Name, Section
from lossexport.detectors.tensors import Outputs
from lossexport.errors import LossexportError, one_line, within
from lossexport.files import file_or_shipped, read_bytes, sha256
from lossexport.runtime.backends import read_source
from lossexport.runtime.ort import open_session

MAX_DESCRIPTION_BYTES = 1 << 20
MAX_MODEL_BYTES = 1 << 30
MAX_CANDIDATES = 20_000
"""Boxes of an image that go into NMS, the best by score."""

_DTYPES = ("float32", "float16", "float64", "uint8")

Part = Annotated[float, Meta(ge=0, le=1)]
Side = Annotated[int, Meta(ge=1, le=8192)]
Triple = tuple[float, float, float]


class Picture(Section, frozen=True):
    """`[input]`: how an image becomes the tensor [1,3,height,width].

    `letterbox` keeps the aspect ratio: the image goes into the top left corner, and the rest is
    filled with `pad`. `stretch` fills the tensor. Each value then becomes (value - mean) / std;
    both are in the order of the channels.
    """

    tensor: Name
    width: Side
    height: Side
    colour: Literal["rgb", "bgr"]
    resize: Literal["letterbox", "stretch"]
    pad: Annotated[float, Meta(ge=0, le=255)] = 114.0
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        """Refuse values that are out of range."""
        if not all(map(math.isfinite, (*self.mean, *self.std, self.pad))) or min(self.std) <= 0:
            raise ValueError("mean, std and pad must be finite, and std above 0")

    def prepare(self, image: UInt8) -> tuple[Float32, Float64]:
        """The tensor of an RGB image [h,w,3], and its scale in x and y against the image."""
        high, wide = image.shape[:2]
        scale = np.array([self.width / wide, self.height / high])
        size = (self.width, self.height)
        if self.resize == "letterbox":
            scale[:] = scale.min()
            size = (max(int(wide * scale[0]), 1), max(int(high * scale[1]), 1))
        small = resized(image, *size)
        channels = small if self.colour == "rgb" else small[..., ::-1]
        tensor = np.full((1, 3, self.height, self.width), self.pad, np.float32)
        tensor[0, :, : size[1], : size[0]] = channels.transpose(2, 0, 1)
        mean, std = (np.array(v, np.float32)[:, None, None] for v in (self.mean, self.std))
        tensor -= mean
        tensor /= std
        return tensor, scale


class Limits(Section, frozen=True):
    """`[limits]`: the least score, the IoU above which NMS drops a box, the most boxes per image.

    NMS is applied within each category. There is none without `nms_iou`, for graphs that do it.
    """

    score: Part = 0.001
    nms_iou: Part | None = None
    boxes: Annotated[int, Meta(ge=1, le=1000)] = 100


class Categories(Section, frozen=True):
    """`[categories]`: names and ids in the order of the class scores; ids default to 0, 1, 2..."""

    names: Annotated[list[str], Meta(min_length=1, max_length=10_000)]
    ids: list[Annotated[int, Meta(ge=0, le=2**63 - 1)]] | None = None

    def __post_init__(self) -> None:
        """Refuse ids unless there is exactly one for each name."""
        if self.ids is not None and (
            len(self.ids) != len(self.names) or len(set(self.ids)) != len(self.ids)
        ):
            raise ValueError("ids must be distinct and as many as names")


class _File(Section, frozen=True):
    """A whole description; the keys of `[output]` depend on its kind."""

    input: Picture
    output: dict[str, Any]
    categories: Categories
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class Description:
    """The input of a detector, the layout of its outputs, its categories and limits."""

    input: Picture
    layout: Layout
    output: Keys
    categories: Categories
    limits: Limits

    def kinds(self) -> list[Category]:
        """The categories, in the order of the class scores."""
        names = self.categories.names
        ids: list[int] = self.categories.ids or list(range(len(names)))
        return [Category(value, name) for value, name in zip(ids, names, strict=True)]

    def find(self, outputs: Outputs) -> Found:
        """Boxes at or above the least score, in pixels of the input tensor, before any NMS.

        Raises ValueError on outputs that do not fit; the message names one of them.
        """
        size = self.input.width, self.input.height
        count, least = len(self.categories.names), self.limits.score
        return self.layout.find(self.output, outputs, size, count, least)


def describe(path: Path) -> tuple[Description, Input]:
    """Read a description; a bare name means a shipped one. Errors name the field."""
    path = file_or_shipped(path, "models/detectors")
    data = read_bytes(path, MAX_DESCRIPTION_BYTES)
    with within(path):
        try:
            file = msgspec.toml.decode(data, type=_File)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise LossexportError(one_line(error)) from error
        output = dict(file.output)
        with within("[output]"):
            layout = LAYOUTS.find(output.pop("kind", None))
            try:
                keys = msgspec.convert(output, layout.keys)
            except ValueError as error:
                raise LossexportError(one_line(error)) from error
    description = Description(file.input, layout, keys, file.categories, file.limits)
    return description, Input(path.name, sha256(data))


class Detector:
    """A detector that is loaded and fits its description.

    `kinds` are its categories by label. `input` and `description_input` have the names and hashes
    of the files. `free_batch` tells whether the batch is a free dimension; it then runs with 1.
    """

    def __init__(self, path: Path, description: Path) -> None:
        """Raises LossexportError if the tensors of `path` are not those of the description."""
        self.path = path
        self.description, self.description_input = describe(description)
        source = read_source(path, MAX_MODEL_BYTES)
        self._session = open_session(source, "ort", "cpu")
        self.kinds = self.description.kinds()
        self.input = Input(path.name, sha256(source.data))
        self._dtype = self._check_input()
        self.free_batch = not isinstance(self._session.inputs[0].shape[0], int)
        outputs = [info.name for info in self._session.outputs]
        for name in self.description.output.names():
            if name not in outputs:
                self._fail(f"no output {name!r}, the outputs are {', '.join(outputs)}")

    def _check_input(self) -> str:
        """The type of the only input, after comparing its name and shape with the description."""
        given = self.description.input
        names = [info.name for info in self._session.inputs]
        if given.tensor not in names:
            self._fail(f"no input {given.tensor!r}, the inputs are {', '.join(names)}")
        if len(names) > 1:
            self._fail(f"takes {', '.join(names)}; the description gives {given.tensor!r} alone")
        (info,) = self._session.inputs
        wanted = (1, 3, given.height, given.width)
        # A free dimension, such as the batch of many detectors, takes the described size.
        if len(info.shape) != 4 or any(
            isinstance(has, int) and has != want
            for has, want in zip(info.shape, wanted, strict=True)
        ):
            self._fail(
                f"input {given.tensor!r} has shape [{','.join(map(str, info.shape))}], "
                f"expected is [{','.join(map(str, wanted))}]"
            )
        if info.dtype not in _DTYPES:
            self._fail(f"input {given.tensor!r} is {info.dtype}, not {', '.join(_DTYPES)}")
        return info.dtype

    def __call__(self, image: UInt8) -> Found:
        """The boxes of an RGB image [h,w,3] in its pixels, clipped to it, by falling score."""
        given, limits = self.description.input, self.description.limits
        kinds = len(self.kinds)
        tensor, scale = given.prepare(image)
        outputs = self._session(**{given.tensor: tensor.astype(self._dtype)})
        try:
            found = self.description.find(outputs)
        except ValueError as error:
            self._fail(one_line(error))
        if len(found.label) and not 0 <= found.label.min() <= found.label.max() < kinds:
            self._fail(f"a box has label {found.label.max()}, there are {kinds} categories")
        if np.isnan(found.box).any():
            self._fail("a box has a coordinate that is NaN")
        high, wide = image.shape[:2]
        box = np.clip(found.box / np.tile(scale, 2), 0, [wide, high, wide, high])
        found = Found(box, found.score, found.label)
        # A box outside of the image is clipped to one without area, which nothing could match.
        found = found.take(np.all(box[:, 2:] > box[:, :2], axis=1))
        return found.take(select(found, limits.nms_iou, limits.boxes))

    def _fail(self, message: str) -> NoReturn:
        raise LossexportError(f"{self.path}: {message}")


def select(found: Found, iou: float | None, most: int) -> Int64:
    """Greedy NMS: the positions of at most `most` boxes, by falling score.

    A box is dropped if its IoU with a better one of its category is above `iou`. If `iou` is None,
    no box is dropped.
    """
    order = np.argsort(-found.score, kind="stable")[:MAX_CANDIDATES]
    if iou is None:
        return order[:most]
    x0, y0, x1, y1 = found.box.T
    area = (x1 - x0) * (y1 - y0)
    kept: list[int] = []
    while len(order) and len(kept) < most:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        wide = np.minimum(x1[rest], x1[best]) - np.maximum(x0[rest], x0[best])
        high = np.minimum(y1[rest], y1[best]) - np.maximum(y0[rest], y0[best])
        inside = np.maximum(wide, 0) * np.maximum(high, 0)
        above = inside > iou * (area[rest] + area[best] - inside)
        order = rest[~above | (found.label[rest] != found.label[best])]
    return np.array(kept, np.int64)


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
