"""The library's order of boxes and counts of COCO's protocol, to the bit those of NumPy."""

import numpy as np
import pytest
from msgspec.structs import replace

from lossexport.boxes import explain, matching, pairs
from lossexport.boxes.boxset import Category, Dataset, Predictions, References
from lossexport.errors import LossexportError
from lossexport.runtime import coco as native
from lossexport.scoring import coco_ap, protocol
from lossexport.scoring.ranked import Ranked

pytestmark = pytest.mark.skipif(not native.available(), reason="no library of native kernels")

LEVELS = 10


def without_library(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(native, "available", lambda: False)


def outcomes(count: int, categories: int, seed: int, ties: int) -> protocol.Outcomes:
    rng = np.random.default_rng(seed)
    category = np.sort(rng.integers(0, categories, count)).astype(np.int32)
    score = rng.choice([rng.random(count), rng.integers(-1, 2, count) * 0.0, rng.random(count) + 5])
    score = np.where(rng.random(count) < ties / 10, np.round(score, 1), score)
    place = np.flatnonzero(rng.random(count) < 0.4).astype(np.int32)
    return protocol.Outcomes(
        category,
        rng.integers(0, 130, count),
        score,
        rng.integers(0, 16, count).astype(np.uint8),
        place,
        rng.integers(0, 3, (len(place), 4, LEVELS)).astype(np.int8),
        rng.integers(0, 1 + max(count // 3, 1), (4, categories)),
    )


@pytest.mark.parametrize("count", [0, 1, 7, 300, 5000])
@pytest.mark.parametrize("categories", [1, 3, 40])
@pytest.mark.parametrize("ties", [0, 5, 10])
def test_accumulate(
    count: int, categories: int, ties: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = outcomes(count, categories, count + categories, ties)
    ours = coco_ap.accumulate(given, parts=False)
    tables = coco_ap.tabulate(given, protocol.COCO)
    without_library(monkeypatch)
    theirs = coco_ap.accumulate(given, parts=False)
    assert ours.values == theirs.values
    assert ours.precision.tobytes() == theirs.precision.tobytes()
    assert ours.category_ap.tobytes() == theirs.category_ap.tobytes()
    other = coco_ap.tabulate(given, protocol.COCO)
    for name in ("precision", "recall", "scores"):
        assert getattr(tables, name).tobytes() == getattr(other, name).tobytes()


def test_scores_that_differ_in_their_last_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """They share the digits by which they are sorted first."""
    given = outcomes(4000, 1, 0, 0)
    rng = np.random.default_rng(3)
    close = 1 + rng.integers(0, 40, 4000) * np.spacing(1.0)
    given = replace(given, score=close * rng.choice([1.0, -1.0], 4000))
    ours = coco_ap.accumulate(given, parts=False)
    without_library(monkeypatch)
    assert ours.precision.tobytes() == coco_ap.accumulate(given, parts=False).precision.tobytes()


def dataset(count: int, seed: int, images: int, categories: int) -> Dataset:
    rng = np.random.default_rng(seed)

    def codes(most: int) -> np.ndarray:
        return rng.integers(0, most, count).astype(np.int32)

    def box() -> np.ndarray:
        return rng.integers(-2, 9, (count, 4)).astype(np.float64)

    score = rng.integers(0, 4, count) / 4 - 0.5
    score[rng.random(count) < 0.1] = -0.0
    flags = rng.random(count) < 0.2
    return Dataset(
        list(range(images)),
        [Category(k, str(k)) for k in range(categories)],
        Predictions(codes(images), codes(categories), box(), score),
        References(codes(images), codes(categories), box(), score + 1, flags, flags),
        {},
        sizes=np.where(rng.random((images, 2)) < 0.2, np.nan, rng.integers(1, 9, (images, 2))),
    )


@pytest.mark.parametrize("count", [0, 1, 50, 3000])
@pytest.mark.parametrize(("images", "categories"), [(1, 1), (3, 2), (60, 9)])
@pytest.mark.parametrize("everywhere", [False, True])
def test_order_and_looks(
    count: int, images: int, categories: int, everywhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataset(count, count + images, images, categories)
    if everywhere:
        ignored = data.references.ignored
        data = replace(data, references=replace(data.references, any_class=ignored))
    ours = pairs.sort_boxes(data)
    notes = explain.explain(data, ours, 0, 0.5, explain.SCORED)
    bits = protocol.COCO.bits(np.abs(data.predictions.box[:, 2]) * 1e3, ours.pred)
    without_library(monkeypatch)
    theirs = pairs.sort_boxes(data)
    for name in ("pred", "pred_group", "rank", "ref", "ref_group"):
        assert getattr(ours, name).tolist() == getattr(theirs, name).tolist(), name
    assert notes == explain.explain(data, theirs, 0, 0.5, explain.SCORED)
    wanted = protocol.COCO.bits(np.abs(data.predictions.box[:, 2]) * 1e3, theirs.pred)
    assert bits.tolist() == wanted.tolist()
    if count == 3000:
        assert any("more than once" in note for note in notes)


@pytest.mark.parametrize("count", [0, 1, 60, 4000])
@pytest.mark.parametrize("categories", [1, 3, 300])
@pytest.mark.parametrize("values", [2, 50, 0])
def test_ranked(count: int, categories: int, values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """`values`: how many different scores there are; 0: they differ in their last bits."""
    rng = np.random.default_rng(count + categories + values)
    score = rng.integers(-3, values, count) / 7 if values else 0.3 + rng.random(count) * 1e-12
    score[rng.random(count) < 0.1] *= -1
    status = rng.integers(0, 3, count).astype(np.int8)
    matches = int(np.count_nonzero(status == matching.MATCHED))
    iou = (rng.integers(50, 100, matches) / 100).astype(np.float32)
    given = (
        rng.integers(0, categories, count).astype(np.int32),
        score,
        status,
        iou,
        rng.integers(0, 9, categories),
    )
    ours = Ranked.of(*given)
    without_library(monkeypatch)
    for mine, other in zip(ours, Ranked.of(*given), strict=True):
        for name in ("first", "score", "end", "iou", "missed"):
            assert getattr(mine, name).tolist() == getattr(other, name).tolist(), name
        # The matches may have any places among equal scores.
        assert mine.score[mine.hit].tolist() == other.score[other.hit].tolist()
        assert (np.diff(mine.hit) > 0).all()
        assert np.searchsorted(mine.hit, mine.first).tolist() == (
            np.searchsorted(other.hit, other.first).tolist()
        )


def test_ranking_refuses_categories_out_of_range() -> None:
    columns = np.array([0.5]), np.zeros(1, np.int8), np.empty(0, np.float32)
    for category in (-1, 2):
        with pytest.raises(LossexportError, match="rank: counts or categories are wrong"):
            native.rank(np.array([category], np.int32), *columns, 1, 2)
    with pytest.raises(LossexportError, match="rank: counts or categories are wrong"):
        native.rank(np.array([0], np.int32), *columns, 2, 2)
