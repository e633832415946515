"""The library's counts with a weight for each image (plugins/host/weighted.h), by ctypes."""

import ctypes
import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from lossexport.runtime import binding

Float64 = np.ndarray[Any, np.dtype[np.float64]]
Int64 = np.ndarray[Any, np.dtype[np.int64]]
Int32 = np.ndarray[Any, np.dtype[np.int32]]
Int8 = np.ndarray[Any, np.dtype[np.int8]]
UInt8 = np.ndarray[Any, np.dtype[np.uint8]]

_COCO, _BEST = _FUNCTIONS = "lossexport_weighted_coco", "lossexport_weighted_best"
NUMBERS = 12
"""Numbers of the COCO protocol."""


@functools.cache
def available() -> bool:
    """Whether there is a library, and whether it has these functions."""
    return binding.has(_FUNCTIONS)


class _Weights(ctypes.Structure):
    _fields_ = (
        ("weight", ctypes.c_void_p),
        ("draws", ctypes.c_int64),
        ("images", ctypes.c_int64),
        ("threads", ctypes.c_int32),
    )


class _Ranked(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("first", "image", "inside", "early", "tied", "row")),
        ("count", ctypes.c_int64),
        ("outcome", ctypes.c_void_p),
        ("placed", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("ref_first", "ref_image", "ref_counted")),
        ("references", ctypes.c_int64),
        ("categories", ctypes.c_int64),
    )


@dataclass(frozen=True, slots=True)
class Ranked:
    """N predictions by category, falling score, image; R references by category that count.

    Ranges of areas are four, thresholds ten, as in the COCO protocol.
    """

    first: Int64
    """[K+1] where the predictions of each category begin, and where the last ones end."""
    image: Int32
    """[N]"""
    inside: UInt8
    """[N] a bit for each range of areas: whether it counts as false if nothing matches."""
    early: UInt8
    """[N] bits: 1 if its rank within image and category is below 1, 2 if it is below 10."""
    tied: UInt8
    """[N] 1 if image, category and score are those of the one before."""
    row: Int32
    """[N] its row of `outcome`, or -1: no match."""
    outcome: Int8
    """[C,4,10] 1: true, 2: ignored, 0: no match."""
    ref_first: Int64
    """[K+1]"""
    ref_image: Int32
    """[R]"""
    ref_counted: UInt8
    """[R] a bit for each range of areas in which the reference counts."""

    def numbers(self, weight: Int32, recalls: Float64) -> Float64:
        """COCO's numbers [D,K,12] of each category under each `weight` [D,I]; NaN: undefined.

        `recalls` rise. A weight is how many copies of an image there are, next to each other.
        """
        held = binding.Pointers()
        categories = len(self.first) - 1
        given = _Ranked(
            held.pointer(self.first, np.int64),
            held.pointer(self.image, np.int32),
            held.pointer(self.inside, np.uint8),
            held.pointer(self.early, np.uint8),
            held.pointer(self.tied, np.uint8),
            held.pointer(self.row, np.int32),
            len(self.image),
            held.pointer(self.outcome, np.int8),
            len(self.outcome),
            held.pointer(self.ref_first, np.int64),
            held.pointer(self.ref_image, np.int32),
            held.pointer(self.ref_counted, np.uint8),
            len(self.ref_image),
            categories,
        )
        found = np.empty((len(weight), categories, NUMBERS))
        binding.call(
            _COCO,
            ctypes.byref(given),
            _weights(weight, held),
            held.pointer(recalls, np.float64),
            ctypes.c_int64(len(recalls)),
            ctypes.c_void_p(found.ctypes.data),
        )
        return found


def best(
    weight: Int32, score: Float64, image: Int32, right: UInt8, last: UInt8, missed: Int32
) -> Float64:
    """Score, precision, recall and F1 [D,4] at the cut of highest F1, under each `weight` [D,I].

    Of n predictions by falling score, which are `right` or wrong; `last` is 1 where a score ends.
    `missed` [m] are the images of references without a match.
    """
    held = binding.Pointers()
    found = np.empty((len(weight), 4))
    binding.call(
        _BEST,
        _weights(weight, held),
        held.pointer(score, np.float64),
        held.pointer(image, np.int32),
        held.pointer(right, np.uint8),
        held.pointer(last, np.uint8),
        ctypes.c_int64(len(score)),
        held.pointer(missed, np.int32),
        ctypes.c_int64(len(missed)),
        ctypes.c_void_p(found.ctypes.data),
    )
    return found


def _weights(weight: Int32, held: binding.Pointers) -> Any:
    """The weights [D,I] of draws, on as many threads as a call may use."""
    pointer = held.pointer(weight, np.int32)
    return ctypes.byref(_Weights(pointer, *weight.shape, binding.most_threads()))
