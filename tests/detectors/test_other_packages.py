"""Detectors that other packages export, through `score`, `compare` and `attach`.

A package that is not installed is named by the test that is skipped. It may be in a folder of its
own, named by LOSSEXPORT_OTHER_PACKAGES.
"""

import json
import os
import subprocess
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import lossexport
from lossexport.runtime import load
from lossexport.wiring.attach import attach
from tests.conftest import ROOT

OTHERS = os.environ.get("LOSSEXPORT_OTHER_PACKAGES", "")
ROWS = {"boxes": "output0[:,0:4]", "scores": "output0[:,4:]"}
DETECTORS: dict[str, tuple[str, str, dict[str, str], dict[str, Any]]] = {
    "yolo11n": ("ultralytics", "yolov8", ROWS, {}),
    "yolo26n": ("ultralytics", "yolov8", ROWS, {}),
    "rt_detr": (
        "transformers",
        "detr_sigmoid",
        {"boxes": "pred_boxes", "scores": "sigmoid(logits)"},
        {"image_size": (128, 128)},
    ),
    "yolos": (
        "transformers",
        "detr_softmax",
        {"boxes": "pred_boxes", "scores": "sigmoid(logits[:,:,0:80])"},
        {"image_size": (128, 128)},
    ),
}


def exported(name: str, folder: Path) -> Path:
    """The detector, exported in a process of its own."""
    package = DETECTORS[name][0]
    if PathFinder.find_spec(package, [*sys.path, *filter(None, [OTHERS])]) is None:
        pytest.skip(f"{package} is not installed; LOSSEXPORT_OTHER_PACKAGES may name its folder")
    program = (
        "import runpy, sys; sys.path += filter(None, [sys.argv.pop(1)]); sys.argv[0] = sys.argv[1];"
        "del sys.argv[1]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    script = ROOT / "examples" / "other_detectors.py"
    command = [sys.executable, "-c", program, OTHERS, str(script), name, str(folder)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / f"{name}.onnx"


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_scored_compared_and_attached(name: str, tmp_path: Path) -> None:
    path = exported(name, tmp_path / "exported")
    _, layout, inputs, more = DETECTORS[name]
    photos, rng = tmp_path / "photos", np.random.default_rng(0)
    photos.mkdir()
    for number in range(2):
        blocks = np.kron(rng.integers(0, 256, (12, 16, 3)), np.ones((16, 16, 1)))
        Image.fromarray(blocks.astype(np.uint8)).save(photos / f"{number}.png")
    box = {"category_id": 1, "bbox": [10, 10, 100, 80], "area": 8000, "iscrowd": 0}
    reference = {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 256, "height": 192} for n in (0, 1)],
        "annotations": [box | {"id": n + 1, "image_id": n} for n in (0, 1)],
        "categories": [{"id": n + 1, "name": str(n)} for n in range(80)],
    }
    (tmp_path / "gt.json").write_text(json.dumps(reference))

    scored = lossexport.score(path, tmp_path / "gt.json", images=photos, out=tmp_path / "score")
    assert any(f"layout {layout}: " in note for note in scored["notes"])
    assert (tmp_path / "score" / "detections.json").exists()
    same = lossexport.compare(path, path, images=photos, score_threshold=0.001)
    assert same["counts"]["matched"] == same["counts"]["parent"] == same["counts"]["child"]
    assert same["counts"]["lost"] == same["counts"]["new"] == 0

    out = tmp_path / "attached.onnx"
    done = attach(
        path, "batched_nms", inputs, out, box_format="cxcywh",
        attributes={"max_output": 10, "score_threshold": 0.0}, **more,
    )  # fmt: skip
    assert done.notes == ()
    assert done.rtx.status == "accepted"
    session = load(out)
    image = session.inputs[0]
    found = session(**{image.name: rng.random([int(n) for n in image.shape]).astype(np.float32)})
    assert found["detections"].shape == (1, 10, 6)
    (count,) = found["count"]
    assert 0 < count <= 10
    assert not found["detections"][0, count:].any()
    assert found["detections"][0, :count, 4].all()
