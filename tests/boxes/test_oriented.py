"""Overlaps of oriented boxes are exact, the same in the library and in NumPy, and only of boxes
near each other."""

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossexport import formats, score
from lossexport.boxes import oriented, pairs
from lossexport.boxes.boxset import Dataset
from lossexport.runtime import pairs as native
from tests.boxes import oriented as sets
from tests.boxes.helpers import evaluate_data, read_json

coordinate = st.floats(-40, 40)
side = st.floats(0.5, 60)
angle = st.one_of(st.floats(-3.2, 3.2), st.sampled_from([0.0, math.pi / 2, math.pi, 1e-9]))
boxes = st.tuples(coordinate, coordinate, side, side, angle).map(list)


@settings(max_examples=300, deadline=None)
@given(pred=boxes, ref=boxes, crowd=st.booleans(), far=st.sampled_from([0.0, 1e6]))
def test_the_overlap_is_exact(pred: list[float], ref: list[float], crowd: bool, far: float) -> None:
    first, second = (oriented.rows_of(np.array([[b[0] + far, *b[1:]]])) for b in (pred, ref))
    (iou,) = oriented.overlap(first, second, np.array([crowd]))
    pred, ref = ([float(v) for v in row[0, oriented.OWN]] for row in (first, second))
    assert abs(iou - max(sets.clipped_overlap(pred, ref, crowd), 0)) < 1e-12


def test_equal_boxes_match_at_the_highest_threshold(tmp_path: Path) -> None:
    references, _ = sets.draw(2)
    rows = [{**row, "iscrowd": 0} for row in references["annotations"]]
    results = [{**row, "score": 0.5} for row in rows]
    distinct = {tuple(sets.box(row)): row for row in rows}
    data = read_json(tmp_path, list(results), {**references, "annotations": rows})
    order = pairs.sort_boxes(data)
    found = pairs.find_pairs(data, order, pairs.cap(1.0))
    assert len(np.unique(found.pred)) == len(rows) >= len(distinct) > 50
    assert np.abs(found.iou - 1).max() < 1e-15


@pytest.mark.skipif(not native.available(), reason="no library of native kernels")
@pytest.mark.parametrize("most", [1 << 22, 40])
def test_the_library_and_numpy_give_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    references, results = sets.draw(6)
    data = read_json(tmp_path, results, references)
    order = pairs.sort_boxes(data)
    # Beyond `most` pairs none are listed, and boxes are assigned as they are.
    monkeypatch.setattr(pairs, "MAX_PAIRS", most)

    def everything() -> tuple[Any, ...]:
        found = pairs.find_pairs(data, order, 0.3)
        assert (found.rest is None) == (most > 40)
        listed = found.pred.tolist(), found.ref.tolist(), found.iou.tolist()
        return (*listed, evaluate(data)) if found.rest is None else (evaluate(data),)

    by_library = everything()
    monkeypatch.setattr(native, "available", lambda: False)
    assert everything() == by_library


@pytest.mark.skipif(not native.available(), reason="no library of native kernels")
@pytest.mark.parametrize("threshold", [0.02, 0.5, 0.9])
def test_what_the_library_leaves_out_overlaps_too_little(
    monkeypatch: pytest.MonkeyPatch, threshold: float
) -> None:
    rng = np.random.default_rng(1)
    count = 250
    place = {"image_id": np.ones(count, int), "category_id": np.ones(count, int)}
    own = np.concatenate(
        [rng.uniform(0, 60, (count, 2)), np.exp(rng.uniform(-2, 5, (count, 2)))], axis=1
    )
    own = np.column_stack([own, rng.uniform(-3, 3, count)])
    near = own * rng.uniform(0.95, 1.05, own.shape)
    crowd = rng.random(count) < 0.3
    data = formats.read(
        {**place, "rbox": near, "score": rng.random(count)},
        {**place, "rbox": own, "iscrowd": crowd},
        "coco",
    )
    order = pairs.sort_boxes(data)
    by_library = pairs.find_pairs(data, order, threshold)
    monkeypatch.setattr(native, "available", lambda: False)
    in_numpy = pairs.find_pairs(data, order, threshold)
    assert len(in_numpy.iou) > count / 4
    for name in ("pred", "ref", "iou"):
        assert getattr(by_library, name).tolist() == getattr(in_numpy, name).tolist()


def evaluate(data: Dataset) -> tuple[Any, ...]:
    result = evaluate_data(data)
    return result.values, result.category_ap.tolist()


def test_boxes_far_apart_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a large set, of all pairs only those whose surrounding boxes overlap."""
    rng = random.Random(0)
    rbox = [
        [rng.uniform(0, 9e3), rng.uniform(0, 9e3), 30, 12, rng.uniform(-3, 3)] for _ in range(2000)
    ]
    columns = {"image_id": [1] * 2000, "category_id": [1] * 2000, "rbox": rbox}
    compared = 0
    overlap = oriented.overlap

    def counting(pred: Any, ref: Any, crowd: Any) -> Any:
        nonlocal compared
        compared += len(pred)
        return overlap(pred, ref, crowd)

    monkeypatch.setattr(native, "available", lambda: False)
    monkeypatch.setattr(oriented, "overlap", counting)
    summary = score({**columns, "score": [0.5] * 2000}, columns)
    assert summary["counts"]["matched"] == 2000
    assert 2000 <= compared < 2000**2 // 20
