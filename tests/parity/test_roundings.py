"""The error analysis bounds what float32 does, and not by much; exact where float32 is exact."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lossexport.catalog import CATALOG
from lossexport.catalog.spec import ROUNDINGS, Arrays, U
from lossexport.catalog.variant import Variant
from lossexport.errors import LossexportError
from lossexport.names import PRECISIONS, Precision
from lossexport.ops import native
from lossexport.parity.cases import Case, cases
from lossexport.parity.error import Errors, round_to
from lossexport.parity.measure import feed
from lossexport.parity.oracle import Judge, function, judged
from lossexport.parity.roundings import bounded

# One worker computes the answers, which most of these look at.
pytestmark = pytest.mark.xdist_group("roundings")


def bound(call: Callable[..., torch.Tensor], *values: float) -> float:
    """The bound on `call` of numbers, in units of u."""
    tensors = [torch.tensor([value], dtype=torch.float64) for value in values]
    return float(bounded(lambda *x: (call(*x),), tensors)[1][0]) / U


@pytest.mark.parametrize(
    ("call", "values", "roundings"),
    [
        (lambda x, y: x + y, (1.0, 2.0), 0.0),  # float32 holds 3
        (lambda x, y: x + y, (1.0, 2.0**-30), 1.0),
        (lambda x, y: x - y, (1.0, 2.0**-25), 1.0),
        (lambda x, y: x * y, (3.0, 5.0), 0.0),
        (lambda x: x * 0.25, (1 / 3,), 0.0),  # a power of two
        (lambda x: x * 0.1, (3.0,), 0.3 * (1 + 0.25)),  # the constant is rounded too
        (lambda x: x / 3, (1.0,), 1 / 3),
        (lambda x: x / 4, (1.0,), 0.0),
        (lambda x: x.exp(), (1.0,), 2 * math.e),
        (lambda x: (x / 3).exp(), (30.0,), (10 + 2) * math.exp(10)),
        (lambda x, y: (x / 3 - y).abs(), (1.0, 1 / 3), 1 / 3),  # what is left of the terms
        (lambda x: torch.stack((x / 3, x)).amax(0), (6.0,), 0.0),
        (lambda x: (x / 3).clamp(min=3.0), (6.0,), 0.0),
        (lambda x: (x / 3) * 0, (6.0,), 0.0),
        (lambda x: torch.cat((x / 3, x)).sum(), (3.0,), 1 + 4),
        (lambda x: torch.cat((x / 3, x * 0)).sum(), (3.0,), 1),  # nothing is added
        (lambda x: torch.where(x / 3 >= 1.0, x, 0), (3.0,), 3 / U),  # rounding may turn it
        (lambda x: torch.where(x / 3 >= 1.0, x, 0), (3.1,), 0.0),
        (lambda x: (x / 3 >= 1.0).sum().double(), (3.0,), 1 / U),
        (lambda x: x.unsqueeze(0).mT.reshape(-1) / 3, (3.0,), 1.0),
    ],
)
def test_the_roundings_of_an_expression(call: Any, values: Any, roundings: float) -> None:
    assert bound(call, *values) == pytest.approx(roundings, rel=0.3, abs=1e-6)


def test_views_and_writes_keep_their_errors() -> None:
    def call(x: torch.Tensor) -> tuple[torch.Tensor]:
        rows = torch.zeros(3, 2, dtype=x.dtype)
        rows[1] = x / 3
        rows.mT[0].add_(1.0)
        return (rows.mT,)

    _, (errors,) = bounded(call, [torch.tensor([1.0, 3.0], dtype=torch.float64)])
    assert errors[0, 0] == 0
    assert errors[1, 2] == 0
    assert errors[0, 1] > U / 3
    assert errors[1, 1] == pytest.approx(U)


def test_a_random_operator_is_refused() -> None:
    with pytest.raises(LossexportError, match=r"^aten\.rand_like\.default is random: nothing can"):
        bounded(lambda x: (torch.rand_like(x),), [torch.ones(1, dtype=torch.float64)])


def test_what_overflows_in_float32_has_no_bound() -> None:
    assert bound(lambda x: x.exp(), 100.0) == math.inf
    # Its inverse is 0 there.
    assert bound(lambda x: 1 / x.exp(), 100.0) * U == pytest.approx(math.exp(-100), rel=1e-3)


@pytest.mark.parametrize("other", [3.0, 1 / 3, 1.0, 2.0**-20])
@pytest.mark.parametrize(
    "call",
    [
        lambda x, y: x * y,
        lambda x, y: y * x,
        lambda x, y: x / y,
        lambda x, y: x + y,
        lambda x, y: torch.minimum(x, y * 0 + torch.inf),
        lambda x, y: torch.stack((x, y + 1e70)).amin(0),
    ],
)
def test_an_infinite_bound_stays_infinite(call: Any, other: float) -> None:
    """Whatever is exact beside it; but a factor of 0 leaves no error."""

    def unbounded(x: torch.Tensor) -> torch.Tensor:
        return (x * 1e60).clamp(max=1.0)

    assert bound(lambda x, y: call(unbounded(x), y), 1.0, other) == math.inf
    assert bound(lambda x, y: unbounded(x) * (y * 0), 1.0, other) == 0.0


_STEPS: list[Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = [
    lambda x, y: x + y,
    lambda x, y: x - y,
    lambda x, y: x * y,
    lambda x, y: x / (y.abs() + 0.5),
    lambda x, y: torch.exp(-x.abs()) - y,
    lambda x, y: torch.log1p(x * x) + y,
    lambda x, y: torch.sigmoid(x) * y,
    lambda x, y: torch.sqrt(x.abs() + y * y),
    lambda x, y: torch.atan(x) + y,
    lambda x, y: torch.maximum(x, y),
    lambda x, y: torch.where(x > y, x, y * 2),
    lambda x, y: (x.abs() + 0.1).pow(0.7) - y,
]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(_STEPS), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_no_float32_result_is_beyond_the_bound(steps: list[Any], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, 256, generator=generator) * 3

    def call(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor]:
        for step in steps:
            x, y = step(x, y), x
        return (x,)

    (expected,), (errors,) = bounded(call, (x.double(), y.double()))
    assert ((call(x, y)[0].double() - expected).abs() <= errors).all()


Answer = tuple[Case, Arrays, Arrays, Arrays]


@functools.cache
def answers(name: str) -> tuple[Variant, list[Answer]]:
    """An op, its gradient too, and inputs, outputs and roundings of a case of every kind."""
    op = CATALOG[name]
    variant = Variant.make(op, gradient=bool(op.gradient))
    judge = Judge(variant)
    return variant, [(case, *judge(case)) for case in cases(variant, seeds=1, elements=2**10)]


def eager(variant: Variant, inputs: Arrays) -> Arrays:
    typed = feed(variant, inputs)
    results = function(variant)(*(torch.from_numpy(typed[t.name]) for t in variant.op.inputs))
    return {t.name: r.numpy() for t, r in zip(variant.outputs, results, strict=True)}


def normal(values: np.ndarray) -> np.ndarray:
    """Not what may be flushed to 0, which uses all of its tolerance."""
    return ~(np.abs(values) < 2.0**-126) | (values == 0)


every_op = pytest.mark.parametrize("name", list(CATALOG))


@every_op
def test_float32_uses_a_tenth_of_its_tolerance_at_least(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "attempt", lambda *_: None)  # kernels round less often
    variant, known = answers(name)
    errors = {
        tensor.name: Errors(
            variant.op.output_tolerance(tensor.name, "fp32"), variant.numpy_dtype(tensor)
        )
        for tensor in variant.outputs
    }
    for case, inputs, expected, roundings in known:
        actual = eager(variant, inputs)
        for output, error in errors.items():
            kept = normal(expected[output])
            error.add(str(case), *(x[output][kept] for x in (actual, expected, roundings)))
    for output, error in errors.items():
        assert error.worst is not None
        assert error.breaches == 0, (output, error.worst)
        if error.max_abs:
            # A loss of a whole detector, and a mean over boxes, has more roundings that even out.
            wide = ("detection_loss", "retinanet_loss", "suppression_reliability")
            least = 0.05 if name.endswith(wide) else 0.1
            assert error.worst.used >= least, (output, error.worst)


@pytest.mark.parametrize("precision", PRECISIONS)
@every_op
def test_a_thousandth_more_is_refused_on_every_output(name: str, precision: Precision) -> None:
    variant, known = answers(name)
    narrow = Variant.make(variant.op, {}, precision, variant.gradient)
    # Of a few single numbers, bfloat16 may round a thousandth away in each.
    more = 1.01 if name == "suppression_reliability" and precision == "bf16" else 1.001
    for tensor in variant.outputs:
        dtype = narrow.numpy_dtype(tensor)
        errors = Errors(variant.op.output_tolerance(tensor.name, precision), dtype)
        for case, _, expected, roundings in known:
            values = expected[tensor.name]
            wrong = values + 1 if dtype == "int64" else round_to(values * more, dtype)
            errors.add(str(case), wrong, values, roundings[tensor.name])
        assert errors.breaches, tensor.name


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(list(CATALOG)), st.data())
def test_a_thousandth_more_is_refused_on_any_block(name: str, data: st.DataObject) -> None:
    variant, known = answers(name)
    case, _, expected, roundings = data.draw(st.sampled_from(known))
    for tensor in variant.outputs:
        values = expected[tensor.name].ravel()
        if tensor.dtype == "int64" or not values.size:
            continue
        first = data.draw(st.integers(0, values.size - 1))
        block = slice(first, data.draw(st.integers(first + 1, values.size)))
        wrong = values.astype(np.float32).astype(np.float64)
        wrong[block] *= 1.001
        own = roundings[tensor.name].ravel()
        errors = Errors(ROUNDINGS, "float32")
        errors.add(str(case), wrong, values, own)
        with np.errstate(invalid="ignore"):
            # Those that rounding leaves more than three digits of, and float32 in its range.
            clear = own[block] * U < 0.9e-3 * np.abs(values[block])
            clear &= (np.abs(values[block]) > 2.0**-110) & (np.abs(values[block]) < 1e38)
        assert errors.breaches >= clear.sum()


def test_a_block_of_ap_positives_is_judged_by_its_own_terms() -> None:
    variant = Variant.make(CATALOG["ap_loss"], gradient=True)
    rng = np.random.default_rng(0)
    logits = rng.normal(-2, 3, 4096).astype(np.float32).astype(np.float64)
    target = np.zeros(4096, np.int64)
    target[rng.permutation(4096)[:512]] = 1
    expected, roundings = judged(variant, {"logits": logits, "target": target})
    gradient = expected["grad_logits"]
    positives = np.flatnonzero(target == 1)
    for first in range(0, 512, 64):
        wrong = gradient.copy()
        wrong[positives[np.argsort(-logits[positives])][first : first + 64]] *= 1.001
        errors = Errors(ROUNDINGS, "float32")
        errors.add("", wrong, gradient, roundings["grad_logits"])
        assert errors.breaches == 64
    # Of every element, negatives too, the tolerance is far below a hundredth.
    assert (roundings["grad_logits"] * U <= 1e-4 * np.abs(gradient)).all()


@pytest.mark.parametrize("name", ["ghm_c_loss", "ghm_r_loss"])
def test_running_counts_are_exact_without_a_momentum(name: str) -> None:
    for case, inputs, expected, roundings in answers(name)[1]:
        np.testing.assert_array_equal(expected["new_bin_count"], inputs["bin_count"])
        assert (roundings["new_bin_count"] == 0).all()
        wrong = np.nextafter(expected["new_bin_count"].astype(np.float32), np.float32(1e9))
        errors = Errors(ROUNDINGS, "float32")
        errors.add(str(case), wrong, expected["new_bin_count"], roundings["new_bin_count"])
        assert errors.breaches == np.isfinite(wrong).sum()
