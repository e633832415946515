"""Every op in the transforms of torch: right, or an error that says so."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.autograd import forward_ad

from lossexport import ops
from lossexport.catalog import CATALOG
from lossexport.errors import LossexportError
from tests.ops.inputs import SMOOTH, Inputs, draw, leaves, run, smooth

every_op = pytest.mark.parametrize("name", CATALOG)
every_smooth_op = pytest.mark.parametrize("name", SMOOTH)
Function = Callable[..., tuple[torch.Tensor, ...]]


def function(name: str, **attributes: Any) -> tuple[Function, list[torch.Tensor]]:
    """The float outputs of an op in those of its inputs that it has a derivative in, and these."""
    inputs = draw(name)
    keys = leaves(name)

    def call(*given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return smooth(name, inputs | dict(zip(keys, given, strict=True)), **attributes)

    return call, [inputs[key] for key in keys]


def varied(tensors: Any, start: float = 0.0) -> tuple[torch.Tensor, ...]:
    """Numbers of either sign for every element: no random ones, which vmap refuses."""
    return tuple(
        torch.sin(start + place + 7.1 * torch.arange(x.numel(), dtype=x.dtype)).reshape(x.shape)
        for place, x in enumerate(tensors, 1)
    )


def weighted(results: tuple[torch.Tensor, ...]) -> torch.Tensor:
    terms = [(x * w).sum() for x, w in zip(results, varied(results, 1), strict=True)]
    return torch.stack(terms).sum()


@every_op
def test_meta(name: str) -> None:
    real = draw(name, dtype=torch.float32)
    found = run(name, {key: x.to("meta") for key, x in real.items()})
    for x, wanted in zip(found, run(name, real), strict=True):
        assert (x.device.type, x.shape, x.dtype) == ("meta", wanted.shape, wanted.dtype)


@every_op
def test_vmap(name: str) -> None:
    rows = [draw(name, seed) for seed in range(3)]
    stacked = {key: torch.stack([row[key] for row in rows]) for key in rows[0]}
    found = torch.func.vmap(lambda inputs: run(name, inputs))(stacked)
    for number, row in enumerate(rows):
        for x, wanted in zip(found, run(name, row), strict=True):
            assert torch.equal(x[number].isnan(), wanted.isnan())
            torch.testing.assert_close(x[number], wanted, rtol=1e-12, atol=1e-14)


@every_smooth_op
def test_vmap_of_gradients(name: str) -> None:
    rows = [draw(name, seed) for seed in range(3)]
    keys = leaves(name)

    def gradient(inputs: Inputs) -> Any:
        rest = {key: x for key, x in inputs.items() if key not in keys}
        return torch.func.grad(lambda moving: weighted(smooth(name, rest | moving)))(
            {key: inputs[key] for key in keys}
        )

    stacked = {key: torch.stack([row[key] for row in rows]) for key in rows[0]}
    found = torch.func.vmap(gradient)(stacked)
    for number, row in enumerate(rows):
        for key, wanted in gradient(row).items():
            torch.testing.assert_close(found[key][number], wanted, rtol=1e-12, atol=1e-14)


@every_smooth_op
def test_forward_mode_agrees_with_reverse_mode(name: str) -> None:
    call, given = function(name)
    moves = varied(given)
    pulled: Any = torch.func.vjp(call, *given)
    results, pull = pulled
    weights = varied(results, 1)
    expected = sum((g * m).sum() for g, m in zip(pull(weights), moves, strict=True))
    tangents = torch.func.jvp(call, tuple(given), moves)[1]
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(x, m) for x, m in zip(given, moves, strict=True)]
        plain = [forward_ad.unpack_dual(x).tangent for x in call(*duals)]
    for moved in (tangents, plain):
        found = sum((t * w).sum() for t, w in zip(moved, weights, strict=True) if t is not None)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def jittered(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Moved a little, off the kinks that samplers like to hit."""
    return [x + (x.abs() + 1) * 1e-3 * m for x, m in zip(tensors, varied(tensors), strict=True)]


def central(function: Any, given: Any, moves: Any) -> list[torch.Tensor]:
    step = 1e-7
    ahead, behind = (
        function(*(x + sign * step * m for x, m in zip(given, moves, strict=True)))
        for sign in (1, -1)
    )
    return [(a - b) / (2 * step) for a, b in zip(ahead, behind, strict=True)]


def frozen(name: str, point: Inputs) -> Callable[[Inputs], torch.Tensor] | None:
    """The op with its constants of the gradient as they are at `point`, where it has such."""
    if name == "anchor_loss":
        own = torch.nn.functional.one_hot(point["labels"], point["logits"].shape[1]).bool()
        far = (torch.sigmoid(point["logits"])[own].unsqueeze(1) - 0.05).clamp(min=0)

        def anchor(inputs: Inputs) -> torch.Tensor:
            x = inputs["logits"]
            others = (1 + torch.sigmoid(x) - far) ** 0.5 * torch.nn.functional.softplus(x)
            return torch.where(own, torch.nn.functional.softplus(-x), others).sum(1)

        return anchor
    if "ciou" not in name:
        return None

    def turn(inputs: Inputs) -> torch.Tensor:
        low, high = zip(*(inputs[key].chunk(2, -1) for key in ("pred", "target")), strict=True)
        p, t = (torch.atan((b - a)[:, 0] / (b - a)[:, 1]) for a, b in zip(low, high, strict=True))
        p = p.unsqueeze(1) if name == "pairwise_ciou" else p
        return 4 / math.pi**2 * (t - p) ** 2

    sign = 1 if name == "ciou_loss" else -1
    iou, diou = (run(name.replace("ciou", kind), point)[0] for kind in ("iou", "diou"))
    iou = 1 - iou if name == "ciou_loss" else iou
    alpha = turn(point) / (1 - iou + turn(point) + 1e-7)
    assert diou.shape == alpha.shape

    def ciou(inputs: Inputs) -> torch.Tensor:
        return run(name.replace("ciou", "diou"), inputs)[0] + sign * alpha * turn(inputs)

    return ciou


def second(name: str) -> tuple[Any, Any, Any, Any]:
    """The op as one number, with inputs, a direction for each, and the derivative along it."""
    keys = leaves(name)
    rest = draw(name)
    given = jittered([rest[key] for key in keys])
    moves = varied(given, 5)
    reference = frozen(name, rest | dict(zip(keys, given, strict=True)))

    def number(*x: torch.Tensor) -> torch.Tensor:
        return weighted(smooth(name, rest | dict(zip(keys, x, strict=True))))

    def constant(*x: torch.Tensor) -> torch.Tensor:
        if reference is None:
            return number(*x)
        return weighted((reference(rest | dict(zip(keys, x, strict=True))),))

    every = tuple(range(len(keys)))
    gradient = torch.func.grad(constant, argnums=every)
    for found, wanted in zip(
        torch.func.grad(number, argnums=every)(*given), gradient(*given), strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
    return number, tuple(given), moves, central(gradient, given, moves)


def reverse_of_reverse(number: Any, given: Any, moves: Any) -> Any:
    """Beside another way to the inputs, as a penalty on the gradient has it."""
    x = [t.clone().requires_grad_() for t in given]
    first = torch.autograd.grad(number(*x), x, create_graph=True, materialize_grads=True)
    other = sum((t.pow(2) * m).sum() for t, m in zip(x, moves, strict=True))
    product = sum((g * m).sum() for g, m in zip(first, moves, strict=True))
    found = torch.autograd.grad(product + other, x)
    return [g - 2 * t * m for g, t, m in zip(found, x, moves, strict=True)]


def accumulated(number: Any, given: Any, moves: Any) -> Any:
    x = [t.clone().requires_grad_() for t in given]
    first = torch.autograd.grad(number(*x), x, create_graph=True, materialize_grads=True)
    for t in x:
        (0 * t).sum().backward()
    product = sum((g * m).sum() for g, m in zip(first, moves, strict=True))
    if product.requires_grad:
        product.backward()
    return [t.grad for t in x]


def forward_of_reverse(number: Any, given: Any, moves: Any) -> Any:
    gradient = torch.func.grad(number, argnums=tuple(range(len(given))))
    return torch.func.jvp(gradient, given, moves)[1]


def reverse_of_forward(number: Any, given: Any, moves: Any) -> Any:
    slope = lambda *x: torch.func.jvp(number, x, moves)[1]  # noqa: E731
    return torch.func.grad(slope, argnums=tuple(range(len(given))))(*given)


def dual_numbers(number: Any, given: Any, moves: Any) -> Any:
    with forward_ad.dual_level():
        x = [
            forward_ad.make_dual(t.clone().requires_grad_(), m)
            for t, m in zip(given, moves, strict=True)
        ]
        first = torch.autograd.grad(number(*x), x, materialize_grads=True)
        tangents = [forward_ad.unpack_dual(g).tangent for g in first]
        pairs = zip(given, tangents, strict=True)
        return [torch.zeros_like(t) if g is None else g for t, g in pairs]


def forward_of_forward(number: Any, given: Any, moves: Any) -> torch.Tensor:
    slope = lambda *x: torch.func.jvp(number, x, moves)[1]  # noqa: E731
    return torch.func.jvp(slope, given, moves)[1]


WAYS = (reverse_of_reverse, accumulated, forward_of_reverse, reverse_of_forward, dual_numbers)


# The gradient of these has constants that depend on the inputs: an order, an assignment, a weight.
FIRST_ONLY = (
    *("ap_loss", "task_aligned_assign", "yolo_detection_loss", "distribution_focal_loss"),
    *("iou_aware_bce_loss", "matchability_aware_loss", "matched_varifocal_loss"),
)


@pytest.mark.parametrize("name", [name for name in SMOOTH if name not in FIRST_ONLY])
def test_second_derivatives(name: str) -> None:
    number, given, moves, expected = second(name)
    for way in WAYS:
        for found, wanted in zip(way(number, given, moves), expected, strict=True):
            size = float(wanted.abs().max())
            error = float((found - wanted).abs().max())
            assert error <= 1e-5 * size + 1e-7, way.__name__
    twice = forward_of_forward(number, given, moves)
    total = sum((e * m).sum() for e, m in zip(expected, moves, strict=True))
    size = sum((e * m).abs().sum() for e, m in zip(expected, moves, strict=True))
    assert abs(float(twice - total)) <= 1e-5 * float(size) + 1e-7


def test_the_update_of_ap_has_no_derivative() -> None:
    inputs = draw("ap_loss")
    given = (inputs["logits"],)
    moves = varied(given)

    def number(x: torch.Tensor) -> torch.Tensor:
        return ops.ap_loss(x, inputs["target"])

    for way in (*WAYS, forward_of_forward):
        with pytest.raises(LossexportError, match="ap_loss: its gradient is an update"):
            way(number, given, moves)
    x = given[0].clone().requires_grad_()
    # Some optimisers ask for it, whether they need it or not.
    assert torch.autograd.grad(number(x), x, create_graph=True)[0].abs().sum() > 0


def test_a_penalty_on_the_gradient_of_dr_loss() -> None:
    x = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, -1, 4])
    assert torch.autograd.gradgradcheck(lambda x: ops.dr_loss(x, labels), x.requires_grad_())
