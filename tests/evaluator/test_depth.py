"""Intervals, causes and slices of an evaluator are those of `score`, however it is fed."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lossexport
from lossexport import Evaluator, score_pair
from lossexport.errors import LossexportError
from lossexport.scoring.causes import GATE_NAMES
from tests.bootstrap.helpers import random_set
from tests.boxes.helpers import Json
from tests.evaluator.test_same_numbers import FILES, columns, feed, scene

SIZES = (24.0, 64.0, 150.0)
IMAGES = range(1, 13)
ASKED: dict[str, Any] = {
    "explain": True,
    "at_precision": 0.4,
    "at_recall": 0.3,
    "slices": {"odd": [1, 3, 5, 7, 9, 11], "one": [4], "most": list(range(2, 12))},
    "size_grid": SIZES,
    "bootstrap": 6,
    "seed": 4,
}


def scored(detections: Json, references: Json, **options: Any) -> dict[str, Any]:
    """The summary of `score`, without what is about files."""
    given = {
        **columns(references["annotations"]),
        "images": dict.fromkeys(row["id"] for row in references["images"]),
    }
    summary = lossexport.score(detections, given, **options)
    summary["settings"].pop("format")
    return {name: value for name, value in summary.items() if name not in FILES}


def sharded(detections: Json, references: Json, parts: list[list[int]], **kept: Any) -> Evaluator:
    """An evaluator of images that travelled in one part each."""
    whole = Evaluator(**kept)
    for images in parts:
        shard = Evaluator(**kept)
        for image in images:
            feed(shard, [image], detections, references)
        whole.merge(Evaluator.from_bytes(shard.to_bytes()))
    return Evaluator.from_bytes(whole.to_bytes())


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10_000),
    st.permutations(list(IMAGES)),
    st.lists(st.integers(0, 12), min_size=2, max_size=2).map(sorted),
    st.sampled_from([0.5, 0.5, 0.75]),
)
def test_everything_is_that_of_score(
    seed: int, order: list[int], cuts: list[int], threshold: float
) -> None:
    references, detections = random_set(seed)
    wanted = scored(detections, references, iou_threshold=threshold, **ASKED)
    parts = [order[: cuts[0]], order[cuts[0] : cuts[1]], order[cuts[1] :]]
    whole = sharded(
        detections, references, parts, iou_threshold=threshold, explain=True, size_grid=SIZES
    )
    result = whole.compute(**ASKED)
    assert result == wanted
    assert set(GATE_NAMES) <= {
        f"{key}_{name}" for key in ("errors", "dAP", "confusion") for name in result[key]
    }


def test_a_real_set(shared: Path) -> None:
    folder = shared / "data/coco_val2017_100"
    from tests.boxes.helpers import load

    detections, references = load(folder / "dets_yolact_base.json"), load(folder / "gt.json")
    ids = [row["id"] for row in references["images"]]
    asked = {**ASKED, "slices": {"half": ids[::2]}, "bootstrap": 20}
    wanted = scored(detections, references, **asked)
    evaluator = Evaluator(explain=True, size_grid=SIZES)
    for images in (ids[60:], ids[:60]):
        feed(evaluator, images, detections, references)
    found = evaluator.compute(**asked)
    assert wanted["errors"]["localization"] > 100
    assert wanted["slices"][-1]["attribute"] == "size"
    for name in wanted:
        assert found[name] == wanted[name], name


def test_a_state_is_small() -> None:
    """9 bytes more for each prediction to explain, 24 and 2 a reference for four sizes."""
    detections, references = scene(60)
    sizes = []
    for kept in ({}, {"explain": True}, {"size_grid": SIZES}):
        evaluator = Evaluator(**kept)
        feed(evaluator, range(60), detections, references)
        sizes.append(len(evaluator.to_bytes()))
    rows, refs = len(detections), len(references["annotations"])
    assert sizes[1] - sizes[0] == 9 * rows + len(',"explain":true')
    assert sizes[2] - sizes[0] == 11 * rows + refs + len(',"size_grid":[24.0,64.0,150.0]')


def test_slices_from_a_table(tmp_path: Path) -> None:
    detections, references = scene(6)
    evaluator = Evaluator()
    feed(evaluator, range(6), detections, references)
    table = tmp_path / "slices.csv"
    table.write_text("image_id,time\n0,night\n3,night\n")
    (row,) = evaluator.compute(slices=table)["slices"]
    assert (row["attribute"], row["value"], row["counts"]["images"]) == ("time", "night", 2)
    alone = Evaluator(categories=evaluator._state.table.ids)
    feed(alone, [0, 3], detections, references)
    assert row["AP"] == alone.compute()["AP"]
    table.write_text("file_name,time\n0.jpg,night\n")
    with pytest.raises(LossexportError, match="names of files are not known here: image_id"):
        evaluator.compute(slices=table)


@pytest.mark.parametrize(
    ("kept", "asked", "message"),
    [
        ({}, {"explain": True}, "has not kept what it needs: Evaluator(explain=True)"),
        ({}, {"size_grid": [32]}, "size_grid is [32.0]: this evaluator has kept none: Evaluator("),
        (
            {"size_grid": [16, 32]},
            {"size_grid": [32]},
            "size_grid is [32.0]: this evaluator has kept [16.0, 32.0]: Evaluator(size_grid=[32.0]",
        ),
        ({}, {"bootstrap": 1}, "bootstrap is 1"),
        ({}, {"bootstrap": 5}, "bootstrap: 1 image: at least 2 are needed"),
        ({}, {"slices": {"a": [77]}}, "slices: a has 77: no input has such an image"),
        ({}, {"at_recall": 2}, "at_recall is 2.0: above 0"),
        ({"size_grid": [3, 2]}, {}, "size_grid is [3, 2]: rising sides"),
    ],
)
def test_refusals(kept: dict[str, Any], asked: dict[str, Any], message: str) -> None:
    def run() -> None:
        evaluator = Evaluator(**kept)
        evaluator.update_image(1, [[0, 0, 9, 9]], [0.5], [1], [[0, 0, 9, 9]], [1])
        evaluator.compute(**asked)

    with pytest.raises(LossexportError, match=re.escape(message)):
        run()


def test_evaluators_that_keep_other_things_are_not_merged() -> None:
    for kept, name in (({"explain": True}, "explain is False"), ({"size_grid": [9]}, "size_grid")):
        with pytest.raises(LossexportError, match=f"^{name}.* merged ones need the same settings"):
            Evaluator().merge(Evaluator(**kept))


def pair_of_sets() -> tuple[Json, Json, Json]:
    references, first = random_set(5)
    moved = [{**row, "bbox": [v + 1.5 for v in row["bbox"]]} for row in first[::-1]]
    return references, first, moved


def test_two_evaluators_are_compared_as_two_results_are() -> None:
    references, *results = pair_of_sets()
    given = {**columns(references["annotations"]), "images": dict.fromkeys(IMAGES)}
    limits = {"AP.lower": -0.001}
    first, second = results
    wanted = score_pair(first, second, given, bootstrap=12, seed=2, fail_below=limits)
    sides = [sharded(rows, references, [[3, 1], list(range(4, 13)), [2]]) for rows in results]
    found = score_pair(sides[0], sides[1], bootstrap=12, seed=2, fail_below=limits)
    assert wanted["differences"]["AP"]["difference"] < 0
    for name in ("differences", "categories", "bootstrap", "gates", "gate_failures"):
        assert found[name] == wanted[name], name
    assert found["a"]["AP"] == wanted["a"]["AP"]


def test_what_evaluators_are_compared_with() -> None:
    references, first, _ = pair_of_sets()
    whole = sharded(first, references, [list(IMAGES)])
    fewer = {**references, "annotations": references["annotations"][1:]}
    missing = references["annotations"][0]["image_id"]
    for other, options, message in (
        (sharded(first, fewer, [list(IMAGES)]), {}, f"image {missing} has other references in a"),
        (Evaluator(0.75), {}, "iou_threshold is 0.5 in a and 0.75 in b"),
        (first, {}, "b is .*: an Evaluator, as the other result is one, is expected"),
        (whole, {"ref": first}, "ref: is not for evaluators"),
        (whole, {"match_by": "id"}, "match_by: is not for evaluators"),
    ):
        with pytest.raises(LossexportError, match=message):
            score_pair(whole, other, bootstrap=2, **options)
    with pytest.raises(LossexportError, match="ref is missing: only evaluators have"):
        score_pair(first, first)
