"""The images of a folder, and crops of them with the boxes that a report shows."""

import base64
import io
import stat
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lossexport.errors import LossexportError
from lossexport.origin import install_command
from lossexport.scoring.boxset import Float64, UInt8
from lossexport.scoring.folder import Folder

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".jpg", ".jpeg", ".png")
IMAGE_FILES = ("jpg", "jpeg", "png", "bmp", "gif", "tif", "tiff", "webp", "jp2", "pgm", "ppm")
"""Suffixes of images in general, also of such as cannot be drawn."""
MAX_FILE = 128 << 20
MAX_PIXELS = 64_000_000
"""Largest image that is decoded: 192 MB as RGB."""
MAX_TRIED = 200
"""Images that are looked for until there are enough crops; most of them missing is a mistake."""
CANDIDATES = 100
"""Cases of each kind that are tried, of which SHOWN are shown in all."""
SHOWN = 12
TILE = (360, 270)
"""Largest width and height of a crop in the report, in pixels."""
LEAST_CONTEXT = 48.0
"""Least width and height of the part of an image that is shown."""
MAX_JPEG = 60_000
"""Bytes of one crop in the report, unless the lowest quality has more."""


class ImageFolder:
    """The images of one folder, by name; nothing outside of it is ever opened."""

    def __init__(self, path: Path) -> None:
        """Raises LossexportError where there is no such folder, or no Pillow."""
        if not path.is_dir():
            raise LossexportError(f"{path}: is not a folder of images")
        try:
            import PIL.Image
        except ImportError as error:
            raise LossexportError(
                f"images need Pillow ({error}): {install_command('images')}"
            ) from error
        self.path = path
        self._pillow = PIL.Image
        self._root = path.resolve()

    def names(self) -> list[str]:
        """Sorted names of the JPEG and PNG files, those of sub-folders with their path.

        Names that begin with a dot are left out. Raises LossexportError where there is none.
        """
        with Folder(self.path) as folder:
            names = [name for name in folder.names() if name.lower().endswith(SUFFIXES)]
        if not names:
            raise LossexportError(f"{self.path}: the folder has no {', '.join(SUFFIXES)} file")
        return names

    def find(self, name: str) -> Path:
        """The file `name`, which may stand in a subfolder.

        Raises LossexportError where it is missing, no regular file or, by its name or by a link,
        outside of the folder.
        """
        try:
            path = (self._root / name).resolve()
            inside = path.is_relative_to(self._root)
            regular = inside and stat.S_ISREG(path.stat().st_mode)
        except FileNotFoundError:
            raise LossexportError(f"{name!r} is missing") from None
        except (OSError, ValueError, RuntimeError) as error:  # a loop of links, a NUL in the name
            raise LossexportError(f"{name!r} cannot be read: {error}") from None
        if not inside:
            raise LossexportError(f"{name!r} lies outside of the folder")
        if not regular:
            raise LossexportError(f"{name!r} is not a regular file")
        return path

    def read(self, name: str) -> bytes:
        """The bytes of `name`, see `find`."""
        self.find(name)
        with Folder(self.path) as folder:
            return folder.read(name, MAX_FILE)

    def decode(self, name: str, data: bytes) -> "Image":
        """The RGB image of `data`, as it is stored: an orientation in EXIF does not turn it.

        Raises LossexportError where it is damaged, neither JPEG nor PNG, or too large.
        """
        try:
            with warnings.catch_warnings():
                # Above Pillow's own bound, which is larger than ours or what the user has set.
                warnings.simplefilter("error", self._pillow.DecompressionBombWarning)
                with self._pillow.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
                    if image.width * image.height > MAX_PIXELS:
                        raise LossexportError(
                            f"{name!r} has {image.width} x {image.height} pixels, more than the "
                            f"limit of {MAX_PIXELS}"
                        )
                    return image.convert("RGB")
        except LossexportError:
            raise
        except Exception as error:  # Pillow's decoders raise errors of many kinds
            text = " ".join(str(error).split())[:200]
            raise LossexportError(f"{name!r} cannot be decoded: {text}") from None


def pixels(image: "Image") -> UInt8:
    """The image as an array [h,w,3]."""
    return np.asarray(image, np.uint8)


@dataclass(frozen=True, slots=True)
class Case:
    """Boxes that are worth a look: x, y, width, height in pixels, or in parts of the image.

    `first` is of the parent or reference, `second` of the child or prediction; one may be missing.
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


def few(reasons: Sequence[str]) -> str:
    """The first three, and how many more."""
    more = f" and {len(reasons) - 3} more" if len(reasons) > 3 else ""
    return ", ".join(reasons[:3]) + more


def in_turn(*ranked: Sequence[Any]) -> list[Any]:
    """The first of each sequence, then the second of each, and so on."""
    longest = max(map(len, ranked), default=0)
    return [items[i] for i in range(longest) for items in ranked if i < len(items)]


def _crop(folder: ImageFolder, case: Case) -> Crop:
    """Cut the surroundings of the boxes out of the image, in the shape of a tile."""
    file = _existing(folder, case.files)
    image = folder.decode(file, folder.read(file))
    whole = np.array([image.width, image.height], np.float64)
    unit = np.tile(whole, 2) if case.parts else 1.0
    boxes = [None if box is None else box * unit for box in (case.first, case.second)]
    low, high = _region([box for box in boxes if box is not None], whole)
    scale = min(float((TILE / (high - low)).min()), 1.0)
    width, height = (max(round(float(side)), 1) for side in (high - low) * scale)
    small = image.resize((width, height), box=(*low, *high), reducing_gap=3.0)
    first, second = (None if box is None else _drawn(box, low, scale) for box in boxes)
    return Crop(case, file, _data_uri(small), width, height, first, second)


def _existing(folder: ImageFolder, files: Sequence[str]) -> str:
    """The first of the names that is there; the error for the first where none is."""
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
    high = np.clip(np.max([box[:2] + box[2:] for box in boxes], axis=0), low + 1, whole)
    size = np.maximum((high - low) * 1.6, LEAST_CONTEXT)
    aspect = TILE[0] / TILE[1]
    size = np.minimum(np.maximum(size, [size[1] * aspect, size[0] / aspect]), whole)
    low = np.clip((low + high - size) / 2, 0, whole - size)
    return low, low + size


def _drawn(box: Float64, low: Float64, scale: float) -> tuple[float, ...]:
    """The box in pixels of the crop; what lies far outside ends just outside."""
    corners = (np.concatenate([box[:2], box[:2] + box[2:]]) - np.tile(low, 2)) * scale
    x0, y0, x1, y1 = (round(float(value), 1) for value in np.clip(corners, -20, 2 * TILE[0]))
    return x0, y0, round(x1 - x0, 1), round(y1 - y0, 1)


def _data_uri(image: "Image") -> str:
    """A JPEG of at most MAX_JPEG bytes, in text."""
    for quality in (82, 65, 45, 20):
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality, optimize=True)
        if stream.tell() <= MAX_JPEG:
            break
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
