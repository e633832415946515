"""An op of batches behind a detector, whose candidates are rows or columns."""

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
import torch

from lossexport import attach, ops
from lossexport.errors import LossexportError
from lossexport.runtime import load

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
    given = {"iou_threshold": 0.4, "score_threshold": 0.5, "max_output": 11, "multi_label": True}
    done = attach(
        path,
        "batched_nms",
        dict(zip(("boxes", "scores"), parts, strict=True)),
        out,
        attributes=given,
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
    detections, indices, count = ops.batched_nms(
        boxes, raw[..., 4:], 0.4, 0.5, 11, multi_label=True
    )
    assert found["count"].tolist() == count.tolist()
    assert (count > 2).all()
    np.testing.assert_array_equal(found["indices"], indices)
    np.testing.assert_allclose(found["detections"], detections, rtol=1e-6)


def test_an_op_of_one_image_refuses_a_batch(tmp_path: Path) -> None:
    path = detector(tmp_path, False, 14, 3)
    inputs = {"boxes": "output[0,:,:4]", "scores": "output[0,:,4]"}
    with pytest.raises(LossexportError, match=r"images\[3,3,9,14\]: batch 3; attach needs"):
        attach(path, "nms", inputs, tmp_path / "out.onnx")


def test_sizes_that_fit_neither_way(tmp_path: Path) -> None:
    path = detector(tmp_path, True, 14)
    inputs = {"boxes": "output[:,:4,:]", "scores": "output[:,4:,:40]"}
    with pytest.raises(LossexportError, match="scores has N=5 where boxes has N=42"):
        attach(path, "batched_nms", inputs, tmp_path / "out.onnx")
