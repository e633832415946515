"""Reads input files once, in blocks; hashes them and decompresses gzip on the way."""

import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import BinaryIO, cast

from lossexport.boxes.boxset import Input
from lossexport.errors import LossexportError
from lossexport.files import open_regular, reason
from lossexport.folder import Folder
from lossexport.formats.shared import suffix
from lossexport.images import IMAGE_FILES
from lossexport.threads import cores

MAX_BYTES = 64 << 30
"""Largest text, after gunzipping, that is read from one file."""
MAX_FILE = 1 << 30
"""Largest file of a folder in a format that is not this package's."""
HASHED_ASIDE = 4 << 20
"""So large a file is worth a thread."""
WAITING = 4
"""Blocks that wait for that thread."""

Advance = Callable[[float], None]
"""Told which part of the input, 0 to 1, has been read."""


def ignore_progress(part: float) -> None:
    """Do nothing; for callers that do not follow the progress."""


class _Hash:
    """SHA-256 of blocks, those of a large file on a thread of its own."""

    def __init__(self, size: int) -> None:
        self._digest = hashlib.sha256()
        self._waiting: Queue[bytes] = Queue(WAITING)
        self._thread = Thread(target=self._run, daemon=True)
        self._aside = size >= HASHED_ASIDE and cores() > 1
        if self._aside:
            self._thread.start()

    def _run(self) -> None:
        while block := self._waiting.get():
            self._digest.update(block)

    def add(self, block: bytes) -> None:
        if self._aside:
            self._waiting.put(block)
        else:
            self._digest.update(block)

    def end(self) -> str:
        if self._aside:
            self._waiting.put(b"")
            self._thread.join()
            self._aside = False
        return self._digest.hexdigest()


class _Hashed(io.RawIOBase):
    """The raw bytes of a file, hashed as they pass."""

    def __init__(self, raw: BinaryIO, size: int) -> None:
        self.raw = raw
        self.hash = _Hash(size)
        self.position = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block = self.raw.read(size)
        if block:
            self.hash.add(block)
        self.position += len(block)
        return block

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer))
        block = self.read(len(view))
        view[: len(block)] = block
        return len(block)


class Source(AbstractContextManager["Source"]):
    """A regular file, plain or gzipped, read front to back; a context manager.

    `read` raises LossexportError when the file cannot be read, is damaged or too large.
    """

    def __init__(self, path: Path, advance: Advance = ignore_progress) -> None:
        """Open `path`. Raises LossexportError when it is missing or not a regular file."""
        self.path = path
        self._advance = advance
        self._count = 0
        self._raw = raw = open_regular(path)
        self._size = max(os.fstat(raw.fileno()).st_size, 1)
        gzipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        self._hashed = _Hashed(raw, self._size)
        self._stream: _Hashed | gzip.GzipFile = self._hashed
        if gzipped:
            self._stream = gzip.GzipFile(fileobj=io.BufferedReader(self._hashed, 1 << 18))

    def read(self, size: int) -> bytes:
        """Up to `size` bytes of text; empty at the end."""
        try:
            data = self._stream.read(size)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise LossexportError(f"{self.path}: damaged gzip file: {error}") from error
        except OSError as error:
            raise LossexportError(f"{self.path}: cannot be read: {reason(error)}") from error
        self._count += len(data)
        if self._count > MAX_BYTES:
            raise LossexportError(f"{self.path}: more than the limit of {MAX_BYTES} bytes")
        self._advance(self.part)
        return data

    @property
    def part(self) -> float:
        """Part of the file, from 0 to 1, that has been read."""
        return min(self._hashed.position / self._size, 1.0)

    def finish(self) -> Input:
        """Name and hash of the file; reads the rest of it."""
        while self.read(1 << 20):
            pass
        return Input(self.path.name, self._hashed.hash.end())

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._hashed.hash.end()
        self._raw.close()


def hashed(path: Path) -> Input:
    """Name and hash of a file, or of all files of a folder except images.

    Raises LossexportError if one cannot be read, and on a link that leaves the folder.
    """
    if path.is_dir():
        files = FolderDigest()
        with Folder(path) as folder:
            names = [name for name in folder.names() if suffix(name) not in IMAGE_FILES]
            for _ in files.read(folder, names, MAX_FILE):
                pass
        return files.finish(path)
    with open_regular(path) as raw:
        try:
            digest = hashlib.file_digest(cast(io.BufferedReader, raw), "sha256")
        except OSError as error:
            raise LossexportError(f"{path}: cannot be read: {reason(error)}") from error
    return Input(path.name, digest.hexdigest())


class FolderDigest:
    """One hash for the files of a folder: sha256 over the lines `sha256  name`."""

    def __init__(self) -> None:
        """Start with no file."""
        self._digest = hashlib.sha256()

    def add(self, path: Path, data: bytes) -> None:
        """Add a file; files come in sorted order. `path` is relative to the folder."""
        self._add(path, hashlib.sha256(data).hexdigest())

    def add_file(self, name: Path, file: BinaryIO, path: Path) -> Input:
        """Add an open file of the input `path`; returns name and hash of all files so far.

        A file that is the whole input has its own hash. Raises LossexportError if it cannot be
        read.
        """
        try:
            found = hashlib.file_digest(cast(io.BufferedReader, file), "sha256").hexdigest()
            file.seek(0)
        except OSError as error:
            raise LossexportError(f"{name}: cannot be read: {reason(error)}") from error
        self._add(name.relative_to(path if path.is_dir() else path.parent), found)
        return Input(path.name, found) if name == path else self.finish(path)

    def _add(self, path: Path, sha256: str) -> None:
        line = f"{sha256}  {path.as_posix()}\n"
        self._digest.update(line.encode("utf-8", "surrogateescape"))

    def read(
        self, folder: Folder, names: Sequence[str], limit: int, advance: Advance = ignore_progress
    ) -> Iterator[tuple[str, bytes]]:
        """Read files of a folder, each of at most `limit` bytes, and add them."""
        for done, name in enumerate(names, 1):
            data = folder.read(name, limit)
            self.add(Path(name), data)
            yield name, data
            advance(done / len(names))

    def finish(self, folder: Path) -> Input:
        """Name of the folder and hash of its files."""
        return Input(folder.name, self._digest.hexdigest())
