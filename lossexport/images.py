"""The images of a folder: listed, found by name, read under bounds and decoded by Pillow."""

import io
import stat
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lossexport.boxes.boxset import UInt8
from lossexport.errors import LossexportError
from lossexport.folder import Folder
from lossexport.origin import install_command

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".jpg", ".jpeg", ".png")
IMAGE_FILES = ("jpg", "jpeg", "png", "bmp", "gif", "tif", "tiff", "webp", "jp2", "pgm", "ppm")
"""Suffixes of image files in general, including formats that cannot be drawn."""
MAX_FILE = 128 << 20
MAX_PIXELS = 64_000_000
"""Largest image that is decoded: 192 MB as RGB."""


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
        """The file `name`, which may be in a sub-folder.

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
        """Decode `data` as an RGB image; an EXIF orientation is not applied.

        Raises LossexportError where it is damaged, neither JPEG nor PNG, or too large.
        """
        try:
            with warnings.catch_warnings():
                # Above Pillow's own limit: larger than ours unless the user has set it.
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


def few(reasons: Sequence[str]) -> str:
    """The first three reasons, and the number of the others."""
    more = f" and {len(reasons) - 3} more" if len(reasons) > 3 else ""
    return ", ".join(reasons[:3]) + more
