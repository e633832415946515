"""What is found without a description, what is refused, and what a description may leave out."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from lossexport.comparison import compare
from lossexport.detectors.detector import Detector
from lossexport.detectors.graph import lines_of, names_of
from lossexport.errors import LossexportError
from tests.conftest import ROOT
from tests.detectors.test_detector import floats, network

CELLS = 42  # of the strides 8, 16, 32 in 64 x 32
RANDOM = np.random.default_rng(5)
BOX = np.stack([np.linspace(8, 56, CELLS), np.full(CELLS, 16), *[np.full(CELLS, 8)] * 2], 1)


def head(columns: int, rows: int = CELLS) -> np.ndarray:
    """Rows of decoded boxes and of scores."""
    box = np.resize(BOX, (rows, 4))
    rest = RANDOM.uniform(0, 1, (rows, columns - 4))
    return np.concatenate([box, rest], axis=1)[None].astype(np.float32)


def scores(rows: int, columns: int) -> np.ndarray:
    return RANDOM.uniform(0, 1, (1, rows, columns)).astype(np.float32)


def with_metadata(path: Path, **metadata: Any) -> Path:
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {key: str(value) for key, value in metadata.items()})
    onnx.save(model, path)
    return path


OPEN = (1, 3, "height", "width")
NAMES = {0: "a", 1: "b"}
LOGITS = RANDOM.normal(0, 3, (1, 30, 81)).astype(np.float32)
PARTS = RANDOM.uniform(0.2, 0.8, (1, 30, 4)).astype(np.float32)
COUNT = np.array([2], np.int32)
FLAT = scores(1, 7)[0]
DELTAS = RANDOM.normal(0, 1, (1, 30, 4)).astype(np.float32)
SHARES = scores(30, 6) / scores(30, 6).sum(2, keepdims=True)
SHARES /= SHARES.sum(2, keepdims=True)
PLUS = np.concatenate([scores(43, 5), RANDOM.normal(0, 1, (1, 43, 32))], 2).astype(np.float32)
UNSURE = head(84) * floats(*[1] * 4, *[-9] * 80)
SEVEN = np.concatenate([np.zeros((1, 9, 1)), head(6, 9)], 2).astype(np.float32)
PROTOS = np.ones((1, 4, 8, 16), np.float32)


@pytest.mark.parametrize(
    ("outputs", "metadata", "layout", "classes"),
    [
        ({"o": head(84).transpose(0, 2, 1)}, {}, "yolov8", 80),
        ({"o": head(9).transpose(0, 2, 1)}, {}, "yolov8", 5),
        ({"o": head(6, 99).transpose(0, 2, 1)}, {"names": NAMES}, "yolov8", 2),
        ({"o": head(84)}, {}, "yolov8_rows", 80),
        ({"o": head(85)}, {}, "yolov5", 80),
        ({"o": head(85, 3 * CELLS)}, {}, "yolov5", 80),
        ({"o": head(9, 3 * CELLS)}, {}, "yolov5", 4),
        ({"o": head(7)}, {"names": NAMES}, "yolov5", 2),
        ({"o": head(85) - floats(*[64.0] * 4, *[0] * 81)}, {}, "yolox", 80),
        ({"o": head(6, 50)}, {}, "end_to_end", None),
        ({"o": head(6, 300)}, {"names": NAMES, "task": "detect"}, "end_to_end", 2),
        ({"o": head(7, 300)}, {"names": NAMES, "task": "obb"}, "end_to_end", 2),
        ({"o": head(10, 300), "p": PROTOS}, {"names": NAMES, "task": "segment"}, "end_to_end", 2),
        ({"o": head(12).transpose(0, 2, 1)},
         {"names": NAMES, "task": "pose", "kpt_shape": [2, 3]}, "yolov8", 2),
        ({"logits": LOGITS, "b": PARTS}, {}, "detr_softmax", 80),
        ({"logits": LOGITS[..., :80], "b": PARTS}, {}, "detr_sigmoid", 80),
        ({"logits": LOGITS[..., :2], "b": PARTS}, {"names": NAMES}, "detr_sigmoid", 2),
        ({"logits": LOGITS[..., :3], "b": PARTS}, {"names": NAMES}, "detr_softmax", 2),
        ({"labels": LOGITS[..., :5], "dets": PARTS}, {}, "detr_sigmoid", 5),
        ({"p": scores(30, 5), "b": PARTS}, {}, "boxes", 5),
        ({"p": FLAT[:, :2], "l": np.array([[0, 1]]), "b": PARTS[:, :2]}, {}, "boxes", None),
        ({"p": FLAT[:, :2], "l": np.array([[0, 1]]), "b": PARTS[:, :2], "n": COUNT}, {},
         "quadruple", None),
        ({"o": UNSURE.transpose(0, 2, 1)}, {}, "yolov8", 80),
        ({"o": UNSURE}, {}, "yolov8_rows", 80),
        ({"o": UNSURE.transpose(0, 2, 1)}, {"names": {n: str(n) for n in range(80)}}, "yolov8", 80),
        ({"o": PLUS}, {}, "nanodet_plus", 5),
        ({"logits": LOGITS[..., :42, :80], "b": PARTS}, {}, "detr_sigmoid", 80),
        ({"o": SEVEN[..., [0, 1, 2, 3, 4, 5, 0]]}, {}, "table", None),
    ],
)  # fmt: skip
def test_what_is_found(
    outputs: Any, metadata: Any, layout: str, classes: int | None, tmp_path: Path
) -> None:
    detector = Detector(with_metadata(network(tmp_path / "d.onnx", outputs), **metadata))
    assert detector.description.layout.name == layout
    assert detector.completed.open == (classes is None)
    assert classes is None or len(detector.kinds) == classes
    assert detector.why[0].startswith(f"layout {layout}: output ")
    detector(np.zeros((64, 128, 3), np.uint8))


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"x": head(9)}, "2 layouts fit: yolov8_rows, as output 'x' is [1,42,9]: 9 are 4 of the "
         "box, 5 classes, 42 are the cells of strides 8, 16, 32; yolov5, as output 'x' is "
         "[1,42,9]: 9 are 4 of the box, 1 of objectness, 4 classes, 42 are the cells of strides 8, "
         "16, 32; decide by --detector yolov8_rows or --detector yolov5"),
        ({"logits": LOGITS[..., :12], "b": PARTS}, "decide by --detector detr_sigmoid or "
         "--detector detr_softmax"),
        ({"one": head(6, 50), "two": head(6, 50)}, 'decide by a description with [output] and '
         'tensor = "one" or tensor = "two"'),
        ({"x": scores(7, 50)}, "no layout fits the outputs 'x' float32[1,7,50] for sure. "
         "Possible: yolov8, if output 'x' is [1,7,50]: 7 are 4 of the box, 3 classes"),
        ({"x": scores(7, 2)}, "no layout fits the outputs 'x' float32[1,7,2]: a description says"),
        ({"b": DELTAS, "s": LOGITS[..., :5]}, 'with [output] and activation = "softmax" or '
         'activation = "sigmoid"'),
        ({"x": np.zeros((1, 9, 7), np.float32)}, 'with [output] and columns = ["image", "y1", "x1",'
         ' "y2", "x2", "score", "label"] or columns = ["image", "x1", "y1", "x2", "y2", "label", '
         '"score"]'),
        ({"x": np.arange(6)[None]}, "no layout fits the outputs 'x' int64[1,6]: a description"),
    ],
)  # fmt: skip
def test_what_is_refused(outputs: Any, message: str, tmp_path: Path) -> None:
    path = network(tmp_path / "d.onnx", outputs)
    with pytest.raises(LossexportError) as caught:
        Detector(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_a_name_decides(tmp_path: Path) -> None:
    path = network(tmp_path / "d.onnx", {"x": head(9)})
    assert len(Detector(path, Path("yolov5")).kinds) == 4
    assert len(Detector(path, Path("yolov8_rows")).kinds) == 5
    # A name also takes what is only possible.
    path = network(tmp_path / "e.onnx", {"x": scores(7, 50)})
    assert len(Detector(path, Path("yolov8")).kinds) == 3
    with pytest.raises(
        LossexportError, match=r"the layout ssd, .*, does not fit the outputs 'x' f"
    ):
        Detector(path, Path("ssd"))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{0: 'a', 1: 'b'}", ["a", "b"]),
        ('{"0": "a", "1": "b"}', ["a", "b"]),
        ('["a", "b"]', ["a", "b"]),
        ("{1: 'a', 2: 'b'}", None),
        ("{0: 'a', 1: 2}", None),
        ("", None),
        ("{0: 'a'", None),
        ("[" * 5000, None),
        ("__import__('os')", None),
        ("{}", None),
        ("['a'] * 9", None),
    ],
)
def test_names(text: str, wanted: list[str] | None) -> None:
    assert names_of(text) == wanted


def test_names_in_lines() -> None:
    assert lines_of("text\ntitle") == ["text", "title"]
    assert lines_of("text\n") is None
    assert lines_of("") is None


def test_a_description_may_leave_out_what_is_found(tmp_path: Path) -> None:
    outputs = {"one": head(6, 50), "two": head(6, 50)}
    path = with_metadata(network(tmp_path / "d.onnx", outputs), names=NAMES, task="detect")
    short = tmp_path / "d.toml"
    short.write_text('[output]\ntensor = "two"\n[limits]\nboxes = 7\n[input]\npad = 0\n')
    detector = Detector(path, short)
    described = detector.description
    assert described.output.names() == ["two"]
    assert (described.limits.boxes, described.limits.nms_iou) == (7, None)
    assert (described.input.pad, described.input.place, described.input.std) == (
        0, "centre", (255, 255, 255))  # fmt: skip
    assert (described.input.width, described.input.height) == (64, 32)
    # An [input] with colour and resize is whole: nothing else is added.
    short.write_text('[output]\ntensor = "two"\n[input]\ncolour = "bgr"\nresize = "stretch"\n')
    described = Detector(path, short).description
    assert (described.input.std, described.input.tensor) == ((1, 1, 1), "images")


def test_the_examples_of_the_page_are_descriptions(tmp_path: Path) -> None:
    page = (ROOT / "docs/detectors.md").read_text("utf-8")
    found = re.findall(r"^```toml\n(.*?)^```$", page, re.M | re.S)
    assert len(found) == 3
    path = network(tmp_path / "d.onnx", {"one2one": head(6, 50), "other": head(6, 50)[0]}, OPEN)
    described = tmp_path / "d.toml"
    described.write_text(f"{found[0]}\n{found[1]}\n{found[2]}")
    description = Detector(path, described).description
    assert (description.input.width, description.input.height) == (640, 640)
    assert (description.limits.nms_iou, description.limits.boxes) == (0.7, 100)
    assert description.output.names() == ["one2one"]


def test_expressions(tmp_path: Path) -> None:
    """They are those of `attach`, over any tensor of the graph."""
    rows = head(7, 5)
    path = network(tmp_path / "d.onnx", {"raw": rows})
    text = (
        '[output]\nkind = "boxes"\ncoordinates = "cxcywh"\nboxes = "raw[0,:,0:4]"\n'
        'scores = "raw[0,:,4] * max(raw[0,:,5:])"\nlabels = "argmax(raw[0,:,5:])"\n'
        '[categories]\nnames = ["a", "b"]\n[input]\ncolour = "rgb"\nresize = "stretch"\n'
    )
    described = tmp_path / "d.toml"
    described.write_text(text)
    found = Detector(path, described)(np.zeros((32, 64, 3), np.uint8))
    score = rows[0, :, 4] * rows[0, :, 5:].max(1)
    order = np.argsort(-score)
    np.testing.assert_allclose(found.score, score[order], rtol=1e-6)
    assert (found.label == rows[0, order, 5:].argmax(1)).all()
    described.write_text(text.replace("max(raw[0,:,5:])", "max(rw[0,:,5:])"))
    with pytest.raises(
        LossexportError, match=r"max\(rw\[0,:,5:\]\): no tensor 'rw'; there are: raw"
    ):
        Detector(path, described)


def test_the_other_detector_states_the_input(tmp_path: Path) -> None:
    plain = network(tmp_path / "p.onnx", {"o": head(84)})
    told = with_metadata(
        network(tmp_path / "t.onnx", {"o": head(84)}), names=dict(enumerate("x" * 80)), stride=32
    )
    like = Detector(told)
    assert Detector(plain).description.input == like.description.input
    follower = Detector(plain, like=like)
    assert follower.named
    assert follower.kinds == like.kinds
    assert any("as the other detector" in why for why in follower.why)


def test_options(tmp_path: Path) -> None:
    path = network(tmp_path / "d.onnx", {"x": head(84)})
    for value in (-0.1, 1.5, float("nan")):
        with pytest.raises(LossexportError, match=r"nms_iou is .*: a number from 0 to 1 is exp"):
            compare(path, path, images=tmp_path, nms_iou=value)
    rows = {"image_id": [1], "category_id": [1], "bbox": [[0, 0, 1, 1]], "score": [0.5]}
    with pytest.raises(LossexportError, match="nms_iou is for detectors"):
        compare(rows, rows, nms_iou=0.5)
