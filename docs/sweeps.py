"""How each loss is plotted: one prediction is moved, everything else stays as it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import lossexport.ops
from lossexport.catalog.spec import Op

POINTS = 201


@dataclass(frozen=True, slots=True)
class Sweep:
    """Inputs of the op as a function of the moved value, a float64 scalar; attributes by curve."""

    label: str
    low: float
    high: float
    inputs: Callable[[Tensor], Mapping[str, Tensor]]
    curves: Mapping[str, Mapping[str, Any]]


def curves(op: Op, sweep: Sweep) -> tuple[list[float], dict[str, dict[str, list[float]]]]:
    """The moved values, and by panel and curve the loss and its derivative in the moved value."""
    function = getattr(lossexport.ops, op.name)
    x = torch.linspace(sweep.low, sweep.high, POINTS, dtype=torch.float64)
    loss: dict[str, list[float]] = {}
    slope: dict[str, list[float]] = {}
    for name, attributes in sweep.curves.items():
        loss[name], slope[name] = [], []
        for value in x:
            moved = value.clone().requires_grad_()
            result = function(**sweep.inputs(moved), **attributes)
            mean = (result[0] if isinstance(result, tuple) else result).mean()
            (derivative,) = torch.autograd.grad(mean, moved)
            loss[name].append(float(mean.detach()))
            slope[name].append(float(derivative))
    return x.tolist(), {"loss": loss, "gradient": slope}


def _row(*values: Any) -> Tensor:
    """A tensor [1,n] of numbers and scalars that carry a gradient."""
    return torch.stack([torch.as_tensor(value, dtype=torch.float64) for value in values])[None]


def _column(*values: Any) -> Tensor:
    return _row(*values).T


def _shifted(s: Tensor) -> dict[str, Tensor]:
    return {"pred": _row(s, 0, s + 1, 1), "target": _row(0, 0, 1, 1)}


def _shifted_wide(s: Tensor) -> dict[str, Tensor]:
    return {"pred": _row(s - 0.5, 0.25, s + 1.5, 0.75), "target": _row(0, 0, 1, 1)}


def _deviation(s: Tensor) -> dict[str, Tensor]:
    return {"pred": _row(s), "target": _row(0)}


def _class_of_three(s: Tensor) -> dict[str, Tensor]:
    return {"logits": _row(s, 0, 0), "labels": torch.tensor([0])}


_BOX = Sweep("shift of a box of the target's shape, in widths", -2.5, 2.5, _shifted, {"": {}})
_WIDE_BOX = Sweep("shift of a box twice as wide and half as high", -2.5, 2.5, _shifted_wide, {"": {}})

SWEEPS: dict[str, Sweep] = {
    "iou_loss": _BOX,
    "giou_loss": _BOX,
    "diou_loss": _BOX,
    "ciou_loss": _WIDE_BOX,
    "smooth_l1_loss": Sweep(
        "prediction - target",
        -3,
        3,
        _deviation,
        {f"beta {beta:g}": {"beta": beta} for beta in (0.5, 1.0, 2.0)},
    ),
}


def _gaussian(log_variance: float) -> Callable[[Tensor], dict[str, Tensor]]:
    def inputs(s: Tensor) -> dict[str, Tensor]:
        zeros = _row(0, 0, 0, 0)
        return {"pred": s + zeros, "log_variance": zeros + log_variance, "target": zeros}

    return inputs
