"""How images become tensors: places, sizes, types and second inputs."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lossexport.detectors.detector import Detector
from lossexport.detectors.picture import Picture, resized
from lossexport.errors import LossexportError

IMAGE = np.random.default_rng(2).integers(0, 256, (30, 50, 3)).astype(np.uint8)


def picture(**given: Any) -> Picture:
    usual: dict[str, Any] = {"tensor": "i", "colour": "rgb", "resize": "letterbox"}
    return Picture(**usual | given)


@pytest.mark.parametrize(
    ("shape", "side", "small", "left", "top"),
    [
        # As Ultralytics' LetterBox: sizes are rounded, the odd pixel is at the right and bottom.
        ((480, 640), 640, (640, 480), 0, 80),
        ((427, 640), 416, (416, 278), 0, 69),
        ((375, 500), 640, (640, 480), 0, 80),
        ((333, 500), 416, (416, 277), 0, 69),
        ((640, 425), 416, (276, 416), 70, 0),
    ],
)
def test_a_centred_letterbox(
    shape: tuple[int, int], side: int, small: tuple[int, int], left: int, top: int
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    given = picture(width=side, height=side, place="centre")
    tensor, scale, shift = given.prepare(image)
    assert tensor.shape == (1, 3, side, side)
    assert (scale == min(side / shape[0], side / shape[1])).all()
    assert shift.tolist() == [left, top]
    inside = tensor[0, :, top : top + small[1], left : left + small[0]]
    assert (inside == resized(image, *small).transpose(2, 0, 1)).all()
    assert tensor.sum() == pytest.approx(
        inside.sum(dtype=np.float64) + 114 * (tensor.size - inside.size)
    )


def test_padding_to_a_stride() -> None:
    given = picture(width=64, height=64, place="centre", stride=32)
    assert given.prepare(IMAGE).tensor.shape == (1, 3, 64, 64)
    assert given.prepare(IMAGE[:20]).tensor.shape == (1, 3, 32, 64)
    given = picture(resize="none", stride=16)
    tensor, scale, shift = given.prepare(IMAGE)
    assert tensor.shape == (1, 3, 32, 64)
    assert (tensor[0, :, :30, :50] == IMAGE.transpose(2, 0, 1)).all()
    assert (tensor[0, :, 30:] == 114).all()
    assert (scale.tolist(), shift.tolist()) == ([1, 1], [0, 0])
    assert picture(resize="none").prepare(IMAGE).tensor.shape == (1, 3, 30, 50)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"width": 9}, "missing required field `height`"),
        ({"width": 9, "height": 9, "resize": "stretch", "stride": 8}, "must be letterbox or none"),
    ],
)
def test_bad_pictures(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        picture(**given)


def echo(
    path: Path, dtype: int, shape: list[Any], more: dict[str, list[Any]] | None = None
) -> Path:
    """A model whose boxes [1,1,6] are the means of its channels, and 0.9 and 0.

    With a second input [1,2], the corner x2, y2 is its value.
    """
    last = shape[3] == 3
    nodes = [helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT)]
    axes = [1, 2] if last else [2, 3]
    nodes.append(helper.make_node("ReduceMean", ["float"], ["means"], axes=axes, keepdims=0))
    inputs = [helper.make_tensor_value_info("images", dtype, shape)]
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [1, 2], [0, 0])
    end = helper.make_tensor("end", TensorProto.FLOAT, [1, 2], [0.9, 0])
    corner = helper.make_tensor("corner", TensorProto.FLOAT, [1, 2], [40, 20])
    second = "corner"
    for name, size in (more or {}).items():
        inputs.append(helper.make_tensor_value_info(name, TensorProto.INT64, size))
        nodes.append(helper.make_node("Cast", [name], ["second"], to=TensorProto.FLOAT))
        second = "second"
    nodes.append(helper.make_node("Concat", ["zero", second, "end"], ["rows"], axis=1))
    axes1 = helper.make_tensor("axes1", TensorProto.INT64, [1], [1])
    nodes.append(helper.make_node("Unsqueeze", ["rows", "axes1"], ["output"]))
    outputs = [
        helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, 6]),
        helper.make_tensor_value_info("means", TensorProto.FLOAT, [1, 3]),
    ]
    graph = helper.make_graph(nodes, "echo", inputs, outputs, [zero, end, corner, axes1])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


FLAT = np.full((32, 64, 3), (10, 100, 200), np.uint8)


@pytest.mark.parametrize(
    ("dtype", "shape", "scale"),
    [
        (TensorProto.FLOAT, [1, 3, 32, 64], 255),
        (TensorProto.FLOAT16, [1, 3, 32, 64], 255),
        (TensorProto.DOUBLE, [1, 32, 64, 3], 255),
        (TensorProto.UINT8, [1, 3, 32, 64], 1),
        (TensorProto.UINT8, ["B", 32, 64, 3], 1),
    ],
)
def test_types_and_orders(dtype: int, shape: list[Any], scale: float, tmp_path: Path) -> None:
    detector = Detector(echo(tmp_path / "d.onnx", dtype, shape))
    ready = detector.description.input.prepare(FLAT)
    means = detector._run(ready.tensor, {})["means"]
    np.testing.assert_allclose(means[0] * scale, (10, 100, 200), rtol=1e-3)
    assert detector(FLAT).box.tolist() == [[0, 0, 40, 20]]


def test_second_inputs(tmp_path: Path) -> None:
    """The size is that of the tensor, so that boxes are in its pixels."""
    shape = [1, 3, 32, 64]
    known = echo(tmp_path / "a.onnx", TensorProto.FLOAT, shape, {"orig_target_sizes": [1, 2]})
    assert Detector(known)(np.zeros((64, 128, 3), np.uint8)).box.tolist() == [[0, 0, 128, 64]]
    other = echo(tmp_path / "b.onnx", TensorProto.FLOAT, shape, {"extent": [1, 2]})
    with pytest.raises(
        LossexportError, match=r"takes 'extent' int64\[1,2\] beside the image: a des"
    ):
        Detector(other)
    described = tmp_path / "d.toml"
    described.write_text('[input]\nextra = { extent = ["height", 16] }\n')
    assert Detector(other, described)(FLAT).box.tolist() == [[0, 0, 32, 16]]
