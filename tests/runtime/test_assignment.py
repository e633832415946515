"""`assign` finds a least total cost, by the library and in NumPy to the same pairs."""

import math
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lossexport.errors import LossexportError
from lossexport.runtime import assign, assignment

WAYS = [
    pytest.param(
        assignment._by_library,
        marks=pytest.mark.skipif(not assignment.available(), reason="no library of native kernels"),
        id="library",
    ),
    pytest.param(assignment._by_numpy, id="numpy"),
]
SHAPES = st.tuples(st.integers(0, 5), st.integers(0, 5))


def total(cost: Any, column: Any) -> tuple[int, float]:
    """How many pairs there are, and what they cost."""
    rows = np.flatnonzero(column >= 0)
    assert len(set(column[rows])) == len(rows)
    return len(rows), math.fsum(cost[rows, column[rows]])


def best(cost: Any) -> tuple[int, float]:
    """The most pairs of finite cost, and the least total, by looking at all assignments."""
    tall = cost if cost.shape[0] >= cost.shape[1] else cost.T
    found = []
    for rows in permutations(range(tall.shape[0]), tall.shape[1]):
        chosen = tall[list(rows), range(tall.shape[1])]
        chosen = chosen[np.isfinite(chosen)]
        found.append((-len(chosen), math.fsum(chosen)))
    return -min(found)[0], min(found)[1]


@pytest.mark.parametrize("way", WAYS)
@given(arrays.arrays(np.float64, SHAPES, elements=st.integers(-4, 4).map(float)))
def test_whole_costs_have_the_least_total_of_all(way: Any, cost: Any) -> None:
    assert total(cost, way(cost)) == best(cost)


ODD = st.sampled_from([0.0, 1.0, 1.5, -2.0, 1e300, math.nan, math.inf, -math.inf])


@pytest.mark.parametrize("way", WAYS)
@given(arrays.arrays(np.float64, SHAPES, elements=ODD))
def test_a_cost_that_is_not_finite_never_wins(way: Any, cost: Any) -> None:
    pairs, price = total(cost, way(cost))
    wanted_pairs, wanted = best(cost)
    assert pairs == wanted_pairs
    assert price == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("way", WAYS)
def test_no_exchange_of_three_rows_costs_less(way: Any) -> None:
    rng = np.random.default_rng(0)
    for shape in [(40, 40), (7, 90), (90, 7), (60, 61)]:
        cost = rng.normal(size=shape)
        column = way(cost)
        pairs, price = total(cost, column)
        assert pairs == min(shape)
        rows = np.flatnonzero(column >= 0)
        for _ in range(300):
            some = rng.choice(rows, 3, replace=False)
            moved = column.copy()
            moved[some] = column[np.roll(some, 1)]
            assert total(cost, moved)[1] >= price


@pytest.mark.skipif(not assignment.available(), reason="no library of native kernels")
@given(arrays.arrays(np.float64, SHAPES, elements=ODD))
def test_both_ways_find_the_same_pairs(cost: Any) -> None:
    np.testing.assert_array_equal(assignment._by_library(cost), assignment._by_numpy(cost))


@pytest.mark.parametrize("way", WAYS)
def test_of_equal_assignments_the_first_partners_win(way: Any) -> None:
    assert way(np.zeros((3, 5))).tolist() == [0, 1, 2]
    assert way(np.zeros((5, 3))).tolist() == [0, 1, 2, -1, -1]
    assert way(np.array([[1.0, 1.0], [0.0, 1.0]])).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        ([1.0, 2.0], r"shape \[2\], expected \[N, M\]"),
        ([[1.0], [2.0, 3.0]], "rows of different lengths"),
        ([["a"]], "numbers expected"),
        ([[1j]], "numbers expected"),
    ],
)
def test_what_is_no_matrix_is_refused(cost: Any, message: str) -> None:
    with pytest.raises(LossexportError, match=message):
        assign(cost)


def test_any_type_and_layout() -> None:
    cost = np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::-1]
    assert assign(cost).tolist() == assign(cost.copy().astype(int)).tolist()
    assert assign(np.zeros((0, 4))).tolist() == []
    assert assign(np.zeros((2, 0))).tolist() == [-1, -1]
