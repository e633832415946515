"""Two real detectors with decoding, NMS and a quality head attached, on real photographs."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from lossexport import ops
from lossexport.exporter import engine
from lossexport.runtime import load
from lossexport.runtime.session import Session
from lossexport.wiring.attach import attach

NMS: dict[str, Any] = {"iou_threshold": 0.65, "score_threshold": 0.05, "max_output": 50}
# Tests of one detector go to one worker, which attaches the ops once.
YOLOX, NANODET = (pytest.mark.xdist_group(name) for name in ("yolox", "nanodet"))
FAR = 4096  # how far apart the classes are moved for a NMS within each class


@dataclass
class Detector:
    """A detector as it came, the same with ops attached, and its input for a photo."""

    original: Path
    attached: Path
    input: str
    side: int
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    deviation: tuple[float, ...] = (1.0, 1.0, 1.0)
    letterbox: bool = False

    def image(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """The input [1,3,S,S], BGR, and what its coordinates are divided by to be the photo's."""
        photo = Image.open(path).convert("RGB")
        scale = np.array([self.side / photo.width, self.side / photo.height])
        if self.letterbox:
            scale[:] = scale.min()
        size = (int(photo.height * scale[1]), int(photo.width * scale[0]))
        # As OpenCV resizes, which the stored detections were made with: pillow's filters widen.
        planes = torch.tensor(np.asarray(photo)).permute(2, 0, 1)[None].float()
        resized = torch.nn.functional.interpolate(planes, size, mode="bilinear").round()
        pixels = np.full((self.side, self.side, 3), 114.0)
        pixels[: size[0], : size[1]] = resized[0].permute(1, 2, 0).numpy()[..., ::-1]
        normal = (pixels - self.mean) / self.deviation
        return normal.transpose(2, 0, 1)[None].astype(np.float32), np.tile(scale, 2)

    def raw(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs of the detector as it came."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # NanoDet lists its weights as inputs
        session = onnxruntime.InferenceSession(
            self.original, options, providers=["CPUExecutionProvider"]
        )
        names = [value.name for value in session.get_outputs()]
        return dict(zip(names, session.run(names, {self.input: image}), strict=True))


def cells(side: int, strides: tuple[int, ...]) -> np.ndarray:
    """Column, row and stride of every cell, row by row, one stride after the other."""
    grids = []
    for stride in strides:
        n = side // stride
        grids.append(np.c_[np.tile(np.arange(n), n), np.repeat(np.arange(n), n), [stride] * n * n])
    return np.concatenate(grids)


@pytest.fixture(scope="module")
def yolox(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Detector:
    folder = tmp_path_factory.mktemp("yolox")
    original, out = shared / "data/models/yolox_nano.onnx", folder / "out.onnx"
    grid = cells(416, (8, 16, 32))
    corner, half = grid[:, :2] * grid[:, 2:], grid[:, 2:] / 2
    anchors = folder / "anchors.npy"
    np.save(anchors, np.c_[corner - half, corner + half])
    attach(
        original,
        "decode_boxes",
        {"deltas": "output[0,:,0:4]", "anchors": f"@{anchors}"},
        out,
        attributes={"clip": 20},
    )
    suppress_and_judge(
        out, "output[0,:,4] * max(output[0,:,5:])", "argmax(output[0,:,5:])", "boxes"
    )
    return Detector(original, out, "images", 416, letterbox=True)


@pytest.fixture(scope="module")
def nanodet(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Detector:
    folder = tmp_path_factory.mktemp("nanodet")
    original, out = shared / "data/models/nanodet_m_320.onnx", folder / "out.onnx"
    grid = cells(320, (8, 16, 32))
    np.save(folder / "points.npy", (grid[:, :2] + 0.5) * grid[:, 2:] - 0.5)
    np.save(folder / "stride.npy", grid[:, 2])
    sides = ", ".join(f"dis_pred_stride_{stride}" for stride in (8, 16, 32))
    classes = f"concat({sides}, axis=1)".replace("dis", "cls")
    attach(
        original,
        "decode_distances",
        {
            "distribution": f"concat({sides}, axis=1)",
            "points": f"@{folder / 'points.npy'}",
            "stride": f"@{folder / 'stride.npy'}",
        },
        out,
        attributes={"bins": 8},
    )
    suppress_and_judge(out, f"max({classes})", f"argmax({classes}[0])", "boxes")
    mean, deviation = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)
    return Detector(original, out, "input.1", 320, mean, deviation)


def suppress_and_judge(path: Path, scores: str, labels: str, boxes: str) -> None:
    """NMS within each class, then how much those kept overlap each other."""
    inputs = {"boxes": f"per_class({boxes}, {labels}, {FAR})", "scores": scores}
    attach(path, "diou_nms", inputs, path, attributes=NMS)
    kept = f"take({boxes}, indices)"
    attach(path, "pairwise_ciou", {"pred": kept, "target": kept}, path, prefix="kept_")


@pytest.fixture
def photos(shared: Path) -> list[Path]:
    found = sorted((shared / "data/images").glob("*.jpg"))
    assert len(found) == 8
    return found


def runs(detector: Detector, photos: list[Path]) -> Iterator[tuple[int, Any, Any, Any]]:
    """For every photo its id, scale, what the detector gives and what the attached one gives."""
    session: Session = load(detector.attached)
    for photo in photos:
        image, scale = detector.image(photo)
        yield int(photo.stem), scale, detector.raw(image), session(**{detector.input: image})


def check_suppression(
    found: dict[str, np.ndarray], boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray
) -> None:
    """NMS and quality head against eager torch, from the boxes that the file itself decoded."""
    apart = torch.tensor(found["boxes"]) + torch.tensor(labels[:, None] * FAR, dtype=torch.float32)
    indices, count = ops.diou_nms(apart, torch.tensor(scores), **NMS)
    assert found["count"] == count > 0
    np.testing.assert_array_equal(found["indices"], indices)
    assert (found["indices"][int(count) :] == -1).all()
    kept = torch.zeros(NMS["max_output"], 4)
    kept[: int(count)] = torch.tensor(boxes[indices[: int(count)]])
    expected = ops.pairwise_ciou(kept, kept)
    np.testing.assert_allclose(found["kept_score"], expected, atol=2e-5)
    diagonal = np.diag(found["kept_score"])[: int(count)]
    np.testing.assert_array_equal(diagonal, 1.0)


@pytest.mark.slow
@YOLOX
def test_yolox_equals_eager_torch(yolox: Detector, photos: list[Path]) -> None:
    grid = torch.tensor(cells(416, (8, 16, 32)), dtype=torch.float32)
    for _, _, raw, found in runs(yolox, photos):
        np.testing.assert_allclose(found["output"], raw["output"], rtol=1e-4, atol=1e-5)
        output = torch.tensor(found["output"][0])
        # The decoding as the network's authors write it.
        centre = (output[:, :2] + grid[:, :2]) * grid[:, 2:]
        half = torch.exp(output[:, 2:4]) * grid[:, 2:] / 2
        plain = torch.cat((centre - half, centre + half), 1).numpy()
        np.testing.assert_allclose(found["boxes"], plain, rtol=1e-5, atol=1e-3)
        scores, labels = output[:, 5:].max(1)
        check_suppression(found, plain, (output[:, 4] * scores).numpy(), labels.numpy())


@pytest.mark.slow
@NANODET
def test_nanodet_equals_eager_torch(nanodet: Detector, photos: list[Path]) -> None:
    grid = torch.tensor(cells(320, (8, 16, 32)), dtype=torch.float32)
    for _, _, raw, found in runs(nanodet, photos):
        for name, array in raw.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-4)
        names = [f"dis_pred_stride_{stride}" for stride in (8, 16, 32)]
        sides = torch.tensor(np.concatenate([found[name][0] for name in names]))
        steps = torch.softmax(sides.reshape(-1, 4, 8), 2) @ torch.arange(8.0)
        reach = steps * grid[:, 2:]
        centre = (grid[:, :2] + 0.5) * grid[:, 2:] - 0.5
        plain = torch.cat((centre - reach[:, :2], centre + reach[:, 2:]), 1).numpy()
        np.testing.assert_allclose(found["boxes"], plain, rtol=1e-5, atol=1e-3)
        names = [name.replace("dis", "cls") for name in names]
        scores = np.concatenate([found[name][0] for name in names])
        check_suppression(found, plain, scores.max(1), scores.argmax(1))


def detections(
    found: dict[str, np.ndarray], scale: np.ndarray, scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes in pixels of the photo, best scores and labels of what was kept."""
    rows = found["indices"][: int(found["count"])]
    return found["boxes"][rows] / scale, scores[rows].max(1), scores[rows].argmax(1)


def stored(shared: Path, file: str, image: int) -> tuple[np.ndarray, ...]:
    """Corners, category places and scores (1 for ground truth) of an image of a COCO file."""
    data = json.loads((shared / "data/images" / file).read_text())
    items = data if isinstance(data, list) else data["annotations"]
    items = [item for item in items if item["image_id"] == image]
    truth = json.loads((shared / "data/images/gt.json").read_text())
    places = {category["id"]: place for place, category in enumerate(truth["categories"])}
    corner = np.array([item["bbox"] for item in items], np.float64)
    corner[:, 2:] += corner[:, :2]
    labels = np.array([places[item["category_id"]] for item in items])
    return corner, labels, np.array([item.get("score", 1.0) for item in items])


@YOLOX
def test_yolox_finds_what_the_stored_detections_say(
    yolox: Detector, photos: list[Path], shared: Path
) -> None:
    distances = []
    for image, scale, raw, found in runs(yolox, photos):
        output = raw["output"][0]
        boxes, scores, labels = detections(found, scale, output[:, 4:5] * output[:, 5:])
        with Image.open(shared / f"data/images/{image:012}.jpg") as photo:
            boxes = boxes.clip(0, np.tile(photo.size, 2))
        wanted = stored(shared, "dets_yolox_nano.json", image)
        for box, label, score in zip(*wanted, strict=True):
            if score < 0.3:
                continue
            alike = (labels == label) & (np.abs(scores - score) < 0.1)
            apart = np.where(alike, np.abs(boxes - box).max(1), np.inf)
            distances.append(apart.min())
    assert len(distances) == 44
    assert np.median(distances) < 0.2
    # One moves by 1.2 px; of two boxes of one laptop the NMS keeps the other.
    assert sum(distance < 1 for distance in distances) >= 42, sorted(distances)
    assert max(distances) < 6


@NANODET
def test_nanodet_finds_what_is_there(nanodet: Detector, photos: list[Path], shared: Path) -> None:
    overlaps = []
    for image, scale, raw, found in runs(nanodet, photos):
        scores = np.concatenate([raw[f"cls_pred_stride_{stride}"][0] for stride in (8, 16, 32)])
        boxes, best, labels = detections(found, scale, scores)
        truth, categories, _ = stored(shared, "gt.json", image)
        # The surest detection: does a true box of its class lie there?
        top = best.argmax()
        same = truth[categories == labels[top]]
        iou = ops.pairwise_iou(torch.tensor(boxes[top : top + 1]), torch.tensor(same))
        overlaps.append(float(iou.max()) if len(same) else 0.0)
    assert sum(overlap > 0.7 for overlap in overlaps) >= 7, overlaps


@pytest.mark.parametrize(
    "name", [pytest.param("yolox", marks=YOLOX), pytest.param("nanodet", marks=NANODET)]
)
def test_engines_build(name: str, request: pytest.FixtureRequest) -> None:
    detector: Detector = request.getfixturevalue(name)
    model = onnx.load(detector.attached)
    onnx.checker.check_model(model, full_check=True)
    shape = (1, 3, detector.side, detector.side)
    data = engine.build(detector.attached.read_bytes(), {detector.input: shape}, {})
    assert data[:4] == b"vtrt"
    assert len(data) > detector.original.stat().st_size // 2
