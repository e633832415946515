"""Shapes beyond the declared ones: what torchvision takes, ops that are aligned take too."""

import re
from typing import Any

import pytest
import torch

from lossexport import nn, ops
from lossexport.catalog import CATALOG
from lossexport.errors import LossexportError
from lossexport.ops import native
from tests.ops.inputs import SIZES, draw, run

ALIGNED = [op.name for op in CATALOG.values() if op.aligned]
ANY_SHAPE = [op.name for op in CATALOG.values() if op.any_shape]
aligned_op = pytest.mark.parametrize("name", ALIGNED)


def test_which_ops_are_aligned() -> None:
    kinds = ("iou", "giou", "diou", "ciou", "eiou", "siou", "nwd", "probiou", "rotated_iou")
    fixed = {f"pairwise_{kind}" for kind in kinds}
    fixed |= {op.name for op in CATALOG.values() if op.kind == "suppression"}
    fixed |= {"best_match", "detr_cost", "task_aligned_assign", "suppression_reliability"}
    fixed |= {"yolo_detection_loss", "retinanet_loss", "fcos_loss", "detr_detection_loss"}
    assert set(CATALOG) - set(ALIGNED) == fixed
    elementwise = {"quality_focal_loss", "varifocal_loss", "matched_varifocal_loss"}
    elementwise |= {"matchability_aware_loss", "iou_aware_bce_loss"}
    elementwise |= {"smooth_l1_loss", "kl_loss", "sigmoid_focal_loss", "ghm_c_loss", "ghm_r_loss"}
    assert set(ANY_SHAPE) == elementwise | {"ap_loss"}


def reshaped(name: str, inputs: dict[str, Any], rows: tuple[int, ...]) -> dict[str, Any]:
    """Inputs with other dimensions in place of the first."""
    spec = CATALOG[name]
    return {
        t.name: x if t.name in spec.state else x.reshape(*rows, *x.shape[1:])
        for t, x in ((t, inputs[t.name]) for t in spec.inputs)
    }


@pytest.mark.parametrize("moving", [False, True])
@aligned_op
def test_other_dimensions_in_place_of_the_first(name: str, moving: bool) -> None:
    spec = CATALOG[name]
    inputs = draw(name, dtype=torch.float32)
    for key in spec.gradient if moving else ():
        inputs[key].requires_grad_()
    count = len(inputs[spec.inputs[0].name])
    flat = run(name, inputs)
    for rows in ((2, count // 2), (1, 2, count // 2), (count, 1)):
        found = run(name, reshaped(name, inputs, rows))
        for tensor, x, y in zip(spec.outputs, found, flat, strict=True):
            own = tensor.shape[:1] == spec.inputs[0].shape[:1]
            assert x.shape == ((*rows, *y.shape[1:]) if own else y.shape)
            assert torch.equal(x.flatten(), y.flatten())
        for key in spec.gradient if moving else ():
            grads = [
                torch.autograd.grad(r[0].sum(), inputs[key], retain_graph=True)[0]
                for r in (found, flat)
            ]
            torch.testing.assert_close(grads[0], grads[1], rtol=1e-6, atol=1e-7)


@aligned_op
def test_one_row_without_its_dimension(name: str) -> None:
    spec = CATALOG[name]
    inputs = draw(name)
    one = {k: x if k in spec.state else x[:1] for k, x in inputs.items()}
    found = run(name, {k: x if k in spec.state else x[0] for k, x in inputs.items()})
    for tensor, x, y in zip(spec.outputs, found, run(name, one), strict=True):
        own = tensor.shape[:1] == spec.inputs[0].shape[:1]
        assert torch.equal(x, y[0] if own else y)


@pytest.mark.parametrize("shape", [(), (7,), (1,), (3, 5), (2, 3, 4, 5), (0,), (2, 0, 3), (0, 4)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize("name", ANY_SHAPE)
def test_any_shape(name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    spec = CATALOG[name]
    size = torch.Size(shape).numel()
    repeats = -(-size // SIZES["K"]) + 1
    inputs = {
        k: x if k in spec.state else x.flatten().repeat(repeats)[:size].reshape(shape)
        for k, x in draw(name, dtype=dtype).items()
    }
    column = {k: x if k in spec.state else x.reshape(-1, *[1] * (len(spec.inputs[0].shape) - 1))
              for k, x in inputs.items()}  # fmt: skip
    results = zip(spec.outputs, run(name, inputs), run(name, column), strict=True)
    for tensor, x, y in results:
        assert x.shape == (shape if tensor.shape[:1] == spec.inputs[0].shape[:1] else y.shape)
        torch.testing.assert_close(x.flatten(), y.flatten(), rtol=1e-6, atol=0)


@aligned_op
def test_reductions_of_other_shapes(name: str) -> None:
    if "reduction" not in {item.name for item in CATALOG[name].attributes}:
        return
    inputs = draw(name)
    rows = reshaped(name, inputs, (3, 1, 2))
    for reduction in ("sum", "mean"):
        x, y = (run(name, given, reduction=reduction)[0] for given in (rows, inputs))
        assert x.shape == ()
        assert torch.equal(x, y)


def test_as_torchvision_takes_them() -> None:
    image = torch.linspace(-3, 3, 2 * 4 * 5 * 6).reshape(2, 4, 5, 6)
    target = (image > 1).float()
    loss = ops.sigmoid_focal_loss(image, target)
    p = torch.sigmoid(image)
    miss = torch.where(target > 0, 1 - p, p)
    usual = torch.where(target > 0, 0.25, 0.75) * miss**2 * -(1 - miss).log()
    assert loss.shape == image.shape
    torch.testing.assert_close(loss, usual, rtol=1e-4, atol=1e-7)
    assert ops.sigmoid_focal_loss(image[0, 0, 0], target[0, 0, 0]).equal(loss[0, 0, 0])
    box = torch.tensor([0.0, 0.0, 4.0, 4.0])
    assert ops.ciou_loss(box, box + 1).shape == ()
    assert nn.GIoULoss(reduction="sum")(box, box + 1).shape == ()
    batch = torch.stack([box, box + 1]).expand(3, 2, 4)
    assert ops.encode_boxes(batch, batch + 1).shape == (3, 2, 4)
    assert ops.softmax_focal_loss(torch.zeros(2, 5, 3), torch.zeros(2, 5).long()).shape == (2, 5)
    assert ops.sce_loss(torch.zeros(3), torch.tensor(1)).shape == ()


BAD = [
    ("ciou_loss", [(2, 3, 4), (2, 2, 4)], "target has shape [2, 2, 4], expected [2, 3, 4]"),
    ("ciou_loss", [(2, 3, 4), (6, 4)], "target has shape [6, 4], expected [2, 3, 4]"),
    ("ciou_loss", [(6, 4), (2, 3, 4)], "target has shape [2, 3, 4], expected [N, 4]"),
    ("ciou_loss", [(2, 3, 5), (2, 3, 5)], "pred has shape [2, 3, 5], expected [2, 3, 4]"),
    ("box_iou", [(5,), (5,)], "pred has shape [5], expected [4]"),
    ("box_iou", [(), ()], "pred has shape [], expected [4]"),
    ("box_iou", [(4,), (1, 4)], "target has shape [1, 4], expected [4]"),
    ("box_iou", [(3, 4), (2, 4)], "target has shape [2, 4], expected [N, 4] with N=3"),
    ("sigmoid_focal_loss", [(2, 3), (3, 2)], "target has shape [3, 2], expected [2, 3]"),
    ("sigmoid_focal_loss", [(2, 3), (6,)], "target has shape [6], expected [2, 3]"),
    ("smooth_l1_loss", [(), (1,)], "target has shape [1], expected []"),
    ("pairwise_iou", [(2, 3, 4), (3, 4)], "pred has shape [2, 3, 4], expected [N, 4]"),
    ("nms", [(2, 3, 4), (2, 3)], "boxes has shape [2, 3, 4], expected [N, 4]"),
    ("softmax_focal_loss", [(2, 3, 4), (6,)], "labels has shape [6], expected [2, 3]"),
]


@pytest.mark.parametrize(("name", "shapes", "message"), BAD)
def test_shapes_that_do_not_fit(name: str, shapes: list[tuple[int, ...]], message: str) -> None:
    declared = CATALOG[name].inputs
    given = [
        torch.zeros(shape, dtype=torch.int64 if tensor.dtype == "int64" else torch.float32)
        for shape, tensor in zip(shapes, declared, strict=True)
    ]
    with pytest.raises(LossexportError, match=re.escape(f"{name}: {message}") + "$"):
        getattr(ops, name)(*given)


@pytest.mark.uncounted
def test_a_compiled_graph_takes_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "attempt", lambda *_: None)  # graphs take the torch code
    image = torch.linspace(-3, 3, 24).reshape(2, 3, 4).requires_grad_()
    target = (image > 1).float()
    compiled = torch.compile(ops.sigmoid_focal_loss, backend="eager", fullgraph=True)
    wanted = ops.sigmoid_focal_loss(image, target)
    found = compiled(image, target)
    torch.testing.assert_close(found, wanted)
    grads = [torch.autograd.grad(x.sum(), image)[0] for x in (found, wanted)]
    torch.testing.assert_close(*grads)
