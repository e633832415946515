"""What `attach` refuses: in one line, with nothing written."""

import re
from pathlib import Path
from typing import Any

import onnx
import pytest

from lossexport.cli import main
from lossexport.errors import LossexportError
from lossexport.wiring.attach import attach
from tests.wiring.toy import arguments, toy, traced_once  # noqa: F401

BAD = [
    ({"op": "pairwise_gio"}, "unknown op 'pairwise_gio'; did you mean pairwise_giou"),
    ({"inputs": {"pred": "output"}}, r"input target\[M,4\] is not mapped to a tensor"),
    (
        {"inputs": {"pred": "output", "boxes": "output"}},
        "has no input 'boxes'; it has: pred, target",
    ),
    ({"attributes": {"eps": -0.5}}, r"eps=-0.5: must be in \[0, 1\]"),
    ({"attributes": {"iou_threshold": 1}}, "unknown attribute 'iou_threshold'"),
    ({"box_format": "yxyx"}, "box format 'yxyx' is not one of xyxy, xywh, cxcywh"),
    ({"image_size": (0.0, 2.0)}, "must be above 0"),
    (
        {"op": "smooth_l1_loss", "image_size": (2.0, 2.0)},
        "has no box input for a box format or an image size",
    ),
    ({"inputs": {"pred": "boxes", "target": "output"}}, "no tensor 'boxes'; there are: output, f"),
    ({"inputs": {"pred": "output", "target": "output"}}, r"pred=output: is float32\[1,6,8\]; the"),
    (
        {"inputs": {"pred": "'features/0'[0]", "target": "output"}},
        r"is float32\[3,4,4\]; the op needs pred\[N,4\], and no batch of 3; a subscript picks",
    ),
    (
        {"inputs": {"pred": "argmax(output)", "target": "output"}},
        r"is int64\[1,6\]; pred\[N,4\] has to be float; float\(\.\.\.\) makes it one",
    ),
    (
        {"op": "box_iou", "inputs": {"pred": "output[0,:,:4]", "target": "output[0,:5,4:]"}},
        "box_iou: target has N=5 where pred has N=6",
    ),
    (
        {"op": "dr_loss", "inputs": {"logits": "output", "labels": "output[0,:,0]"}},
        r"labels=output\[0,:,0\]: float32\[6\] where int64 is needed",
    ),
    (
        {
            "op": "nms",
            "inputs": {"boxes": "output[0,:,:4]", "scores": "output[0,:,4]"},
            "attributes": {"iou_threshold": -1},
        },
        r"nms: iou_threshold=-1: must be in \[0, 1\]",
    ),
    (
        {
            "op": "soft_nms",
            "inputs": {"boxes": "output[0,:,:4]", "scores": "output[0,:,4]"},
            "attributes": {"score_threshold": -0.5},
        },
        r"soft_nms: score_threshold=-0.5: must be in \[0, 1e\+06\]",
    ),
    ({"inputs": {"pred": "@no.npy", "target": "output"}}, "pred=@no.npy: no.npy: cannot be read"),
    ({"out": "/proc/nope/out.onnx"}, "/proc/nope"),
    ({"out": "toy.onnx/out.onnx"}, "cannot be made"),
]


@pytest.mark.parametrize(("more", "message"), BAD)
def test_bad_requests_write_nothing(
    tmp_path: Path, more: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = toy(tmp_path)
    monkeypatch.chdir(path.parent)
    with pytest.raises(LossexportError, match=message) as caught:
        attach(**arguments(path, **more))
    assert "\n" not in str(caught.value)
    assert [found.name for found in path.parent.iterdir()] == ["toy.onnx"]


def test_other_inputs_of_any_batch_pass(tmp_path: Path) -> None:
    for more in (", float[N,2] size", ", float[4,2] size", ", float floor"):
        done = attach(**arguments(toy(tmp_path, more=more)))
        assert done.outputs == ("score float32[6,6]",)


def damaged(path: Path, kind: str) -> None:
    data = path.read_bytes()
    model = onnx.load_from_string(data)
    node, tensor = model.graph.node[0], model.graph.initializer[0]
    if kind in ("truncated", "empty", "text"):
        path.write_bytes({"truncated": data[:-7], "empty": b"", "text": b"hello"}[kind])
        return
    if kind == "missing":
        path.unlink()
        return
    if kind == "external":
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../../etc/passwd")
        tensor.ClearField("int64_data")
    elif kind == "invalid":
        node.input[0] = "nowhere"
    elif kind == "future":
        model.opset_import[0].version = 99
    elif kind == "unknown":
        node.domain = "somewhere"
        model.opset_import.add(domain="somewhere", version=1)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated", "toy.onnx: "),
        ("empty", "this is not an ONNX model"),
        ("text", "toy.onnx: "),
        ("external", "toy.onnx: model.graph.initializer[0].external_data: location"),
        ("invalid", "toy.onnx: not a valid ONNX model"),
        ("future", "toy.onnx: "),
        ("unknown", "toy.onnx: onnxruntime"),
        ("missing", "toy.onnx: cannot be read"),
    ],
)
def test_damaged_detectors(
    tmp_path: Path,
    kind: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = toy(tmp_path)
    damaged(path, kind)
    before = sorted(found.name for found in path.parent.iterdir())
    command = [
        *("attach", str(path), "--op", "pairwise_giou", "--out", str(path.with_name("out.onnx"))),
        *("--map", "pred=output[0,:,:4]", "target=output[0,:,4:]"),
    ]
    monkeypatch.setattr("sys.argv", ["lossexport", *command])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert re.match(f"error: .*{re.escape(message)}", lines[0])
    assert sorted(found.name for found in path.parent.iterdir()) == before
