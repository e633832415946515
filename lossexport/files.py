"""Reading with bounds and writing all or nothing."""

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from lossexport import stage
from lossexport.errors import LossexportError, shown


def reason(error: OSError) -> str:
    """The operating system's words for an error, without the path that the caller names anyway."""
    return error.strerror or str(error)


def check_path(path: Path) -> None:
    """Raise LossexportError on a path that no file can have."""
    try:
        sound = b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        sound = False
    if not sound:
        raise LossexportError(f"{shown(str(path))}: no file can have such a name")


def is_file(path: Path) -> bool:
    """Whether a regular file exists; False also for a name that no file can have."""
    return os.path.isfile(path)  # noqa: PTH113  pathlib's raises on a name that is too long


def open_regular(path: Path, open_it: Callable[[], int] | None = None) -> BinaryIO:
    """Open a regular file to read; `open_it` gives the descriptor of `path`.

    Raises LossexportError if it is missing, unreadable or something else, such as a folder.
    """
    check_path(path)
    # Without O_NONBLOCK, opening a pipe waits for a writer.
    return _opened(path, open_it or (lambda: os.open(path, os.O_RDONLY | os.O_NONBLOCK)))


def _opened(path: Path, open_it: Callable[[], int]) -> BinaryIO:
    try:
        descriptor = open_it()
    except OSError as error:
        raise LossexportError(f"{path}: cannot be read: {reason(error)}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise LossexportError(f"{path}: is not a regular file")
    return os.fdopen(descriptor, "rb")


def read_bytes(path: Path, limit: int, open_it: Callable[[], int] | None = None) -> bytes:
    """Read a regular file of at most `limit` bytes; `open_it` gives the descriptor of `path`.

    Raises LossexportError when the file is missing, unreadable, not a regular file or too large.
    """
    with open_regular(path) if open_it is None else _opened(path, open_it) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > limit:
            raise LossexportError(f"{path}: {size} bytes, more than the limit of {limit}")
        try:
            data = stream.read(limit + 1)
        except OSError as error:
            raise LossexportError(f"{path}: cannot be read: {reason(error)}") from error
    if len(data) > limit:
        raise LossexportError(f"{path}: more than the limit of {limit} bytes")
    return data


def shipped(name: str) -> Path:
    """A folder that is inside the package in a wheel, and beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name


def shipped_files(folder: str) -> dict[str, Path]:
    """The TOML files of a shipped folder by name, without the suffix."""
    return {path.stem: path for path in sorted(shipped(folder).glob("*.toml"))}


def file_or_shipped(path: Path, folder: str) -> Path:
    """`path`; if it is no file but the name of one in a shipped folder, that one."""
    return path if is_file(path) else shipped_files(folder).get(str(path), path)


def sha256(data: bytes) -> str:
    """Hex digest of `data`."""
    return hashlib.sha256(data).hexdigest()


def make_folder(path: Path) -> None:
    """Create `path` and its parents. Raises LossexportError if that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LossexportError(f"{path}: folder cannot be made: {reason(error)}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise LossexportError(f"{path}: folder cannot be written")


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a path to write a file to; it takes the place of `path` when the block succeeds.

    On any error, `path` stays as it was. Whenever the process is killed, `path` is the whole old or
    the whole new file. A link is followed, and the mode of an existing file is kept. Raises
    LossexportError if `path` is not a regular file, and on an error of the operating system (folder
    not writable, disk full).
    """
    _check_regular(path)
    make_folder(path.parent)
    with _writing(path), stage.opened(path) as staged:
        yield staged.new
        staged.put_file()


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` all or nothing."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def check_folder(out: Path) -> Path:
    """Return `out`, or the nearest existing parent in which it would be created.

    This is checked early, so that a bad path fails before any work. Raises LossexportError if that
    path is not a folder or cannot be written to.
    """
    check_path(out)
    nearest = next(path for path in (out, *out.absolute().parents) if os.path.lexists(path))
    if not nearest.is_dir():
        raise LossexportError(f"{nearest}: is not a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise LossexportError(f"{nearest}: folder cannot be written")
    return nearest


def check_file(path: Path) -> None:
    """Check early what `atomic_path` would refuse.

    Raises LossexportError if `path` is not a regular file, or its folder cannot be written to.
    """
    _check_regular(path)
    check_folder(path.parent)


def _check_regular(path: Path) -> None:
    check_path(path)
    if os.path.exists(path) and not is_file(path):  # noqa: PTH110  as above
        raise LossexportError(f"{path}: is not a regular file")


@contextlib.contextmanager
def appear_together(out: Path) -> Iterator[Path]:
    """Yield an empty folder to write files to, which move to `out` when the block succeeds.

    On any error, `out` stays as it was, and parents that were missing are removed again. Whenever
    the process is killed, `out` holds all old or all new files, and everything else that was there;
    for folders that cannot be exchanged (see `stage`), the next run completes the change. Waits
    while another run writes to `out`. Raises LossexportError if `out` cannot be written to.
    """
    check_folder(out)
    with _writing(out), _parents(out), stage.opened(out) as staged:
        staged.new.mkdir()
        yield staged.new
        staged.put_folder()


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keep other runs from changing an existing folder while one of its files is rewritten.

    Raises LossexportError if it cannot be written.
    """
    check_folder(folder)
    with _writing(folder), stage.opened(folder):
        yield


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LossexportError(f"{path}: cannot be written: {reason(error)}") from error


@contextlib.contextmanager
def _parents(out: Path) -> Iterator[None]:
    """Create the missing parents of `out`, and remove them again on an error."""
    missing = [parent for parent in out.absolute().parents if not parent.exists()]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for parent in missing:
            with contextlib.suppress(OSError):  # another run's by now
                parent.rmdir()
        raise
