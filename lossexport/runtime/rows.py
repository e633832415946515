"""The library's reading of the rows of COCO json (plugins/host/rows.h), called by ctypes."""

import ctypes
import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from lossexport.runtime import native

Bool = np.ndarray[Any, np.dtype[np.bool_]]
Float64 = np.ndarray[Any, np.dtype[np.float64]]
Int32 = np.ndarray[Any, np.dtype[np.int32]]
Int64 = np.ndarray[Any, np.dtype[np.int64]]

_READ, _NUMBER = _FUNCTIONS = "lossexport_read_rows", "lossexport_number_ids"
CUT, FULL, CLOSED, ODD = range(4)
"""Why a block of rows ends: with the text, with the memory, with the array, before a row that is
not plain."""
LEAST_BYTES = 32
"""A row takes more than this."""


class _Rows(ctypes.Structure):
    _fields_ = (
        ("capacity", ctypes.c_int64),
        *(
            (name, ctypes.c_void_p)
            for name in ("image", "category", "box", "score", "id", "area", "crowd", "ignore")
        ),
    )


@functools.cache
def available() -> bool:
    """Whether there is a library, and whether it has these functions."""
    return native.has(_FUNCTIONS)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a file, in its order.

    Only detections have a `score`, and only annotations what follows it; else there are 0 of them.
    """

    image: Int64
    """[n]"""
    category: Int64
    """[n]"""
    box: Float64
    """[n,4]"""
    score: Float64
    """[n]"""
    id: Int64
    """[n]"""
    area: Float64
    """[n] NaN if it is not stated."""
    crowd: Bool
    """[n]"""
    ignore: Bool
    """[n]"""

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.image)


class Reader:
    """Reads the elements of one JSON array, block by block."""

    def __init__(self, scored: bool) -> None:
        """For detections (`scored`) or annotations."""
        self._scored = scored
        self._capacity = 0
        self._memory: list[Any] = []
        self._first = True

    def read(self, text: bytes, start: int) -> tuple[Rows, int, int]:
        """Rows of `text` from `start` on, how many bytes they take, and why they end there.

        The rows share the memory of the next ones.
        """
        self._reserve((len(text) - start) // LEAST_BYTES + 1)
        addresses = (column.ctypes.data if len(column) else None for column in self._memory)
        given = _Rows(self._capacity, *addresses)
        count, used, end = ctypes.c_int64(), ctypes.c_int64(), ctypes.c_int32()
        native.call(
            _READ,
            ctypes.c_void_p(np.frombuffer(text, np.uint8).ctypes.data + start),
            ctypes.c_int64(len(text) - start),
            ctypes.c_int32(self._first),
            ctypes.byref(given),
            *map(ctypes.byref, (count, used, end)),
        )
        self._first &= not count.value
        columns = (column[: count.value] for column in self._memory)
        return Rows(*columns), used.value, end.value

    def _reserve(self, rows: int) -> None:
        if rows <= self._capacity:
            return
        self._capacity = rows
        score, rest = (rows, 0) if self._scored else (0, rows)
        self._memory = [
            np.empty(rows, np.int64),
            np.empty(rows, np.int64),
            np.empty((rows, 4)),
            np.empty(score),
            np.empty(rest, np.int64),
            np.empty(rest),
            np.empty(rest, np.bool_),
            np.empty(rest, np.bool_),
        ]


def number_ids(ids: Int64) -> tuple[Int32, Int64]:
    """Number of each of `ids` [n], and the distinct ones [m] in the order of first appearance."""
    number, distinct = np.empty(len(ids), np.int32), np.empty(len(ids), np.int64)
    found = ctypes.c_int64()
    native.call(
        _NUMBER,
        ctypes.c_void_p(ids.ctypes.data),
        ctypes.c_int64(len(ids)),
        ctypes.c_void_p(number.ctypes.data),
        ctypes.c_void_p(distinct.ctypes.data),
        ctypes.byref(found),
    )
    return number, distinct[: found.value]
