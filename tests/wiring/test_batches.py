"""An op of batches behind a detector, whose candidates are rows or columns."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
import torch

from lossexport import attach, ops
from lossexport.errors import LossexportError
from lossexport.runtime import load

# A graph of other attributes takes ten seconds to make.
NMS: dict[str, Any] = {
    "iou_threshold": 0.4,
    "score_threshold": 0.5,
    "max_output": 11,
    "multi_label": True,
}
TEXT = """
<ir_version: 10, opset_import: ["" : 20]>
detector (float[{batch},3,9,{width}] images) => (float[{batch},{rows},{columns}] output)
<int64[3] shape = {{0, {known}}}>
{{ a = Sqrt (images) output = Reshape (a, shape) }}
"""


def detector(folder: Path, columns: bool, width: object, batch: object = 1) -> Path:
    """4 coordinates and 5 scores of each candidate, in columns or in rows."""
    count = 3 * width if isinstance(width, int) else "A"
    rows, cols = (9, count) if columns else (count, 9)
    known = "9, -1" if columns else "-1, 9"
    text = TEXT.format(batch=batch, width=width, rows=rows, columns=cols, known=known)
    onnx.save(onnx.parser.parse_model(text), folder / "detector.onnx")
    return folder / "detector.onnx"


@pytest.mark.parametrize("batch", [1, 3, "B"])
@pytest.mark.parametrize("width", [14, "W"])
@pytest.mark.parametrize("columns", [False, True])
def test_batched_nms_behind_a_detector(
    tmp_path: Path, columns: bool, width: object, batch: object
) -> None:
    path, out = detector(tmp_path, columns, width, batch), tmp_path / "out.onnx"
    parts = (
        ("output[:,:4,:]", "output[:,4:,:]") if columns else ("output[:,:,:4]", "output[:,:,4:]")
    )
    done = attach(
        path,
        "batched_nms",
        dict(zip(("boxes", "scores"), parts, strict=True)),
        out,
        attributes=NMS,
        box_format="cxcywh",
    )
    rows, open_batch = done.outputs[0].split("[")[1].split(",")[0], isinstance(batch, str)
    assert rows.isdigit() is not open_batch
    assert done.outputs == tuple(
        f"{name}[{rows}{rest}]"
        for name, rest in (
            ("detections float32", ",11,6"), ("indices int64", ",11"), ("count int64", "")
        )
    )  # fmt: skip
    count_images = 2 if open_batch else int(rows)
    images = np.random.default_rng(1).random((count_images, 3, 9, 14)).astype(np.float32)
    found = load(out)(images=images)
    raw = torch.tensor(found["output"])
    raw = raw.mT if columns else raw
    half = raw[..., 2:4] * 0.5
    boxes = torch.cat((raw[..., :2] - half, raw[..., :2] + half), 2)
    detections, indices, count = ops.batched_nms(boxes, raw[..., 4:], **NMS)
    assert found["count"].tolist() == count.tolist()
    assert (count > 2).all()
    np.testing.assert_array_equal(found["indices"], indices)
    np.testing.assert_allclose(found["detections"], detections, rtol=1e-6)


def image(at: int) -> dict[str, str]:
    return {"pred": f"output[{at},:,:4]", "target": f"output[{at},:,5:]"}


@pytest.mark.parametrize(("batch", "at"), [(3, 1), (3, -1), ("B", 0)])
def test_an_op_of_one_image_takes_one_of_a_batch(tmp_path: Path, batch: object, at: int) -> None:
    path, out = detector(tmp_path, False, 14, batch), tmp_path / "out.onnx"
    done = attach(path, "box_giou", image(at), out)
    assert done.outputs == ("score float32[42]",)
    images = np.random.default_rng(1).random((3, 3, 9, 14)).astype(np.float32)
    found = load(out)(images=images)
    rows = torch.tensor(found["output"][at])
    expected = ops.box_giou(rows[:, :4], rows[:, 5:])
    np.testing.assert_allclose(found["score"], expected, atol=2e-6)


@pytest.mark.parametrize(
    ("batch", "at", "message"),
    [
        (3, 3, r"subscript 3 is outside of axis 0 of float32\[3,42,9\], at character 1"),
        ("B", 1, r"the detector runs on images\[1, 3, 9, 14\] from 0 to 1, and what is attached"),
    ],
)
def test_an_image_outside_of_the_batch(
    tmp_path: Path, batch: object, at: int, message: str
) -> None:
    path = detector(tmp_path, False, 14, batch)
    with pytest.raises(LossexportError, match=message):
        attach(path, "box_giou", image(at), tmp_path / "out.onnx")
    assert [found.name for found in tmp_path.iterdir()] == ["detector.onnx"]


def test_an_op_of_one_image_refuses_a_batch(tmp_path: Path) -> None:
    path = detector(tmp_path, False, 14, 3)
    inputs = {"boxes": "output[:,:,:4]", "scores": "output[0,:,4]"}
    message = r"is float32\[3,42,4\]; the op needs boxes\[N,4\], and no batch of 3; a subscript"
    with pytest.raises(LossexportError, match=message):
        attach(path, "nms", inputs, tmp_path / "out.onnx")


def test_sizes_that_fit_neither_way(tmp_path: Path) -> None:
    path = detector(tmp_path, True, 14)
    inputs = {"boxes": "output[:,:4,:]", "scores": "output[:,4:,:40]"}
    with pytest.raises(LossexportError, match="scores has N=5 where boxes has N=42"):
        attach(path, "batched_nms", inputs, tmp_path / "out.onnx")
