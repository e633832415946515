"""The curve rises with the score, and shrinks what few boxes say."""

import itertools

import numpy as np
import pytest

from lossexport.monitor.curve import SIZES, Cells, codes, fit, isotonic
from lossexport.monitor.numbers import average_precision, pooled_ap


def brute(value: list[float], weight: list[float]) -> list[float]:
    """The isotonic fit by its minimax formula."""
    n = len(value)

    def mean(i: int, j: int) -> float:
        return float(np.average(value[i : j + 1], weights=weight[i : j + 1]))

    return [max(min(mean(i, j) for j in range(k, n)) for i in range(k + 1)) for k in range(n)]


def test_isotonic_is_the_least_squares_fit() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 2, 5, 30):
        value, weight = rng.normal(size=n), rng.uniform(0.1, 5, n)
        assert isotonic(value, weight) == pytest.approx(brute(value.tolist(), weight.tolist()))


def drawn(boxes: int) -> tuple[Cells, np.ndarray, np.ndarray, np.ndarray]:
    """Cells, their boxes, the correct ones and the true probabilities: two classes, one better."""
    rng = np.random.default_rng(1)
    step, kind = rng.integers(0, 40, boxes), rng.integers(0, 2, boxes)
    size = rng.integers(0, SIZES, boxes)
    distinct, cell = np.unique(codes(step, kind, size, 2), return_inverse=True)
    cells = Cells.of(distinct, 2)
    true = 1 / (1 + np.exp(2 - cells.step / 10 - 1.5 * cells.kind + 0.3 * cells.size))
    correct = rng.random(boxes) < true[cell]
    count = np.bincount(cell).astype(float)
    return cells, count, np.bincount(cell, correct).astype(float), true


def test_codes_are_those_of_their_cells() -> None:
    every = np.array(list(itertools.product(range(4), range(5), range(SIZES))))
    step, kind, size = every.T
    code = codes(step, kind, size, 5)
    assert np.array_equal(code, np.arange(len(every)))
    cells = Cells.of(code, 5)
    assert np.array_equal(np.stack([cells.step, cells.kind, cells.size], 1), every)


def test_the_curve_finds_the_probabilities() -> None:
    cells, count, correct, true = drawn(60_000)
    found = fit(cells, count, correct, 40, 2)
    assert np.abs(found.at(cells) - true).max() < 0.06
    assert np.average(np.abs(found.at(cells) - true), weights=count) < 0.02
    assert (np.diff(found.step) >= 0).all()
    assert found.kind[1] - found.kind[0] == pytest.approx(1.5, abs=0.1)


def test_few_boxes_of_a_class_say_little() -> None:
    cells = Cells(np.array([0, 0]), np.array([0, 1]), np.array([1, 1]))
    found = fit(cells, np.array([1000.0, 2.0]), np.array([500.0, 0.0]), 1, 2)
    p = found.at(cells)
    assert p[0] == pytest.approx(0.5, abs=0.02)
    assert 0.4 < p[1] < p[0]


def test_average_precision_by_hand() -> None:
    # Right, wrong, right, of 4 objects: 1/4 at precision 1, 1/4 at 2/3.
    score, correct = np.array([0.9, 0.8, 0.7]), np.array([True, False, True])
    assert pooled_ap(score, correct, 4) == pytest.approx((1 + 2 / 3) / 4)
    assert pooled_ap(score[::-1], correct, 4) == pytest.approx((1 + 2 / 3) / 4)
    assert pooled_ap(np.ones(3), correct, 4) == pytest.approx(2 / 3 * 2 / 4)
    both = average_precision(np.ones(3), np.array([[1.0, 0, 1], [0, 0, 1]]), np.array([4.0, 1.0]))
    assert both == pytest.approx([(1 + 2 / 3) / 4, 1 / 3])
