"""The library's order of boxes and counts of COCO's protocol (plugins/host/coco.h), by ctypes."""

import ctypes
import functools
from typing import Any

import msgspec
import numpy as np

from lossexport.runtime import binding

Float64 = np.ndarray[Any, np.dtype[np.float64]]
Float32 = np.ndarray[Any, np.dtype[np.float32]]
Int64 = np.ndarray[Any, np.dtype[np.int64]]
Int32 = np.ndarray[Any, np.dtype[np.int32]]
Int8 = np.ndarray[Any, np.dtype[np.int8]]
UInt8 = np.ndarray[Any, np.dtype[np.uint8]]

_ORDER, _REPEATS, _INSIDE, _LOOK, _HITS, _PRECISION, _RANK = _FUNCTIONS = (
    "lossexport_order",
    "lossexport_repeats",
    "lossexport_inside",
    "lossexport_look",
    "lossexport_hits",
    "lossexport_precision",
    "lossexport_rank",
)
MOST_AREAS = 8


@functools.cache
def available() -> bool:
    """Whether there is a library, and whether it has these functions."""
    return binding.has(_FUNCTIONS)


def order(
    category: Int32, image: Int32, score: Float64 | None, categories: int, images: int
) -> tuple[Int64, Int64, Int64]:
    """Boxes [n] by category, image and falling score; equal ones keep their order.

    Returns the row, the group, `category * images + image`, and the rank in its group of the box
    at each place [n].
    """
    held = binding.Pointers()
    row, group, rank = (np.empty(len(category), np.int64) for _ in range(3))
    binding.call(
        _ORDER,
        held.pointer(category, np.int32),
        held.pointer(image, np.int32),
        None if score is None else held.pointer(score, np.float64),
        *map(ctypes.c_int64, (len(category), categories, images)),
        *(ctypes.c_void_p(array.ctypes.data) for array in (row, group, rank)),
    )
    return row, group, rank


def repeats(row: Int64, group: Int64, box: Float64, value: Float64) -> int:
    """How many boxes repeat an earlier one of their group: `box` [n,4] and `value` [n] are equal.

    `row` and `group` are those of an order.
    """
    held = binding.Pointers()
    found = ctypes.c_int64()
    binding.call(
        _REPEATS,
        held.pointer(row, np.int64),
        held.pointer(group, np.int64),
        ctypes.c_int64(len(row)),
        held.pointer(box, np.float64),
        held.pointer(value, np.float64),
        ctypes.c_int64(len(box)),
        ctypes.byref(found),
    )
    return found.value


def inside(row: Int64, size: Float64, areas: Float64) -> UInt8:
    """A bit for each of up to MOST_AREAS `areas` [A,2], least and largest: which hold the area.

    `size` [rows] are the areas, `row` [n] the boxes in order.
    """
    held = binding.Pointers()
    found = np.empty(len(row), np.uint8)
    binding.call(
        _INSIDE,
        held.pointer(row, np.int64),
        ctypes.c_int64(len(row)),
        held.pointer(size, np.float64),
        ctypes.c_int64(len(size)),
        held.pointer(areas, np.float64),
        ctypes.c_int64(len(areas)),
        ctypes.c_void_p(found.ctypes.data),
    )
    return found


class _Survey(ctypes.Structure):
    _fields_ = (
        ("most", ctypes.c_double),
        ("beyond", ctypes.c_int64),
        ("turned", ctypes.c_int64),
    )


def look(box: Float64, image: Int32, sizes: Float64 | None, spill: float) -> tuple[float, int, int]:
    """The largest size of a coordinate of `box` [n,4], and two numbers of boxes.

    Of those that reach out of their image, of `sizes` [I,2], by more than the part `spill` of its
    side; and of those whose last two numbers are above the first two.
    """
    held = binding.Pointers()
    found = _Survey()
    binding.call(
        _LOOK,
        held.pointer(box, np.float64),
        held.pointer(image, np.int32),
        ctypes.c_int64(len(box)),
        None if sizes is None else held.pointer(sizes, np.float64),
        ctypes.c_int64(0 if sizes is None else len(sizes)),
        ctypes.c_double(spill),
        ctypes.byref(found),
    )
    return found.most, found.beyond, found.turned


class _Outcomes(ctypes.Structure):
    _fields_ = (
        ("category", ctypes.c_void_p),
        ("rank", ctypes.c_void_p),
        ("score", ctypes.c_void_p),
        ("inside", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("place", ctypes.c_void_p),
        ("outcome", ctypes.c_void_p),
        ("placed", ctypes.c_int64),
        ("areas", ctypes.c_int64),
        ("thresholds", ctypes.c_int64),
        ("categories", ctypes.c_int64),
    )


class Outcomes(msgspec.Struct, frozen=True):
    """The outcomes of ordered predictions; the fields are those of `scoring.protocol.Outcomes`."""

    category: Int32
    rank: Int64
    score: Float64
    inside: UInt8
    place: Int32
    outcome: Int8
    categories: int

    def _given(self, held: binding.Pointers) -> Any:
        areas, thresholds = self.outcome.shape[1:]
        return ctypes.byref(
            _Outcomes(
                held.pointer(self.category, np.int32),
                held.pointer(self.rank, np.int64),
                held.pointer(self.score, np.float64),
                held.pointer(self.inside, np.uint8),
                len(self.category),
                held.pointer(self.place, np.int32),
                held.pointer(self.outcome, np.int8),
                len(self.place),
                areas,
                thresholds,
                self.categories,
            )
        )

    def hits(self, most: tuple[int, ...]) -> Int64:
        """True predictions [M,A,T,K] of a rank below each of `most` [M]."""
        held = binding.Pointers()
        found = np.empty((len(most), *self.outcome.shape[1:], self.categories), np.int64)
        binding.call(
            _HITS,
            self._given(held),
            held.pointer(np.array(most, np.int64), np.int64),
            ctypes.c_int64(len(most)),
            ctypes.c_void_p(found.ctypes.data),
        )
        return found

    def precision(
        self, positives: Int64, recalls: Float64, most: int, column: Int64, out: Float64
    ) -> None:
        """Write the precision at each recall to `out` [A,T,R,P], where `positives` [A,K] is not 0.

        Of predictions of a rank below `most`. `column` [K] is the place in P, or -1.
        """
        held = binding.Pointers()
        binding.call(
            _PRECISION,
            self._given(held),
            held.pointer(positives, np.int64),
            held.pointer(recalls, np.float64),
            *map(ctypes.c_int64, (len(recalls), most)),
            held.pointer(column, np.int64),
            ctypes.c_int64(out.shape[-1]),
            ctypes.c_void_p(out.ctypes.data),
        )


class _Rows(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("category", "score", "status", "iou")),
        *((name, ctypes.c_int64) for name in ("count", "matches", "categories")),
    )


class _Ranking(ctypes.Structure):
    _fields_ = (
        ("capacity", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("score", "hit", "end", "iou", "first")),
        *((f"{name}_each", ctypes.c_void_p) for name in ("score", "hit", "end", "iou")),
    )


Ranks = tuple[Float64, Int64, Int64, Float64]
"""Scores [n]; of the matches [m] their places, where the predictions with the score of each end,
and their overlaps."""


def rank(
    category: Int32, score: Float64, status: Int8, iou: Float32, counted: int, categories: int
) -> tuple[Ranks, Int64, Ranks]:
    """The predictions that count, by falling score; of equal scores the overlaps rise.

    Of `category`, `score` and `status` [N] and the `iou` [m] of the matches by rising row. First
    all as one; then where each category begins, and the same with each category by itself.
    """
    held = binding.Pointers()
    matches = len(iou)
    rows = _Rows(
        held.pointer(category, np.int32),
        held.pointer(score, np.float64),
        held.pointer(status, np.int8),
        held.pointer(iou, np.float32),
        len(category),
        matches,
        categories,
    )
    whole, each = (
        (
            np.empty(counted),
            np.empty(matches, np.int64),
            np.empty(matches, np.int64),
            np.empty(matches),
        )
        for _ in range(2)
    )
    first = np.empty(categories + 1, np.int64)
    addresses = (column.ctypes.data for column in (*whole, first, *each))
    binding.call(_RANK, ctypes.byref(rows), ctypes.byref(_Ranking(counted, *addresses)))
    return whole, first, each
