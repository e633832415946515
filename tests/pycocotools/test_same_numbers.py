"""Every number is that of pycocotools to the last bit, whatever the data and the parameters."""

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossexport import sample
from tests.boxes.helpers import Json, coco, found, truth
from tests.pycocotools.compared import OURS, THEIRS, same, same_images, same_tables

# Whole numbers on a small grid and few scores: ties in every place.
side = st.integers(0, 9)
box = st.tuples(side, side, side, side)
place = st.tuples(st.integers(1, 3), st.integers(1, 3))
area = st.sampled_from([0, 9, 30, 1025, 9217])
reference = st.tuples(place, box, st.sampled_from([0, 0, 1]), area)
detection = st.tuples(place, box, st.sampled_from([0.1, 0.5, 0.5, 1, -2]))
threshold = st.sampled_from([0.5, 0.05, 0.75, 1 / 3, 1.0, 1.5, 0.5, 1e-9, 0.0, -1.0])
limit = st.sampled_from([0, 1, 2, 3, 10, 100, 300])
parameters = st.fixed_dictionaries(
    {},
    optional={
        "iouThrs": st.lists(threshold, min_size=1, max_size=4).map(np.array),
        "recThrs": st.lists(
            st.sampled_from([0, 0.1, 0.5, 1 / 3, 2 / 3, 1, 1.2, -1]), max_size=5
        ).map(np.array),
        "areaRng": st.lists(
            st.sampled_from([[0, 1e10], [0, 9], [9, 30], [5, 4], [1, float("inf")]]),
            min_size=1,
            max_size=4,
        ),
        "maxDets": st.lists(limit, min_size=1, max_size=4),
        "useCats": st.sampled_from([0, 1]),
        "imgIds": st.lists(st.sampled_from([1, 2, 3, 4]), max_size=4),
        "catIds": st.lists(st.sampled_from([1, 2, 3, 4]), max_size=4),
    },
)
KINDS = ((1, "cat"), (2, "dog"), (3, "cow"))


def annotations(rows: Json, first: int) -> Json:
    gt = coco(
        [truth(i, k, *corners, iscrowd=crowd, area=size) for (i, k), corners, crowd, size in rows],
        images=(3, 1, 2),
        categories=KINDS,
    )
    for row in gt["annotations"]:
        row["id"] += first
    return gt


def named(params: dict[str, Any]) -> dict[str, Any]:
    """With a name for each range of areas."""
    names = ["all", "small", "medium", "large"]
    return {**params, "areaRngLbl": names[: len(params.get("areaRng", names))]}


@settings(max_examples=300, deadline=None)
@given(
    st.lists(reference, max_size=14),
    st.lists(detection, min_size=1, max_size=20),
    st.integers(-3, 1),
    parameters,
)
def test_random_results(truths: Json, rows: Json, first: int, params: dict[str, Any]) -> None:
    dets = [found(i, k, score, *corners) for (i, k), corners, score in rows]
    same(annotations(truths, first), dets, **named(params))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(reference, min_size=1, max_size=14),
    st.lists(st.tuples(detection, area), min_size=1, max_size=20),
    st.integers(-12, 1),
    st.sampled_from([0, 0, 3]),
    parameters,
)
def test_random_data_sets(
    truths: Json, rows: Json, first: int, repeated: int, params: dict[str, Any]
) -> None:
    """Detections with areas and ids of their own, some not above 0, some of them used twice."""
    dt = annotations([], 0)
    dt["annotations"] = [
        {**found(i, k, score, *corners), "area": size, "id": number + first}
        for number, (((i, k), corners, score), size) in enumerate(rows)
    ]
    for row in dt["annotations"][:repeated]:
        row["id"] = dt["annotations"][-1]["id"]
    same(annotations(truths, 0), dt, **named(params))


def cloud(seed: int, images: int = 8, refs: int = 160, dets: int = 1200) -> tuple[Json, Json]:
    """Boxes of real sizes, in floats: many pairs near the thresholds."""
    rng = np.random.default_rng(seed)

    def drawn(count: int) -> Any:
        corner, side = rng.uniform(0, 300, (count, 2)), rng.lognormal(3.5, 1, (count, 2))
        return np.concatenate([corner, side], axis=1)

    boxes, owner = drawn(refs), rng.integers(1, images + 1, refs)
    kind = rng.integers(1, 4, refs)
    source = rng.integers(0, refs, dets)
    near = boxes[source] * rng.normal(1, 0.08, (dets, 4))
    wrong = rng.random(dets) < 0.3
    near[wrong] = drawn(int(wrong.sum()))
    gt = [
        truth(int(i), int(k), *map(float, b), iscrowd=int(rng.random() < 0.1))
        for i, k, b in zip(owner, kind, boxes, strict=True)
    ]
    dt = [
        found(int(owner[s]), int(kind[s]), round(float(score), 2), *map(float, b))
        for s, b, score in zip(source, near, rng.random(dets), strict=True)
    ]
    return coco(gt, images=range(1, images + 1), categories=KINDS), dt


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"maxDets": [1, 10, 300]},
        {"maxDets": [100, 1, 10, 3]},
        {"useCats": 0},
        {"useCats": 0, "catIds": [3, 1]},
        {"iouThrs": np.array([0.75, 0.1, 0.5])},
        {"recThrs": np.linspace(0, 1, 1001)},
        {"recThrs": np.array([0.3, 0.1, 0.0, 0.9, 0.5])},
        {"areaRng": [[0, 1e10], [0, 1e3], [1e3, 2e3]], "areaRngLbl": ["all", "small", "large"]},
        {"imgIds": [5, 2, 2, 7], "catIds": [3, 1]},
    ],
    ids=str,
)
def test_real_sizes(params: dict[str, Any]) -> None:
    _, mine = same(*cloud(1), **params)
    assert mine.eval["precision"][:, :, :, 0, -1].mean() > 0.02


def test_files_of_80_categories(tmp_path: Path) -> None:
    sample.write(sample.Counts(100, 700, 3000), 0, tmp_path)
    runs = []
    for coco_class, evaluation in (THEIRS, OURS):
        with contextlib.redirect_stdout(io.StringIO()):
            gt = coco_class(str(tmp_path / "gt.json"))
            run = evaluation(gt, gt.loadRes(str(tmp_path / "dets.json")), "bbox")
            run.evaluate()
            run.accumulate()
            run.summarize()
        runs.append(run)
    same_tables(*runs)
    same_images(*runs)
    assert np.array_equal(runs[0].stats, runs[1].stats)
    assert 0.2 < runs[1].stats[0] < 0.8
