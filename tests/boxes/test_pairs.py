"""Pairs and their assignment, in the library and in NumPy, against all pairs of boxes."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from lossexport.boxes import forest, greedy, matching, pairs
from lossexport.boxes.boxset import Category, Dataset, Predictions, References
from lossexport.runtime import coco as native_coco
from lossexport.runtime import pairs as native
from lossexport.scoring.coco_ap import accumulate, match
from tests.boxes.helpers import coco, evaluate_data, found, pycocotools, read_json, truth

MB = 1 << 20
THRESHOLDS = (1e-300, 0.01, 0.3, 0.1 + 0.2, 0.5, 0.75, 1 - 1e-10)
KINDS = ("grid", "real", "huge", "small", "same", "nested", "alike")


@pytest.fixture(params=["library", "numpy"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test with the library and without."""
    use(monkeypatch, request.param)
    return str(request.param)


def use(monkeypatch: pytest.MonkeyPatch, which: str) -> None:
    if which == "library" and not native.available():
        pytest.skip("no library of native kernels")
    for module in (native, native_coco):
        monkeypatch.setattr(module, "available", lambda: which == "library")


def boxes(kind: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """x, y, width, height [count,4]; of huge and degenerate ones every bit may matter."""
    if kind == "grid":  # touching, equal and empty ones
        return rng.integers(0, 9, (count, 4)).astype(np.float64)
    if kind == "huge":
        low = rng.choice([-1e9, 1e9], (count, 2)) + rng.integers(-3, 4, (count, 2)) * 2.0**-23
        sides = rng.choice([0, 1e-300, 1e-9, 1e-7, 3e-7, 1, 1e9], (count, 2))
        return np.concatenate([np.clip(low, -1e9, 1e9), sides], axis=1)
    if kind == "small":
        return rng.random((count, 4)) * 1e-160
    if kind == "same":
        return np.tile([3.0, 4.0, 5.0, 6.0], (count, 1))
    if kind == "nested":
        half = np.arange(1, count + 1)[:, None] + rng.random((count, 1))
        return np.concatenate([-half, -half, 2 * half, 2 * half], axis=1)
    spread, side = (1.5, 0.1) if kind == "alike" else (40.0, 1.0)
    sides = 20 * np.exp(rng.normal(0, side, (count, 2)))
    return np.concatenate([rng.normal(50, spread, (count, 2)), sides], axis=1)


def draw(kind: str, predictions: int, references: int, seed: int, groups: int = 2) -> Dataset:
    """Boxes in `groups` images and as many categories, some inverted, some crowds."""
    rng = np.random.default_rng(seed)
    pred, ref = boxes(kind, predictions, rng), boxes(kind, references, rng)
    pred[rng.random(predictions) < 0.05, 2:] *= -1
    crowd = rng.random(references) < rng.choice([0, 0.2])
    image, category = (rng.integers(0, groups, (2, predictions))).astype(np.int32)
    ref_image, ref_category = (rng.integers(0, groups, (2, references))).astype(np.int32)
    return Dataset(
        list(range(groups)),
        [Category(k, str(k)) for k in range(groups)],
        Predictions(image, category, pred, rng.integers(0, 9, predictions) / 8),
        References(
            ref_image,
            ref_category,
            ref,
            ref[:, 2] * ref[:, 3],
            crowd,
            np.zeros(references, np.bool_),
            crowd & (rng.random(references) < 0.3) if seed % 2 else None,
        ),
        {},
    )


def all_pairs(data: Dataset, order: pairs.Order, threshold: float) -> list[tuple[Any, ...]]:
    """Every pair of a group, one by one, by the COCO API's operations in Python's floats."""
    result = []
    for p, group in enumerate(order.pred_group):
        px, py, pw, ph = data.predictions.box[order.pred[p]].tolist()
        for r in np.flatnonzero(order.ref_group == group):
            rx, ry, rw, rh = data.references.box[order.ref[r]].tolist()
            w = min(pw + px, rw + rx) - max(px, rx)
            h = min(ph + py, rh + ry) - max(py, ry)
            inside = w * h if w > 0 and h > 0 else 0.0
            if inside <= 0:
                continue
            crowd = data.references.ignored[order.ref[r]]
            union = pw * ph if crowd else pw * ph + rw * rh - inside
            iou = inside / union if union else np.inf
            if iou >= threshold:
                result.append((p, int(r), iou))
    return result


def walk(
    listed: list[tuple[Any, ...]], crowd: Any, ignored: Any, thresholds: Any
) -> dict[int, list[list[int]]]:
    """The place of the reference of each prediction, area and threshold, or -1, lane by lane."""
    near: dict[int, list[tuple[float, int]]] = {}
    for p, r, iou in listed:
        near.setdefault(p, []).append((iou, r))
    result = {p: [[-1] * len(thresholds) for _ in range(ignored.shape[1])] for p in near}
    for a in range(ignored.shape[1]):
        for t, threshold in enumerate(thresholds):
            taken: set[int] = set()
            for p in sorted(near):
                free = [
                    (not ignored[r, a], iou, r)
                    for iou, r in near[p]
                    if iou >= threshold and r not in taken
                ]
                if free:
                    best = max(free)[2]
                    result[p][a][t] = best
                    if not crowd[best]:
                        taken.add(best)
    return result


def assigned(
    given: pairs.Pairs, order: pairs.Order, crowd: Any, ignored: Any, thresholds: Any
) -> dict[int, list[list[int]]]:
    result: dict[int, list[list[int]]] = {}
    for places, winner in pairs.assign(given, order, crowd, ignored, thresholds):
        refs = np.where(winner >= 0, given.ref[winner], -1)
        result |= dict(zip(places.tolist(), refs.tolist(), strict=True))
    return result


@pytest.mark.filterwarnings("ignore:divide by zero|overflow")
@pytest.mark.parametrize("which", ["library", "numpy"])
@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    counts=st.tuples(st.integers(0, 90), st.integers(0, 90)),
    seed=st.integers(0, 2**32 - 1),
    threshold=st.sampled_from(THRESHOLDS),
    listed=st.sampled_from([0, 20, pairs.MAX_PAIRS]),
    at_once=st.sampled_from([3, 40, pairs.PAIRS_AT_ONCE]),
)
def test_equal_to_all_pairs(
    which: str,
    kind: str,
    counts: tuple[int, int],
    seed: int,
    threshold: float,
    listed: int,
    at_once: int,
) -> None:
    """However few pairs are listed: the pairs to the bit, and what is assigned from them."""
    data = draw(kind, *counts, seed)
    order = pairs.sort_boxes(data)
    wanted = all_pairs(data, order, threshold)
    rng = np.random.default_rng(seed)
    crowd = data.references.ignored[order.ref]
    ignored = (rng.random((len(order.ref), 3)) < 0.3) | crowd[:, None]
    thresholds = threshold + (1 - threshold) * np.sort(rng.random(4))
    kept = rng.random(len(order.pred)) < rng.choice([0.5, 1])
    with pytest.MonkeyPatch.context() as patch:
        use(patch, which)
        patch.setattr(pairs, "MAX_PAIRS", listed)
        patch.setattr(pairs, "PAIRS_AT_ONCE", at_once)
        patch.setattr(pairs, "ASSIGNED_AT_ONCE", at_once)
        patch.setattr(pairs, "BOXES_AT_ONCE", at_once)
        patch.setattr(forest, "CELLS", at_once)
        patch.setattr(greedy, "CELLS_AT_ONCE", at_once)
        every = pairs.find_pairs(data, order, threshold)
        count = len(every.iou)
        rows = list(
            zip(every.pred.tolist(), every.ref[:count].tolist(), every.iou.tolist(), strict=True)
        )
        assert rows == wanted[:count]
        if every.rest is None:
            assert count == len(wanted)
        some = every.at_least(thresholds[0], kept)
        got = assigned(some, order, crowd, ignored, thresholds)
        one = assigned(some, order, crowd, ignored[:, :1], thresholds[:1])
    left = [pair for pair in wanted if kept[pair[0]] and pair[2] >= thresholds[0]]
    for result, lanes in ((got, (3, 4)), (one, (1, 1))):
        full = walk(left, crowd, ignored[:, : lanes[0]], thresholds[: lanes[1]])
        # Of groups whose pairs are not listed, who wins nothing is left out.
        assert {p: lane for p, lane in full.items() if np.max(lane) >= 0} == {
            p: lane for p, lane in result.items() if np.max(lane) >= 0
        }


@pytest.mark.parametrize("kind", ["real", "alike", "nested", "same", "huge"])
@pytest.mark.parametrize("listed", [0, pairs.MAX_PAIRS])
def test_the_library_equals_numpy_on_large_groups(
    kind: str, listed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deep trees, of which parts are used up and built anew."""
    data = draw(kind, 900, 1100, 3, groups=1)
    data = replace(data, references=replace(data.references, any_class=None))
    order = pairs.sort_boxes(data)
    monkeypatch.setattr(pairs, "MAX_PAIRS", listed)
    results = []
    for which in ("library", "numpy"):
        use(monkeypatch, which)
        given_pairs = pairs.find_pairs(data, order, 0.4)
        result = matching.match(data, order, given_pairs, 0.5)
        lanes = accumulate(match(data, order, given_pairs), parts=data.parts)
        results.append((given_pairs, result, lanes))
        monkeypatch.undo()
        monkeypatch.setattr(pairs, "MAX_PAIRS", listed)
    (listed_a, match_a, coco_a), (listed_b, match_b, coco_b) = results
    assert listed_a.iou.tobytes() == listed_b.iou.tobytes()
    assert listed_a.ref.tobytes() == listed_b.ref.tobytes()
    assert match_a.ref.tobytes() == match_b.ref.tobytes()
    assert match_a.status.tobytes() == match_b.status.tobytes()
    assert coco_a.precision.tobytes() == coco_b.precision.tobytes()
    assert np.count_nonzero(match_a.ref >= 0) > (100 if kind != "huge" else -1)


def peak(data: Dataset) -> tuple[float, matching.Matching]:
    """Megabytes that finding and matching add, as Python sees them."""
    order = pairs.sort_boxes(data)
    tracemalloc.start()
    try:
        near = pairs.find_pairs(data, order, 0.5)
        accumulate(match(data, order, near), parts=data.parts)
        result = matching.match(data, order, near, 0.5)
        return tracemalloc.get_traced_memory()[1] / MB, result
    finally:
        tracemalloc.stop()


@pytest.mark.uncounted
@pytest.mark.parametrize("kind", ["same", "nested", "alike"])
def test_memory_does_not_grow_with_the_pairs(
    kind: str, either: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4 million pairs of 2,000 x 2,000 boxes, 64 MB, in a sixteenth of it."""
    monkeypatch.setattr(pairs, "MAX_PAIRS", 1 << 16)
    monkeypatch.setattr(forest, "CELLS", 1 << 14)
    data = draw(kind, 2000, 2000, 0, groups=1)
    references = replace(data.references, ignored=np.zeros(2000, np.bool_))
    most, result = peak(replace(data, references=references))
    assert most < 16, either
    inverted = np.count_nonzero(data.predictions.box[:, 2] < 0)
    if kind == "same":
        assert np.count_nonzero(result.status) == 2000 - inverted


def test_identical_boxes_take_the_last_reference_first(
    either: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "MAX_PAIRS", 0)
    box = np.tile([1.0, 2.0, 30.0, 40.0], (700, 1))
    no, first = np.zeros(700, np.bool_), np.zeros(700, np.int32)
    data = Dataset(
        [1],
        [Category(1, "cat")],
        Predictions(first, first, box, np.arange(700.0)),
        References(first, first, box, box[:, 2] * box[:, 3], no, no),
        {},
    )
    order = pairs.sort_boxes(data)
    found_pairs = pairs.find_pairs(data, order, 0.5)
    assert len(found_pairs.iou) == 0, either
    result = matching.match(data, order, found_pairs, 0.5)
    assert result.ref.tolist() == list(range(700))  # the best, the last one, takes the last


def dense_rows(rng: np.random.Generator) -> Iterator[tuple[Any, Any]]:
    for image in (1, 2, 3):
        for category in (1, 2):
            refs = np.concatenate(
                [rng.random((60, 2)) * 200, np.exp(rng.normal(3.5, 1, (60, 2)))], axis=1
            ).round(2)
            for box in refs:
                yield truth(image, category, *box.tolist(), iscrowd=int(rng.random() < 0.05)), None
            for box in refs[rng.integers(0, 60, 150)]:
                moved = box + rng.normal(0, 0.1, 4) * box[[2, 3, 2, 3]]
                score = round(float(rng.random()), 2)
                yield None, found(image, category, score, *moved.round(2).tolist())


@pytest.mark.parametrize("listed", [0, 500, pairs.MAX_PAIRS])
@pytest.mark.parametrize("seed", range(3))
def test_dense_images_are_scored_as_by_pycocotools(
    seed: int, listed: int, either: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "MAX_PAIRS", listed)
    rows = list(dense_rows(np.random.default_rng(seed)))
    references = coco([ref for ref, _ in rows if ref], images=(1, 2, 3))
    detections = [row for _, row in rows if row]
    values = evaluate_data(read_json(tmp_path, detections, references)).values
    wanted = pycocotools(references, detections)
    assert values["AP50"] > 0.2, either
    for name, value in wanted.items():
        assert values[name] == pytest.approx(value, abs=1e-12), name
