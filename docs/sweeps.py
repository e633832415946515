"""How each loss is plotted: one prediction is moved, everything else stays as it is."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import lossexport.ops
from lossexport.catalog.spec import Op

POINTS = 201

# Inputs of an op as a function of the moved value, a float64 scalar that carries the gradient.
Inputs = Callable[[Tensor], Mapping[str, Tensor]]


@dataclass(frozen=True, slots=True)
class Sweep:
    """A range of the moved value, and by curve the inputs and the attributes."""

    label: str
    low: float
    high: float
    curves: Mapping[str, tuple[Inputs, Mapping[str, Any]]]


def curves(op: Op) -> tuple[list[float], dict[str, dict[str, list[float]]]]:
    """The moved values, and by panel and curve the loss and its derivative in the moved value."""
    sweep, function = SWEEPS[op.name], getattr(lossexport.ops, op.name)
    x = torch.linspace(sweep.low, sweep.high, POINTS, dtype=torch.float64)
    loss: dict[str, list[float]] = {}
    slope: dict[str, list[float]] = {}
    for name, (inputs, attributes) in sweep.curves.items():
        loss[name], slope[name] = [], []
        for value in x:
            moved = value.clone().requires_grad_()
            result = function(**inputs(moved), **attributes)
            mean = (result[0] if isinstance(result, tuple) else result).mean()
            (derivative,) = torch.autograd.grad(mean, moved)
            loss[name].append(float(mean.detach()))
            slope[name].append(float(derivative))
    return x.tolist(), {"loss": loss, "gradient": slope}


def _row(*values: Any) -> Tensor:
    """A tensor [1,n] of numbers and scalars."""
    return torch.stack([torch.as_tensor(value, dtype=torch.float64) for value in values])[None]


def _column(*values: Any) -> Tensor:
    """A tensor [n,1] of numbers and scalars."""
    return _row(*values).T


def _vary(inputs: Inputs, attribute: str, *values: Any) -> dict[str, tuple[Inputs, dict[str, Any]]]:
    return {f"{attribute} = {value}": (inputs, {attribute: value}) for value in values}


def _same_shape(s: Tensor) -> dict[str, Tensor]:
    return {"pred": _row(s, 0, s + 1, 1), "target": _row(0, 0, 1, 1)}


def _other_shape(s: Tensor) -> dict[str, Tensor]:
    return {"pred": _row(s - 0.5, 0.25, s + 1.5, 0.75), "target": _row(0, 0, 1, 1)}


def _shifted(s: Tensor) -> dict[str, Tensor]:
    return {"pred": _row(2 * s, 0, 2, 1, 0.0), "target": _row(0, 0, 2, 1, 0.0)}


def _turned(s: Tensor) -> dict[str, Tensor]:
    return {"pred": _row(0, 0, 2, 1, math.pi / 2 * s), "target": _row(0, 0, 2, 1, 0.0)}


def _difference(s: Tensor) -> dict[str, Tensor]:
    return {"pred": _row(s), "target": _row(0)}


def _differences(s: Tensor) -> dict[str, Tensor]:
    """One moved box of four coordinates among boxes of small and large errors."""
    others = torch.linspace(-0.1, 0.1, 36, dtype=torch.float64).reshape(9, 4)
    pred = torch.cat((s.expand(1, 4), others))
    ones = torch.ones_like(pred)
    return {"pred": pred, "target": 0 * ones, "weight": ones, "bin_count": torch.zeros(10).double()}


def _gaussian(log_variance: float) -> Inputs:
    def inputs(s: Tensor) -> dict[str, Tensor]:
        zeros = _row(0, 0, 0, 0)
        return {"pred": s + zeros, "log_variance": zeros + log_variance, "target": zeros}

    return inputs


def _positive(s: Tensor) -> dict[str, Tensor]:
    return {"logits": _row(s), "target": _row(1)}


def _matched(s: Tensor) -> dict[str, Tensor]:
    matched = torch.ones(1, 1, dtype=torch.bool)
    return {"logits": _row(s), "quality": _row(0.7), "matched": matched}


def _quality(quality: float) -> Inputs:
    return lambda s: {"logits": _row(s), "target": _row(quality)}


def _qualities() -> dict[str, tuple[Inputs, dict[str, Any]]]:
    return {f"target {quality}": (_quality(quality), {}) for quality in (0.0, 0.3, 0.7, 1.0)}


def _unmatched(s: Tensor) -> dict[str, Tensor]:
    matched = torch.zeros(1, 1, dtype=torch.bool)
    return {"logits": _row(s), "quality": _row(0), "matched": matched}


def _matches() -> dict[str, tuple[Inputs, dict[str, Any]]]:
    return {"matched, IoU 0.7": (_matched, {}), "not matched": (_unmatched, {})}


def _bin(distance: float) -> Inputs:
    return lambda s: {"logits": _row(0, 0, s, 0), "target": _row(distance)[0]}


def _class_of_three(s: Tensor) -> dict[str, Tensor]:
    return {"logits": _row(0, s, 0), "labels": torch.tensor([1])}


def _wrong_class(s: Tensor) -> dict[str, Tensor]:
    return {"logits": _row(s, 0, 0), "labels": torch.tensor([1])}


def _among_negatives(s: Tensor) -> dict[str, Tensor]:
    """One moved positive among nine negatives, most of them easy."""
    logits = _column(s, *torch.linspace(-5, 1, 9))
    target = _column(1, *[0] * 9)
    return {
        "logits": logits,
        "target": target,
        "weight": torch.ones_like(target),
        "bin_count": torch.zeros(10, dtype=torch.float64),
    }


def _ranked(s: Tensor) -> dict[str, Tensor]:
    return {"logits": _row(s, -2, -1, 0, 1, 2)[0], "target": torch.tensor([1, 0, 0, 0, 0, 0])}


def _ranked_rows(s: Tensor) -> dict[str, Tensor]:
    return {"logits": _column(s, -2, -1, 0, 1, 2), "labels": torch.tensor([1, 0, 0, 0, 0, 0])}


def _told(x1: float, y1: float, x2: float, y2: float) -> dict[str, Tensor]:
    """One target of class 0."""
    return {
        "labels": torch.zeros(1, 1, dtype=torch.int64),
        "targets": _row(x1, y1, x2, y2)[None],
        "valid": torch.ones(1, 1, dtype=torch.bool),
    }


def _square() -> dict[str, Tensor]:
    """A target of 64 pixels, and the point in the middle of it."""
    stride = torch.full((1,), 8.0, dtype=torch.float64)
    return {"points": _row(64, 64), "stride": stride, **_told(32, 32, 96, 96)}


def _of_a_point(s: Tensor) -> dict[str, Tensor]:
    """A head without bins, whose box is moved by `s` cells."""
    given = {"box_logits": _column(4 - s, 4, 4 + s, 4)[None], "class_logits": _row(0)[None]}
    square = _square()
    return {**given, **square, "points": square["points"] / 8}


def _of_an_anchor(s: Tensor) -> dict[str, Tensor]:
    given = {"class_logits": _row(0)[None], "deltas": _row(s, 0, 0, 0)[None]}
    return {**given, "anchors": _row(0, 0, 64, 64), **_told(0, 0, 64, 64)}


def _of_a_centre(s: Tensor) -> dict[str, Tensor]:
    given = {"class_logits": _row(0)[None], "distances": _row(4 - s, 4, 4 + s, 4)[None]}
    return {**given, "centre_logits": _row(0), **_square()}


def _of_a_query(s: Tensor) -> dict[str, Tensor]:
    given = {"logits": _row(0, 0)[None], "boxes": _row(s + 0.5, 0.5, 0.25, 0.25)[None]}
    return {
        **given,
        **_told(0.5, 0.5, 0.25, 0.25),
        "match": torch.zeros(1, 1, dtype=torch.int64),
    }


_BOX = Sweep(
    "shift of the predicted box, in widths of the target",
    -2.5,
    2.5,
    {"same shape": (_same_shape, {}), "twice as wide, half as high": (_other_shape, {})},
)
_ROTATED = Sweep(
    "shift of the predicted box, in widths of the target, or its turn, in quarter turns",
    -1.5,
    1.5,
    {"shifted": (_shifted, {}), "turned": (_turned, {})},
)
_LOGIT = "logit of the positive"

SWEEPS: dict[str, Sweep] = {
    "iou_loss": _BOX,
    "giou_loss": _BOX,
    "diou_loss": _BOX,
    "ciou_loss": _BOX,
    "eiou_loss": _BOX,
    "siou_loss": _BOX,
    "nwd_loss": Sweep(
        _BOX.label,
        _BOX.low,
        _BOX.high,
        {f"constant {c}": (_same_shape, {"constant": c}) for c in (0.5, 1.0, 2.0)},
    ),
    "probiou_loss": _ROTATED,
    "rotated_iou_loss": _ROTATED,
    "kld_loss": _ROTATED,
    "gwd_loss": _ROTATED,
    "kfiou_loss": _ROTATED,
    "smooth_l1_loss": Sweep(
        "prediction - target", -3, 3, _vary(_difference, "beta", 0.5, 1.0, 2.0)
    ),
    "kl_loss": Sweep(
        "prediction - target",
        -3,
        3,
        {f"log variance {v}": (_gaussian(v), {}) for v in (-1.0, 0.0, 1.0)},
    ),
    "sigmoid_focal_loss": Sweep(_LOGIT, -5, 5, _vary(_positive, "gamma", 0.0, 0.5, 2.0, 5.0)),
    "softmax_focal_loss": Sweep(
        "logit of the true class, two others at 0",
        -5,
        5,
        _vary(_class_of_three, "gamma", 0.0, 0.5, 2.0, 5.0),
    ),
    "distribution_focal_loss": Sweep(
        "logit of bin 2, three others at 0",
        -5,
        5,
        {f"target {distance}": (_bin(distance), {}) for distance in (1.0, 1.6, 2.0)},
    ),
    "quality_focal_loss": Sweep("logit", -5, 5, _qualities()),
    "varifocal_loss": Sweep("logit", -5, 5, _qualities()),
    "matched_varifocal_loss": Sweep("logit", -5, 5, _matches()),
    "matchability_aware_loss": Sweep("logit", -5, 5, _matches()),
    "iou_aware_bce_loss": Sweep("logit", -5, 5, _matches()),
    "ghm_c_loss": Sweep(
        "logit of the positive, nine negatives stay", -5, 5, {"": (_among_negatives, {})}
    ),
    "ghm_r_loss": Sweep(
        "prediction - target, nine boxes stay", -0.2, 0.2, _vary(_differences, "mu", 0.02, 0.1)
    ),
    "ap_loss": Sweep(
        "logit of the positive, negatives at -2, -1, 0, 1, 2",
        -4,
        4,
        _vary(_ranked, "delta", 0.5, 1.0),
    ),
    "dr_loss": Sweep(
        "logit of the positive, negatives at -2, -1, 0, 1, 2",
        -6,
        6,
        _vary(_ranked_rows, "margin", 0.0, 0.5),
    ),
    "anchor_loss": Sweep(
        "logit of a wrong class, the true one at 0",
        -5,
        5,
        _vary(_wrong_class, "gamma", 0.0, 0.5, 2.0),
    ),
    "sce_loss": Sweep(
        "logit of the true class, two others at 0",
        -8,
        5,
        _vary(_class_of_three, "alpha", 0.1, 1.0),
    ),
    "yolo_detection_loss": Sweep(
        "shift of the predicted box, in cells of which the target has eight",
        -6,
        6,
        _vary(_of_a_point, "box_gain", 7.5, 2.5),
    ),
    "retinanet_loss": Sweep(
        "first delta, the wanted one is 0", -2, 2, _vary(_of_an_anchor, "beta", 0.0, 0.5)
    ),
    "fcos_loss": Sweep(
        "shift of the predicted box, in cells of which the target has eight",
        -12,
        12,
        {"": (_of_a_centre, {})},
    ),
    "detr_detection_loss": Sweep(
        "shift of the predicted box, a quarter of the image wide",
        -0.5,
        0.5,
        _vary(_of_a_query, "giou_gain", 0.0, 2.0),
    ),
}
