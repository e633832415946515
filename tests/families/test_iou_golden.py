"""The box ops against vectors computed with the original public code."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from lossexport import ops
from tests.conftest import GOLDEN, ROOT, close, close_rows, golden_arrays, golden_entries

KINDS = ("iou", "giou", "diou", "ciou")
# Stated by the vectors themselves for float32; float64 is held tighter than they ask.
TOLERANCE = {torch.float64: (1e-10, 1e-11), torch.float32: (1e-3, 5e-6)}
DTYPES = pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])


def to_xyxy(boxes: torch.Tensor) -> torch.Tensor:
    centre, size = boxes[:, :2], boxes[:, 2:]
    return torch.cat((centre - size / 2, centre + size / 2), dim=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        ("aligned_eps0", torch.float64),
        ("aligned_eps0", torch.float32),
        # In float32 the conversion would round the coordinates before the op sees them.
        ("aligned_cxcywh", torch.float64),
    ],
)
def test_losses_and_gradients(kind: str, case: str, dtype: torch.dtype) -> None:
    entry = next(e.values[0] for e in golden_entries("iou_losses") if e.values[0]["case"] == case)
    data = golden_arrays(entry)
    pred = torch.tensor(data["pred"], dtype=dtype, requires_grad=True)
    target = torch.tensor(data["target"], dtype=dtype)
    convert = to_xyxy if case == "aligned_cxcywh" else torch.clone
    loss = getattr(ops, f"{kind}_loss")(convert(pred), convert(target))
    loss.sum().backward()
    rtol, atol = TOLERANCE[dtype]
    expected = data.get(f"loss_{kind}_safe", data[f"loss_{kind}"])
    close(loss.detach().numpy(), expected, rtol, atol)
    smooth = data["smooth"]
    assert pred.grad is not None
    close_rows(pred.grad.numpy()[smooth], data[f"grad_{kind}"][smooth], rtol, atol)


@pytest.mark.parametrize("kind", KINDS)
def test_losses_without_eps_are_finite_where_the_original_is_not(kind: str) -> None:
    entry = next(
        e.values[0] for e in golden_entries("iou_losses") if e.values[0]["case"] == "aligned_noeps"
    )
    data = golden_arrays(entry)
    pred = torch.tensor(data["pred"], dtype=torch.float64, requires_grad=True)
    loss = getattr(ops, f"{kind}_loss")(pred, torch.tensor(data["target"]).double(), eps=0.0)
    loss.sum().backward()
    # The original clamps the metric to [-1, 1]; the canonical form does not.
    inside = data[f"loss_{kind}"] < 2
    close(loss.detach().numpy(), np.where(inside, data[f"loss_{kind}"], np.nan), 1e-10, 1e-11)
    assert pred.grad is not None
    rows = data["smooth"] & inside
    close_rows(pred.grad.numpy()[rows], data[f"grad_{kind}"][rows], 1e-9, 1e-10)


@DTYPES
@pytest.mark.parametrize(
    ("case", "name", "op"),
    [
        ("efficient", "eiou", "eiou_loss"),
        ("mmdet", "paper", "siou_loss"),
        ("loss", "exp", "nwd_loss"),
    ],
)
def test_losses_of_later_years(case: str, name: str, op: str, dtype: torch.dtype) -> None:
    """In float64 by autograd, in float32 by the kernels, where there are any."""
    entry = next(
        e.values[0] for e in golden_entries("eiou", "siou", "nwd") if e.values[0]["case"] == case
    )
    data = golden_arrays(entry)
    pred = torch.tensor(data["pred"], dtype=dtype, requires_grad=True)
    loss = getattr(ops, op)(pred, torch.tensor(data["target"], dtype=dtype))
    (grad,) = torch.autograd.grad(loss.sum(), pred)
    limits = entry["tolerance"]["float32"]
    exact = dtype == torch.float64
    rtol, atol = (1e-10, 1e-11) if exact else (limits["rtol"], limits["atol"])
    close(loss.detach().numpy(), data[f"loss_{name}"], rtol, atol)
    assert grad.isfinite().all()
    smooth = data["smooth"]
    close_rows(grad.numpy()[smooth], data[f"grad_{name}"][smooth], rtol, atol)


@pytest.mark.parametrize("kind", ["eiou", "siou"])
def test_scores_and_losses_of_later_years_agree(kind: str) -> None:
    """But for eps in the union, for boxes of pixels."""
    data = golden_arrays(golden_entries(kind)[0].values[0])
    rows = data["tag"] < 2
    pred, target = (torch.tensor(data[name][rows]).double() for name in ("pred", "target"))
    loss = getattr(ops, f"{kind}_loss")(pred, target)
    score = getattr(ops, f"box_{kind}")(pred, target)
    np.testing.assert_allclose(score, 1 - loss, rtol=0, atol=1e-7)
    pairs = getattr(ops, f"pairwise_{kind}")(pred, target)
    np.testing.assert_array_equal(pairs.diagonal(), score)


@DTYPES
def test_pairwise_nwd(dtype: torch.dtype) -> None:
    (parameter,) = (e for e in golden_entries("nwd") if e.values[0]["case"] == "pairwise")
    data, limits = golden_arrays(parameter.values[0]), parameter.values[0]["tolerance"]["float32"]
    boxes = torch.tensor(data["boxes1"], dtype=dtype, requires_grad=True)
    others = torch.tensor(data["boxes2"], dtype=dtype)
    score = ops.pairwise_nwd(boxes, others)
    (score * torch.tensor(data["cotangent"], dtype=dtype)).sum().backward()
    exact = dtype == torch.float64
    rtol, atol = (1e-10, 1e-12) if exact else (limits["rtol"], limits["atol"])
    close(score.detach().numpy(), data["nwd"], rtol, atol)
    assert boxes.grad is not None
    close_rows(boxes.grad.numpy(), data["grad_nwd"], rtol, atol)
    np.testing.assert_array_equal(
        ops.box_nwd(boxes[:13], others).detach(), score[:13].diag().detach()
    )


@DTYPES
@pytest.mark.parametrize("kind", KINDS)
def test_pairwise(kind: str, dtype: torch.dtype) -> None:
    data = golden_arrays(golden_entries("iou_pairwise")[0].values[0])
    pred = torch.tensor(data["boxes1"], dtype=dtype, requires_grad=True)
    score = getattr(ops, f"pairwise_{kind}")(pred, torch.tensor(data["boxes2"], dtype=dtype))
    (score * torch.tensor(data["cotangent"], dtype=dtype)).sum().backward()
    rtol, atol = TOLERANCE[dtype]
    close(score.detach().numpy(), data[kind], rtol, atol)
    assert pred.grad is not None
    rows = data["smooth"]
    close_rows(pred.grad.numpy()[rows], data[f"grad_{kind}"][rows], rtol, atol)


def test_pairwise_of_degenerate_boxes_is_zero() -> None:
    with np.load(GOLDEN / "iou_pairwise__degenerate.npz") as data:
        boxes1, boxes2 = (torch.tensor(data[name]).double() for name in ("boxes1", "boxes2"))
        np.testing.assert_array_equal(ops.pairwise_iou(boxes1, boxes2).numpy(), data["iou_safe"])


@pytest.mark.parametrize("entry", golden_entries("box_delta"))
def test_box_deltas(entry: dict[str, Any]) -> None:
    data = {name: torch.tensor(a).double() for name, a in golden_arrays(entry).items()}
    weights = tuple(entry["parameters"]["weights"])
    encoded = ops.encode_boxes(data["gt"], data["anchors"], weights)
    close(encoded.numpy(), data["encoded"].numpy(), 1e-12, 1e-12)
    deltas = data["deltas"].requires_grad_()
    decoded = ops.decode_boxes(deltas, data["anchors"], weights)
    (decoded * data["cotangent"]).sum().backward()
    close(decoded.detach().numpy(), data["decoded"].numpy(), 1e-12, 1e-10)
    assert deltas.grad is not None
    close_rows(deltas.grad.numpy(), data["decode_grad"].numpy(), 1e-12, 1e-10)
    roundtrip = ops.decode_boxes(encoded, data["anchors"], weights)
    close(roundtrip.numpy(), data["roundtrip"].numpy(), 1e-12, 1e-10)


@DTYPES
@pytest.mark.parametrize("entry", golden_entries("smooth_l1"))
def test_smooth_l1(entry: dict[str, Any], dtype: torch.dtype) -> None:
    data = golden_arrays(entry)
    as_rows = (-1, data["pred"].shape[-1])
    pred = torch.tensor(data["pred"], dtype=dtype).reshape(as_rows).requires_grad_()
    target = torch.tensor(data["target"], dtype=dtype).reshape(as_rows)
    rtol, atol = {torch.float64: (1e-12, 1e-14), torch.float32: (1e-6, 1e-6)}[dtype]
    beta = entry["parameters"]["beta"]
    if "inside_weight" in data:
        inside, outside = (
            torch.tensor(data[f"{w}_weight"], dtype=dtype) for w in ("inside", "outside")
        )
        loss = (outside * ops.smooth_l1_loss(inside * pred, inside * target, beta)).sum() / len(
            pred
        )
    else:
        loss = ops.smooth_l1_loss(pred, target, beta).reshape(data["pred"].shape)
        mean = ops.smooth_l1_loss(pred, target, beta, "mean")
        close(mean.detach().numpy(), data["loss_mean"], rtol, atol)
    loss.sum().backward()
    close(loss.detach().numpy(), data["loss"], rtol, atol)
    assert pred.grad is not None
    close(pred.grad.numpy().reshape(data["grad"].shape), data["grad"], rtol, atol)


def test_scores_of_darknet() -> None:
    """Scores of boxes by centre and size; its hand-written gradients are no derivatives of them."""
    with np.load(GOLDEN / "iou_darknet__cxcywh.npz", allow_pickle=False) as stored:
        data = {name: stored[name] for name in stored.files}
    pred, target = (to_xyxy(torch.tensor(data[name]).double()) for name in ("pred", "target"))
    iou = ops.box_iou(pred, target)
    close(iou.numpy(), data["iou"], 1e-10, 1e-11)
    close(ops.box_giou(pred, target).numpy(), data["giou"], 1e-10, 1e-11)
    # Its DIoU raises the penalty to the power of its NMS, and its CIoU has another eps and pi.
    penalty = (iou - ops.box_diou(pred, target, eps=0.0)).clamp(min=0) ** 0.6
    close((iou - penalty).numpy(), data["diou_pow06"], 1e-9, 1e-9)
    close(ops.box_ciou(pred, target, eps=1e-6).numpy(), data["ciou"], 1e-5, 1e-5)


# Vectors that no test reads, and why.
UNUSED = {
    "box_delta__legacy_plus_one.npz": "boxes of whole pixels, sides of x2 - x1 + 1",
    "box_delta__mmdet_two_sided_clamp.npz": "clamps sizes at both ends, Detectron's at the upper",
    "iou_losses__aligned_mmdet.npz": "max(denominator, eps), a gated trade-off, a clamped CIoU",
    "iou_losses__aligned_ultralytics_xyxy.npz": "adds eps to heights before the area",
    "iou_losses__aligned_ciou_weight_not_detached.npz": "differentiates the trade-off",
}


def test_every_vector_is_used_or_has_a_reason() -> None:
    text = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py"))
    for entry in json.loads((GOLDEN / "index.json").read_text())["entries"]:
        name = entry["file"]
        stem = name.removesuffix(".npz")
        read = text.count(stem) > (name in UNUSED)
        read = read or (entry["canonical"] and f'"{entry["system"]}"' in text)
        # Those of the simulation are named by their case.
        read = read or (entry["system"] == "simulation" and f'"{entry["case"]}"' in text)
        assert read != (name in UNUSED), name
