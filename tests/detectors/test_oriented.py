"""An OBB head gives oriented boxes where the references are oriented, elsewhere upright ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lossexport.boxes.oriented import rows_of
from lossexport.detectors.layouts.yolo import HeadKeys
from lossexport.errors import LossexportError
from lossexport.scoring import score
from tests.detectors.test_auto import CELLS, NAMES, with_metadata
from tests.detectors.test_detector import network

# In pixels of the input, half of those of the image: cx, cy, w, h, score of "a", of "b", angle.
FOUND = [
    [20, 16, 20, 6, 0.9, 0, 0.4],
    [20.4, 16, 20, 6, 0.8, 0, 0.42],  # suppressed by the first
    [20, 16, 20, 6, 0.7, 0, -1.2],  # crosses it
    [50, 20, 10, 4, 0, 0.6, 2.5],
    [90, 20, 10, 4, 0, 0.5, 1.0],  # outside of the image
]
KEPT = [FOUND[0], FOUND[2], FOUND[3]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = np.zeros((CELLS, 7), np.float32)
    rows[: len(FOUND)] = FOUND
    rows[len(FOUND) :, 2:4] = 1
    network(tmp_path / "obb.onnx", {"output0": rows.T[None]})
    with_metadata(tmp_path / "obb.onnx", names=NAMES, task="obb", stride=32, imgsz=[32, 64])
    (tmp_path / "images").mkdir()
    Image.new("RGB", (128, 64)).save(tmp_path / "images/1.png")
    return tmp_path


def truth(folder: Path, *boxes: Any) -> Path:
    content = {
        "images": [{"id": 1, "file_name": "1.png"}],
        "categories": [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}],
        "annotations": [
            {"id": n, "image_id": 1, "category_id": kind, **box}
            for n, (kind, box) in enumerate(boxes, 1)
        ],
    }
    path = folder / "gt.json"
    path.write_text(json.dumps(content))
    return path


def in_image(row: list[float]) -> list[float]:
    return [*(2 * value for value in row[:4]), row[6]]


def test_the_turned_boxes_are_scored(folder: Path) -> None:
    boxes = [(int(row[5] > 0), {"rbox": in_image(row)}) for row in KEPT]
    images, out = folder / "images", folder / "out"
    summary = score(folder / "obb.onnx", truth(folder, *boxes), images=images, out=out)
    assert summary["settings"]["boxes"] == "oriented"
    counts = summary["counts"]
    assert (counts["predictions"], counts["matched"]) == (3, 3)
    assert summary["iou"]["p5"] > 1 - 1e-5
    kept = json.loads((out / "detections.json").read_text())
    wanted = [in_image(row) for row in KEPT]
    assert [row["score"] for row in kept] == pytest.approx([0.9, 0.7, 0.6])
    for row, (x, y, w, h, angle) in zip(kept, wanted, strict=True):
        assert row["rbox"] == pytest.approx([x, y, w, h, angle % (2 * np.pi)], abs=1e-5)
    assert score(out / "detections.json", folder / "gt.json")["AP"] == summary["AP"] > 0.99


def test_upright_references_get_upright_boxes(folder: Path) -> None:
    around = [rows_of(np.array([in_image(row)]))[0, :4].tolist() for row in KEPT]
    boxes = [(int(row[5] > 0), {"bbox": box}) for row, box in zip(KEPT, around, strict=True)]
    images, out = folder / "images", folder / "out"
    summary = score(folder / "obb.onnx", truth(folder, *boxes), images=images, out=out)
    assert "boxes" not in summary["settings"]
    assert (summary["counts"]["matched"], summary["giou"]["mean"] > 0.9) == (3, True)
    assert "bbox" in json.loads((out / "detections.json").read_text())[0]


def test_a_head_without_an_angle_is_refused(folder: Path) -> None:
    with_metadata(folder / "obb.onnx", names={**NAMES, 2: "c"}, task="detect", stride=32)
    ref = truth(folder, (0, {"rbox": [1, 1, 1, 1, 0]}))
    with pytest.raises(LossexportError) as caught:
        score(folder / "obb.onnx", ref, images=folder / "images")
    assert str(caught.value) == (
        f"{folder}/obb.onnx: gives no angle, and the boxes of {ref} are oriented"
    )


def test_keys_need_an_angle() -> None:
    with pytest.raises(ValueError, match=r"^oriented boxes need angle, and cannot have new_boxes$"):
        HeadKeys(tensor="output0", others=1, oriented=True)
