"""Binds the shared library of CPU kernels (plugins/host/lossexport.h) by ctypes."""

import contextlib
import ctypes
import functools
import math
import os
import re
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lossexport.errors import LossexportError, one_line

Array = np.ndarray[Any, np.dtype[Any]]

ABI = 3
ENVIRONMENT = "LOSSEXPORT_NATIVE"
"""Variable that names a library to load in place of the package's own."""
THREADS = "LOSSEXPORT_THREADS"
"""Variable with the number of threads that a call may use; 0: as many as the process may."""
LEVEL = "LOSSEXPORT_LEVEL"
"""Variable that names the highest level of an x86-64 processor that is used."""
LEVELS = ("x86-64-v4", "x86-64-v3", "x86-64")

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h

PACKAGE = Path(__file__).resolve().parent.parent
FOLDER = PACKAGE / "native"
"""Where the library is built, with the files that programs are built with."""
_NAME = "liblossexport" + {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
# bfloat16 is its bits in uint16.
_TYPES = {
    np.dtype(name): place for place, name in enumerate(("f4", "f2", "u2", "i8", "?"), start=1)
}
_RANK = 3
_NONE = (0,) * _RANK
_RECORD = struct.Struct(f"PQii{_RANK}q{_RANK}q")


class CTensor(ctypes.Structure):
    """`lossexport_tensor`."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("bytes", ctypes.c_uint64),
        ("type", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("shape", ctypes.c_int64 * _RANK),
        ("strides", ctypes.c_int64 * _RANK),
    )

    @classmethod
    def of(cls, array: Array) -> "CTensor":
        """Describe an array, which has to outlive the call."""
        return cls.from_buffer_copy(_record(array))

    @classmethod
    def without_data(cls, dtype: str, shape: Sequence[int]) -> "CTensor":
        """Describe a tensor in row-major order whose memory is yet to come; bfloat16 as uint16."""
        strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
        return cls.from_buffer_copy(_packed(0, np.dtype(dtype), tuple(shape), strides))


def _record(array: Array) -> bytes:
    """The bytes of a CTensor: to make them takes a fraction of the time of the object."""
    unit = array.itemsize
    strides = tuple([step // unit for step in array.strides])
    return _packed(array.__array_interface__["data"][0], array.dtype, array.shape, strides)


def _packed(
    data: int, dtype: np.dtype[Any], shape: tuple[int, ...], strides: tuple[int, ...]
) -> bytes:
    size = dtype.itemsize * math.prod(shape)
    places = (*(shape + _NONE)[:_RANK], *(strides + _NONE)[:_RANK])
    return _RECORD.pack(data, size, _TYPES[dtype], len(shape), *places)


def _records(arrays: Sequence[Array]) -> bytes:
    return b"".join(map(_record, arrays))


class CAttribute(ctypes.Structure):
    """`lossexport_attribute`."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("number", ctypes.c_double),
        ("text", ctypes.c_char_p),
        ("list", ctypes.POINTER(ctypes.c_double)),
        ("count", ctypes.c_int64),
    )

    @classmethod
    def of(cls, name: str, value: Any) -> "CAttribute":
        """Describe a number, the name of a choice, or several numbers."""
        if isinstance(value, str):
            return cls(name.encode(), 0.0, value.encode())
        if isinstance(value, tuple | list):
            several = (ctypes.c_double * len(value))(*value)
            return cls(name.encode(), 0.0, None, several, len(value))
        return cls(name.encode(), value)


Attributes = ctypes.Array[CAttribute]
Tensors = ctypes.Array[CTensor]


def path() -> Path:
    """The library that is loaded on first use."""
    return Path(os.environ.get(ENVIRONMENT) or FOLDER / _NAME)


@functools.cache
def library() -> ctypes.CDLL:
    """The library, loaded once. Raises LossexportError if there is none that fits."""
    file = path()
    if not file.is_file():
        raise LossexportError(f"no library of native kernels at {file}")
    try:
        found = ctypes.CDLL(str(file.absolute()))
        abi, _ = found.lossexport_abi(), found.lossexport_run_on
    except (OSError, AttributeError) as error:
        raise LossexportError(f"{file}: cannot be loaded: {one_line(error)}") from error
    if abi != ABI:
        raise LossexportError(f"{file}: ABI {abi}, this release needs {ABI}")
    found.lossexport_level.restype = found.lossexport_message.restype = ctypes.c_char_p
    found.lossexport_op.restype = ctypes.c_char_p
    found.lossexport_op.argtypes = (ctypes.c_int32,)
    tensors = (ctypes.c_void_p, ctypes.c_int32)
    attributes = (ctypes.POINTER(CAttribute), ctypes.c_int32)
    found.lossexport_run_on.argtypes = (
        ctypes.c_void_p,
        ctypes.c_char_p,
        *attributes,
        *tensors,
        *tensors,
        ctypes.c_int32,
    )
    found.lossexport_run.argtypes = found.lossexport_run_on.argtypes[1:]
    return found


def has(functions: Sequence[str]) -> bool:
    """Whether there is a library, and whether it has these functions."""
    try:
        found = library()
    except LossexportError:
        return False
    return all(hasattr(found, name) for name in functions)


class Pointers:
    """Pointers to arrays in row-major order, which it keeps until the call is done."""

    def __init__(self) -> None:
        self._kept: list[Array] = []

    def pointer(self, array: Array, dtype: type[np.generic]) -> ctypes.c_void_p:
        """The address of the array, or of a copy that has the type and the order."""
        held = np.ascontiguousarray(array, dtype)
        self._kept.append(held)
        return ctypes.c_void_p(held.ctypes.data)


def call(name: str, *arguments: Any) -> None:
    """Call a function of the library. Raises LossexportError with its reason if it refuses."""
    found = library()
    if getattr(found, name)(*arguments):
        raise LossexportError(found.lossexport_message().decode(errors="replace"))


@functools.cache
def most_threads() -> int:
    """Threads that a call may use, 0 for all. Raises LossexportError on a wrong THREADS."""
    threads = os.environ.get(THREADS, "0")
    if re.fullmatch(r"[0-9]{1,4}", threads) is None:
        raise LossexportError(f"{THREADS}={threads!r}: must be a number of threads")
    return int(threads)


def keep_memory() -> None:
    """Let the process keep the memory that it frees, for columns that come and go.

    Asking the kernel for it again and again takes a tenth of the time of `score`. This is for
    a process of our own, and has an effect with glibc alone.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        set_option = ctypes.CDLL(None).mallopt
        for option, size in ((_MMAP_THRESHOLD, 32 << 20), (_TRIM_THRESHOLD, 256 << 20)):
            set_option(option, size)


def check_environment() -> None:
    """Raise LossexportError on a wrong THREADS or LEVEL."""
    most_threads()
    if (os.environ.get(LEVEL) or LEVELS[0]) not in LEVELS:
        raise LossexportError(f"{LEVEL}={os.environ[LEVEL]!r}: must be {', '.join(LEVELS)}")


@functools.cache
def kernels() -> frozenset[str]:
    """The ops and gradients ("OP.grad") that the library computes; empty without a library."""
    try:
        name = library().lossexport_op
    except LossexportError:
        return frozenset()
    found: list[str] = []
    while (entry := name(len(found))) is not None:
        found.append(entry.decode())
    return frozenset(found)


def described(attributes: Mapping[str, Any]) -> Attributes:
    """Attributes by name, for `run`; one that is None gets the library's default."""
    return _described(
        tuple(
            (name, tuple(value) if isinstance(value, list) else value)
            for name, value in attributes.items()
            if value is not None
        )
    )


@functools.lru_cache(maxsize=256)
def _described(items: tuple[tuple[str, Any], ...]) -> Attributes:
    given = [CAttribute.of(*item) for item in items]
    return (CAttribute * len(given))(*given)


def run(
    kernel: str,
    attributes: Mapping[str, Any] | Attributes,
    inputs: Sequence[Array] | Tensors,
    outputs: Sequence[Array] | Tensors,
    threads: int = 0,
    team: int | None = None,
) -> None:
    """Compute `kernel`, writing to `outputs`: arrays in row-major order, bfloat16 as uint16.

    `attributes` are values by name, or what `described` makes of them; tensors may be described
    already likewise.

    On at most `threads` threads, where that is not 0, and never more than THREADS allows. They are
    new ones, or those of `team`, the address of a `lossexport_team`.

    Raises LossexportError, with the library's reason, on arguments that do not fit the kernel.
    """
    if not isinstance(attributes, ctypes.Array):
        attributes = described(attributes)
    most = most_threads()
    call(
        "lossexport_run_on",
        team,
        kernel.encode(),
        attributes,
        len(attributes),
        inputs if isinstance(inputs, ctypes.Array) else _records(inputs),
        len(inputs),
        outputs if isinstance(outputs, ctypes.Array) else _records(outputs),
        len(outputs),
        min(threads, most) if threads and most else threads or most,
    )
