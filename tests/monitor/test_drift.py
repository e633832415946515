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


def tally(frame: np.ndarray, bins: np.ndarray, number: int) -> drift.Tally:
    found = drift.Tally.empty(number)
    found.add(frame, bins)
    return found


def alone(counts: list[int]) -> drift.Tally:
    """Boxes that are in a frame of their own."""
    bins = np.repeat(np.arange(len(counts)), counts)
    return tally(np.arange(len(bins)), bins, len(counts))


def test_equal_shares_have_no_distance_and_a_shift_is_named() -> None:
    before = alone([100, 200, 300])
    same = drift.compare(before, alone([10, 20, 30]))
    assert same is not None
    assert same.distance == 0
    assert same.p > 0.99
    moved = drift.compare(before, alone([10, 20, 90]))
    assert moved is not None
    assert moved.moved == 2
    assert (moved.before, moved.now) == (0.5, 0.75)
    assert moved.distance == pytest.approx(0.25)
    assert moved.p < 1e-5
    assert drift.compare(before, drift.Tally.empty(3)) is None


def test_the_variance_of_a_share_by_hand() -> None:
    # Frames of 2, 1 and 1 boxes, of which 1, 1 and 0 are in the first bin: 1/2 of all.
    found = tally(np.array([0, 0, 1, 2]), np.array([0, 1, 0, 1]), 2)
    assert found.variance() == pytest.approx([(0 + 0.25 + 0.25) / 16] * 2)
    halves = tally(np.array([0, 0]), np.array([0, 1]), 2)
    halves.add(np.array([0, 1]), np.array([0, 1]))
    assert vars_of(halves) == vars_of(found)


def vars_of(found: drift.Tally) -> list[object]:
    return [*(c.tolist() for c in (found.counts, found.squares, found.products)), found.frames]


def test_boxes_of_an_image_count_together() -> None:
    image = np.repeat(np.arange(50), 8)
    alike = tally(image, np.repeat(np.arange(50) % 2, 8), 2)
    assert alike.variance() == pytest.approx([8 * 0.25 / 400] * 2)
    apart = tally(np.arange(400), np.repeat(np.arange(50) % 2, 8), 2)
    assert apart.variance() == pytest.approx([0.25 / 400] * 2)


@pytest.mark.parametrize("together", [1, 6])
def test_false_alarms_are_as_rare_as_asked(together: int) -> None:
    rng = np.random.default_rng(0)

    def drawn(images: int) -> drift.Tally:
        frame = np.arange(images)
        return tally(np.repeat(frame, together), np.repeat(rng.integers(0, 5, images), together), 5)

    sample = drawn(400)
    tests = [drift.compare(sample, drawn(60)) for _ in range(600)]
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
