"""The classification and ranking losses against vectors computed with the original public code."""

from typing import Any

import numpy as np
import pytest
import torch

from lossexport import ops
from tests.conftest import GOLDEN, close, close_rows, golden_arrays, golden_entries

# Relative; absolute: what the originals themselves lose where they subtract from 1.
TOLERANCE = {torch.float64: (1e-10, 1e-15), torch.float32: (1e-5, 1e-15)}
DTYPES = pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])


class Vector:
    """The arrays of one entry, as tensors of the tested type, and the comparisons with them."""

    def __init__(self, entry: dict[str, Any], dtype: torch.dtype) -> None:
        self.arrays = golden_arrays(entry)
        self.parameters = entry["parameters"]
        self.dtype = dtype

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def floats(self, name: str) -> torch.Tensor:
        return torch.tensor(self.arrays[name], dtype=self.dtype)

    def ints(self, name: str) -> torch.Tensor:
        return torch.tensor(self.arrays[name])

    def check(self, actual: torch.Tensor, expected: str, step: Any = ...) -> None:
        wanted = self.arrays[expected][step]
        got = actual.detach().numpy().reshape(wanted.shape)
        compare = close_rows if "grad" in expected else close
        compare(got, wanted, *TOLERANCE[self.dtype])

    def check_with_gradient(
        self, loss: torch.Tensor, leaf: torch.Tensor, value: str, grad: str
    ) -> None:
        self.check(loss, value)
        self.check(torch.autograd.grad(loss.sum(), leaf, retain_graph=True)[0], grad)


@DTYPES
@pytest.mark.parametrize("entry", golden_entries("kl_loss"))
def test_kl(entry: dict[str, Any], dtype: torch.dtype) -> None:
    v = Vector(entry, dtype)
    pred = v.floats("pred").requires_grad_()
    alpha = v.floats("alpha").requires_grad_()
    inside, outside = v.floats("inside_weight"), v.floats("outside_weight")
    mean, log_variance = (pred * inside).reshape(-1, 4), alpha.reshape(-1, 4)
    target = (v.floats("target") * inside).reshape(-1, 4)
    loss = ops.kl_loss(mean, log_variance, target).reshape(pred.shape) * outside
    v.check(loss, "elementwise")
    total = loss.sum() * v.parameters["loss_scale"] / len(pred)
    v.check_with_gradient(total, pred, "total_kl", "grad_pred")
    v.check_with_gradient(total, alpha, "total_kl", "grad_alpha")


@DTYPES
@pytest.mark.parametrize("entry", golden_entries("focal_sigmoid"))
def test_sigmoid_focal(entry: dict[str, Any], dtype: torch.dtype) -> None:
    v = Vector(entry, dtype)
    settings = {name: v.parameters[name] for name in ("alpha", "gamma")}
    found = 0
    for suffix in ("", "_neg", "_pos", "_soft", "_single"):
        logits = "logits_single" if suffix == "_single" else "logits"
        if f"targets{suffix}" not in v:
            continue
        found += 1
        x, t = v.floats(logits).requires_grad_(), v.floats(f"targets{suffix}")
        loss = ops.sigmoid_focal_loss(x, t, **settings)
        v.check_with_gradient(loss, x, f"loss{suffix}", f"grad{suffix}")
        if not suffix:
            v.check(ops.sigmoid_focal_loss(x, t, **settings, reduction="sum"), "loss_sum")
            v.check(ops.sigmoid_focal_loss(x, t, **settings, reduction="mean"), "loss_mean")
    assert found


@DTYPES
@pytest.mark.parametrize("entry", golden_entries("focal_softmax"))
def test_softmax_focal(entry: dict[str, Any], dtype: torch.dtype) -> None:
    v = Vector(entry, dtype)
    x = v.floats("logits").requires_grad_()
    labels = v.ints("labels").flatten()
    for reduction in ("mean", "sum"):
        if f"loss_{reduction}" in v:
            loss = ops.softmax_focal_loss(
                x.reshape(-1, x.shape[-1]),
                labels,
                v.parameters["alpha"],
                v.parameters["gamma"],
                reduction,
            )
            v.check_with_gradient(loss, x, f"loss_{reduction}", f"grad_{reduction}")


@DTYPES
@pytest.mark.parametrize("entry", golden_entries("ap_loss"))
def test_ap(entry: dict[str, Any], dtype: torch.dtype) -> None:
    v = Vector(entry, dtype)
    x = v.floats("logits").requires_grad_()
    loss = ops.ap_loss(x, v.ints("targets"), v.parameters["delta"])
    v.check_with_gradient(loss, x, "loss", "grad")


@DTYPES
@pytest.mark.parametrize("entry", golden_entries("dr_loss"))
def test_dr(entry: dict[str, Any], dtype: torch.dtype) -> None:
    v = Vector(entry, dtype)
    x = v.floats("logits").requires_grad_()
    loss = ops.dr_loss(x, v.ints("targets"), **v.parameters)
    v.check_with_gradient(loss, x, "loss", "grad")


@DTYPES
@pytest.mark.parametrize("entry", golden_entries("ghm_c", "ghm_r"))
def test_ghm(entry: dict[str, Any], dtype: torch.dtype) -> None:
    v = Vector(entry, dtype)
    classes = entry["system"] == "ghm_c"
    op = ops.ghm_c_loss if classes else ops.ghm_r_loss
    names = ("logits", "targets", "weight") if classes else ("pred", "target", "weight")
    settings = {k: v.parameters[k] for k in ("bins", "momentum", "mu") if k in v.parameters}
    count = torch.zeros(v.parameters["bins"], dtype=dtype)
    for step in range(v.parameters["steps"]):
        x, target, weight = (v.floats(name)[step] for name in names)
        x.requires_grad_()
        loss, count = op(x, target, weight, count, **settings)
        v.check(loss, "loss", step)
        v.check(torch.autograd.grad(loss, x)[0], "grad", step)
        v.check(count, "acc_sum", step)


@DTYPES
@pytest.mark.parametrize("entry", golden_entries("anchor_loss"))
def test_anchor(entry: dict[str, Any], dtype: torch.dtype) -> None:
    v = Vector(entry, dtype)
    x = v.floats("logits").requires_grad_()
    loss = ops.anchor_loss(x, v.ints("labels"), **v.parameters, reduction="mean")
    v.check_with_gradient(loss, x, "loss", "grad")


@DTYPES
@pytest.mark.parametrize("entry", golden_entries("sce"))
def test_sce(entry: dict[str, Any], dtype: torch.dtype) -> None:
    v = Vector(entry, dtype)
    x = v.floats("logits").requires_grad_()
    loss = ops.sce_loss(
        x,
        v.ints("labels"),
        v.parameters["alpha"],
        v.parameters["beta"],
        v.parameters["pred_clamp"][0],
        v.parameters["label_clamp"][0],
        reduction="mean",
    )
    v.check_with_gradient(loss, x, "loss", "grad")


def test_ghm_of_the_tensorflow_port() -> None:
    """The same mathematics over tensors of any shape; it gives no gradient."""
    with np.load(GOLDEN / "ghm_c__tensorflow_port.npz", allow_pickle=False) as stored:
        arrays = {name: torch.tensor(stored[name]).double() for name in stored.files}
    count = torch.zeros(10, dtype=torch.float64)
    for step in range(4):
        x, target = arrays["logits"][step], arrays["targets"][step]
        loss, count = ops.ghm_c_loss(x, target, torch.ones_like(x), count, 10, 0.75)
        close(loss.numpy(), arrays["loss"][step].numpy(), 1e-10, 1e-15)
        close(count.numpy(), arrays["acc_sum"][step].numpy(), 1e-10, 1e-15)


def test_ghm_bins_are_those_of_the_probabilities() -> None:
    """Edges moved to the logits cut where the original's edges cut the probabilities."""
    x = torch.cat((torch.linspace(-12, 12, 4000), torch.zeros(1))).double()[:, None]
    for target in (0.0, 1.0):
        g = (torch.sigmoid(x) - target).abs()
        for bins in (1, 2, 10, 30):
            edges = torch.arange(bins + 1, dtype=torch.float64) / bins
            index = (torch.searchsorted(edges, g, right=True) - 1).clamp(max=bins - 1)
            counts = torch.bincount(index.flatten(), minlength=bins)
            ones, zeros = torch.ones_like(x), torch.zeros(bins, dtype=torch.float64)
            _, new = ops.ghm_c_loss(x, ones * target, ones, zeros, bins, momentum=0.5)
            np.testing.assert_array_equal(new.numpy(), 0.5 * counts.numpy())
