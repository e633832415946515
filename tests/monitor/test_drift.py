"""The tests of drift: known tails, few false alarms, and a shift that is found and named."""

import numpy as np
import pytest

from lossexport.monitor import drift


@pytest.mark.parametrize(
    ("statistic", "freedom", "p"),
    [
        (3.841, 1, 0.05),
        (6.635, 1, 0.01),
        (16.919, 9, 0.05),
        (27.877, 9, 0.001),
        (100.0, 79, 0.0557),
    ],
)
def test_tails_of_chi_square(statistic: float, freedom: int, p: float) -> None:
    assert drift.chi_square(statistic, freedom) == pytest.approx(p, rel=0.1)


def test_holm_by_hand() -> None:
    found = drift.holm({"score": 0.01, "class": 0.04, "size": 0.03, "count": 0.2})
    assert found == pytest.approx({"score": 0.04, "size": 0.09, "class": 0.09, "count": 0.2})


def test_equal_shares_have_no_distance_and_a_shift_is_named() -> None:
    before = np.array([100, 200, 300])
    same = drift.compare(before, before // 10, 1.0)
    assert same is not None
    assert same.distance == 0
    assert same.p > 0.99
    moved = drift.compare(before, np.array([10, 20, 90]), 1.0)
    assert moved is not None
    assert moved.moved == 2
    assert (moved.before, moved.now) == (0.5, 0.75)
    assert moved.distance == pytest.approx(0.25)
    assert moved.p < 1e-5
    assert drift.compare(before, np.zeros(3, int), 1.0) is None


def test_boxes_of_an_image_count_together() -> None:
    image = np.repeat(np.arange(50), 8)
    alike = np.repeat(np.arange(50) % 2, 8)
    assert drift.clustering(image, alike, 50, 2) == pytest.approx(8, rel=0.01)
    rng = np.random.default_rng(0)
    assert drift.clustering(image, rng.integers(0, 2, 400), 50, 2) < 1.5
    assert drift.clustering(image, np.zeros(400, int), 50, 2) == 1


@pytest.mark.parametrize("together", [1, 6])
def test_false_alarms_are_as_rare_as_asked(together: int) -> None:
    rng = np.random.default_rng(0)

    def bins(images: int) -> np.ndarray:
        return np.repeat(rng.integers(0, 5, images), together)

    sample = bins(400)
    image = np.repeat(np.arange(400), together)
    clustering = drift.clustering(image, sample, 400, 5)
    before = np.bincount(sample, minlength=5)
    tests = [
        drift.compare(before, np.bincount(bins(60), minlength=5), clustering) for _ in range(600)
    ]
    alarms = np.mean([test.p < 0.05 for test in tests if test])
    assert 0.02 < alarms < 0.09


def test_bins_in_words() -> None:
    assert [drift.within([0.3, 0.5], bin_) for bin_ in range(3)] == [
        "below 0.3", "0.3 to 0.5", "0.5 or more",
    ]  # fmt: skip
    assert [drift.whole([1.0, 3.0], bin_) for bin_ in range(3)] == [
        "0 boxes", "1 to 2 boxes", "3 or more boxes",
    ]  # fmt: skip
    assert drift.within([], 0) == "any"
