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
