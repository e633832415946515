"""YOLOX-nano and NanoDet-m as they are, in fp16 and in int8."""

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import version_converter
from onnxruntime.quantization import QuantType, quantize_static
from PIL import Image

from lossexport.comparison import compare
from lossexport.detectors.detector import Detector, resized
from tests.comparison.test_compare import STATISTICS
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "examples"))

import quantize_detector


@pytest.fixture(scope="session")
def data(shared: Path) -> Path:
    return shared / "data"


def photo(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def test_yolox_gives_the_detections_of_the_data(data: Path) -> None:
    """All 647 of them, to the rounding of that file: hundredths of pixels, 5 digits of score."""
    detector = Detector(data / "models/yolox_nano.onnx", Path("yolox_nano"))
    wanted = json.loads((data / "images/dets_yolox_nano.json").read_text())
    seen = 0
    for image in json.loads((data / "images/gt.json").read_text())["images"]:
        rows = [row for row in wanted if row["image_id"] == image["id"]]
        result = detector(photo(data / "images" / image["file_name"]))
        assert len(result.score) == len(rows)
        box = np.array([row["bbox"] for row in rows])
        box[:, 2:] += box[:, :2]
        label = np.array([row["category_id"] for row in rows])
        score = np.array([row["score"] for row in rows])
        ids = np.array([kind.id for kind in detector.kinds])[result.label]
        for i in range(len(rows)):
            near = np.abs(result.box - box[i]).max(axis=1) < 0.01
            assert (near & (ids == label[i]) & (np.abs(result.score - score[i]) < 6e-6)).any(), i
        seen += len(rows)
    assert seen == 647


def test_nanodet_against_its_formula(data: Path) -> None:
    """One image, decoded anchor by anchor; then against YOLOX, which sees the same things."""
    from onnxruntime import InferenceSession, SessionOptions

    detector = Detector(data / "models/nanodet_m_320.onnx", Path("nanodet_m"))
    image = photo(data / "images/000000000785.jpg")
    result = detector(image)
    options = SessionOptions()
    options.log_severity_level = 4
    session = InferenceSession(data / "models/nanodet_m_320.onnx", options)
    colours = resized(image, 320, 320)[..., ::-1]
    tensor = (colours - [103.53, 116.28, 123.675]) / [57.375, 57.12, 58.395]
    names = [node.name for node in session.get_outputs()]
    outputs = dict(
        zip(
            names,
            session.run(None, {"input.1": tensor.transpose(2, 0, 1)[None].astype(np.float32)}),
            strict=True,
        )
    )
    best = None
    for stride in (8, 16, 32):
        scores = outputs[f"cls_pred_stride_{stride}"][0]
        at = int(scores.max(axis=1).argmax())
        if best is not None and scores.max() < best[0]:
            continue
        row, column = divmod(at, 320 // stride)
        centre = np.array([column, row]) * stride + stride * 0.5 - 0.5
        bins = np.exp(outputs[f"dis_pred_stride_{stride}"][0][at].reshape(4, 8).astype(float))
        away = (bins / bins.sum(axis=1, keepdims=True)) @ np.arange(8) * stride
        box = np.concatenate([centre - away[:2], centre + away[2:]])
        best = (float(scores.max()), int(scores[at].argmax()), box)
    assert best is not None
    scale = np.tile([image.shape[1] / 320, image.shape[0] / 320], 2)
    assert result.score[0] == pytest.approx(best[0], abs=1e-5)
    assert result.label[0] == best[1]
    np.testing.assert_allclose(result.box[0], best[2] * scale, atol=0.01)

    summary = compare(
        data / "models/yolox_nano.onnx",
        data / "models/nanodet_m_320.onnx",
        images=data / "images",
        detector="yolox_nano",
        child_detector="nanodet_m",
        score_threshold=0.4,
    )
    assert summary["kept"] > 0.6
    assert summary["iou"]["mean"] > 0.8


def against_yolox(data: Path, child: Path, **options: Any) -> dict[str, Any]:
    parent = data / "models/yolox_nano.onnx"
    return compare(parent, child, images=data / "images", detector="yolox_nano", **options)


def test_a_detector_with_itself(data: Path) -> None:
    summary = against_yolox(data, data / "models/yolox_nano.onnx", score_threshold=0.05)
    counts = summary["counts"]
    assert counts["images"] == 8
    assert counts["matched"] == counts["parent"] == counts["child"] == 129
    assert summary["kept"] == 1
    assert summary["iou"] == dict.fromkeys(STATISTICS, 1.0)
    assert summary["drift"]["max_abs"] == 0


def test_a_child_in_fp16(data: Path, tmp_path: Path) -> None:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    # The tensors that go in and out are in fp16 as well.
    onnx.save(
        convert_float_to_float16(onnx.load(data / "models/yolox_nano.onnx")),
        tmp_path / "child.onnx",
    )
    summary = against_yolox(data, tmp_path / "child.onnx")
    assert summary["counts"]["parent"] == 50
    assert summary["kept"] > 0.95
    assert summary["iou"]["mean"] > 0.98
    assert summary["iou"]["median"] < 1
    assert 0 < summary["drift"]["max_abs"] < 0.05


def careless_child(data: Path, folder: Path) -> Path:
    """YOLOX-nano in int8 as onnxruntime's quantiser makes it when told nothing, from two photos."""
    images = quantize_detector.Images(data / "images", Path("yolox_nano"))
    images.left = itertools.islice(images.left, 2)
    model = onnx.load(data / "models/yolox_nano.onnx")
    model.ir_version = 8
    onnx.save(version_converter.convert_version(model, 13), folder / "float.onnx")
    quantize_static(
        folder / "float.onnx",
        folder / "int8.onnx",
        images,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return folder / "int8.onnx"


def test_a_child_in_int8(data: Path, tmp_path: Path) -> None:
    child = tmp_path / "int8.onnx"
    images = quantize_detector.Images(data / "images", Path("yolox_nano"))
    quantize_detector.quantize(data / "models/yolox_nano.onnx", child, images, first=2, last=True)
    summary = against_yolox(data, child, fail_below={"kept": 0.95}, out=tmp_path / "out")
    assert 0.7 < summary["kept"] < 0.95
    assert 0.85 < summary["iou"]["mean"] < 0.97
    assert abs(summary["drift"]["mean"]) < 0.05
    assert 0.05 < summary["drift"]["max_abs"] < 0.4
    assert len(summary["gate_failures"]) == 1
    # Nearly all that is lost is there, with a score below the threshold.
    counts = summary["counts"]
    assert counts["lost_below_threshold"] >= counts["lost"] - 1
    page = (tmp_path / "out/report.html").read_text()
    # Boxes by themselves, and whole images of the browser.
    whole = page.count('<figure class="card tile scene">')
    assert 0 < whole <= 12
    assert page.count("data:image/jpeg;base64,") == 12 + whole
    assert len(page) < 2_000_000


def test_a_child_in_careless_int8(data: Path, tmp_path: Path) -> None:
    summary = against_yolox(data, careless_child(data, tmp_path))
    assert summary["kept"] < 0.1
