"""Heads whose boxes or scores are decoded here, against the formulas written out."""

from pathlib import Path

import numpy as np
import pytest

from lossexport.detectors.detector import Detector
from lossexport.errors import LossexportError
from tests.detectors.test_auto import DELTAS, LOGITS, PLUS, SHARES, UNSURE
from tests.detectors.test_detector import network

IMAGE = np.zeros((32, 64, 3), np.uint8)  # as large as the input
SIDES = np.array([64, 32, 64, 32])


def described(folder: Path, text: str) -> Path:
    path = folder / "d.toml"
    path.write_text(text + "\n[limits]\nscore = 0.01\nboxes = 1000\nnms_iou = 1.0\n")
    return path


def check(detector: Detector, box: np.ndarray, score: np.ndarray) -> None:
    """The detector gives each box, cut to the image, once for each class of at least 0.01."""
    found = detector(IMAGE)
    row, label = np.nonzero(score >= 0.01)
    assert len(found.box) == len(row) > 10
    np.testing.assert_allclose(np.sort(found.score), np.sort(score[row, label]), rtol=1e-5)
    wanted = np.clip(box, 0, SIDES)[row]
    for column in range(4):
        at, expected = np.sort(found.box[:, column]), np.sort(wanted[:, column])
        np.testing.assert_allclose(at, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("activation", ["none", "softmax", "sigmoid"])
def test_ssd_deltas(activation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(7)
    centre, size = rng.uniform(0.3, 0.7, (30, 2)), rng.uniform(0.1, 0.3, (30, 2))
    np.save("priors.npy", np.concatenate([centre, size], 1).astype(np.float32))
    raw = SHARES if activation == "none" else LOGITS[..., :6]
    path = network(tmp_path / "d.onnx", {"b": DELTAS, "s": raw})
    text = f'[output]\nkind = "ssd_deltas"\npriors = "@priors.npy"\nactivation = "{activation}"'
    delta, score = DELTAS[0] * [0.1, 0.1, 0.2, 0.2], raw[0].astype(float)
    middle, side = centre + delta[:, :2] * size, size * np.exp(delta[:, 2:])
    box = np.concatenate([middle - side / 2, middle + side / 2], 1) * SIDES
    if activation == "softmax":
        score = np.exp(score) / np.exp(score).sum(1, keepdims=True)
    elif activation == "sigmoid":
        score = 1 / (1 + np.exp(-score))
    score = score if activation == "sigmoid" else score[:, 1:]
    check(Detector(path, described(tmp_path, text)), box, score)
    if activation == "none":
        with pytest.raises(LossexportError, match="the boxes are deltas: priors names the boxes"):
            Detector(path)
    np.save("priors.npy", np.ones((29, 4), np.float32))
    with pytest.raises(LossexportError, match=r"'@priors.npy' has shape \[29,4\], expected is"):
        Detector(path, described(tmp_path, text))(IMAGE)


def test_yolo_with_logits(tmp_path: Path) -> None:
    path = network(tmp_path / "d.onnx", {"o": UNSURE.transpose(0, 2, 1)})
    detector = Detector(path)
    assert "the scores are logits, since some are negative" in detector.why[0]
    rows = UNSURE[0].astype(float)
    half = rows[:, 2:4] / 2
    box = np.concatenate([rows[:, :2] - half, rows[:, :2] + half], 1)
    score = 1 / (1 + np.exp(-rows[:, 4:]))
    score[score < 0.3] = 0
    text = described(tmp_path, '[output]\nkind = "yolov8"')
    text.write_text(text.read_text().replace("score = 0.01", "score = 0.3"))
    check(Detector(path, text), box, score)


def test_nanodet_plus(tmp_path: Path) -> None:
    path = network(tmp_path / "d.onnx", {"o": PLUS})
    weight = np.exp(PLUS[0, :, 5:].astype(float)).reshape(43, 4, 8)
    away = (weight * np.arange(8)).sum(2) / weight.sum(2)
    cells = [
        (column * stride, row * stride, stride)
        for stride in (8, 16, 32, 64)
        for row in range(-(-32 // stride))
        for column in range(-(-64 // stride))
    ]
    x, y, stride = np.array(cells, float).T
    away *= stride[:, None]
    box = np.stack([x - away[:, 0], y - away[:, 1], x + away[:, 2], y + away[:, 3]], 1)
    check(Detector(path, described(tmp_path, "")), box, PLUS[0, :, :5].astype(float))
