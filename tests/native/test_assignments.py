"""The kernels of the assignments where no case of `verify` goes."""

import math
from typing import Any

import numpy as np
import pytest

from lossexport.runtime import native

pytestmark = pytest.mark.skipif(not native.kernels(), reason="no library of native kernels")

UNIT = np.array([[0.5, 0.5, 0.25, 0.25]], np.float32)


def cost(logits: Any, labels: Any, **attributes: Any) -> np.ndarray:
    """The class cost alone: all boxes are the same one, whose GIoU is 1."""
    logits, labels = np.array(logits, np.float32), np.array(labels, np.int64)
    boxes, targets = (UNIT.repeat(len(x), 0) for x in (logits, labels))
    found = np.empty((len(logits), len(labels)), np.float32)
    given = {"class_weight": 1.0, "giou_weight": 0.0, **attributes}
    native.run("detr_cost", given, [logits, boxes, labels, targets], [found])
    return found


@pytest.mark.parametrize("kind", ["focal", "softmax"])
def test_a_label_that_is_no_class_costs_nan(kind: str) -> None:
    found = cost([[0, 1, 2], [2, 1, 0]], [0, -1, 3, 2**40, 2], kind=kind)
    assert np.isnan(found).tolist() == [[False, True, True, True, False]] * 2
    assert np.isnan(cost(np.empty((2, 0)), [0], kind=kind)).all()
    assert cost(np.empty((0, 2)), [0], kind=kind).shape == (0, 1)


def test_the_logarithm_of_a_subnormal_number() -> None:
    # p is 0 in float32, so that the eps alone is below the logarithm.
    found = cost([[-200.0]], [0], eps=1e-40, alpha=1.0, gamma=0.0)
    assert found[0, 0] == pytest.approx(-math.log(1e-40), rel=1e-6)


def aligned(boxes: Any, points: Any, targets: Any, topk: int, score: float = 0.5) -> list[int]:
    """The target of every point, of one class."""
    boxes, points, targets = (np.array(x, np.float32) for x in (boxes, points, targets))
    count, wanted = len(points), len(targets)
    scores = np.full((count, 1), score, np.float32)
    assigned, target_scores = np.empty(count, np.int64), np.empty((count, 1), np.float32)
    labels, valid = np.zeros(wanted, np.int64), np.ones(wanted, bool)
    inputs = [scores, boxes, points, labels, targets, valid]
    outputs: list[np.ndarray] = [assigned, target_scores]
    native.run("task_aligned_assign", {"topk": topk, "small_side": 0.0}, inputs, outputs)
    assert (target_scores[assigned < 0] == 0).all()
    return [int(place) for place in assigned]


def test_points_of_metric_0_come_last_by_their_places_also_those_outside() -> None:
    target, far = [0, 0, 10, 10], [90, 90, 99, 99]
    points = [[50, 50], [5, 5], [50, 50], [4, 4], [6, 6]]
    # Only the last point has an overlap; the places before are used up by 0, 1 and 2.
    boxes = [far, far, far, far, target]
    assert [aligned(boxes, points, [target], topk) for topk in (1, 2, 3, 4, 5)] == [
        [-1, -1, -1, -1, 0],
        [-1, -1, -1, -1, 0],
        [-1, 0, -1, -1, 0],
        [-1, 0, -1, -1, 0],
        [-1, 0, -1, 0, 0],
    ]


def test_a_point_of_several_targets_is_that_of_the_largest_overlap_or_the_first() -> None:
    large, small, beside = [0, 0, 10, 10], [2, 2, 8, 8], [80, 80, 90, 90]
    targets = [beside, large, small]
    assert aligned([small, large], [[5, 5], [4, 4]], targets, 2) == [2, 1]
    # Without an overlap the first of all targets, though the point is not inside of it.
    assert aligned([beside, beside], [[5, 5], [50, 50]], targets, 2) == [0, -1]
    assert aligned([small, large], [[5, 5], [4, 4]], np.empty((0, 4)), 2) == [-1, -1]
