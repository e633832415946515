"""`localization_confidence`: by hand, against the IoU of Gaussian corners, at its ends."""

import math

import numpy as np
import pytest
import torch

from lossexport import ops
from lossexport.errors import LossexportError

DRAWS = 40_000


def plain(boxes: np.ndarray, log_variance: np.ndarray) -> list[float]:
    found = []
    for (x1, y1, x2, y2), row in zip(boxes, log_variance, strict=True):
        w, h = x2 - x1, y2 - y1
        off = [math.sqrt(math.exp(value)) * math.sqrt(2 / math.pi) for value in row]
        area = w * h
        found.append(area / (area + h * (off[0] + off[2]) + w * (off[1] + off[3])) if area else 0)
    return found


def test_equals_the_formula_by_hand() -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(-100, 500, (200, 2))
    boxes = np.concatenate((low, low + rng.choice([0, 1e-3, 1, 40, 1e4], (200, 2))), axis=1)
    log_variance = rng.uniform(-12, 12, (200, 4))
    quality = ops.localization_confidence(torch.tensor(boxes), torch.tensor(log_variance))
    np.testing.assert_allclose(quality, plain(boxes, log_variance), rtol=1e-12)
    # One corner that is off by a quarter of the width on average, the others exact.
    sigma = 0.25 * 8 / math.sqrt(2 / math.pi)
    variance = torch.tensor([[2 * math.log(sigma), -200.0, -200.0, -200.0]])
    one = ops.localization_confidence(torch.tensor([[2.0, 3.0, 10.0, 5.0]]), variance)
    assert one.tolist() == pytest.approx([0.8], abs=1e-6)


@pytest.mark.parametrize("spread", [0.002, 0.02, 0.1, 0.3])
@pytest.mark.parametrize("side", [(30.0, 30.0), (200.0, 10.0)])
def test_is_near_the_mean_iou_of_boxes_with_gaussian_corners(
    spread: float, side: tuple[float, float]
) -> None:
    """For T = the sum of |error| / side, 1 - T <= IoU <= 1 / (1 + T), whatever the corners do.

    So with e = E T and q = 1 / (1 + e) the mean IoU is at least 1 - e = q - e^2 / (1 + e), and at
    most q + Var T: the second derivative of 1 / (1 + T) is at most 2.
    """
    rng = np.random.default_rng(1)
    sides = np.tile(side, 2)
    sigma = spread * sides * np.array([1.0, 0.5, 0.2, 1.5])
    box = np.array([5.0, 7.0, 5.0 + side[0], 7.0 + side[1]])
    true = box + rng.normal(0, 1, (DRAWS, 4)) * sigma
    # Where the corners of an axis have changed places there is no true box, and no overlap.
    upright = (true[:, 2:] > true[:, :2]).all(1)
    iou = np.zeros(DRAWS)
    iou[upright] = ops.box_iou(
        torch.tensor(np.tile(box, (int(upright.sum()), 1))), torch.tensor(true[upright])
    )
    (quality,) = ops.localization_confidence(
        torch.tensor(box[None]), torch.tensor(2 * np.log(sigma)[None])
    ).tolist()

    off = math.sqrt(2 / math.pi) * (sigma / sides).sum()
    assert quality == pytest.approx(1 / (1 + off), rel=1e-12)
    variance = (1 - 2 / math.pi) * ((sigma / sides) ** 2).sum()
    noise = 5 * iou.std() / math.sqrt(DRAWS)
    assert -(off**2) / (1 + off) - noise <= iou.mean() - quality <= variance + noise
    # The bound says something: it is of second order.
    assert off**2 / (1 + off) + variance < 1.5 * off * (1 - quality)
    parts = np.abs(true - box) / sides
    total = parts.sum(1)
    assert (iou >= 1 - total - 1e-12).all()
    assert (iou <= 1 / (1 + total) + 1e-12).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ends_of_the_range(dtype: torch.dtype) -> None:
    boxes = torch.tensor(
        [[0, 0, 1e5, 1e-4], [0, 0, 1e-4, 1e-4], [3, 4, 3, 9], [3, 4, 9, 4], [3, 4, 3, 4]],
        dtype=dtype,
    )

    def at(value: float) -> list[float]:
        filled = torch.full((5, 4), value, dtype=dtype)
        found: list[float] = ops.localization_confidence(boxes, filled).tolist()
        return found

    assert at(-200) == [1, 1, 0, 0, 0]
    for value in (-90, 0, 90, 176, 178, 200):
        assert all(0 <= quality <= 1 for quality in at(value))
        assert at(value)[2:] == [0, 0, 0]
    assert max(at(200)) < 1e-30


def test_falls_with_each_sigma_and_grows_with_the_box() -> None:
    box = torch.tensor([[0.0, 0.0, 20.0, 10.0]])
    start = ops.localization_confidence(box, torch.zeros(1, 4)).item()
    for place in range(4):
        more = torch.zeros(1, 4)
        more[0, place] = 1.0
        assert ops.localization_confidence(box, more).item() < start
    # Twice the size with twice the sigma is the same picture.
    twice = ops.localization_confidence(2 * box, torch.full((1, 4), 2 * math.log(2)))
    assert twice.item() == pytest.approx(start, rel=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_spoils_its_own_row_alone(value: float) -> None:
    for place in range(8):
        inputs = torch.tensor([[0.0, 0.0, 4.0, 4.0, *[0.0] * 4]] * 3)
        inputs[1, place] = value
        quality = ops.localization_confidence(inputs[:, :4], inputs[:, 4:])
        assert quality[1].isnan()
        assert quality[[0, 2]].tolist() == pytest.approx([1 / (1 + math.sqrt(2 / math.pi))] * 2)


def test_half_precision_no_boxes_and_bad_shapes() -> None:
    boxes = torch.tensor([[0.0, 0.0, 300.0, 300.0]], dtype=torch.float16)
    quality = ops.localization_confidence(boxes, torch.full_like(boxes, 200.0))
    assert (quality.dtype, quality.tolist()) == (torch.float16, [0.0])
    assert ops.localization_confidence(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0,)
    with pytest.raises(LossexportError, match=r"log_variance has shape \[3, 2\]"):
        ops.localization_confidence(torch.zeros(3, 4), torch.zeros(3, 2))
