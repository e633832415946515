import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossexport.catalog.spec import Tolerance
from lossexport.parity.error import Errors, round_to, spacing


def errors(ulp: float = 2.0, absolute: float = 1e-6, dtype: str = "float32") -> Errors:
    return Errors(Tolerance(ulp, absolute, ""), dtype)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_spacing_is_numpys(dtype: str) -> None:
    values = np.array([1.0, 1.5, 2.0, 3e4, 6e-5, 1e-7, 0.1], dtype)
    np.testing.assert_array_equal(spacing(values.astype(np.float64), dtype), np.spacing(values))


def test_bfloat16_is_rounded_to_nearest_even() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    values = np.concatenate((np.linspace(-3, 3, 10_001), [1 + 2**-8, 1 + 3 * 2**-8, 3.39e38, 1e39]))
    with np.errstate(over="ignore"):
        expected = values.astype(np.float32).astype(ml_dtypes.bfloat16).astype(np.float64)
    np.testing.assert_array_equal(round_to(values, "bfloat16"), expected)
    assert spacing(np.array([1.0]), "bfloat16") == [2**-7]


def test_an_error_of_known_size() -> None:
    found = errors()
    one_up = np.array([np.nextafter(np.float32(1), np.float32(2)), 2.0], np.float32)
    found.add("case", one_up, np.array([1.0, 2.0]), 1.0)
    assert found.max_ulp == 1.0
    assert found.max_abs == 2.0**-23
    assert found.max_rel == 2.0**-23
    assert found.breaches == 0
    assert found.worst is not None
    assert found.worst.index == (0,)
    # Half of the ULP gate and an eighth of the absolute one: the kinder of the two counts.
    assert found.worst.used == pytest.approx(2.0**-23 / 1e-6)


def test_either_gate_lets_an_element_pass() -> None:
    found = errors()
    # Near 0 the ULP error is huge and the absolute one is not; at 1e6 it is the other way round.
    actual = np.array([1e-7, np.nextafter(np.float32(1e6), np.float32(2e6))], np.float32)
    found.add("case", actual, np.array([0.0, 1e6]), 1.0)
    assert found.max_ulp > 1e30
    assert found.max_abs == 0.0625
    assert found.breaches == 0
    found.add("case", np.array([2e-6], np.float32), np.array([0.0]), 1.0)
    assert found.breaches == 1


def test_scale_widens_the_absolute_gate() -> None:
    found = errors()
    found.add("case", np.array([1e-3, 1e-3], np.float32), np.zeros(2), np.array([1.0, 2000.0]))
    assert found.breaches == 1
    assert found.worst is not None
    assert found.worst.index == (0,)


@pytest.mark.parametrize(
    ("actual", "expected", "passes"),
    [
        (np.nan, np.nan, True),
        (0.0, np.nan, False),
        (np.nan, 0.0, False),
        (np.inf, np.inf, True),
        (-np.inf, np.inf, False),
        (np.inf, 1e39, True),  # beyond float32 infinity is the right answer
        (3e38, np.inf, False),
    ],
)
def test_numbers_that_are_none(actual: float, expected: float, passes: bool) -> None:
    found = errors()
    found.add("case", np.array([actual], np.float32), np.array([expected]), 1.0)
    assert (found.breaches == 0) is passes


def test_integers_must_be_equal() -> None:
    found = errors(dtype="int64")
    found.add("case", np.array([1, 2, -1]), np.array([1, 3, -1]), 1.0)
    assert found.breaches == 1


def test_percentile_ignores_one_in_a_thousand() -> None:
    found = errors(ulp=1e9)
    expected = np.ones(10_000)
    actual = expected.astype(np.float32)
    actual[:5] = 1.5
    found.add("case", actual, expected, 1.0)
    assert found.p999_ulp == 0.0
    assert found.max_ulp == 2**22


def accepts(dtype: str, expected: float, actual: float, roundings: float = 1.0) -> bool:
    """Whether a number of the type passes for a value that may be off by so many roundings."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    numpy_type = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    found = Errors(Tolerance(0.0, 2.0**-24 * abs(expected), ""), dtype)
    found.add("case", np.array([actual]).astype(numpy_type), np.array([expected]), roundings)
    return found.breaches == 0


# The largest number, half a step beyond it, where rounding turns to infinity, and that step.
EDGES = {
    "float16": (65504.0, 65520.0, 32.0),
    "bfloat16": ((2 - 2**-7) * 2.0**127, (2 - 2**-8) * 2.0**127, 2.0**120),
    "float32": ((2 - 2**-23) * 2.0**127, (2 - 2**-24) * 2.0**127, 2.0**104),
}


@pytest.mark.parametrize("dtype", EDGES)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_where_rounding_turns_to_infinity_both_pass(dtype: str, sign: float) -> None:
    largest, edge, step = EDGES[dtype]
    for value in (edge, edge * (1 - 2.0**-26), edge * (1 + 2.0**-26)):
        assert accepts(dtype, sign * value, sign * largest)
        assert accepts(dtype, sign * value, sign * np.inf)
        assert not accepts(dtype, sign * value, -sign * np.inf)
        assert not accepts(dtype, sign * value, sign * (largest - 2 * step))
    # Farther away than the value may be off, one of them alone.
    below, above = sign * (edge - 0.25 * step), sign * (edge + 0.25 * step)
    if dtype == "float32":
        below, above = sign * largest * (1 - 2.0**-22), sign * edge * (1 + 2.0**-22)
    assert accepts(dtype, above, sign * np.inf)
    assert not accepts(dtype, above, sign * largest)
    assert not accepts(dtype, below, sign * np.inf)


@pytest.mark.parametrize("dtype", EDGES)
def test_the_largest_number_is_none_too_large(dtype: str) -> None:
    largest, edge, step = EDGES[dtype]
    values = np.array([largest, np.nextafter(edge, 0), edge, -edge, largest - step])
    expected = [largest, largest, np.inf, -np.inf, largest - step]
    np.testing.assert_array_equal(round_to(values, dtype), expected)


@pytest.mark.parametrize(("dtype", "step"), [("float16", 2.0**-24), ("bfloat16", 2.0**-133)])
def test_subnormal_numbers_are_rounded_to_their_grid(dtype: str, step: float) -> None:
    values = np.array([0.4, 0.5, 0.6, 1.5, 2.5, 3.4]) * step
    np.testing.assert_array_equal(round_to(values, dtype), np.array([0, 0, 1, 2, 2, 3]) * step)
    assert accepts(dtype, 0.5 * step, 0.0)
    assert accepts(dtype, 0.5 * step, step)
    assert not accepts(dtype, 0.4 * step, step)
    assert not accepts(dtype, 1.6 * step, step)


@pytest.mark.parametrize(("dtype", "step"), [("float16", 2.0**-10), ("bfloat16", 2.0**-7)])
def test_a_tie_may_be_broken_either_way(dtype: str, step: float) -> None:
    for tie in (1 + 0.5 * step, 1 + 1.5 * step):
        for off in (-(2.0**-25), 0.0, 2.0**-25):
            assert accepts(dtype, tie + off, tie - 0.5 * step)
            assert accepts(dtype, tie + off, tie + 0.5 * step)
        assert not accepts(dtype, tie + 0.1 * step, tie - 0.5 * step)
        assert not accepts(dtype, tie, tie + 1.5 * step)
        # An exact value has one rounding.
        assert accepts(dtype, tie, float(round_to(np.array(tie), dtype)), roundings=0.0)
        other = 2 * tie - float(round_to(np.array(tie), dtype))
        assert not accepts(dtype, tie, other, roundings=0.0)


@settings(max_examples=200)
@given(st.integers(0, 2**32 - 1))
def test_bfloat16_is_rounded_as_ml_dtypes_does(bits: int) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    value = np.array([bits], np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        expected = value.astype(ml_dtypes.bfloat16).astype(np.float64)
    np.testing.assert_array_equal(round_to(value.astype(np.float64), "bfloat16"), expected)
