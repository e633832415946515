"""The library's reading of the rows of COCO json (plugins/host/rows.h), called by ctypes."""

import ctypes
import functools
import math
from typing import Any

import msgspec
import numpy as np

from lossexport.runtime import binding

Bool = np.ndarray[Any, np.dtype[np.bool_]]
Float64 = np.ndarray[Any, np.dtype[np.float64]]
Int32 = np.ndarray[Any, np.dtype[np.int32]]
Int64 = np.ndarray[Any, np.dtype[np.int64]]

_READ, _NUMBER = _FUNCTIONS = "lossexport_take_rows", "lossexport_number_ids"
CUT, FULL, CLOSED, ODD = range(4)
"""Why a block of rows ends: with the text, with the memory, with the array, before a row that is
not plain."""
LEAST_BYTES = 32
"""A row takes more than this."""
SPARE, GROWTH = 1.05, 1.5
"""Memory that is not used takes none."""


class _Rows(ctypes.Structure):
    _fields_ = (
        ("capacity", ctypes.c_int64),
        ("most_size", ctypes.c_double),
        ("most_score", ctypes.c_double),
        *(
            (name, ctypes.c_void_p)
            for name in ("image", "category", "box", "score", "id", "area", "crowd", "ignore")
        ),
    )


@functools.cache
def available() -> bool:
    """Whether there is a library, and whether it has these functions."""
    return binding.has(_FUNCTIONS)


class Rows(msgspec.Struct, frozen=True):
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
    """[n] width x height if it is not stated."""
    crowd: Bool
    """[n]"""
    ignore: Bool
    """[n]"""

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.image)


class Reader:
    """Reads the elements of one JSON array, block by block, into columns that grow."""

    def __init__(
        self,
        scored: bool,
        most: int = 1 << 20,
        most_size: float = math.inf,
        most_score: float = math.inf,
    ) -> None:
        """For detections (`scored`) or annotations; memory is not taken for more than `most`.

        It is taken beyond that only as rows come. A row with a coordinate above `most_size` in
        size, or with such a score, is not plain.
        """
        self._scored = scored
        self._limits = most_size, most_score
        self._most = most
        self._capacity = 0
        self._memory: list[np.ndarray[Any, Any]] = []
        self.count = 0
        """Rows so far."""

    def read(self, text: bytes, start: int, part: float) -> tuple[Rows, int, int]:
        """Rows of `text` from `start` on, how many bytes they take, and why they end there.

        `part`, from 0 to 1, says how much of the file is before them.
        """
        most = (len(text) - start) // LEAST_BYTES + 1
        self._reserve(most, part)
        addresses = (
            column[self.count :].ctypes.data if len(column) else None for column in self._memory
        )
        given = _Rows(most, *self._limits, *addresses)
        count, used, end = ctypes.c_int64(), ctypes.c_int64(), ctypes.c_int32()
        binding.call(
            _READ,
            ctypes.c_void_p(np.frombuffer(text, np.uint8).ctypes.data + start),
            ctypes.c_int64(len(text) - start),
            ctypes.c_int32(self.count == 0),
            ctypes.byref(given),
            *map(ctypes.byref, (count, used, end)),
        )
        before, self.count = self.count, self.count + count.value
        return Rows(*self._columns(before)), used.value, end.value

    def all(self) -> Rows:
        """All rows so far."""
        return Rows(*self._columns(0))

    def _columns(self, start: int) -> Any:
        return [column[start : self.count] for column in self._memory]

    def _reserve(self, rows: int, part: float) -> None:
        """Make room for so many more rows; if there is none, for the rest of the file."""
        if self.count + rows <= self._capacity:
            return
        expected = min(int(SPARE * self.count / part), self._most) if part > 0 else 0
        self._capacity = max(expected, int(GROWTH * self._capacity)) + rows
        score, rest = (self._capacity, 0) if self._scored else (0, self._capacity)
        memory: list[np.ndarray[Any, Any]] = [
            np.empty(self._capacity, np.int64),
            np.empty(self._capacity, np.int64),
            np.empty((self._capacity, 4)),
            np.empty(score),
            np.empty(rest, np.int64),
            np.empty(rest),
            np.empty(rest, np.bool_),
            np.empty(rest, np.bool_),
        ]
        for new, old in zip(memory, self._memory, strict=bool(self._memory)):
            new[: self.count] = old[: self.count]
        self._memory = memory


def number_ids(ids: Int64) -> tuple[Int32, Int64]:
    """Number of each of `ids` [n], and the distinct ones [m] in the order of first appearance."""
    number, distinct = np.empty(len(ids), np.int32), np.empty(len(ids), np.int64)
    found = ctypes.c_int64()
    binding.call(
        _NUMBER,
        ctypes.c_void_p(ids.ctypes.data),
        ctypes.c_int64(len(ids)),
        ctypes.c_void_p(number.ctypes.data),
        ctypes.c_void_p(distinct.ctypes.data),
        ctypes.byref(found),
    )
    return number, distinct[: found.value]
