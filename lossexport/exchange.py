"""Swap two paths in one step of the file system."""

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

_AT_FDCWD = -100  # Linux's: paths are relative to the working directory
_SWAP = 2  # RENAME_EXCHANGE on Linux, RENAME_SWAP on macOS


def exchange(first: Path, second: Path) -> None:
    """Swap two existing entries of one file system, of any two kinds, in one step.

    Raises OSError, and changes nothing, where the system or the file system cannot.
    """
    swap = _swap()
    if swap is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if swap(os.fsencode(first), os.fsencode(second)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(first), None, str(second))


@cache
def _swap() -> Callable[[bytes, bytes], int] | None:
    """The system's call, which returns 0 for success; None where it has none."""
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "darwin":
        renamex = getattr(libc, "renamex_np", None)
        return renamex and (lambda a, b: renamex(a, b, _SWAP))
    renameat2 = getattr(libc, "renameat2", None)
    return renameat2 and (lambda a, b: renameat2(_AT_FDCWD, a, _AT_FDCWD, b, _SWAP))
