"""The benchmark of batched NMS compares what is the same, and its page says what was measured."""

import json
import sys

import numpy as np
import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import batched_suppression as bench

CONTENDERS = (bench.KERNEL, bench.IN_RUNTIME, bench.GRAPH, bench.NODE, bench.EAGER)


@pytest.mark.parametrize(("kind", "over"), [("ordinary", 400), ("crowded", 600)])
def test_images_have_the_boxes_that_the_page_says(kind: str, over: int) -> None:
    boxes, scores = bench.image(kind, 600, 5)
    assert boxes.shape == (600, 4)
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert (scores.max(1) >= bench.SCORE_THRESHOLD).sum() == over
    known = scores[scores >= bench.SCORE_THRESHOLD]
    assert len(np.unique(known)) == len(known)


@pytest.mark.slow
def test_all_contenders_take_part_and_agree() -> None:
    rows = bench.measure(0, 500, 4)
    assert [(row["image"], row["multi_label"]) for row in rows] == [
        (kind, multi_label) for kind in bench.KINDS for multi_label in (False, True)
    ]
    for row in rows:
        assert 30 < row["kept"] <= bench.MAX_OUTPUT
        assert tuple(row["times"]) == CONTENDERS
        for times in row["times"].values():
            assert times["rounds"] == bench.FEWEST
            assert 0 < times["least_ms"] <= times["median_ms"]


def test_disagreement_stops_it() -> None:
    boxes, scores = bench.image("crowded", 50, 3)
    runners = {"other": lambda: np.zeros((1, 2), np.int64)}
    with pytest.raises(SystemExit, match="other: chooses other boxes; nothing is timed"):
        bench.check(runners, boxes, scores, False)


def test_the_committed_page_is_that_of_the_committed_numbers() -> None:
    folder = ROOT / "benchmarks" / "results"
    record = json.loads((folder / "batched_suppression.json").read_text())
    page = bench.page(record["results"], record["created"], record["environment"])
    assert (folder / "batched_suppression.md").read_text() == page
    assert len(record["results"]) == 2 * len(bench.KINDS)
