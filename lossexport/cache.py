"""Keeps on disk what takes long to make, in a bounded folder that processes may share.

An entry is a file named by the hash of its key, with the hash of its content before the content, so
that a damaged one is not used. It is written under another name first; any number of processes may
read, write and remove entries at a time. Nothing here is needed: where the folder cannot be used,
everything is made anew.
"""

import contextlib
import hashlib
import os
import stat
import tempfile
import time
from pathlib import Path

from lossexport.errors import LossexportError, shown
from lossexport.files import read_bytes

ENVIRONMENT = "LOSSEXPORT_CACHE"
"""Environment variable with the folder, an absolute path, or `off`."""
MAX_BYTES = 2**29
"""Size of the folder above which the entries that were not used for the longest are removed."""
_SUFFIX, _UNFINISHED = ".kept", ".part"
_DIGEST = hashlib.sha256().digest_size
_STALE = 3600.0  # seconds after which an unfinished file is that of a process that was killed


def folder() -> Path | None:
    """The folder of the cache; None if it is off or there is no home folder.

    Raises LossexportError if LOSSEXPORT_CACHE is neither `off` nor an absolute path.
    """
    text = os.environ.get(ENVIRONMENT, "")
    if text == "off":
        return None
    if text:
        if not Path(text).is_absolute():
            raise LossexportError(f"{ENVIRONMENT}={shown(text)}: must be an absolute path, or off")
        return Path(text)
    base = os.environ.get("XDG_CACHE_HOME", "")
    if Path(base).is_absolute():
        return Path(base) / "lossexport"
    home = os.path.expanduser("~")  # noqa: PTH111  pathlib's raises where there is no home
    return Path(home) / ".cache" / "lossexport" if Path(home).is_absolute() else None


def usable() -> bool:
    """Whether entries can be kept; makes the folder."""
    return _opened() is not None


def _opened() -> Path | None:
    """The folder to write to, which is made if it is missing; None if that is impossible."""
    if (where := folder()) is None:
        return None
    with contextlib.suppress(OSError):
        where.mkdir(mode=0o700, parents=True, exist_ok=True)
    return where if _private(where) and os.access(where, os.W_OK | os.X_OK) else None


def get(key: bytes) -> bytes | None:
    """The content that was kept for `key`, if it is there and whole."""
    where = folder()
    if where is None or not _private(where):
        return None
    path = _entry(where, key)
    try:
        data = read_bytes(path, MAX_BYTES)
    except LossexportError:
        return None
    content = data[_DIGEST:]
    if hashlib.sha256(content).digest() != data[:_DIGEST]:
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # used just now
    return content


def put(key: bytes, content: bytes) -> None:
    """Keep `content` for `key`, and remove old entries if the folder is full."""
    if (where := _opened()) is None:
        return
    with contextlib.suppress(OSError):  # a full disk
        descriptor, name = tempfile.mkstemp(suffix=_UNFINISHED, dir=where)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(hashlib.sha256(content).digest() + content)
            os.replace(name, _entry(where, key))  # noqa: PTH105
        except BaseException:
            os.unlink(name)  # noqa: PTH108
            raise
        _shrink(where)


def _entry(where: Path, key: bytes) -> Path:
    return where / f"{hashlib.sha256(key).hexdigest()}{_SUFFIX}"


def _private(where: Path) -> bool:
    """Whether nobody else can have put a file there."""
    try:
        found = where.stat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(found.st_mode)
        and found.st_uid == os.getuid()
        and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )


def _shrink(where: Path) -> None:
    """Remove the oldest entries until the rest is within the bound, and unfinished files."""
    kept = []
    for found in os.scandir(where):
        with contextlib.suppress(OSError):  # removed by another process
            state = found.stat(follow_symlinks=False)
            if found.name.endswith(_SUFFIX):
                kept.append((state.st_mtime, state.st_size, found.path))
            elif found.name.endswith(_UNFINISHED) and time.time() - state.st_mtime > _STALE:
                os.unlink(found.path)  # noqa: PTH108
    size = sum(entry[1] for entry in kept)
    for _, bytes_, path in sorted(kept):
        if size <= MAX_BYTES:
            break
        with contextlib.suppress(OSError):
            os.unlink(path)  # noqa: PTH108
        size -= bytes_
