"""Bad input is refused in one line, and changes nothing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lossexport import Calibration, Watch, calibrate
from lossexport.errors import LossexportError
from tests.monitor.sets import calibrated, frames, scenes

FRAME: dict[str, Any] = {"boxes": [[0, 0, 9, 9]], "scores": [0.5], "labels": [1]}


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return calibrated(40, detector="yolo")


@pytest.fixture(scope="module")
def text(calibration: Calibration, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("calibration") / "c.json"
    calibration.save(path)
    return path.read_text()


def refused(call: Any) -> str:
    with pytest.raises(LossexportError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": [3]}, "image 1: labels[0] is 3: is not a category of the calibration"),
        ({"labels": ["bird"]}, "labels[0] is 'bird': is not a category of the calibration"),
        ({"scores": [float("nan")]}, "image 1: scores[0] is nan: must be a finite number"),
        ({"scores": [0.5, 0.5]}, "image 1: scores has 2 rows, boxes have 1"),
        ({"boxes": [[0, 0, 9]]}, "image 1: boxes is int64 [1,3]: [n,4] of numbers is expected"),
        ({"boxes": None}, "boxes is missing"),
        ({"image_id": 1.5}, "image_id is 1.5: an id is a string or a whole number"),
        ({"image_id": [1]}, "image_id is [1]: an id is"),
    ],
)
def test_frames(calibration: Calibration, change: dict[str, Any], words: str) -> None:
    watch, other = Watch(calibration, 10), Watch(calibration, 10)
    good = [{**frame, "image_id": None} for frame in frames(scenes(10, 0)[0], 10)]
    watch.update(good[0])
    assert words in refused(lambda: watch.update({**FRAME, **change}))
    other.update(good[0])
    for frame in good[1:]:
        watch.update(frame)
        other.update(frame)
    assert watch.compute() == other.compute()


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ({"boxes": [], "scores": []}, "frame: labels is missing"),
        ([], "frame is []: a mapping with boxes, scores and labels is expected"),
    ],
)
def test_frames_of_other_kinds(calibration: Calibration, frame: Any, words: str) -> None:
    assert words in refused(lambda: Watch(calibration, 10).update(frame))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window": 9}, "window is 9: a whole number, at least 10, is expected"),
        ({"window": 20.0}, "window is 20.0: a whole number"),
        ({"threshold": float("inf")}, "threshold is inf: a finite number is expected"),
        ({"alpha": 1}, "alpha is 1: a number between 0 and 1 is expected"),
        ({"detector": "ssd"}, "detector is 'ssd': the calibration is of yolo"),
    ],
)
def test_options_of_a_watch(calibration: Calibration, options: Any, words: str) -> None:
    assert words in refused(lambda: Watch(calibration, **options))


def test_no_window_is_full(calibration: Calibration) -> None:
    watch = Watch(calibration)
    for _ in range(40):
        watch.update(FRAME)
    assert refused(watch.compute) == "not enough frames: 40 of 200"
    assert watch.waiting == 40


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "version is 2: this lossexport reads 1: run lossexport calibrate again"),
        ({"version": "1"}, "Expected `int`, got `str` - at `$.version`"),
        ({"extra": 1}, "unknown field `extra`"),
        ({"threshold": None}, "Expected `float`, got `null` - at `$.threshold`"),
        ({"categories": [{"id": 1, "name": "a"}] * 2}, "categories: an id is no id, or is there"),
        ({"score_limits": [0.5, 0.25]}, "score_limits do not rise"),
        ({"score_limits": [0.5]}, "replicas[0].step has"),
        ({"size_limits": [20.0, 10.0]}, "size_limits do not rise"),
        ({"histograms": {}}, "histograms or inputs: a part is missing"),
        ({"replicas": []}, "Expected `array` of length >= 2 - at `$.replicas`"),
        ({"dispersion": 0.5}, "Expected `float` >= 1.0 - at `$.dispersion`"),
    ],
)
def test_files(text: str, tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps({**json.loads(text), **change}))
    message = refused(lambda: Watch(path))
    assert message.startswith(f"{path}: ")
    assert words in message


@pytest.mark.parametrize(
    ("replica", "value", "words"),
    [
        ("kind", [0.0], "replicas[1].kind has 1 numbers, 2 are expected"),
        ("kind", [0.0, 1e3], "replicas[1].kind has a value above 30"),
        ("misses", [0.0, 0.0, 1e30], "replicas[1].misses has a value above 1e+09"),
    ],
)
def test_replicas(text: str, tmp_path: Path, replica: str, value: Any, words: str) -> None:
    data = json.loads(text)
    data["replicas"][1][replica] = value
    (tmp_path / "c.json").write_text(json.dumps(data))
    assert words in refused(lambda: Calibration.load(tmp_path / "c.json"))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"version":1}'])
def test_other_files(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "c.json").write_bytes(data)
    assert str(tmp_path / "c.json") in refused(lambda: Calibration.load(tmp_path / "c.json"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"threshold": "a"}, "threshold is 'a': a number is expected"),
        ({"detector": ""}, "detector is '': a name of 1 to 4096 letters is expected"),
        ({"replicas": 1}, "replicas is 1: a whole number from 2 to 1000 is expected"),
        ({"out": ""}, "out is '': the path of a file"),
        ({"format": "cocoa"}, "'cocoa'"),
    ],
)
def test_options_of_a_calibration(options: Any, words: str) -> None:
    assert words in refused(lambda: calibrate(*scenes(30, 0), **options))


def test_too_few_images_leave_no_file(tmp_path: Path) -> None:
    out = tmp_path / "c.json"
    message = refused(lambda: calibrate(*scenes(8, 0), out=out))
    assert message == "predictions: not enough images: 8 of 20"
    assert not out.exists()


def test_the_same_sample_gives_the_same_file(tmp_path: Path) -> None:
    for name in "ab":
        calibrated(30, out=tmp_path / name, replicas=3)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_sample_without_boxes_at_the_threshold_calibrates() -> None:
    found = calibrated(30, threshold=2.0)
    assert found.precision is None
    watch = Watch(found, 30)
    for frame in frames(scenes(30, 1)[0], 30):
        watch.update(frame)
    drift = watch.compute()["drift"]
    assert drift["score"] is None
    assert drift["count"]["p"] == 1
    assert np.isfinite(watch.compute()["estimate"]["precision"]["value"])
