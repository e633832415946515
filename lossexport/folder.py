"""The files below one folder, opened so that no link leads out of it."""

import errno
import os
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal

from lossexport.errors import LossexportError
from lossexport.files import open_regular, read_bytes, reason

MAX_FILES = 5_000_000
MAX_DEPTH = 32
_LINK = (errno.ELOOP, errno.ENOTDIR, errno.EMLINK)
"""Errors of opening a link that is not to be followed."""


Kind = Literal["file", "folder", "link"]


def _kind(entry: os.DirEntry[str]) -> Kind:
    if entry.is_symlink():
        return "link"
    return "folder" if entry.is_dir() else "file"


def _is_folder(path: Path) -> bool:
    """Whether `path` is a folder, or a link that leads to one."""
    try:
        return path.is_dir()
    except OSError:
        return False


class Folder(AbstractContextManager["Folder"]):
    """A folder that is listed with its sub-folders and read file by file; a context manager.

    Names are relative to it, with slashes. Each part of a name is opened in the folder before it
    without following links, so a file that is swapped for a link in the meantime is not read. A
    link to a file inside is resolved first and then read in the same way.
    """

    def __init__(self, path: Path) -> None:
        """Raises LossexportError if `path` is no folder or cannot be read."""
        self.path = path
        self.passed: list[str] = []
        """Names that `names` left out: those with a dot in front, and links to folders inside."""
        try:
            self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise LossexportError(f"{path}: folder cannot be read: {reason(error)}") from error
        self._real = Path(os.path.realpath(path))

    def names(self, images: str = "images") -> list[str]:
        """Sorted names of everything below that is no folder.

        A link to a folder inside is skipped, because its files are read in their own place, and so
        is a link to the folder of the `images`. Raises LossexportError on a link to another folder
        and on too many files.
        """
        found: list[str] = []
        folders = [""]
        while folders:
            folder = folders.pop()
            if folder.count("/") >= MAX_DEPTH:
                raise LossexportError(f"{self.path / folder}: more than {MAX_DEPTH} folders deep")
            for name, kind in self._entries(folder):
                last = name.rpartition("/")[2].lower()
                if last.startswith("."):
                    self.passed.append(name)
                elif kind == "folder":
                    folders.append(name)
                elif kind == "link" and _is_folder(self.path / name):
                    if last != images.lower():
                        self._resolve(name)
                    self.passed.append(name)
                else:
                    found.append(name)
            if len(found) > MAX_FILES:
                raise LossexportError(f"{self.path}: more than {MAX_FILES} files")
        return sorted(found)

    def _entries(self, folder: str) -> list[tuple[str, Kind]]:
        """The names in one folder, and the kind of each."""
        where = self.path / folder
        try:
            descriptor = self._descend(PurePosixPath(folder).parts, os.O_DIRECTORY)
            try:
                with os.scandir(descriptor) as listed:
                    entries = [(entry.name, _kind(entry)) for entry in listed]
            finally:
                os.close(descriptor)
        except OSError as error:
            raise LossexportError(f"{where}: folder cannot be read: {reason(error)}") from error
        return [(f"{folder}/{name}" if folder else name, kind) for name, kind in entries]

    def read(self, name: str, limit: int) -> bytes:
        """Bytes of the regular file `name`, at most `limit`.

        Raises LossexportError if it is missing, unreadable, too large or not a regular file, or if
        its name or a link leads out of the folder.
        """
        self._check(name)
        return read_bytes(self.path / name, limit, lambda: self._open(name))

    def open(self, name: str) -> BinaryIO:
        """The regular file `name`, open to read. Raises LossexportError as `read` does."""
        self._check(name)
        return open_regular(self.path / name, lambda: self._open(name))

    def _check(self, name: str) -> None:
        if not name.isprintable():
            raise LossexportError(f"{self.path}: file name {name!a} is not plain text")

    def _open(self, name: str) -> int:
        parts = PurePosixPath(name).parts
        if ".." not in parts and "/" not in parts:
            try:
                return self._descend(parts)
            except OSError as error:
                if error.errno not in _LINK:
                    raise
        return self._descend(self._resolve(name))

    def _descend(self, parts: tuple[str, ...], flags: int = 0) -> int:
        """Open a file or, with O_DIRECTORY, a folder, part by part. Raises OSError on a link."""
        descriptor = os.dup(self._root)
        for place, part in enumerate(parts):
            # Without O_NONBLOCK opening a pipe waits for a writer.
            kind = flags | os.O_NONBLOCK if place == len(parts) - 1 else os.O_DIRECTORY
            try:
                below = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | kind, dir_fd=descriptor)
            finally:
                os.close(descriptor)
            descriptor = below
        return descriptor

    def _resolve(self, name: str) -> tuple[str, ...]:
        """The parts of `name` without links. Raises LossexportError if it is not inside."""
        path = self.path / name
        real = Path(os.path.realpath(path))
        if not real.is_relative_to(self._real):
            what = "is a link that leaves" if path.is_symlink() else "lies outside of"
            raise LossexportError(f"{path}: {what} the folder {self.path}: put a copy there")
        return real.relative_to(self._real).parts

    def __exit__(self, *_: object) -> None:
        """Close the folder."""
        os.close(self._root)
