"""Crops of images with the boxes that a report shows."""

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lossexport.boxes.boxset import Float64
from lossexport.errors import LossexportError
from lossexport.images import ImageFolder, few

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_TRIED = 200
"""Images that may fail before the search for crops stops: then most images are missing."""
CANDIDATES = 100
"""Cases of each kind that are tried, of which SHOWN are shown in all."""
SHOWN = 12
TILE = (360, 270)
"""Largest width and height of a crop in the report, in pixels."""
LEAST_CONTEXT = 48.0
"""Least width and height of the part of an image that is shown."""
MAX_JPEG = 60_000
"""Bytes of one crop in the report, unless the lowest quality has more."""


@dataclass(frozen=True, slots=True)
class Case:
    """Boxes to draw: x, y, width, height in pixels, or in parts of the image; or oriented ones.

    `first` is the box of the parent or the reference, `second` that of the child or the prediction.
    One of them may be missing.
    """

    kind: str
    files: tuple[str, ...]
    """Names that the image may have."""
    title: str
    facts: str
    first: Float64 | None
    second: Float64 | None
    parts: bool = False


@dataclass(frozen=True, slots=True)
class Crop:
    """A case on its image: a JPEG as a data URI, its size, and the boxes on it."""

    case: Case
    file: str
    uri: str
    width: int
    height: int
    first: tuple[float, ...] | None
    """x, y, width, height; of an oriented box then degrees, and x and y of what it is turned about.
    """
    second: tuple[float, ...] | None


def crops(folder: ImageFolder, cases: Iterable[Case]) -> tuple[list[Crop], list[str]]:
    """The first SHOWN of `cases` that can be drawn, and a sentence on the images that could not."""
    shown: list[Crop] = []
    failed: dict[tuple[str, ...], str] = {}
    for case in cases:
        if len(shown) == SHOWN or len(failed) == MAX_TRIED:
            break
        if case.files in failed:
            continue
        try:
            shown.append(_crop(folder, case))
        except LossexportError as error:
            failed[case.files] = str(error)
    if not failed:
        return shown, []
    return shown, [f"Images that could not be shown: {few(list(failed.values()))}."]


def in_turn(*ranked: Sequence[Any]) -> list[Any]:
    """The first of each sequence, then the second of each, and so on."""
    longest = max(map(len, ranked), default=0)
    return [items[i] for i in range(longest) for items in ranked if i < len(items)]


def _crop(folder: ImageFolder, case: Case) -> Crop:
    """Cut the surroundings of the boxes out of the image, in the shape of a tile."""
    file = existing(folder, case.files)
    image = folder.decode(file, folder.read(file))
    whole = np.array([image.width, image.height], np.float64)
    unit = np.tile(whole, 2) if case.parts else 1.0
    boxes = [None if box is None else box * unit for box in (case.first, case.second)]
    low, high = _region([box for box in boxes if box is not None], whole)
    scale = min(float((TILE / (high - low)).min()), 1.0)
    width, height = (max(round(float(side)), 1) for side in (high - low) * scale)
    small = image.resize((width, height), box=(*low, *high), reducing_gap=3.0)
    first, second = (None if box is None else drawn(box, low, scale, TILE) for box in boxes)
    return Crop(case, file, data_uri(small), width, height, first, second)


def existing(folder: ImageFolder, files: Sequence[str]) -> str:
    """The first of the names that exists. Raises the error of the first name if none does."""
    errors = [LossexportError("one whose file name no input gives")] if not files else []
    for file in files:
        try:
            folder.find(file)
        except LossexportError as error:
            errors.append(error)
        else:
            return file
    raise errors[0]


def _region(boxes: Sequence[Float64], whole: Float64) -> tuple[Float64, Float64]:
    """Corners of the part of an image of size `whole` that shows `boxes` with some context."""
    low = np.clip(np.min([box[:2] for box in boxes], axis=0), 0, whole - 1)
    high = np.clip(np.max([box[:2] + box[2:4] for box in boxes], axis=0), low + 1, whole)
    size = np.maximum((high - low) * 1.6, LEAST_CONTEXT)
    aspect = TILE[0] / TILE[1]
    size = np.minimum(np.maximum(size, [size[1] * aspect, size[0] / aspect]), whole)
    low = np.clip((low + high - size) / 2, 0, whole - size)
    return low, low + size


def drawn(box: Float64, low: Float64, scale: float, size: tuple[int, int]) -> tuple[float, ...]:
    """The box in pixels of a drawing of `size`, whose corner is at `low`.

    Sides far outside of the drawing are moved to just outside. Of an oriented box the degrees
    follow, and x and y of what it is turned about.
    """
    if len(box) > 4:
        x, y, w, h = np.concatenate([box[4:6] - low, box[6:8]]) * scale
        turn = np.degrees(box[8]), x, y
        return tuple(round(float(v), 1) for v in (x - w / 2, y - h / 2, w, h, *turn))
    corners = (np.concatenate([box[:2], box[:2] + box[2:]]) - np.tile(low, 2)) * scale
    x0, y0, x1, y1 = (round(float(value), 1) for value in np.clip(corners, -20, 2 * max(size)))
    return x0, y0, round(x1 - x0, 1), round(y1 - y0, 1)


def data_uri(image: "Image") -> str:
    """A JPEG of at most MAX_JPEG bytes, in text."""
    for quality in (82, 65, 45, 20):
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality, optimize=True)
        if stream.tell() <= MAX_JPEG:
            break
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
