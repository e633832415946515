"""Reading with bounds and writing all or nothing."""

import contextlib
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import BinaryIO

from lossexport.errors import LossexportError


def reason(error: OSError) -> str:
    """The operating system's words for an error, without the path that the caller names anyway."""
    return error.strerror or str(error)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file to read.

    Raises LossexportError when it is missing, unreadable or anything else, as a pipe or a folder.
    """
    try:
        # Otherwise opening a pipe waits for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise LossexportError(f"{path}: cannot be read: {reason(error)}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise LossexportError(f"{path}: is not a regular file")
    return os.fdopen(descriptor, "rb")


def read_bytes(path: Path, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes.

    Raises LossexportError when the file is missing, unreadable, not a regular file or too large.
    """
    with open_regular(path) as stream:
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
    """A folder that the wheel puts into the package and that lies beside it in a checkout."""
    package = Path(str(resources.files("lossexport")))
    inside = package / name
    return inside if inside.is_dir() else package.parent / name


def shipped_files(folder: str) -> dict[str, Path]:
    """The TOML files of a shipped folder by name, without the suffix."""
    return {path.stem: path for path in sorted(shipped(folder).glob("*.toml"))}


def file_or_shipped(path: Path, folder: str) -> Path:
    """`path`, or where no file is there and it is the name of one in a shipped folder, that one."""
    return path if path.is_file() else shipped_files(folder).get(str(path), path)


def sha256(data: bytes) -> str:
    """Hex digest of `data`."""
    return hashlib.sha256(data).hexdigest()


def make_folder(path: Path) -> None:
    """Create `path` and its parents. Raises LossexportError where that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LossexportError(f"{path}: folder cannot be made: {reason(error)}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise LossexportError(f"{path}: folder cannot be written")


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` when the block succeeds.

    On any error the temporary file is removed and what stood at `path` stays as it was.
    Raises LossexportError on an operating system error (folder not writable, disk full).
    """
    make_folder(path.parent)
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        # mkstemp makes files private; give the user's ordinary mode instead.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise LossexportError(f"{path}: cannot be written: {reason(error)}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` all or nothing."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def check_folder(out: Path) -> Path:
    """The folder that `out` is or is to be made in; better known early than late.

    Raises LossexportError where `out`, or what it would lie in, exists and is no folder.
    """
    nearest = next(path for path in (out, *out.absolute().parents) if os.path.lexists(path))
    if not nearest.is_dir():
        raise LossexportError(f"{nearest}: is not a folder")
    return nearest


@contextlib.contextmanager
def appear_together(out: Path) -> Iterator[Path]:
    """Yield an empty folder to write to; when the block succeeds its files move into `out`.

    On any error `out` stays as it was, missing parents included. Raises LossexportError when it
    cannot be written.
    """
    home = check_folder(out)
    # Beside the target, so that the moves are renames within one file system. Named before it is
    # made: a signal in between leaves nothing.
    stage = home / f".{out.name}.{secrets.token_hex(8)}.tmp"
    fresh = stage / "new"
    try:
        stage.mkdir(mode=0o700)
        fresh.mkdir()
        yield fresh
        if home == out:
            _replace_all(fresh, out, stage)
        else:
            out.parent.mkdir(parents=True, exist_ok=True)
            fresh.replace(out)
    except OSError as error:
        raise LossexportError(f"{out}: cannot be written: {reason(error)}") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _replace_all(fresh: Path, out: Path, stage: Path) -> None:
    """Move the files of `fresh` into `out`; if one cannot be moved, put back what stood there."""
    old = stage / "old"
    old.mkdir()
    undo: list[tuple[Path, Path]] = []
    try:
        for path in sorted(fresh.iterdir()):
            target = out / path.name
            if target.is_dir():
                raise LossexportError(f"{target}: is a folder")
            stood = os.path.lexists(target)
            if stood:
                target.replace(old / path.name)
                undo.append((old / path.name, target))
            path.replace(target)
            if not stood:
                undo.append((target, path))
    except BaseException:
        for source, target in reversed(undo):
            source.replace(target)
        raise
