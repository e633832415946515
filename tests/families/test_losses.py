"""Properties of the classification and ranking losses that no vector shows."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from lossexport import ops
from lossexport.catalog import CATALOG
from lossexport.errors import LossexportError

# Those with a mask of targets are whole losses of detectors, of which test_detection.py is.
NAMES = [
    op.name
    for op in CATALOG.values()
    if op.kind == "loss" and "valid" not in [tensor.name for tensor in op.inputs]
]
# Losses whose gradient is not their derivative, with a test of their own for it.
NOT_DERIVATIVES = {
    "ciou_loss": "the trade-off is a constant of the gradient",
    "anchor_loss": "the anchor probability is a constant of the gradient",
    "ap_loss": "the gradient is the error-driven update",
    "matched_varifocal_loss": "the weights are constants of the gradient",
    "matchability_aware_loss": "the weights are constants of the gradient",
    "iou_aware_bce_loss": "the target is a constant of the gradient",
}
SIZES = {"N": 9, "C": 4, "K": 40, "D": 3}
Loss = Callable[..., torch.Tensor]


def sample(name: str, family: str = "ordinary", sizes: Any = None, **given: Any) -> dict[str, Any]:
    """Inputs of an op as float64 and int64 tensors, drawn by its own sampler."""
    op = CATALOG[name]
    drawn = op.samplers[family](np.random.default_rng(3), sizes or SIZES, op.resolve(given))
    return {key: torch.from_numpy(np.asarray(value)) for key, value in drawn.items()}


def value(name: str, inputs: dict[str, Any], **attributes: Any) -> torch.Tensor:
    result = getattr(ops, name)(**inputs, **attributes)
    return result[0] if isinstance(result, tuple) else result


def value_and_gradients(
    name: str, inputs: dict[str, Any], dtype: torch.dtype = torch.float64, **attributes: Any
) -> list[torch.Tensor]:
    inputs = {k: v.to(dtype) if v.is_floating_point() else v for k, v in inputs.items()}
    leaves = [inputs[key].requires_grad_() for key in CATALOG[name].gradient]
    loss = value(name, inputs, **attributes)
    return [loss.detach(), *torch.autograd.grad(loss.sum(), leaves)]


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        *((name, {}) for name in NAMES if name not in NOT_DERIVATIVES),
        ("kl_loss", {"reduction": "mean"}),
        ("sigmoid_focal_loss", {"gamma": 0.5, "alpha": -1.0}),
        ("softmax_focal_loss", {"gamma": 1.5}),
        ("softmax_focal_loss", {"alpha": [0.1, 0.2, 0.3, 0.4]}),
        ("sce_loss", {"alpha": 2.0, "beta": 0.3}),
        ("sce_loss", {"prob_floor": 0.05}),
        ("quality_focal_loss", {"beta": 1.5}),
        ("varifocal_loss", {"gamma": 0.5, "iou_weighted": False}),
        ("distribution_focal_loss", {"margin": 0.0, "reduction": "mean"}),
        ("dr_loss", {"pos_lambda": 0.5, "neg_lambda": 0.25}),
    ],
)
@pytest.mark.parametrize("family", ["ordinary", "soft"])
def test_gradcheck(name: str, attributes: dict[str, Any], family: str) -> None:
    if family == "soft" and family not in CATALOG[name].samplers:
        return
    inputs = sample(name, family)
    keys = CATALOG[name].gradient
    for key in keys:
        inputs[key] = (inputs[key] * 0.7 + 0.01).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda *leaves: value(
            name, {**inputs, **dict(zip(keys, leaves, strict=True))}, **attributes
        ),
        tuple(inputs[key] for key in keys),
    )


@pytest.mark.parametrize("anchor", ["neg", "pos"])
@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_anchor_gradient_treats_the_anchor_as_a_constant(anchor: str, gamma: float) -> None:
    inputs = sample("anchor_loss")
    x = inputs["logits"] * 0.5
    y = torch.nn.functional.one_hot(inputs["labels"], SIZES["C"]).bool()
    p = torch.sigmoid(x)
    if anchor == "neg":
        a = (p[y][:, None] - 0.05).clamp(min=0)
        slope = (1 + p - a) ** gamma * p
        slope += gamma * (1 + p - a) ** (gamma - 1) * p * (1 - p) * torch.nn.functional.softplus(x)
        expected = torch.where(y, p - 1, slope)
    else:
        a = (torch.where(y, 0, p).amax(1, keepdim=True) + 0.05).clamp(max=1)
        slope = (1 - p + a) ** gamma * (p - 1)
        slope -= gamma * (1 - p + a) ** (gamma - 1) * p * (1 - p) * torch.nn.functional.softplus(-x)
        expected = torch.where(y, slope, p)
    inputs["logits"] = x
    _, grad = value_and_gradients("anchor_loss", inputs, gamma=gamma, anchor=anchor)
    torch.testing.assert_close(grad, expected, rtol=1e-12, atol=1e-15)


def dense(points: int = 8001) -> torch.Tensor:
    return torch.linspace(-100, 100, points, dtype=torch.float64).float().double()


def relative(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest relative error where float32 has its full precision; absolute below."""
    normal = expected.abs() > 1.2e-38
    error = (actual.double() - expected).abs()
    assert (error[~normal] < 1.2e-38).all()
    return float((error[normal] / expected.abs()[normal]).max())


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 3.5])
@pytest.mark.parametrize("target", [0.0, 1.0])
def test_focal_tails(target: float, gamma: float) -> None:
    x = dense()[:, None]
    inputs = {"logits": x, "target": torch.full_like(x, target)}
    z = x if target else -x
    weight = 0.25 if target else 0.75
    # In exponents alone, so that nothing underflows or cancels in float64.
    miss = -(z.clamp(min=0) + torch.log1p(torch.exp(-z.abs())))
    entropy = (-z).clamp(min=0) + torch.log1p(torch.exp(-z.abs()))
    loss = weight * torch.exp(gamma * miss) * entropy
    slope = weight * torch.exp(gamma * miss) * (gamma * torch.exp(z + miss) * entropy + miss.exp())
    slope = slope if target == 0 else -slope
    for dtype, limit in ((torch.float64, 1e-12), (torch.float32, 3e-6)):
        found = value_and_gradients("sigmoid_focal_loss", inputs, dtype, gamma=gamma)
        assert relative(found[0], loss) < limit
        assert relative(found[1], slope) < limit


@pytest.mark.parametrize("name", ["softmax_focal_loss", "sce_loss", "anchor_loss"])
@pytest.mark.parametrize("right", [True, False])
def test_softmax_tails(name: str, right: bool) -> None:
    """One class moves from -100 to 100 while two others stay: float32 against float64."""
    x = torch.stack((dense(2001), torch.full((2001,), -1.0), torch.full((2001,), 0.5)), dim=1)
    inputs = {"logits": x, "labels": torch.full((2001,), 0 if right else 1)}
    wide = value_and_gradients(name, inputs)
    narrow = value_and_gradients(name, inputs, torch.float32)
    for actual, expected in zip(narrow, wide, strict=True):
        assert relative(actual, expected) < 4e-5  # 100 ulp of an exponent of 100, times 1 + gamma


def test_far_logits_have_finite_gradients() -> None:
    x = torch.tensor([[-1e4, 1e4, 0.0, 50.0]]).repeat(4, 1)
    for gamma in (0.0, 0.5, 1.0, 2.0):
        for target in (0.0, 1.0, 0.5):
            inputs = {"logits": x.double(), "target": torch.full_like(x, target).double()}
            for dtype in (torch.float32, torch.float64):
                for result in value_and_gradients("sigmoid_focal_loss", inputs, dtype, gamma=gamma):
                    assert result.isfinite().all()
    labels = {"logits": x.double(), "labels": torch.arange(4)}
    for name in ("softmax_focal_loss", "sce_loss", "anchor_loss", "dr_loss"):
        for result in value_and_gradients(name, labels, torch.float32):
            assert result.isfinite().all()
    for anchor in ("neg", "pos"):
        for result in value_and_gradients("anchor_loss", labels, slack=0.0, anchor=anchor):
            assert result.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_every_family_at_the_smallest_size_and_beyond(name: str) -> None:
    for sizes in (
        {"N": 1, "C": 1, "K": 1, "D": 1},
        {"N": 3, "C": 1, "K": 3, "D": 1},
        {"N": 1, "C": 5, "K": 700, "D": 5},
    ):
        for family in CATALOG[name].samplers:
            inputs = sample(name, family, sizes)
            for result in value_and_gradients(name, inputs, torch.float32):
                assert family == "nonfinite" or result.isfinite().all(), (family, sizes)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_comes_out_as_nan(name: str, bad: float) -> None:
    for tensor in CATALOG[name].inputs:
        if tensor.dtype in ("int64", "bool") or tensor.name == "bin_count":
            continue
        inputs = sample(name)
        clean = value(name, inputs)
        inputs[tensor.name] = inputs[tensor.name].clone()
        inputs[tensor.name][2, ...] = inputs[tensor.name][2, ...].clone()
        place = (2,) if inputs[tensor.name].dim() == 1 else (2, 1)
        inputs[tensor.name][place] = bad
        spoilt = value(name, inputs)
        if spoilt.dim() == 0:
            assert spoilt.isnan()
            continue
        at = place[: spoilt.dim()]
        assert spoilt[at].isnan()
        others = torch.ones_like(spoilt, dtype=torch.bool)
        others[at] = False
        assert torch.equal(spoilt[others], clean[others])


@pytest.mark.parametrize(
    ("name", "empty"),
    [
        *((name, 0.0) for name in NAMES if name not in ("dr_loss",)),
        ("dr_loss", 4 / 6 * math.log1p(math.exp(-3))),
    ],
)
def test_empty_inputs(name: str, empty: float) -> None:
    inputs = sample(name)
    for tensor in CATALOG[name].inputs:
        if tensor.name != "bin_count":
            inputs[tensor.name] = inputs[tensor.name][:0]
    attributes: dict[str, Any] = {"reduction": "mean"} if CATALOG[name].outputs[0].shape else {}
    found = value_and_gradients(name, inputs, **attributes)
    assert found[0].item() == pytest.approx(empty, abs=1e-15)


def test_ap_ties_do_not_depend_on_the_order() -> None:
    logits = torch.tensor([0.5, 0.5, 0.5, 0.5, 0.0, 0.0, 1.0, -1.0], dtype=torch.float64)
    target = torch.tensor([1, 0, 1, 0, 1, 0, 0, 1])
    loss, grad = value_and_gradients("ap_loss", {"logits": logits, "target": target})
    for seed in range(5):
        order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
        inputs = {"logits": logits[order], "target": target[order]}
        again = value_and_gradients("ap_loss", inputs)
        assert torch.equal(again[0], loss)
        assert torch.allclose(again[1], grad[order], rtol=1e-15, atol=0)
    assert grad.sum().abs() < 1e-15


def test_ap_update_is_multiplied_by_what_comes_from_above() -> None:
    inputs = sample("ap_loss")
    x = inputs["logits"].requires_grad_()
    one = torch.autograd.grad(ops.ap_loss(x, inputs["target"]), x)[0]
    three = torch.autograd.grad(3 * ops.ap_loss(x, inputs["target"]), x)[0]
    assert torch.allclose(three, 3 * one)


def test_ap_in_chunks_is_the_ap_of_the_definition() -> None:
    """More positives than are compared at a time, against loops over the formula."""
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=400))
    target = torch.from_numpy(rng.choice([-1, 0, 1], 400, p=[0.1, 0.5, 0.4]))
    delta = 0.7
    positive, negative = x[target == 1], x[target == 0]

    def ramp(z: torch.Tensor) -> torch.Tensor:
        return (z / (2 * delta) + 0.5).clamp(0, 1)

    a = 0.5 + ramp(positive[None] - positive[:, None]).sum(1)
    h = ramp(negative[None] - positive[:, None])
    precision = a / (a + h.sum(1))
    best = torch.stack([precision[positive <= s].max() for s in positive])
    scale = torch.where(precision == best, 1, (1 - best) / (1 - precision))
    moved = (h / (a + h.sum(1))[:, None] * scale[:, None]).mean(0)
    inputs = {"logits": x, "target": target}
    loss, grad = value_and_gradients("ap_loss", inputs, delta=delta)
    assert loss.item() == pytest.approx(1 - best.mean().item(), rel=1e-12)
    torch.testing.assert_close(grad[target == 0], moved, rtol=1e-12, atol=1e-16)
    torch.testing.assert_close(grad[target == 1], -(1 - best) / len(best), rtol=1e-12, atol=1e-16)
    assert (grad[target == -1] == 0).all()


def test_ap_loss_has_room_for_any_number_of_positives() -> None:
    """Below n negatives the best precision of P positives is that of all: P / (P + n)."""
    positives, negatives = 5000, 100
    x = torch.cat((torch.arange(-positives, 0.0), torch.full((negatives,), 10.0))) * 10
    target = (x < 0).long()
    expected = 1 - positives / (positives + negatives)
    for logits in (x.requires_grad_(), x.detach(), x.double()):
        loss = ops.ap_loss(logits, target, max_positives=3)
        assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_ghm_counts_ten_million_exactly() -> None:
    x = torch.zeros(10_000_001, 1)
    ones = torch.ones_like(x)
    with torch.no_grad():
        loss, count = ops.ghm_c_loss(x, ones, ones, torch.zeros(10), momentum=0.5)
    assert count[5].item() == np.float32(10_000_001 / 2)
    assert loss.item() == pytest.approx(2 * math.log(2), rel=1e-6)


def test_narrow_types_keep_the_running_counts_in_float32() -> None:
    x = torch.zeros(70_000, 1, dtype=torch.float16)
    loss, count = ops.ghm_c_loss(x, x, x + 1, torch.zeros(10), momentum=0.5)
    assert (loss.dtype, count.dtype) == (torch.float16, torch.float32)
    assert count[5].item() == 35_000


BAD: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("softmax_focal_loss", {"labels": torch.full((9,), 4)}, {}, "labels holds 4"),
    ("anchor_loss", {"labels": torch.full((9,), -1)}, {}, "labels holds -1"),
    ("sce_loss", {"labels": torch.full((9,), 99)}, {}, "labels holds 99"),
    ("sce_loss", {"labels": torch.zeros(9)}, {}, "labels has dtype torch.float32"),
    ("dr_loss", {"labels": torch.full((9,), 5)}, {}, "labels holds 5"),
    ("dr_loss", {"labels": torch.full((9,), -2)}, {}, "labels holds -2"),
    ("ap_loss", {"target": torch.full((40,), 2)}, {}, "target holds 2"),
    ("ap_loss", {"target": torch.ones(5, 8, dtype=torch.int64)}, {}, r"target has shape \[5, 8\]"),
    ("ap_loss", {}, {"max_positives": 3841}, r"max_positives=3841: must be in \[1, 3840\]"),
    ("ap_loss", {}, {"delta": 0.0}, "delta=0.0"),
    ("sigmoid_focal_loss", {"target": torch.full((9, 4), 1.5)}, {}, "target holds 1.5"),
    ("sigmoid_focal_loss", {"target": torch.zeros(9, 3)}, {}, r"target has shape \[9, 3\]"),
    ("sigmoid_focal_loss", {}, {"gamma": -1.0}, r"gamma=-1.0: must be in \[0, 100\]"),
    (
        "softmax_focal_loss",
        {"logits": torch.zeros(9, 0)},
        {},
        r"expected \[N, C\] with C of at least 1",
    ),
    ("softmax_focal_loss", {}, {"alpha": [0.5, 0.5]}, "alpha has 2 weights, logits have 4 classes"),
    ("ghm_c_loss", {"target": torch.full((9, 4), 0.5)}, {}, "target holds 0.5, expected 0 or 1"),
    ("ghm_c_loss", {"weight": torch.full((9, 4), -1.0)}, {}, "weight holds -1"),
    ("ghm_c_loss", {"bin_count": torch.zeros(9)}, {}, r"bin_count has shape \[9\].*bins=10"),
    ("ghm_c_loss", {}, {"bins": 0}, "bins=0"),
    ("ghm_r_loss", {}, {"momentum": 1.0}, r"momentum=1.0: must be in \[0, 1\)"),
    ("dr_loss", {}, {"neg_lambda": 0.0}, "neg_lambda=0.0"),
    ("anchor_loss", {}, {"anchor": "both"}, "anchor='both': must be one of neg, pos"),
    ("kl_loss", {"target": torch.zeros(9, 5)}, {}, r"target has shape \[9, 5\], expected \[9, 4\]"),
]


@pytest.mark.parametrize(("name", "inputs", "attributes", "message"), BAD)
def test_bad_input_is_named(
    name: str, inputs: dict[str, Any], attributes: dict[str, Any], message: str
) -> None:
    with pytest.raises(LossexportError, match=f"{name}: .*{message}"):
        value(name, sample(name) | inputs, **attributes)
