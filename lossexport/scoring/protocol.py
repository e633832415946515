"""What COCO's protocol asks for, and what its matching says of the predictions."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from lossexport.boxes.boxset import Bool, Float64, Int8, Int32, Int64
from lossexport.runtime import coco as native

UInt = npt.NDArray[np.unsignedinteger[Any]]

THRESHOLDS: Float64 = np.linspace(0.5, 0.95, 10)
RECALLS: Float64 = np.linspace(0.0, 1.0, 101)
AREAS: Float64 = np.array([[0, 1e5**2], [0, 32**2], [32**2, 96**2], [96**2, 1e5**2]], np.float64)
"""Smallest and largest area of: all, small, medium, large."""
MAX_DETECTIONS = (1, 10, 100)
TRUE, IGNORED = 1, 2


class Protocol(msgspec.Struct, frozen=True):
    """At what average precision and recall are taken."""

    thresholds: Float64
    """[T] overlaps, in any order."""
    recalls: Float64
    """[R] recalls, in any order."""
    areas: Float64
    """[A,2] smallest and largest area of each range, at most 64 ranges."""
    max_detections: tuple[int, ...]
    """M limits of predictions for each image and category, rising."""

    def bits(self, size: Float64, row: Int64) -> UInt:
        """The areas `size` [N] of boxes `row` [n] to a number with the bits `1 << a`.

        They are set for each range that has the area.
        """
        if native.available() and len(self.areas) <= native.MOST_AREAS:
            return native.inside(row, size, self.areas)
        size = size[row]
        kind = np.min_scalar_type((1 << len(self.areas)) - 1)
        found = np.zeros(len(size), kind)
        for a, (least, most) in enumerate(self.areas):
            found |= kind.type(1 << a) * ~((size < least) | (size > most))
        return found

    def has(self, bits: UInt) -> Bool:
        """[N,A] which bits are set."""
        flags = np.array([1 << a for a in range(len(self.areas))], bits.dtype)
        found: Bool = bits[:, None] & flags != 0
        return found


COCO = Protocol(THRESHOLDS, RECALLS, AREAS, MAX_DETECTIONS)
MOST_SIZES = 50
LARGEST = float(AREAS[0, 1] ** 0.5)
"""Largest side of a box in COCO's range of all areas."""


def are_sizes(sizes: Sequence[float]) -> bool:
    """Whether they are limits of ranges: rising sides in pixels, above 0 and below LARGEST."""
    rising = all(low < high for low, high in pairwise((0.0, *sizes, LARGEST)))
    return rising and len(sizes) < MOST_SIZES


def of_sizes(sizes: Sequence[float]) -> Protocol:
    """The COCO protocol for the ranges of areas between squares of these sides."""
    edges = np.array([0, *sizes, LARGEST])
    areas = np.stack([edges[:-1], edges[1:]], axis=1) ** 2
    return Protocol(THRESHOLDS, RECALLS, areas, MAX_DETECTIONS[-1:])


class Outcomes(msgspec.Struct, frozen=True):
    """What COCO's matching says of N predictions, which are ordered.

    The order is that of an `Order`: by category, image and falling score.
    """

    category: Int32
    """[N] rising"""
    rank: Int64
    """[N] place within the image and category, from 0."""
    score: Float64
    """[N]"""
    inside: UInt
    """[N] a bit for each range of areas: whether the prediction counts as false if nothing
    matches."""
    place: Int32
    """[C] the predictions that the outcomes are of, rising; all others have no match."""
    outcome: Int8
    """[C,A,T] TRUE, IGNORED or 0."""
    positives: Int64
    """[A,K] references that count."""

    def take(self, rows: Int64, positives: Int64) -> "Outcomes":
        """Those of the predictions `rows` [n], each as often as it is there; they are in order."""
        paired = np.full(len(self.score), -1, np.int32)
        paired[self.place] = np.arange(len(self.place), dtype=np.int32)
        taken = paired[rows]
        place = np.flatnonzero(taken >= 0)
        return Outcomes(
            self.category[rows],
            self.rank[rows],
            self.score[rows],
            self.inside[rows],
            place.astype(np.int32),
            self.outcome[taken[place]],
            positives,
        )
