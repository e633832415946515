"""The library's matching of boxes (plugins/host/pairs.h), called by ctypes."""

import ctypes
import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from lossexport.runtime import binding

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
Int8 = npt.NDArray[np.int8]
Bool = npt.NDArray[np.bool_]

_FIND, _ASSIGN_PAIRS, _OUTCOMES, _ASSIGN_BOXES, *_ORIENTED = _FUNCTIONS = (
    "lossexport_find_pairs",
    "lossexport_assign_pairs",
    "lossexport_pair_outcomes",
    "lossexport_assign_boxes",
    "lossexport_find_oriented_pairs",
    "lossexport_assign_oriented_boxes",
)
_PLAIN = 4
"""Numbers of a box that is not oriented."""


class Boxes(msgspec.Struct, frozen=True):
    """A set of boxes by place: by rising group, which is one image and category."""

    box: Float64
    """[rows,4] x, y, width, height, finite; [rows,11] as in `boxes.oriented` if oriented."""
    row: Int64
    """[n] of the box at each place."""
    group: Int64
    """[n] rising."""

    def __len__(self) -> int:
        """Number of places."""
        return len(self.row)


class Rules(msgspec.Struct, frozen=True):
    """How references are to be taken. A lane is an area and a threshold, in this order."""

    crowd: Bool
    """[R] by place: never used up; its overlap is the part of the prediction inside."""
    ignored: Bool
    """[R,A] by place: taken only where no other is free."""
    thresholds: Float64
    """[T]"""

    @property
    def lanes(self) -> int:
        """A * T."""
        return int(self.ignored.shape[1]) * len(self.thresholds)

    def of(self, low: int, high: int) -> "Rules":
        """Those of the references from place `low` to `high`."""
        return Rules(self.crowd[low:high], self.ignored[low:high], self.thresholds)


class Found(NamedTuple):
    """Some of the pairs that overlap, by prediction, then reference."""

    pred: Int32
    """[P] place of the prediction."""
    ref: Int32
    """[P] place of the reference."""
    iou: Float64
    """[P]"""
    following: int
    """All pairs of the predictions before this place have been found."""


class _Boxes(ctypes.Structure):
    _fields_ = (
        ("box", ctypes.c_void_p),
        ("rows", ctypes.c_int64),
        ("row", ctypes.c_void_p),
        ("group", ctypes.c_void_p),
        ("count", ctypes.c_int64),
    )


class _Rules(ctypes.Structure):
    _fields_ = (
        ("crowd", ctypes.c_void_p),
        ("ignored", ctypes.c_void_p),
        ("thresholds", ctypes.c_void_p),
        ("areas", ctypes.c_int64),
        ("threshold_count", ctypes.c_int64),
    )


@functools.cache
def available() -> bool:
    """Whether there is a library, and whether it has these functions."""
    return binding.has(_FUNCTIONS)


def _boxes(boxes: Boxes, held: binding.Pointers) -> Any:
    """`lossexport_boxes`."""
    given = _Boxes(
        held.pointer(boxes.box, np.float64),
        len(boxes.box),
        held.pointer(boxes.row, np.int64),
        held.pointer(boxes.group, np.int64),
        len(boxes),
    )
    return ctypes.byref(given)


def _plain(pred: Boxes, ref: Boxes) -> bool:
    """Whether no box is oriented."""
    return bool(pred.box.shape[1] == ref.box.shape[1] == _PLAIN)


def _rules(rules: Rules, held: binding.Pointers) -> Any:
    """`lossexport_rules`."""
    given = _Rules(
        held.pointer(rules.crowd, np.bool_),
        held.pointer(rules.ignored, np.bool_),
        held.pointer(rules.thresholds, np.float64),
        rules.ignored.shape[1],
        len(rules.thresholds),
    )
    return ctypes.byref(given)


def _listed(
    pred: Int32, ref: Int32, iou: Float64, low: int, rules: Rules, held: binding.Pointers
) -> tuple[Any, ...]:
    """The first arguments of the functions that take pairs."""
    return (
        held.pointer(pred, np.int32),
        held.pointer(ref, np.int32),
        held.pointer(iou, np.float64),
        *map(ctypes.c_int64, (len(pred), low, len(rules.crowd))),
        _rules(rules, held),
    )


def find(pred: Boxes, ref: Boxes, crowd: Bool, threshold: float, at_once: int) -> Iterator[Found]:
    """Yield the pairs of one group that overlap by `threshold` (> 0) or more, some at a time.

    `crowd` [R] is by place. Ends early at a prediction that has more than `at_once` pairs.
    """
    held = binding.Pointers()
    sets = _boxes(pred, held), _boxes(ref, held), held.pointer(crowd, np.bool_)
    found, following = ctypes.c_int64(), ctypes.c_int64()
    at_once = min(at_once, len(pred) * len(ref))
    while following.value < len(pred):
        begin = following.value
        places = np.empty((2, at_once), np.int32)
        iou = np.empty(at_once)
        binding.call(
            _FIND if _plain(pred, ref) else _ORIENTED[0],
            *sets,
            ctypes.c_double(threshold),
            ctypes.c_int64(at_once),
            *(ctypes.c_void_p(array.ctypes.data) for array in (*places, iou)),
            ctypes.byref(found),
            ctypes.byref(following),
        )
        if following.value == begin:
            return
        pred_place, ref_place = (row[: found.value].copy() for row in places)
        yield Found(pred_place, ref_place, iou[: found.value].copy(), following.value)


def assign_pairs(
    pred: Int32, ref: Int32, iou: Float64, low: int, rules: Rules, predictions: int
) -> Int64:
    """Give each prediction, in the order of its pairs [P], the free reference of highest overlap.

    The pairs are by rising prediction, of which there are `predictions`; `rules` are those of the
    references from place `low` on. Returns the index of the pair, or -1, for each prediction and
    lane [predictions,A*T].
    """
    held = binding.Pointers()
    winner = np.empty((predictions, rules.lanes), np.int64)
    binding.call(
        _ASSIGN_PAIRS,
        *_listed(pred, ref, iou, low, rules, held),
        ctypes.c_int64(predictions),
        ctypes.c_void_p(winner.ctypes.data),
    )
    return winner


def outcomes(
    pred: Int32, ref: Int32, iou: Float64, low: int, rules: Rules, kind: Int8, found: Int8
) -> None:
    """Write what the reference of each prediction and lane is to `found` [predictions,A,T].

    This is its number in `kind` [R,A], or 0. Apart from that as `assign_pairs`; `kind`, like the
    rules, is of the references from `low` on.
    """
    held = binding.Pointers()
    binding.call(
        _OUTCOMES,
        *_listed(pred, ref, iou, low, rules, held),
        held.pointer(kind, np.int8),
        ctypes.c_int64(len(found)),
        ctypes.c_void_p(found.ctypes.data),
    )


def assign_boxes(pred: Boxes, ref: Boxes, rules: Rules, least: float) -> Int32:
    """The same for all predictions [n] and references [R] without a list of pairs.

    `least` (> 0) is the smallest overlap of a pair. Returns the place of the reference, or -1, for
    each prediction and lane [n,A*T].
    """
    held = binding.Pointers()
    winner = np.empty((len(pred), rules.lanes), np.int32)
    binding.call(
        _ASSIGN_BOXES if _plain(pred, ref) else _ORIENTED[1],
        _boxes(pred, held),
        _boxes(ref, held),
        _rules(rules, held),
        ctypes.c_double(least),
        ctypes.c_void_p(winner.ctypes.data),
    )
    return winner
