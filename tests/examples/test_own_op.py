"""The ops of examples/own_op against vectors of the papers' formulas and of public code."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lossexport import ops
from lossexport.catalog import CATALOG
from tests.conftest import ROOT

VECTORS = Path(__file__).with_name("vectors")
ZERO_AREA = 9


@pytest.fixture(autouse=True)
def own() -> Iterator[None]:
    with CATALOG.scoped():
        for file in ("mpdiou.py", "paper_losses.py"):
            CATALOG.load(str(ROOT / "examples" / "own_op" / file))
        yield


def vectors(name: str) -> dict[str, np.ndarray]:
    with np.load(VECTORS / name, allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files}


def test_mpdiou_is_the_papers() -> None:
    """A transcription of the formula with eps in the union: no code of the authors is public."""
    known = vectors("mpdiou__paper.npz")
    pred = torch.from_numpy(known["pred"]).double().requires_grad_()
    target = torch.from_numpy(known["target"]).double()
    loss = ops.mpdiou_loss(pred, target, width=640.0, height=480.0)
    np.testing.assert_allclose(loss.detach(), known["loss_mpdiou"], rtol=1e-9, atol=1e-10)
    loss.sum().backward()
    assert pred.grad is not None
    smooth = known["smooth"]
    np.testing.assert_allclose(
        pred.grad[smooth], known["grad_mpdiou"][smooth], rtol=1e-9, atol=1e-10
    )


@pytest.mark.parametrize(("name", "ratio"), [("r0p7", 0.7), ("r1p2", 1.2)])
def test_inner_iou_is_the_authors(name: str, ratio: float) -> None:
    """Their loss is 1 - Inner-IoU and the penalties of CIoU, those of the full boxes."""
    known = vectors(f"inner_iou__{name}.npz")
    pred, target = (torch.from_numpy(known[side]).double() for side in ("pred", "target"))
    penalties = ops.ciou_loss(pred, target) - ops.iou_loss(pred, target)
    expected = 1 - (torch.from_numpy(known["loss_inner_ciou"]) - penalties)
    # Of boxes without area their arctan(w / h) is that of infinity or NaN, and one is upside down.
    upright = (known["pred"][:, 2:] >= known["pred"][:, :2]).all(1)
    kept = upright & (known["tag"] != ZERO_AREA)
    assert kept.sum() > 50
    found = ops.box_inner_iou(pred, target, ratio=ratio)
    np.testing.assert_allclose(found[kept], expected[kept], rtol=1e-9, atol=1e-10)


def test_a_ratio_of_one_is_the_iou() -> None:
    known = vectors("mpdiou__paper.npz")
    pred, target = (torch.from_numpy(known[side]).double() for side in ("pred", "target"))
    found, expected = ops.box_inner_iou(pred, target, ratio=1.0), 1 - ops.iou_loss(pred, target)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


ALPHA = [
    (f"alpha_iou__a{alpha}", "alpha_iou_loss", kind, {"alpha": float(alpha), "kind": kind})
    for alpha in (2, 3)
    for kind in ("iou", "giou", "diou", "ciou")
]
OTHERS = [
    ("inner_iou__r0p7", "inner_ciou_loss", "inner_ciou", {"ratio": 0.7}),
    ("inner_iou__r1p2", "inner_ciou_loss", "inner_ciou", {"ratio": 1.2}),
    ("shape_iou__s0", "shape_iou_loss", "shape_iou", {"scale": 0.0}),
    ("shape_iou__s1", "shape_iou_loss", "shape_iou", {"scale": 1.0}),
    *(("wiou__wise", "wiou_loss", v, {"version": v, "mean": 0.6}) for v in ("v1", "v2", "v3")),
]


@pytest.mark.parametrize(("file", "name", "key", "given"), [*ALPHA, *OTHERS])
def test_losses_of_papers_are_those_of_the_authors_codes(
    file: str, name: str, key: str, given: dict[str, Any]
) -> None:
    """Where these are NaN, for boxes without area, ours are finite; so is the gradient."""
    known = vectors(f"{file}.npz")
    pred, target = (torch.from_numpy(known[side]).double() for side in ("pred", "target"))
    loss = getattr(ops, name)(pred.requires_grad_(), target, **given)
    (grad,) = torch.autograd.grad(loss.sum(), pred)
    assert loss.isfinite().all()
    assert grad.isfinite().all()
    expected, slopes = known[f"loss_{key}"], known[f"grad_{key}"]
    # One box is upside down.
    kept = (known["pred"][:, 2:] >= known["pred"][:, :2]).all(1) & np.isfinite(expected)
    assert kept.sum() >= 59
    np.testing.assert_allclose(loss.detach()[kept], expected[kept], rtol=1e-10, atol=1e-12)
    kept &= known["smooth"]
    np.testing.assert_allclose(grad[kept], slopes[kept], rtol=1e-9, atol=1e-10)


def test_alpha_ciou_is_finite_in_float32_where_the_code_is_nan() -> None:
    """Its eps of 1e-9 vanishes beside 1, and the trade-off of equal boxes is 0 / 0."""
    box = torch.tensor([[10.0, 20.0, 30.0, 50.0]], requires_grad=True)
    loss = ops.alpha_iou_loss(box, box.detach())
    loss.sum().backward()
    assert abs(loss.item()) < 1e-6
    assert box.grad is not None
    assert box.grad.isfinite().all()
