"""Properties of the rotated ops that no vector shows."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from lossexport import ops
from lossexport.catalog import CATALOG
from lossexport.catalog.draw_boxes import ROTATED

LOSSES = ("probiou_loss", "rotated_iou_loss", "kld_loss", "gwd_loss", "kfiou_loss")
ALIGNED = (*LOSSES, "box_probiou", "box_rotated_iou")


def pairs(n: int, family: str = "ordinary", seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    pred, target = ROTATED[family](np.random.default_rng(seed), n)
    return torch.from_numpy(pred), torch.from_numpy(target)


def shapely_iou(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """IoU by shapely's polygons, moved to the centre of the target."""
    shapely = pytest.importorskip("shapely")

    def polygons(boxes: np.ndarray) -> np.ndarray:
        x, y, w, h, angle = boxes.T
        across = np.stack((np.cos(angle), np.sin(angle)), 1) * (w / 2)[:, None]
        down = np.stack((-np.sin(angle), np.cos(angle)), 1) * (h / 2)[:, None]
        signs = ((1, -1), (1, 1), (-1, 1), (-1, -1))
        corners = [np.stack((x, y), 1) + i * across + j * down for i, j in signs]
        return np.asarray(shapely.polygons(np.stack(corners, 1)))

    moved = pred.copy()
    moved[:, :2] -= target[:, :2]
    common = shapely.area(shapely.intersection(polygons(moved), polygons(target * [0, 0, 1, 1, 1])))
    areas = pred[:, 2] * pred[:, 3] + target[:, 2] * target[:, 3]
    return np.where(areas > common, common / np.maximum(areas - common, 1e-300), 0)


def touching(pred: torch.Tensor) -> torch.Tensor:
    """Boxes that share a side with `pred`."""
    x, y, w, h, angle = pred.unbind(1)
    return torch.stack((x + w * angle.cos(), y + w * angle.sin(), w, h / 2, angle), 1)


def turned(pred: torch.Tensor) -> torch.Tensor:
    """The same boxes, named by the other side."""
    x, y, w, h, angle = pred.unbind(1)
    return torch.stack((x, y, h, w, angle + math.pi / 2), 1)


def halved(pred: torch.Tensor) -> torch.Tensor:
    """Half of each box, up to the middle of a side that they share."""
    x, y, w, h, angle = pred.unbind(1)
    return torch.stack((x + w * angle.cos() / 4, y + w * angle.sin() / 4, w / 2, h, angle), 1)


def changed(*factors: float, angle: float = 0.0) -> Callable[[torch.Tensor], torch.Tensor]:
    """Boxes with the coordinates times `factors`, turned by `angle`."""
    return lambda pred: torch.cat(
        (pred[:, :4] * torch.tensor(factors, dtype=pred.dtype), pred[:, 4:] + angle), 1
    )


RELATIONS = {
    "turned": turned,
    "touching": touching,
    "half, along a side": halved,
    "half a turn": changed(1, 1, 1, 1, angle=math.pi),
    "nearly parallel": changed(1, 1, 1, 1, angle=1e-6),
    "inside": changed(1, 1, 0.5, 0.25),
    "45 degrees": changed(1, 1, 1, 1, angle=math.pi / 4),
    "a thousandth": changed(1.001, 1, 1e-3, 1e-3, angle=1.0),
}


@pytest.mark.parametrize("relation", RELATIONS)
def test_exact_iou_of_hard_cases(relation: str) -> None:
    pred, _ = pairs(500)
    pred = pred.float().double()
    target = RELATIONS[relation](pred).float().double()
    known = shapely_iou(pred.numpy(), target.numpy())
    np.testing.assert_allclose(ops.box_rotated_iou(pred, target).numpy(), known, atol=2e-13)
    single = ops.box_rotated_iou(pred.float(), target.float()).numpy()
    # Sides up to 640 times as long as the others: their ends move by that much more.
    np.testing.assert_allclose(single, known, atol=5e-5)
    assert np.median(np.abs(single - known)) < 5e-7


@pytest.mark.parametrize("family", ["ordinary", "structured", "adversarial"])
def test_exact_iou_of_drawn_boxes(family: str) -> None:
    pred, target = pairs(2000, family)
    known = shapely_iou(pred.numpy(), target.numpy())
    np.testing.assert_allclose(ops.box_rotated_iou(pred, target).numpy(), known, atol=2e-13)


def test_separate_boxes_score_exactly_nothing() -> None:
    pred, _ = pairs(400)
    pred = pred.float()
    for distance in (1.001, 1.1, 2.0, 100.0):
        diagonal = torch.hypot(pred[:, 2], pred[:, 3]) * distance
        way = torch.linspace(0, 6.28, len(pred))
        shift = torch.stack((way.cos() * diagonal, way.sin() * diagonal), 1)
        target = torch.cat((pred[:, :2] + shift, pred[:, 2:4], pred[:, 4:] + way[:, None]), 1)
        assert (ops.box_rotated_iou(pred, target) == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_boxes(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(0)
    n = 100
    sides = 10.0 ** rng.uniform(-4, 5, (n, 1)) * 10.0 ** rng.uniform(-1.5, 1.5, (n, 2))
    place = rng.choice([-1, 1], (n, 2)) * 10.0 ** rng.uniform(-4, 5, (n, 2))
    angle = rng.uniform(-1e3, 1e3, (n, 1))
    boxes = torch.tensor(np.concatenate((place, sides, angle), 1), dtype=dtype)
    assert (ops.box_rotated_iou(boxes, boxes) == 1).all()
    assert (ops.pairwise_rotated_iou(boxes, boxes).diagonal() == 1).all()
    boxes = boxes[boxes[:, 2:4].amin(1) > 1]  # the constants of GWD and KFIoU have a unit
    for name in LOSSES:
        # Normalised, the least distance of GWD changes with the size of the boxes.
        attributes = {"normalize": False} if name == "gwd_loss" else {}
        pred = boxes.clone().requires_grad_()
        loss = getattr(ops, name)(pred, boxes, **attributes)
        (grad,) = torch.autograd.grad(loss.sum(), pred)
        # That of KFIoU is 0 but for rounding.
        relative = torch.cat((grad[:, :4] * boxes[:, 2:4].amin(1, keepdim=True), grad[:, 4:]), 1)
        assert relative.abs().max().item() < 1e-6, name
    assert (ops.kfiou_loss(boxes, boxes) - 2 / 3).abs().max().item() < 1e-6


@pytest.mark.parametrize("name", LOSSES)
def test_gradcheck(name: str) -> None:
    pred, target = pairs(12)
    scale = torch.tensor([64, 64, 64, 64, 1])  # sides of order one, as gradcheck's step wants
    inputs = ((pred / scale).requires_grad_(), (target / scale).requires_grad_())
    assert torch.autograd.gradcheck(getattr(ops, name), inputs)


@pytest.mark.parametrize("name", ALIGNED)
def test_a_rectangle_has_several_names(name: str) -> None:
    pred, target = pairs(50)
    function = getattr(ops, name)
    known = function(pred, target)
    for other in (turned(pred), turned(turned(pred)), turned(turned(turned(turned(pred))))):
        np.testing.assert_allclose(function(other, target), known, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ALIGNED)
def test_every_pair_of_odd_boxes_is_finite(name: str, dtype: torch.dtype) -> None:
    sides = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (2.0, 1.0))
    boxes = torch.tensor(
        [
            (x * scale, 0.0, w * scale, h * scale, angle)
            for scale in (1e-4, 1.0, 1e5)
            for w, h in sides
            for x in (0.0, 1.0)
            for angle in (0.0, math.pi / 2, -7.0)
        ],
        dtype=dtype,
    )
    n = len(boxes)
    pred = boxes.repeat_interleave(n, 0).requires_grad_()
    result = getattr(ops, name)(pred, boxes.repeat(n, 1))
    (grad,) = torch.autograd.grad(result.sum(), pred)
    assert torch.isfinite(result).all()
    assert torch.isfinite(grad).all()
    if "rotated_iou" in name:
        assert result.min() >= 0
        assert result.max() <= 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ALIGNED)
def test_a_number_that_is_none_spoils_its_own_row_only(name: str, value: float) -> None:
    for column in range(5):
        for spoiled in range(2):
            inputs = [x.requires_grad_() for x in pairs(3)]
            clean = getattr(ops, name)(*inputs)
            with torch.no_grad():
                inputs[spoiled][1, column] = value
            result = getattr(ops, name)(*inputs)
            assert torch.isnan(result[1])
            assert torch.equal(result[[0, 2]], clean[[0, 2]])
            if CATALOG[name].gradient:
                (grad,) = torch.autograd.grad(result.sum(), inputs[0])
                assert torch.isnan(grad[1]).all()
                assert torch.isfinite(grad[[0, 2]]).all()


def test_near_matches_keep_their_digits_in_float32() -> None:
    """Published forms subtract determinants, and lose the distance of boxes 0.1 % apart."""
    target = torch.tensor([[300.0, 200.0, 120.0, 40.0, 0.7]])
    pred = target * torch.tensor([1, 1, 1.001, 0.999, 1.0005])
    for name in LOSSES:
        single = getattr(ops, name)(pred, target).item()
        exact = getattr(ops, name)(pred.double(), target.double()).item()
        assert single == pytest.approx(exact, rel=1e-4), name
