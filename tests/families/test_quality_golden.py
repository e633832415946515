"""Losses with a quality as their target against vectors of the public training codes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lossexport import ops
from lossexport.catalog import CATALOG
from lossexport.catalog.variant import Variant
from lossexport.exporter import onnx_file
from lossexport.runtime.ort import open_session
from lossexport.runtime.session import Source
from tests.conftest import close, close_rows, golden_arrays, golden_entries

# In float64; in float32 each vector states its own.
TIGHT = (1e-10, 1e-12)
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
# Vectors that are not canonical as they are, and what is taken of them, or how.
OTHERS = {
    "quality_focal_loss__logits_2": "NaN gradients where the target is met, at beta 0.5",
    "varifocal_loss__detr_degenerate_a0p75_g2": "NaN of boxes without area",
    "mal_loss__detr_degenerate_g1p5_aNone": "NaN of boxes without area",
    "ia_bce_loss__rfdetr_degenerate_a0p25": "NaN of boxes without area",
    "varifocal_loss__rfdetr": "1 - alpha for alpha",
}


# The op, its inputs and attributes, and what makes the loss of an entry of the op's.
Case = tuple[str, dict[str, torch.Tensor], dict[str, Any], Callable[[torch.Tensor], torch.Tensor]]


def case(entry: dict[str, Any], dtype: torch.dtype) -> Case:
    """How an op gives the loss of an entry."""
    arrays = {name: torch.tensor(value) for name, value in golden_arrays(entry).items()}
    arrays = {n: a.to(dtype) if a.is_floating_point() else a for n, a in arrays.items()}
    given, system = entry["parameters"], entry["system"]
    if system.startswith("distribution_focal"):
        return distribution(arrays)
    if system.startswith("quality_focal"):
        rows = torch.arange(len(arrays["labels"]))
        known = (arrays["labels"] >= 0) & (arrays["labels"] < arrays["logits"].shape[1])
        target = torch.zeros_like(arrays["logits"])
        target[rows[known], arrays["labels"][known]] = arrays["score"][known]
        inputs = {"logits": arrays["logits"], "target": target}
        return "quality_focal_loss", inputs, {"beta": given["beta"]}, lambda loss: loss.sum(1)
    if "targets" in arrays:  # of VarifocalNet, and of RF-DETR, whose alpha is 1 - alpha
        alpha = given["alpha"] if "iou_weighted" in given else 1 - given["alpha"]
        settings = {"alpha": alpha, "gamma": given["gamma"]}
        settings["iou_weighted"] = given.get("iou_weighted", True)
        inputs = {"logits": arrays["logits"], "target": arrays["targets"]}
        share = given.get("num_boxes")
        return "varifocal_loss", inputs, settings, lambda x: x.sum() / share if share else x
    return matched(arrays, given, system)


def distribution(arrays: dict[str, torch.Tensor]) -> Case:
    op, none = "distribution_focal_loss", {"margin": 0.0}
    if "pred_dist" in arrays:
        inputs = {"logits": arrays["pred_dist"], "target": arrays["target"].flatten()}
        return op, inputs, {}, lambda loss: loss.reshape(-1, 4).mean(1)
    if "pred_corners" in arrays:
        place = arrays["target_bin"].floor() + arrays["weight_right"]
        inputs = {"logits": arrays["pred_corners"], "target": place}
        return op, inputs, none, lambda loss: loss * arrays["iou_weight"]
    return op, {"logits": arrays["logits"], "target": arrays["label"]}, none, lambda loss: loss


def matched(arrays: dict[str, torch.Tensor], given: dict[str, Any], system: str) -> Case:
    """Logits, qualities and matches of queries with the targets that they were matched to."""

    def corners(boxes: torch.Tensor) -> torch.Tensor:
        return torch.cat((boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2), dim=1)

    image, query = arrays["tgt_batch"], arrays["src_query"]
    own = corners(arrays["pred_boxes"][image, query])
    quality = torch.zeros_like(arrays["pred_logits"])
    found = torch.zeros_like(quality, dtype=torch.bool)
    quality[image, query, arrays["tgt_labels"]] = ops.box_iou(own, corners(arrays["tgt_boxes"]))
    found[image, query, arrays["tgt_labels"]] = True
    inputs = {"logits": arrays["pred_logits"], "quality": quality, "matched": found}
    op, settings = {
        "varifocal_loss": ("matched_varifocal_loss", ("alpha", "gamma")),
        "mal_loss": ("matchability_aware_loss", ("gamma",)),
        "ia_bce_loss": ("iou_aware_bce_loss", ("alpha",)),
    }[system]
    attributes = {name: given[name] for name in settings}
    if given.get("mal_alpha") is not None:
        attributes["alpha"] = given["mal_alpha"]
    return op, inputs, attributes, lambda loss: loss.sum() / given["num_boxes"]


def expected(entry: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The loss and the gradient; those without the NaN of the code where it has both."""
    arrays = golden_arrays(entry)
    grad = next(n for n in ("grad_loss", "grad_logits", "grad") if n in arrays)
    return (
        arrays.get("loss_safe", arrays["loss"]),
        arrays.get("grad_logits_safe", arrays[grad]),
    )


ENTRIES = golden_entries(
    "distribution_focal", "distribution_focal_loss", "quality_focal", "quality_focal_loss",
    "varifocal", "varifocal_loss", "mal_loss", "ia_bce_loss", others=OTHERS,
)  # fmt: skip


@DTYPES
@pytest.mark.parametrize("entry", ENTRIES)
def test_value_and_gradient(entry: dict[str, Any], dtype: torch.dtype) -> None:
    """In float64 by autograd, in float32 by the kernels, where there are any."""
    op, inputs, attributes, reduced = case(entry, dtype)
    x = inputs["logits"].requires_grad_()
    loss = reduced(getattr(ops, op)(**inputs, **attributes))
    (grad,) = torch.autograd.grad(loss.sum(), x)
    wanted, slope = expected(entry)
    limits = entry["tolerance"]["float32"]
    rtol, atol = TIGHT if dtype == torch.float64 else (limits["rtol"], limits["atol"])
    close(loss.detach().numpy(), wanted, rtol, atol)
    close_rows(grad.numpy().reshape(slope.shape), slope, rtol, atol)


DEFAULT = [
    parameter
    for parameter in ENTRIES
    if all(
        item.default == value
        for op, _, attributes, _ in [case(parameter.values[0], torch.float64)]
        for item in CATALOG[op].attributes
        for value in [attributes.get(item.name, item.default)]
    )
]


@pytest.mark.slow
@pytest.mark.parametrize("entry", DEFAULT)
def test_exported_value_and_gradient(entry: dict[str, Any]) -> None:
    """The graph in onnxruntime, of entries with the defaults of the op."""
    op, inputs, _, reduced = case(entry, torch.float32)
    model = onnx_file.onnx_bytes(Variant.make(CATALOG[op], gradient=True))
    session = open_session(Source(Path(op), model, None), "ort", "cpu")
    arrays = {n: v.reshape(-1, v.shape[-1]) if v.dim() > 1 else v for n, v in inputs.items()}
    found = session(**{name: value.detach().numpy() for name, value in arrays.items()})
    loss = torch.from_numpy(found["loss"]).requires_grad_()
    wanted, slope = expected(entry)
    limits = entry["tolerance"]["float32"]
    total = reduced(loss.reshape(inputs["logits"].shape) if loss.dim() == 2 else loss)
    close(total.detach().numpy(), wanted, limits["rtol"], limits["atol"])
    # The gradient of the entry's loss: what it makes of each element's.
    (share,) = torch.autograd.grad(total.sum(), loss)
    share = share.reshape(share.shape + (1,) * (found["grad_logits"].ndim - share.dim()))
    grad = (share * torch.from_numpy(found["grad_logits"])).numpy().reshape(slope.shape)
    close_rows(grad, slope, limits["rtol"], limits["atol"])
