"""The comparison with other packages is of the same results, and its page says what was found."""

import functools
import json
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import rivals
from kernels import OUTPUT

RECORD = json.loads((ROOT / "benchmarks" / "results" / "rivals.json").read_text())


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no other package were installed."""
    monkeypatch.setattr(rivals, "RIVALS", {"powerboxes": "powerboxes", "lsnms": "lsnms"})

    def absent(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(rivals, "version", absent)


def test_packages_that_are_missing_are_named(alone: None) -> None:
    record = rivals.measure([60], [20], seconds=0)
    assert record["not_run"] == ["powerboxes", "lsnms"]
    assert [row["scene"] for row in record["nms"]] == list(rivals.SCENES)
    assert [row["metric"] for row in record["pairwise"]] == ["iou", "giou"]
    for row in record["nms"]:
        assert list(row["times"]) == [*rivals.OURS, rivals.NODE]
        assert 1 < row["kept"] < 60
    for row in record["pairwise"]:
        assert list(row["times"]) == [*rivals.OURS, rivals.EAGER, OUTPUT]
    page = rivals.page(record, "now", {"cpu": "one"})
    assert "Not installed, and not run: powerboxes, lsnms." in page


def test_another_result_stops_it() -> None:
    right = np.array([3, 1, 2])
    runners = {rivals.KERNEL: lambda: right, "other": lambda: right[::-1]}
    message = "NMS of 3: other differs from lossexport.runtime; nothing is timed"
    with pytest.raises(SystemExit, match=message):
        rivals.compared("NMS of 3", runners, rivals.same_boxes)
    matrix = np.array([[0.25, 0.5]])
    assert rivals.same_matrix("powerboxes.iou_distance", 1 - matrix, matrix)
    assert not rivals.same_matrix("fastbbox.bbox_overlaps", matrix + 2e-5, matrix)
    assert rivals.same_matrix(OUTPUT, None, matrix)


def test_a_slow_contender_is_called_once_more() -> None:
    calls: list[str] = []
    runners = {name: functools.partial(calls.append, name) for name in "ab"}
    times = rivals.timed(runners, {"a": rivals.PATIENCE + 1, "b": 0.1}, seconds=0)
    assert calls == ["b"] * 2 * rivals.FEWEST + ["a"]
    assert list(times) == ["a", "b"]
    assert times["a"]["rounds"] == 2
    assert times["a"]["least_ms"] < 1000
    assert times["a"]["median_ms"] > 1500
    assert times["b"]["rounds"] == rivals.FEWEST


def test_the_others_get_what_they_ask_for(tmp_path: Path) -> None:
    """powerboxes scores in float64, OpenCV boxes as x, y, width, height."""
    boxes = np.array([[0, 0, 4, 2], [8, 1, 9, 3]], np.float32)
    scores = np.array([0.5, 0.75], np.float32)
    given: list[tuple[Any, ...]] = []

    def take(*arguments: Any) -> None:
        given.append(arguments)

    modules = {
        "powerboxes": SimpleNamespace(nms=take, rtree_nms=take),
        "opencv-python-headless": SimpleNamespace(dnn=SimpleNamespace(NMSBoxes=take)),
    }
    runners = rivals.nms_contenders(tmp_path, modules, boxes, scores)
    assert [runners[name]().tolist() for name in (*rivals.OURS, rivals.NODE)] == [[1, 0]] * 3
    for name in ("powerboxes.nms", "powerboxes.rtree_nms", "cv2.dnn.NMSBoxes"):
        runners[name]()
    assert [arguments[1].dtype for arguments in given] == [np.float64, np.float64, np.float32]
    assert given[2][0].tolist() == [[0, 0, 4, 2], [8, 1, 1, 2]]


def test_the_committed_page_is_that_of_the_committed_numbers() -> None:
    page = rivals.page(RECORD, RECORD["created"], RECORD["environment"])
    assert (ROOT / "benchmarks" / "results" / "rivals.md").read_text() == page
    assert RECORD["not_run"] == []
    assert [row["n"] for row in RECORD["nms"]] == list(rivals.COUNTS) * len(rivals.SCENES)
    assert [row["n"] for row in RECORD["pairwise"]] == list(rivals.SIDES) * 2


def test_ours_were_ahead_of_all_in_every_row() -> None:
    for row in RECORD["nms"] + RECORD["pairwise"]:
        assert min(rivals.leads(row).values()) > 1
    for row in RECORD["pairwise"]:
        if row["n"] == 4096:  # the matrix of 64 MiB
            times = {name: figures["least_ms"] for name, figures in row["times"].items()}
            assert times[rivals.KERNEL] < 1.7 * times[OUTPUT]
