"""Windows of a detector whose truth is known, and of the real ones of the shared data."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lossexport import Calibration, Watch, calibrate, score
from tests.conftest import ROOT
from tests.monitor.sets import calibrated, frames, scenes

sys.path.insert(0, str(ROOT / "benchmarks"))

import monitor


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return calibrated(detector="small")


def watched(calibration: Calibration, images: int, seed: int, **options: Any) -> dict[str, Any]:
    watch = Watch(calibration, images)
    for frame in frames(scenes(images, seed, **options)[0], images):
        statement = watch.update(frame)
    assert statement == watch.compute()
    return watch.compute()


def test_the_estimate_is_the_truth_of_a_detector_that_is_as_it_says(
    calibration: Calibration,
) -> None:
    found = watched(calibration, 1000, 1)
    estimate = found["estimate"]
    # Scores are even from 0.25 to 1, and right as often as they say.
    assert estimate["precision"]["value"] == pytest.approx(0.625, abs=0.02)
    assert estimate["correct"]["value"] == pytest.approx(
        estimate["precision"]["value"] * found["boxes_at_threshold"]
    )
    labelled = score(*scenes(1000, 1))
    assert found["boxes"] == labelled["counts"]["predictions"]
    assert not found["drifted"]


def test_intervals_have_the_truth(calibration: Calibration) -> None:
    hits = []
    for seed in range(2, 42):
        pred, ref = scenes(60, seed)
        found = watched(calibration, 60, seed)["estimate"]
        rows = pred["score"] >= 0.25
        matched = score({k: v[rows] for k, v in pred.items()}, ref)["counts"]["matched"]
        hits.append(found["correct"]["lower"] <= matched <= found["correct"]["upper"])
        assert found["precision"]["value"] == pytest.approx(matched / rows.sum(), abs=0.12)
    assert sum(hits) >= 34


def test_drift_names_what_moved(calibration: Calibration) -> None:
    found = watched(calibration, 200, 1, low=0.6)
    drift = found["drift"]
    assert found["drifted"]
    assert drift["score"]["drifted"]
    assert drift["score"]["moved"].startswith(("below", "0."))
    assert drift["count"]["drifted"]  # more boxes reach the threshold
    assert not drift["class"]["drifted"]
    assert not drift["size"]["drifted"]
    assert found["estimate"]["precision"]["value"] == pytest.approx(0.8, abs=0.03)


def test_the_split_into_counts_changes_nothing(
    calibration: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = watched(calibration, 50, 7)
    monkeypatch.setattr("lossexport.monitor.watch.WAITING", 1)
    assert watched(calibration, 50, 7) == whole


def test_a_file_gives_the_same_statement(calibration: Calibration, tmp_path: Path) -> None:
    calibration.save(tmp_path / "calibration.json")
    again = Calibration.load(tmp_path / "calibration.json")
    assert watched(again, 50, 3) == watched(calibration, 50, 3)
    assert repr(again) == "<Calibration of small: 300 images, 1782 boxes>"


def test_a_threshold_between_the_steps_counts_exactly(calibration: Calibration) -> None:
    pred, _ = scenes(20, 5)
    watch = Watch(calibration, 20, threshold=0.3333)
    for frame in frames(pred, 20):
        watch.update(frame)
    found = watch.compute()
    assert found["boxes_at_threshold"] == int((pred["score"] >= 0.3333).sum())
    assert found["estimate"]["precision"]["value"] == pytest.approx(2 / 3, abs=0.04)


def test_names_and_ids_are_the_same_categories(calibration: Calibration) -> None:
    found = []
    for labels in (["cat", "dog"], [1, 2], ["1", 2.0]):
        watch = Watch(calibration, 10)
        for _ in range(10):
            watch.update(boxes=[[0, 0, 9, 9], [1, 1, 5, 5]], scores=[0.9, 0.3], labels=labels)
        found.append(watch.compute())
    assert found[0] == found[1] == found[2]


def test_frames_without_boxes_are_undefined_and_count(calibration: Calibration) -> None:
    watch = Watch(calibration, 30)
    for _ in range(30):
        watch.update(boxes=[], scores=[], labels=[])
    found = watch.compute()
    undefined = {"value": None, "lower": None, "upper": None}
    assert found["estimate"]["precision"] == undefined
    assert found["estimate"]["AP50"] == undefined
    assert found["estimate"]["correct"]["value"] == 0
    assert found["drift"]["score"] is None
    assert found["drift"]["count"]["moved"] == "0 to 1 boxes"
    assert found["drifted"]


def test_without_low_scores_there_is_no_ap(calibration: Calibration) -> None:
    found = watched(calibration, 30, 4, low=0.25)["estimate"]
    assert found["AP50"]["value"] is None
    assert found["precision"]["value"] > 0.5


def test_memory_does_not_grow_with_the_frames(calibration: Calibration) -> None:
    watch = Watch(calibration, 100_000)
    sizes = []
    for round_ in range(3):
        for frame in frames(scenes(1500, round_)[0], 1500):
            watch.update(frame)
        sizes.append(sum(len(b) for b in watch._waiting) + len(watch._cells))
    cells = 2 * 3 * (len(calibration.score_limits) + 2)
    assert max(sizes) <= cells + (1 << 14)


BOUNDS = {
    "YOLO v3, VOC": {"random": (0.015, 0.03), "busy": (0.03, 0.03), "hard": (0.04, 0.06)},
    "Tiny YOLO v2, VOC": {"random": (0.02, 0.03), "busy": (0.03, 0.04), "hard": (0.03, 0.05)},
    "YOLACT base, COCO": {"random": (0.065, 0.06), "busy": (0.084, 0.08), "hard": (0.08, 0.09)},
    "YOLACT r50, COCO": {"random": (0.057, 0.06), "busy": (0.082, 0.08), "hard": (0.07, 0.08)},
}
"""Mean errors of precision and AP50 that the estimates stay below."""


@pytest.mark.parametrize("name", BOUNDS)
def test_real_detectors(name: str, shared: Path) -> None:
    labelled = monitor.load(shared / "data", name)
    trials = 2 if "VOC" in name else 8
    for shift, rows in monitor.collected(labelled, trials).items():
        for number, most in zip(("precision", "AP50"), BOUNDS[name][shift], strict=True):
            found = monitor.summary(rows, number)
            assert found["error"] < most, (shift, number)
            if shift == "hard":
                assert found["error"] < 0.7 * found["as before"], (shift, number)
        covered = [monitor.summary(rows, number)["covered"] for number in monitor.NUMBERS]
        assert np.mean(covered) > 0.6, shift


def test_a_sample_of_matched_boxes_only_is_no_sample() -> None:
    pred, ref = scenes(30, 0)
    ref["bbox"] = ref["bbox"] + 1e5
    with pytest.raises(ValueError, match=r"none of its \d+ boxes matches a reference"):
        calibrate(pred, ref)
