"""Matches the boxes of a child with those of its parent; the others are lost or new."""

from dataclasses import dataclass

import numpy as np

from lossexport.boxes import matching, pairs
from lossexport.boxes.boxset import (
    Bool,
    Dataset,
    Float64,
    Int64,
    References,
)
from lossexport.boxes.oriented import areas
from lossexport.boxes.oriented import sides as sides_of
from lossexport.comparison.sides import Sides

SIZES = ("small", "medium", "large")
SIZE_BOUNDS = (32.0**2, 96.0**2)
"""COCO's: a box is medium from the first area on, large from the second."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Boxes at or above the score threshold, by position in each side, in order of the file.

    `child_below` is the match of each lost box among the child's boxes below the threshold, and
    `parent_below` that of each new box among the parent's; -1 if there is none.
    """

    parent: Int64
    """[M] matched boxes of the parent..."""
    child: Int64
    """[M] ...and their matches, rising."""
    lost: Int64
    """[L] boxes of the parent without a match, rising."""
    new: Int64
    """[W] boxes of the child without a match, rising."""
    child_below: Int64
    """[L]"""
    parent_below: Int64
    """[W]"""


def compare_boxes(sides: Sides, iou_threshold: float, score_threshold: float) -> Comparison:
    """Match per image and category: child boxes, by falling score, take the free parent box of
    highest IoU at or above `iou_threshold`, and of equal ones the one with the highest score.
    """
    parent_counts = sides.parent.score >= score_threshold
    child_counts = sides.child.score >= score_threshold
    parent, child = _match(sides, parent_counts, child_counts, iou_threshold)
    lost, new = parent_counts.copy(), child_counts.copy()
    lost[parent] = False
    new[child] = False
    below = np.full(len(sides.parent), -1), np.full(len(sides.child), -1)
    first, second = _match(sides, lost, ~child_counts, iou_threshold)
    below[0][first] = second
    first, second = _match(sides, ~parent_counts, new, iou_threshold)
    below[1][second] = first
    return Comparison(
        parent,
        child,
        np.flatnonzero(lost),
        np.flatnonzero(new),
        below[0][lost],
        below[1][new],
    )


def _match(sides: Sides, parent: Bool, child: Bool, iou_threshold: float) -> tuple[Int64, Int64]:
    """Positions of the matched boxes, among those of the two masks, by rising child."""
    rows = np.flatnonzero(child)
    # The matching takes the later of two boxes that overlap equally, so that one must have the
    # higher score.
    refs = np.flatnonzero(parent)
    refs = refs[np.argsort(sides.parent.score[refs], kind="stable")]
    data = as_dataset(sides, refs, rows)
    order = pairs.sort_boxes(data)
    found = pairs.find_pairs(data, order, pairs.cap(iou_threshold))
    taken, matched = matching.match(data, order, found, iou_threshold).pairs()
    return refs[matched], rows[taken]


def as_dataset(sides: Sides, parent: Int64, child: Int64) -> Dataset:
    """Boxes `child` [n] of the child as predictions, boxes `parent` [r] as their references."""
    boxes = sides.parent.take(parent)
    no = np.zeros(len(parent), np.bool_)
    return Dataset(
        sides.images,
        sides.categories,
        sides.child.take(child),
        References(
            boxes.image, boxes.category, boxes.box, areas(boxes.box), ignored=no, zero_id=no
        ),
        {},
        files=sides.files,
        sizes=sides.sizes,
    )


def size_of(box: Float64) -> Int64:
    """Position in SIZES of each box, of either kind."""
    area = np.prod(np.maximum(sides_of(box), 0), axis=1)
    size: Int64 = np.searchsorted(SIZE_BOUNDS, area, "right")
    return size
