"""The rotated ops against vectors computed with the original public code, and with shapely."""

from typing import Any

import numpy as np
import pytest
import torch

from lossexport import ops
from tests.conftest import ROOT, close, close_rows

VECTORS = ROOT / "tests" / "golden2"
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32])


def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(VECTORS / f"{name}.npz", allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files}


# By vector: array, op, attributes.
LOSSES: dict[str, list[tuple[str, str, dict[str, Any]]]] = {
    "probiou__ultralytics": [("probiou_floor", "probiou_loss", {})],
    "probiou__paper_loss": [("l1", "probiou_loss", {"eps": 1e-3, "floor": 0.0})],
    "gwd__mmrotate": [
        ("log1p_tau0", "gwd_loss", {"tau": 0.0}),
        ("log1p_tau1", "gwd_loss", {}),
        ("sqrt_tau2_nonorm", "gwd_loss", {"normalize": False, "post": "sqrt", "tau": 2.0}),
    ],
    "kld__mmrotate": [
        ("kld_log1p_tau1", "kld_loss", {}),
        ("kld_nosqrt_tau0", "kld_loss", {"sqrt": False, "post": "none", "tau": 0.0}),
        *((direction, "kld_loss", {"direction": direction}) for direction in ("jd", "symmax")),
        ("symmin", "kld_loss", {"direction": "symmin"}),
    ],
    "kfiou__mmrotate": [
        ("one_minus", "kfiou_loss", {"form": "linear"}),
        ("ln", "kfiou_loss", {"form": "ln"}),
        ("exp", "kfiou_loss", {"form": "exp"}),
    ],
}


def expected(vector: str, key: str, data: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The value and the gradient of a loss."""
    if vector == "probiou__ultralytics":
        return 1 - data[key], -data[f"grad_{key}"]
    if vector != "kfiou__mmrotate":
        return data[key], data[f"grad_{key}"]
    # The original adds a smooth L1 loss of the encoded centres.
    pred, target = (torch.tensor(data[f"{side}_delta"]).double() for side in ("pred", "target"))
    centres = ops.smooth_l1_loss(pred[:, :2], target[:, :2], beta=1 / 9).sum(1).numpy()
    return data[f"loss_{key}"] - centres, data[f"grad_box_{key}"]


@DTYPES
@pytest.mark.parametrize(
    ("vector", "key", "op", "attributes"),
    [(vector, *case) for vector, cases in LOSSES.items() for case in cases],
)
def test_losses(
    vector: str, key: str, op: str, attributes: dict[str, Any], dtype: torch.dtype
) -> None:
    data = arrays(vector)
    boxes = "pred_box" if "pred_box" in data else "pred"
    pred = torch.tensor(data[boxes], dtype=dtype, requires_grad=True)
    target = torch.tensor(data[boxes.replace("pred", "target")], dtype=dtype)
    loss = getattr(ops, op)(pred, target, **attributes)
    loss.sum().backward()
    assert pred.grad is not None
    value, gradient = expected(vector, key, data)
    rows = data.get("compare_value", np.ones(len(value), bool)) & np.isfinite(value)
    if dtype == torch.float32:
        rows &= data.get("compare_float32", rows)
    rtol, atol = {torch.float64: (1e-9, 1e-11), torch.float32: (2e-5, 2e-6)}[dtype]
    close(loss.detach().numpy(), np.where(rows, value, np.nan), rtol, atol)
    rows &= data.get("smooth", rows)
    close_rows(pred.grad.numpy(), np.where(rows[:, None], gradient, np.nan), rtol, atol)


@DTYPES
def test_probiou(dtype: torch.dtype) -> None:
    rtol, atol = {torch.float64: (1e-10, 1e-12), torch.float32: (1e-6, 1e-6)}[dtype]
    data = arrays("probiou__ultralytics")
    pred, target = (torch.tensor(data[name], dtype=dtype) for name in ("pred", "target"))
    rows = data["compare_value"]
    for floor, key in ((0.0, "probiou"), (0.01, "probiou_floor")):
        score = ops.box_probiou(pred, target, floor=floor)
        close(score.numpy(), np.where(rows, data[key], np.nan), rtol, atol)

    data = arrays("probiou__pairwise")
    pred = torch.tensor(data["boxes1"], dtype=dtype, requires_grad=True)
    scores = ops.pairwise_probiou(pred, torch.tensor(data["boxes2"], dtype=dtype))
    (scores * torch.tensor(data["cotangent"])).sum().backward()
    assert pred.grad is not None
    close(scores.detach().numpy(), data["probiou"], rtol, atol)
    close_rows(pred.grad.numpy(), data["grad_probiou"], rtol, atol)


@DTYPES
def test_exact_iou(dtype: torch.dtype) -> None:
    data = arrays("rotated_iou__exact")
    atol = {torch.float64: 1e-13, torch.float32: 1e-6}[dtype]
    pred = torch.tensor(data["boxes1"], dtype=dtype, requires_grad=True)
    target = torch.tensor(data["boxes2"], dtype=dtype)
    loss = ops.rotated_iou_loss(pred, target)
    loss.sum().backward()
    assert pred.grad is not None
    close(1 - loss.detach().numpy(), data["iou"], 0, atol)
    rows = data["smooth"]
    # The gradients of the vectors are differences of shapely's areas.
    close_rows(-pred.grad.numpy(), np.where(rows[:, None], data["grad_iou"], np.nan), 1e-6, 2e-5)
    close(ops.box_rotated_iou(pred.detach(), target).numpy(), data["iou"], 0, atol)
    scores = ops.pairwise_rotated_iou(pred.detach()[:12], target[:12])
    close(scores.numpy(), data["iou_pairwise"], 0, atol)


@DTYPES
@pytest.mark.parametrize("name", ["t0p3", "t0p5"])
def test_rotated_nms(name: str, dtype: torch.dtype) -> None:
    data = arrays(f"rotated_nms__{name}")
    boxes, scores = (torch.tensor(data[key], dtype=dtype) for key in ("boxes", "scores"))
    threshold = {"t0p3": 0.3, "t0p5": 0.5}[name]
    indices, count = ops.rotated_nms(boxes, scores, threshold)
    assert indices[:count].tolist() == data["keep"].tolist()
    assert (indices[count:] == -1).all()
    kept = []  # each class by itself
    for label in np.unique(data["classes"]):
        own = torch.tensor(np.flatnonzero(data["classes"] == label))
        indices, count = ops.rotated_nms(boxes[own], scores[own], threshold)
        kept.extend(own[indices[:count]].tolist())
    assert sorted(kept) == sorted(data["keep_class_aware"].tolist())
