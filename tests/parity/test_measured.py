"""The bound of operators without a rule: float32 keeps it, and a thousandth more does not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lossexport.catalog import CATALOG
from lossexport.catalog.spec import EXACT, ROUNDINGS, Op, Tensor
from lossexport.catalog.variant import Variant
from lossexport.errors import LossexportError
from lossexport.parity.error import Errors
from lossexport.parity.roundings import Roundings
from lossexport.parity.tolerance import tolerance
from lossexport.parity.trial import trial

Call = Callable[..., torch.Tensor]


def normal(*shape: int, scale: float = 1.0) -> torch.Tensor:
    """Numbers that float32 holds."""
    generator = torch.Generator().manual_seed(sum(shape))
    return (scale * torch.randn(*shape, generator=generator)).double()


def in_turn(x: torch.Tensor) -> torch.Tensor:
    """A running sum as a loop in float32 makes it, without PyTorch's wider accumulator."""
    values = x.float().numpy()
    return torch.from_numpy(np.add.accumulate(values, axis=-1, dtype=np.float32))


# The operator on its inputs, and how float32 computes it where that is not eager PyTorch.
OPERATORS: dict[str, tuple[Call, tuple[torch.Tensor, ...], Call | None]] = {
    "lgamma": (lambda x: torch.lgamma(x.abs() + 0.1), (normal(500),), None),
    "cumsum": (lambda x: x.cumsum(-1), (normal(4, 4096).abs(),), in_turn),
    "cumsum of both signs": (lambda x: x.cumsum(-1), (normal(64, 64),), in_turn),
    "prod": (lambda x: x.prod(-1), (normal(100, 8),), None),
    "atan2": (torch.atan2, (normal(500), normal(501)[:500]), None),
    "tan": (torch.tan, (normal(500),), None),
    "softplus": (F.softplus, (normal(500, scale=20),), None),
    "gelu": (F.gelu, (normal(500),), None),
    "logsumexp": (lambda x: x.logsumexp(-1), (normal(50, 80, scale=10),), None),
    "log_softmax": (lambda x: F.log_softmax(x, -1), (normal(50, 80, scale=10),), None),
    "cross_entropy": (
        lambda x: F.cross_entropy(x, torch.arange(50), reduction="none"),
        (normal(50, 80, scale=10),),
        None,
    ),
    "binary_cross_entropy": (
        lambda x, y: F.binary_cross_entropy(x.sigmoid(), y.sigmoid(), reduction="none"),
        (normal(500), normal(500, scale=10)),
        None,
    ),
    "mean": (lambda x: x.mean(-1), (normal(100, 50),), None),
    "std": (lambda x: x.std(-1), (normal(100, 50) + 10,), None),
    "norm": (lambda x: x.norm(dim=-1), (normal(100, 50),), None),
    "cdist": (lambda x, y: torch.cdist(x, y, p=1.0), (normal(30, 4), normal(20, 4)), None),
    "inverse": (torch.linalg.inv, (normal(50, 3, 3),), None),
    "remainder": (torch.remainder, (normal(500, scale=10), normal(501)[:500]), None),
    "index_add": (
        lambda x: x.new_zeros(10).index_add(0, torch.arange(500) % 10, x),
        (normal(500),),
        None,
    ),
    "interpolate": (
        lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
        (normal(1, 1, 8, 8),),
        None,
    ),
    "largest of columns": (lambda x: (x / 3).max(0).values, (normal(9, 9),), None),
    "sorted columns": (lambda x: (x / 3).sort(0).values, (normal(9, 9),), None),
}  # fmt: skip


def gradient(call: Call) -> Call:
    def of(*inputs: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            leaves = [x.detach().requires_grad_() for x in inputs]
            return torch.autograd.grad(call(*leaves).sum(), leaves)[0]

    return of


def bounded(call: Call, inputs: Any) -> tuple[np.ndarray, np.ndarray, set[str]]:
    run = Roundings()
    with run, np.errstate(all="ignore"):
        result = call(*inputs)
    error = np.broadcast_to(run.error(result), result.shape)
    return result.numpy(), error / ROUNDINGS.abs, run.measured


@pytest.mark.parametrize("differentiated", [False, True], ids=["value", "gradient"])
@pytest.mark.parametrize("name", OPERATORS)
def test_float32_keeps_the_bound_and_a_thousandth_more_does_not(
    name: str, differentiated: bool
) -> None:
    call, inputs, narrow = OPERATORS[name]
    if differentiated:
        call, narrow = gradient(call), None
    expected, roundings, _ = bounded(call, inputs)
    errors = Errors(ROUNDINGS, "float32")
    narrowed = [x.float() for x in inputs]
    errors.add("", (narrow or call)(*narrowed).numpy(), expected, roundings)
    assert (errors.breaches, errors.elements) == (0, expected.size), errors.worst
    wrong = Errors(ROUNDINGS, "float32")
    wrong.add("", (expected * 1.001).astype(np.float32), expected, roundings)
    known = expected != 0
    assert wrong.breaches > 0.9 * known.sum()


def test_what_was_measured_is_named() -> None:
    assert bounded(torch.lgamma, [normal(3)])[2] == {"aten.lgamma"}
    assert bounded(lambda x: x.exp() + x, [normal(3)])[2] == set()
    assert bounded(lambda x: x.sort(0).indices, [normal(3)])[2] == set()


def test_the_error_of_the_inputs_is_carried_on() -> None:
    plain = bounded(torch.lgamma, [normal(50) + 9])[1]
    carried = bounded(lambda x: torch.lgamma((x / 3 + 9000) - 8991), [normal(50)])[1]
    assert np.median(carried) > 20 * np.median(plain)


def op(function: Any, **fields: Any) -> Op:
    given: dict[str, Any] = {
        "name": "tried",
        "function": function,
        "inputs": (Tensor("x", ("N", 4)),),
        "outputs": (Tensor("y", ("N",)),),
    }
    return Op(**given | fields)


def test_no_op_of_the_catalogue_is_measured() -> None:
    for spec in CATALOG.values():
        for graph in {False, bool(spec.gradient)}:
            variant = Variant.make(spec, gradient=graph)
            assert trial(variant) == ()
            for tensor in variant.outputs:
                assert tolerance(variant, tensor) == spec.output_tolerance(tensor.name, "fp32")


def test_the_tolerance_says_what_was_measured() -> None:
    spec = op(lambda x: x.logsumexp(-1), gradient=("x",))
    found = tolerance(Variant.make(spec), spec.outputs[0])
    assert (found.ulp, found.abs) == (ROUNDINGS.ulp, ROUNDINGS.abs)
    assert found.why == (
        f"{ROUNDINGS.why}; of aten.logsumexp, without a rule, the largest change measured under "
        "inputs off by their errors and by 16 + sqrt(t) roundings, t terms in an element"
    )
    place = op(lambda x: x.cumsum(-1).argmax(-1), outputs=(Tensor("y", ("N",), dtype="int64"),))
    assert tolerance(Variant.make(place), place.outputs[0]) == EXACT


FAULTS: list[tuple[Any, dict[str, Any], str]] = [
    (lambda x: None, {}, "the function returns a NoneType for y: a tensor is expected"),
    (lambda x: (x[:, 0], x), {}, "the function returns 2 values, declared are 1: y"),
    (lambda x: x, {}, r"the function returns y of shape \[33, 4\], declared is \[N\], here \[33\]"),
    (lambda x: x.sum(), {}, r"the function returns y of shape \[\], declared is \[N\], here"),
    (
        lambda x: x[:, 0] > 0,
        {},
        "the function returns torch.bool for y, declared float, of inputs of torch.float64",
    ),
    (
        lambda x: x[:, 0].float(),
        {},
        "the function returns torch.float32 for y, declared float, of inputs of torch.float64",
    ),
    (
        lambda x: x[:, 0] + torch.ones(1, dtype=torch.float64),
        {},
        "the function returns torch.float64 for y, declared float, of inputs of torch.float32",
    ),
    (
        lambda x: x.argmax(-1).int(),
        {"outputs": (Tensor("y", ("N",), dtype="int64"),)},
        "the function returns torch.int32 for y, declared int64, of inputs of torch.float64$",
    ),
    (
        lambda x: x[:, 0].log(),
        {},
        r"y\[\d+\] is nan on ordinary inputs, case ordinary:N=33:0: nothing can be compared there",
    ),
    (
        lambda x: x[:, 0].abs().sqrt() * 0 + (x[:, 0] - x[:, 0]).sqrt(),
        {"gradient": ("x",)},
        r"grad_x\[0, 0\] is nan on ordinary inputs, case ordinary:N=33:0: nothing can",
    ),
    (
        lambda x: x @ x,
        {},
        rf"the function fails on ordinary inputs at {__file__}:\d+: RuntimeError: mat1 and mat2",
    ),
    (
        lambda x: x[:, 0].detach(),
        {"gradient": ("x",)},
        "the function fails on ordinary inputs: RuntimeError: element 0 of tensors does not",
    ),
]


@pytest.mark.parametrize(("function", "fields", "message"), FAULTS)
def test_a_function_that_is_not_as_declared(function: Any, fields: Any, message: str) -> None:
    spec = op(function, **fields)
    with pytest.raises(LossexportError, match=f"^op 'tried': {message}") as caught:
        trial(Variant.make(spec, gradient=bool(spec.gradient)))
    assert "\n" not in str(caught.value)


def test_a_trial_keeps_to_the_sizes_and_attributes() -> None:
    seen = []

    def function(x: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(x.shape))
        return x[:, 0]

    trial(Variant.make(op(function, dims={"N": (2, 3, 5)})))
    assert set(seen) == {(5, 4)}
