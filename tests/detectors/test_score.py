"""`score` with a detector in place of predictions: results, batches, and runs that go on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from lossexport.cli import cli
from lossexport.detectors import collect
from lossexport.detectors.detector import Detector
from lossexport.errors import LossexportError
from lossexport.scoring import score
from tests.detectors.test_auto import head, with_metadata
from tests.detectors.test_detector import floats, network


def rows_of(out: Path) -> Any:
    return json.loads((out / "detections.json").read_text())


def test_yolox_has_the_numbers_of_its_results(shared: Path, tmp_path: Path) -> None:
    data, out = shared / "data", tmp_path / "out"
    truth = data / "images/gt.json"
    summary = score(
        data / "models/yolox_nano.onnx",
        truth,
        images=data / "images",
        detector="yolox_nano",
        out=out,
    )
    known = score(data / "images/dets_yolox_nano.json", truth)
    for name in ("AP", "AP50", "AP75", "AR100"):
        assert summary[name] == pytest.approx(known[name], abs=1e-9)
    assert summary["counts"] == known["counts"]
    assert summary["inputs"]["detector"]["name"] == "yolox_nano.toml"
    assert (summary["settings"]["format"], len(rows_of(out))) == ("detector, coco", 647)
    # The results that are kept have the ids of the references: they give the same numbers.
    again = score(out / "detections.json", truth)
    assert [again[name] for name in ("AP", "AR100")] == [summary[name] for name in ("AP", "AR100")]
    assert not (out / collect.PARTIAL).exists()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(11):
        size = (100 + number, 60)
        colour = np.random.default_rng(number).integers(0, 256, (60, size[0], 3)).astype(np.uint8)
        Image.fromarray(colour).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    path = tmp_path / "gt.json"
    boxes = [[0, 0, 20, 20], [10, 10, 30, 30]]
    path.write_text(
        json.dumps(
            {
                "images": [{"id": 7 + n, "file_name": f"{n}.png"} for n in range(11)],
                "categories": [{"id": 4, "name": "cat"}, {"id": 9, "name": "dog"}],
                "annotations": [
                    {"id": n + 1, "image_id": 7 + n, "category_id": 4 + 5 * (n % 2),
                     "bbox": boxes[n % 2]}
                    for n in range(11)
                ],
            }
        )
    )  # fmt: skip
    return path


ROWS = floats([0, 0, 16, 16, 0.9, 0], [4, 4, 30, 30, 0.5, 1])[None]


def test_a_run_that_was_interrupted_goes_on(
    photos: Path, truth: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = network(tmp_path / "d.onnx", {"o": ROWS})
    whole, out = tmp_path / "whole", tmp_path / "out"
    score(path, truth, images=photos, out=whole)
    detect = Detector.detect
    seen: list[int] = []

    def breaking(self: Detector, images: Any) -> Any:
        if len(seen) == 4:
            raise KeyboardInterrupt
        seen.append(len(images))
        return detect(self, images)

    monkeypatch.setattr(Detector, "detect", breaking)
    with pytest.raises(KeyboardInterrupt):
        score(path, truth, images=photos, out=out)
    lines = (out / collect.PARTIAL).read_bytes().splitlines()
    assert len(lines) == 1 + 4
    # A line that was cut off is no line, and an image that changed is run again.
    (out / collect.PARTIAL).write_bytes(b"\n".join(lines)[:-7])
    seen.clear()
    seen.extend([0] * 5)
    summary = score(path, truth, images=photos, out=out)
    assert len(seen) == 5 + 11 - 3
    assert rows_of(out) == rows_of(whole)
    assert {row["image_id"] for row in rows_of(out)} == set(range(7, 18))
    assert summary["counts"]["images"] == 11
    assert not (out / collect.PARTIAL).exists()
    # Another detector begins anew.
    (out / collect.PARTIAL).write_bytes(b"\n".join(lines) + b"\n")
    seen.clear()
    seen.extend([0] * 5)
    score(path, truth, images=photos, out=out, nms_iou=0.5)
    assert len(seen) == 5 + 11


def test_a_free_batch_is_used(photos: Path, truth: Path, tmp_path: Path, shared: Path) -> None:
    import runpy

    make = runpy.run_path(str(shared / "cases/detectors/make.py"))
    make["small"](tmp_path, 0)
    detector = Detector(tmp_path / "batch_free.onnx")
    detector.run_batches(8)
    assert detector.batch == 8
    images = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(photos.iterdir())[:3]]
    one = Detector(tmp_path / "opset24.onnx")
    for image, found in zip(images, detector.detect(images), strict=True):
        np.testing.assert_allclose(found.box, one(image).box, rtol=1e-5)
    # A batch that is only said to be free is left at 1.
    constant = Detector(network(tmp_path / "c.onnx", {"o": ROWS}, ("B", 3, 32, 64)))
    constant.run_batches(8)
    assert constant.batch == 1


def test_categories_without_names_are_those_of_the_references(
    photos: Path, truth: Path, tmp_path: Path
) -> None:
    path = network(tmp_path / "d.onnx", {"o": head(6).transpose(0, 2, 1)})
    summary = score(path, truth, images=photos, out=tmp_path / "out")
    assert {row["category_id"] for row in rows_of(tmp_path / "out")} == {4, 9}
    assert any("in the order of the ids there" in note for note in summary["notes"])
    named = with_metadata(path, names={0: "dog", 1: "cow"})
    summary = score(named, truth, images=photos, extra_categories="ignore")
    assert not any("in the order of the ids there" in note for note in summary["notes"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "running a detector needs a folder of images"),
        ({"images": "photos", "detector": "nothing"}, "nothing: cannot be read"),
        ({"images": "photos", "nms_iou": 2}, "nms_iou is 2: a number from 0 to 1 is expected"),
        ({"pred": "gt.json", "detector": "auto"}, "gt.json: is no .onnx detector"),
    ],
)
def test_bad_options(
    more: dict[str, Any],
    message: str,
    photos: Path,
    truth: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    network(tmp_path / "d.onnx", {"o": ROWS})
    with pytest.raises(LossexportError, match=message):
        score(**{"pred": "d.onnx", "ref": "gt.json"} | more)


def test_command_line(photos: Path, truth: Path, tmp_path: Path) -> None:
    path = network(tmp_path / "d.onnx", {"o": ROWS})
    words = ["--pred", path, "--images", photos, "--ref", truth, "--detector", "end_to_end"]
    result = CliRunner().invoke(cli, ["score", *map(str, words)])
    assert result.exit_code == 0
    assert "note: d.onnx: layout end_to_end: output 'o' is [1,2,6]" in result.output
