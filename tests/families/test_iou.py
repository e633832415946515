"""Properties of the box ops that no vector shows."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lossexport import ops
from lossexport.catalog import CATALOG
from lossexport.catalog.draw_boxes import jittered, random_boxes
from lossexport.errors import LossexportError

KINDS = ("iou", "giou", "diou", "ciou")
DTYPES = (torch.float32, torch.float64)


def pairs(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    target = random_boxes(rng, n)
    return torch.from_numpy(jittered(rng, target, 0.3)), torch.from_numpy(target)


@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck_of_losses(kind: str) -> None:
    pred, target = pairs(16)
    pred, target = pred / 64, target / 64  # sides of order one, as gradcheck's step wants
    weight = torch.rand(16, dtype=torch.float64)
    function = getattr(ops, f"{kind}_loss")
    if kind == "ciou":  # alpha is a constant of the gradient, so compare without its own slope
        pred = pred.requires_grad_()
        loss = (function(pred, target) * weight).sum()
        (grad,) = torch.autograd.grad(loss, pred)
        np.testing.assert_allclose(grad.numpy(), ciou_numeric(pred, target, weight), atol=1e-6)
        return
    assert torch.autograd.gradcheck(
        lambda p, t: function(p, t) * weight, (pred.requires_grad_(), target.requires_grad_())
    )


def ciou_numeric(pred: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> np.ndarray:
    """Central differences of DIoU loss + alpha0 * v, alpha0 frozen at `pred`."""

    def terms(p: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        angle = [torch.atan2(b[:, 2] - b[:, 0], b[:, 3] - b[:, 1]) for b in (p, target)]
        v = 4 / torch.pi**2 * (angle[0] - angle[1]) ** 2
        return ops.diou_loss(p, target), v, ops.iou_loss(p, target)

    with torch.no_grad():
        _, v0, one_minus_iou = terms(pred)
        alpha = v0 / (one_minus_iou + v0 + 1e-7)
        grad = np.zeros(pred.shape)
        for column in range(4):
            step = torch.zeros_like(pred)
            step[:, column] = 1e-6
            ends = [diou + alpha * v for diou, v, _ in (terms(pred + step), terms(pred - step))]
            grad[:, column] = ((ends[0] - ends[1]) / 2e-6 * weight).numpy()
    return grad


@pytest.mark.parametrize("kind", KINDS[:3])
def test_gradcheck_of_pairwise_scores(kind: str) -> None:
    pred, target = pairs(5)
    function = getattr(ops, f"pairwise_{kind}")
    inputs = ((pred / 64).requires_grad_(), (target[:3] / 64).requires_grad_())
    assert torch.autograd.gradcheck(function, inputs)


def test_gradcheck_of_deltas_and_smooth_l1() -> None:
    boxes, anchors = (x / 64 for x in pairs(6))
    assert torch.autograd.gradcheck(
        ops.encode_boxes, (boxes.requires_grad_(), anchors.clone().requires_grad_())
    )
    deltas = torch.randn(6, 4, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(ops.decode_boxes, (deltas, anchors.requires_grad_()))
    pred = (torch.linspace(-3, 3, 20, dtype=torch.float64) + 0.05).reshape(5, 4).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p: ops.smooth_l1_loss(p, torch.zeros_like(p), 0.7), (pred,)
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [*KINDS, "eiou", "siou"])
@given(
    side=st.floats(1e-19, 1e18) | st.floats(1e-4, 1e5),
    ratio=st.floats(1e-3, 1e3),
    place=st.tuples(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5)),
)
@settings(max_examples=60, deadline=None)
def test_equal_boxes_score_exactly_one(
    kind: str, dtype: torch.dtype, side: float, ratio: float, place: tuple[float, float]
) -> None:
    x, y = place
    if not 1e-4 <= side <= 1e5:
        x, y, ratio = 0.0, 0.0, min(max(ratio, 1.0), 2.0)
    box = torch.tensor([[x, y, x + side, y + side * ratio]], dtype=dtype)
    if (box[:, 2] <= box[:, 0]) | (box[:, 3] <= box[:, 1]):
        return  # rounded to a box without area
    # With a gradient in PyTorch, without one by the kernels.
    for boxes in (box, box.clone().requires_grad_()):
        assert getattr(ops, f"box_{kind}")(boxes, boxes).item() == 1.0
        assert getattr(ops, f"pairwise_{kind}")(boxes, boxes).item() == 1.0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_pair_of_odd_boxes_is_finite(kind: str, dtype: torch.dtype) -> None:
    shapes = [(0, 0, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (0, 0, 1, 1), (1, 1, 2, 2), (9, 9, 9, 9)]
    boxes = torch.tensor(
        [[s * v for v in b] for b in shapes for s in (1e-4, 1.0, 1e5)], dtype=dtype
    )
    n = len(boxes)
    pred = boxes.repeat_interleave(n, 0).requires_grad_()
    target = boxes.repeat(n, 1)
    loss = getattr(ops, f"{kind}_loss")(pred, target)
    loss.sum().backward()
    assert pred.grad is not None
    assert torch.isfinite(loss).all()
    assert torch.isfinite(pred.grad).all()
    score = getattr(ops, f"pairwise_{kind}")(boxes, boxes)
    assert torch.isfinite(score).all()
    assert (score.flatten() == getattr(ops, f"box_{kind}")(pred, target)).all()
    assert (score <= 1).all()
    assert (score >= {"iou": 0, "giou": -1, "diou": -1, "ciou": -1.5}[kind]).all()


def test_ciou_has_no_aspect_gradient_at_a_point_box() -> None:
    point = torch.tensor([[3.0, 3.0, 3.0, 3.0]], requires_grad=True)
    target = torch.tensor([[0.0, 0.0, 4.0, 8.0]])
    (ciou,) = torch.autograd.grad(ops.ciou_loss(point, target).sum(), point)
    (diou,) = torch.autograd.grad(ops.diou_loss(point, target).sum(), point)
    assert torch.equal(ciou, diou)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("column", range(4))
@pytest.mark.parametrize(
    "name",
    [
        op.name
        for op in CATALOG.values()
        if op.name.startswith("box_") or op.name.endswith("iou_loss")
        if op.inputs[0].shape == ("N", 4)
    ],
)
def test_a_number_that_is_none_spoils_its_own_row_only(
    name: str, column: int, value: float
) -> None:
    pred, target = pairs(3)
    clean = getattr(ops, name)(pred, target)
    pred[1, column] = value
    spoiled = getattr(ops, name)(pred, target)
    assert torch.isnan(spoiled[1]).all()
    assert torch.equal(spoiled[[0, 2]], clean[[0, 2]])


@pytest.mark.parametrize("name", ["encode_boxes", "decode_boxes", "smooth_l1_loss"])
def test_infinity_comes_out_as_nan(name: str) -> None:
    first, second = pairs(3)
    clean = getattr(ops, name)(first, second)
    first[1, 2] = float("inf")
    spoiled = getattr(ops, name)(first, second)
    assert torch.isnan(spoiled[1, 2])
    assert torch.equal(spoiled[[0, 2]], clean[[0, 2]])


@pytest.mark.parametrize("kind", KINDS)
def test_far_boxes_are_as_exact_as_near_ones(kind: str) -> None:
    # Offsets that float32 holds exactly: only a difference of coordinates may enter.
    pred, target = pairs(64)
    pred, target = (torch.round(x * 4) / 4 for x in (pred, target))
    function = getattr(ops, f"box_{kind}")
    near, far = (function((pred + d).float(), (target + d).float()) for d in (0, 2**17))
    assert torch.equal(near, far)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_types_are_computed_in_float32(dtype: torch.dtype) -> None:
    # 4000 x 4000 px: the area alone is 244 times the largest float16.
    pred = torch.tensor([[0, 0, 4000, 4000], [10, 10, 3000, 3500]], dtype=dtype)
    target = torch.tensor([[0, 0, 4000, 2000], [0, 0, 4000, 4000]], dtype=dtype)
    for kind in KINDS:
        narrow = getattr(ops, f"{kind}_loss")(pred, target)
        wide = getattr(ops, f"{kind}_loss")(pred.double(), target.double())
        assert narrow.dtype == dtype
        assert torch.equal(narrow, wide.float().to(dtype))


def test_mixed_types_are_widened() -> None:
    narrow = torch.tensor([[0.0, 0.0, 300.0, 300.0]], dtype=torch.float16)
    for other in (torch.float32, torch.bfloat16):
        score = ops.box_iou(narrow, narrow.to(other) + 100)
        assert score.dtype == torch.float32
        assert score.item() == pytest.approx(4 / 14)


def test_arguments_that_no_signature_has() -> None:
    boxes = torch.ones(1, 4)
    with pytest.raises(TypeError, match="positional argument"):
        ops.box_iou(boxes, boxes, 1e-7, "none", 5)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="multiple values for argument 'pred'"):
        ops.box_iou(boxes, boxes, pred=boxes)  # type: ignore[misc]


def test_reductions() -> None:
    pred, target = pairs(7)
    loss = ops.giou_loss(pred, target)
    assert torch.equal(ops.giou_loss(pred, target, reduction="sum"), loss.sum())
    assert torch.equal(ops.giou_loss(pred, target, reduction="mean"), loss.sum() / 7)
    empty = torch.zeros(0, 4, requires_grad=True)
    mean = ops.ciou_loss(empty, empty, reduction="mean")
    mean.backward()
    assert mean.item() == 0.0


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0), (1, 7)])
def test_pairwise_takes_empty_sets(shape: tuple[int, int]) -> None:
    n, m = shape
    assert ops.pairwise_ciou(torch.rand(n, 4), torch.rand(m, 4)).shape == (n, m)


def test_decode_clips_and_stops_the_gradient() -> None:
    deltas = torch.tensor([[0.0, 0.0, 9.0, 1.0]], dtype=torch.float64, requires_grad=True)
    anchors = torch.tensor([[0.0, 0.0, 10.0, 10.0]], dtype=torch.float64)
    boxes = ops.decode_boxes(deltas, anchors)
    assert (boxes[0, 2] - boxes[0, 0]).item() == pytest.approx(10 * 1000 / 16)
    boxes[0, 2:].sum().backward()
    assert deltas.grad is not None
    assert deltas.grad[0, 2] == 0
    assert deltas.grad[0, 3].item() == pytest.approx(0.5 * 10 * np.e)


def test_encoding_is_finite_for_degenerate_boxes() -> None:
    boxes = torch.tensor([[1.0, 1.0, 1.0, 5.0], [0.0, 0.0, 4.0, 4.0]])
    anchors = torch.tensor([[0.0, 0.0, 2.0, 2.0], [3.0, 3.0, 3.0, 3.0]])
    assert torch.isfinite(ops.encode_boxes(boxes, anchors)).all()


WRONG: Any = ops  # what mypy would refuse
BAD = [
    (lambda: ops.ciou_loss(torch.rand(3, 5), torch.rand(3, 4)), r"pred has shape \[3, 5\]"),
    (lambda: ops.ciou_loss(torch.rand(3, 4), torch.rand(2, 4)), r"target has shape \[2, 4\].*N=3"),
    (lambda: ops.box_iou(torch.rand(5), torch.rand(5)), r"pred has shape \[5\], expected \[4\]"),
    (lambda: ops.box_iou(torch.ones(1, 4).long(), torch.rand(1, 4)), "pred has dtype torch.int64"),
    (lambda: WRONG.giou_loss(torch.rand(1, 4), torch.rand(1, 4), reduction="a"), "reduction='a'"),
    (lambda: ops.diou_loss(torch.rand(1, 4), torch.rand(1, 4), eps=-1.0), r"eps=-1.0.*in \[0, 1\]"),
    (lambda: ops.smooth_l1_loss(torch.rand(1, 4), torch.rand(1, 4), beta=float("nan")), "beta=nan"),
    (lambda: WRONG.decode_boxes(torch.rand(1, 4), torch.rand(1, 4), (1, 1)), "weights.*4 numbers"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_arguments_are_named(call: object, message: str) -> None:
    with pytest.raises(LossexportError, match=message):
        call()  # type: ignore[operator]
