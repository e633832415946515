"""New inputs, gradients and expressions as outputs; the detector stays as it was with all."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from lossexport import ops
from lossexport.cli import main
from lossexport.errors import LossexportError
from lossexport.exporter import engine
from lossexport.runtime import load
from lossexport.wiring.attach import attach
from tests.wiring.test_batches import NMS, detector
from tests.wiring.toy import IMAGES, OUTPUT, arguments, toy, traced_once  # noqa: F401

RNG = np.random.default_rng(3)
CORNERS = "concat(output[0,:,0:2], output[0,:,0:2] + output[0,:,2:4] + 0.25, axis=1)"


def corners(raw: torch.Tensor) -> torch.Tensor:
    return torch.cat((raw[:, :2], raw[:, :2] + raw[:, 2:4] + 0.25), 1)


def boxes(count: int) -> np.ndarray:
    low = RNG.random((count, 2))
    return np.concatenate((low, low + RNG.random((count, 2)) + 0.1), 1).astype(np.float32)


@pytest.mark.parametrize("op", ["ciou_loss", "sigmoid_focal_loss"])
def test_a_loss_with_its_targets_and_its_gradient(tmp_path: Path, op: str) -> None:
    path = toy(tmp_path)
    name, text = ("pred", CORNERS) if op == "ciou_loss" else ("logits", "output[0] * 8 - 4")
    target = boxes(6) if op == "ciou_loss" else RNG.integers(0, 2, (6, 8)).astype(np.float32)
    more = {"new_inputs": {"target": None}, "gradient": True, "inputs": {name: text}}
    done = attach(**arguments(path, op=op, attributes={"reduction": "sum"}, **more))
    shape = ",".join(map(str, target.shape))
    assert done.outputs == ("loss float32[]", f"grad_{name} float32[{shape}]")
    assert done.inputs == (f"target float32[{shape}]",)
    out = path.with_name("out.onnx")
    found = load(out)(images=IMAGES, target=target)
    np.testing.assert_array_equal(found["output"], OUTPUT)

    raw = torch.tensor(OUTPUT[0], dtype=torch.float64)
    given = (corners(raw) if op == "ciou_loss" else raw * 8 - 4).requires_grad_()
    loss = getattr(ops, op)(given, torch.tensor(target, dtype=torch.float64), reduction="sum")
    (grad,) = torch.autograd.grad(loss, given)
    np.testing.assert_allclose(found["loss"], loss.detach(), rtol=1e-5)
    np.testing.assert_allclose(found[f"grad_{name}"], grad, rtol=1e-4, atol=1e-5)
    shapes = {"images": IMAGES.shape, "target": target.shape}
    assert engine.build(out.read_bytes(), shapes, {})[:4] == b"vtrt"

    facts = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    ours = json.loads(facts[f"lossexport.attached.{op}"])
    assert (ours["gradient"], ours["map"]) == (True, {name: text})
    again = attach(**arguments(out, op="box_iou", out=out, prefix="x_",
                               inputs={"pred": CORNERS, "target": CORNERS}))  # fmt: skip
    assert (again.outputs, again.inputs) == (("x_score float32[6]",), ())


def test_sizes_of_new_inputs_that_the_detector_leaves_open(tmp_path: Path) -> None:
    path, out = detector(tmp_path, False, "W", "B"), tmp_path / "out.onnx"
    done = attach(path, "pairwise_giou", {"pred": "output[0,:,0:4]"}, out, prefix="p_",
                  new_inputs={"target": None})  # fmt: skip
    assert (done.inputs, done.outputs) == (("p_target float32[?,4]",), ("p_score float32[?,?]",))
    images = RNG.random((2, 3, 9, 14)).astype(np.float32)
    target = boxes(5)
    found = load(out)(images=images, p_target=target)
    pred = torch.tensor(found["output"][0, :, :4])
    expected = ops.pairwise_giou(pred, torch.tensor(target))
    np.testing.assert_allclose(found["p_score"], expected, atol=1e-6)
    with pytest.raises(LossexportError, match="already has a tensor p_target, so that no input"):
        attach(out, "giou_loss", {"pred": "output[0,:,0:4]"}, out, prefix="p_",
               new_inputs={"target": None})  # fmt: skip
    done = attach(out, "giou_loss", {"pred": "p_target", "target": "p_target"}, out)
    assert done.outputs == ("loss float32[?]",)


def test_half_precision_inputs_follow_the_detector(tmp_path: Path) -> None:
    path = toy(tmp_path, type="float16")
    inputs = {"deltas": "output[0,:,:4]"}
    done = attach(**arguments(path, op="decode_boxes", inputs=inputs, new_inputs={"anchors": None}))
    assert (done.precision, done.inputs) == ("fp16", ("anchors float16[6,4]",))


@pytest.mark.parametrize("per_class", [False, True])
def test_thresholds_as_inputs_and_detections_as_outputs(
    tmp_path: Path, per_class: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = detector(tmp_path, True, 14, "B"), tmp_path / "out.onnx"
    command = [
        *("attach", str(path), "--op", "batched_nms", "--out", str(out)),
        *("--box-format", "cxcywh"),
        *(word for name, value in NMS.items() for word in ("--set", f"{name}={json.dumps(value)}")),
        *("--input", f"threshold=float32[{5 if per_class else ''}]"),
        *("--map", "boxes=output[:,0:4]"),
        *("--map", "scores=where(t(output[:,4:], 0, 2, 1) >= threshold, "
                   "t(output[:,4:], 0, 2, 1), -1)"),
        *("--output", "boxes=detections[:,:,0:4]", "--output", "scores=detections[:,:,4]"),
        *("--output", "classes=where(indices < 0, -1, cast(detections[:,:,5], int64))"),
        *("--output", "raw=take(t(output, 0, 2, 1), indices, axis=1)"),
    ]  # fmt: skip
    monkeypatch.setattr("sys.argv", ["lossexport", *command])
    main()
    images = RNG.random((2, 3, 9, 14)).astype(np.float32)
    values = [0.985, 0.97, 1, 0.99, 1] if per_class else 0.98
    threshold = np.array(values, np.float32)
    found = load(out)(images=images, threshold=threshold)
    raw = torch.tensor(found["output"]).mT
    half = raw[..., 2:4] * 0.5
    scores = torch.where(raw[..., 4:] >= torch.tensor(threshold), raw[..., 4:], -1)
    corner = torch.cat((raw[..., :2] - half, raw[..., :2] + half), 2)
    detections, indices, count = ops.batched_nms(corner, scores, **NMS)
    assert found["count"].tolist() == count.tolist()
    assert 0 < count.min() < 11
    np.testing.assert_array_equal(found["indices"], indices)
    np.testing.assert_allclose(found["boxes"], detections[..., :4], rtol=1e-6)
    np.testing.assert_array_equal(found["scores"], detections[..., 4])
    empty = np.arange(11) >= found["count"][:, None]
    np.testing.assert_array_equal(found["classes"], np.where(empty, -1, detections[..., 5]))
    assert not found["boxes"][empty].any()
    assert not found["raw"][empty].any()
    kept = torch.take_along_dim(raw, indices.clamp(min=0)[..., None], 1).numpy()
    np.testing.assert_array_equal(found["raw"][~empty], kept[~empty])


def test_outputs_alone(tmp_path: Path) -> None:
    path = toy(tmp_path)
    out = path.with_name("out.onnx")
    done = attach(path, None, {}, out, outputs={"best": "max(output)", "a b": "'features/0'"})
    assert done.precision is None
    assert done.outputs == ("best float32[1,6]", "a b float32[1,3,4,4]")
    found = load(out)(images=IMAGES)
    np.testing.assert_array_equal(found["best"], OUTPUT.max(-1))
    np.testing.assert_array_equal(found["a b"], np.sqrt(IMAGES))
    facts = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    stated = json.loads(facts["lossexport.attached.expressions"])["outputs"]
    assert stated == {"best": "max(output)", "a b": "'features/0'"}


def test_a_detector_that_changed_is_found_beside_new_inputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lossexport.wiring import attach as module

    checked = module._checked

    def broken(out: Path, model: Any) -> bytes:
        (node,) = (node for node in model.graph if node.op_type == "Sqrt")
        node.op_type = "Exp"
        return checked(out, model)

    monkeypatch.setattr(module, "_checked", broken)
    path = toy(tmp_path)
    with pytest.raises(LossexportError, match="output output changes"):
        attach(**arguments(path, inputs={"pred": "output[0,:,:4]"}, new_inputs={"target": None}))
    assert [found.name for found in tmp_path.iterdir()] == ["toy.onnx"]


BAD = [
    ({"new_inputs": {"target": None}}, "target is mapped to a tensor and a new input as well"),
    ({"new_inputs": {"other": None}}, r"input other: no op has an input of that name; an input"),
    ({"new_inputs": {"other": "float[3]"}}, r"input other='float\[3\]': expected TYPE\[SIZE,...\]"),
    ({"new_inputs": {"other": "float32[3"}}, "expected TYPE"),
    ({"new_inputs": {"other": "float32[3,]"}}, "expected TYPE"),
    ({"new_inputs": {"other": "float32[9999999999]"}}, "expected TYPE"),
    ({"new_inputs": {"other": "float32[1,1,1,1,1,1,1,1,1]"}}, "expected TYPE"),
    ({"new_inputs": {"output": "float32[3]"}}, "already has a tensor output, so that no input can"),
    ({"new_inputs": {"": "float32[3]"}}, "input '': is no name of a tensor"),
    ({"new_inputs": {"other": 3}}, "input other is 3: a str is expected"),
    ({"outputs": {"output": "output * 2"}}, "already has a tensor output; name the outputs with"),
    ({"outputs": {"twice": "score * two"}}, r"twice=.* no tensor 'two'; there are: score, output"),
    ({"outputs": {"twice": "output[0,:,8]"}}, "twice=.* subscript 8 is outside of axis 2"),
    ({"outputs": {"a\nb": "output"}}, r"output 'a\\nb': is no name of a tensor"),
    ({"gradient": True}, "pairwise_giou: has no gradient graph"),
    ({"op": None}, "without an op"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "message"), BAD)
def test_what_is_refused(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    path = toy(tmp_path)
    with pytest.raises(LossexportError, match=message) as caught:
        attach(**arguments(path, **more))
    assert "\n" not in str(caught.value)
    assert [found.name for found in tmp_path.iterdir()] == ["toy.onnx"]
