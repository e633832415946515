"""`decode_distances` against a plain float64 implementation."""

import numpy as np
import pytest
import torch

from lossexport import ops
from lossexport.errors import LossexportError


def plain(distribution: np.ndarray, points: np.ndarray, stride: np.ndarray) -> np.ndarray:
    boxes = np.zeros((len(points), 4))
    for row, (sides, (x, y), step) in enumerate(zip(distribution, points, stride, strict=True)):
        reach = []
        for logits in sides.astype(np.float64):
            weight = np.exp(logits - logits.max())
            reach.append(step * sum(b * w for b, w in enumerate(weight)) / weight.sum())
        boxes[row] = (x - reach[0], y - reach[1], x + reach[2], y + reach[3])
    return boxes


@pytest.mark.parametrize("bins", [2, 8, 16, 64])
def test_equals_the_expectation_by_hand(bins: int) -> None:
    rng = np.random.default_rng(bins)
    inputs = rng.normal(0, 3, (50, 4, bins)), rng.uniform(0, 640, (50, 2)), rng.choice([8, 32], 50)
    exact = [torch.tensor(array * 1.0) for array in inputs]
    found = ops.decode_distances(exact[0], exact[1], exact[2], bins)
    np.testing.assert_allclose(found, plain(*inputs), rtol=1e-13)
    narrow = [array.float() for array in exact]
    single = ops.decode_distances(narrow[0], narrow[1], narrow[2], bins)
    np.testing.assert_allclose(single, plain(*inputs), atol=1e-6 * (640 + 32 * bins))


def test_certain_and_undecided_sides() -> None:
    logits = torch.full((1, 4, 16), -50.0)
    for side, step in enumerate((0, 3, 15, 7)):
        logits[0, side, step] = 50.0
    points, stride = torch.tensor([[100.0, 50.0]]), torch.tensor([8.0])
    boxes = ops.decode_distances(logits, points, stride)
    assert boxes.tolist() == [[100.0, 50.0 - 24, 100.0 + 120, 50.0 + 56]]
    flat = ops.decode_distances(torch.full_like(logits, 50.0), points, stride)
    assert flat.tolist() == [[40.0, -10.0, 160.0, 110.0]]  # 7.5 steps of 8 to every side


def test_half_precision_is_computed_in_float32() -> None:
    logits = torch.zeros(1, 4, 16, dtype=torch.float16)
    points = torch.tensor([[600.0, 600.0]], dtype=torch.float16)
    boxes = ops.decode_distances(logits, points, torch.tensor([32.0], dtype=torch.float16))
    assert boxes.dtype == torch.float16
    assert boxes.tolist() == [[360.0, 360.0, 840.0, 840.0]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_spoils_its_own_box_alone(value: float) -> None:
    for place in range(3):
        logits, points, stride = torch.zeros(3, 4, 16), torch.ones(3, 2), torch.ones(3)
        (logits, points, stride)[place][1, ...] = value
        boxes = ops.decode_distances(logits, points, stride)
        assert boxes[1].isnan().all()
        assert boxes[[0, 2]].tolist() == [[-6.5, -6.5, 8.5, 8.5]] * 2


def test_no_boxes_and_a_wrong_count_of_bins() -> None:
    none = ops.decode_distances(torch.zeros(0, 4, 16), torch.zeros(0, 2), torch.zeros(0))
    assert none.shape == (0, 4)
    with pytest.raises(LossexportError, match=r"has shape \[3, 4, 8\], expected \[N, 4, bins\]"):
        ops.decode_distances(torch.zeros(3, 4, 8), torch.zeros(3, 2), torch.zeros(3))
