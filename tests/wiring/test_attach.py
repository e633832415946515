"""`attach` on small detectors: layouts, formats, types, versions, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
import torch

from lossexport import ops
from lossexport.cli import main
from lossexport.errors import LossexportError
from lossexport.exporter import engine
from lossexport.runtime import load
from lossexport.runtime.onnx_guard import check_model
from lossexport.wiring import conversion
from lossexport.wiring.attach import attach
from tests.wiring.toy import IMAGES, OUTPUT, arguments, toy, traced_once  # noqa: F401


def boxes(array: np.ndarray, kind: str = "xyxy", size: tuple[float, float] = (1, 1)) -> Any:
    low, rest = array[..., :2], array[..., 2:]
    if kind == "cxcywh":
        low = low - rest / 2
    corners = array if kind == "xyxy" else np.concatenate((low, low + rest), -1)
    return torch.tensor(corners * np.array(size * 2, array.dtype))


def test_the_op_stands_in_the_file_as_exported(tmp_path: Path) -> None:
    path = toy(tmp_path)
    done = attach(**arguments(path))
    assert (done.precision, done.outputs) == ("fp32", ("score float32[6,6]",))
    out = path.with_name("out.onnx")
    model = onnx.load(out)
    onnx.checker.check_model(model, full_check=True)
    check_model(out.read_bytes(), "out")
    (function,) = model.functions
    node = model.graph.node[-1]
    assert (function.domain, function.name) == (node.domain, node.op_type)
    assert (node.domain, node.op_type) == ("lossexport", "PairwiseGIoU")
    given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    assert given["plugin_namespace"] == b"lossexport"
    assert set(given) <= set(function.attribute)
    assert [value.name for value in model.graph.output] == ["output", "score"]
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert facts["author"] == "somebody"
    ours = json.loads(facts["lossexport.attached.pairwise_giou"])
    assert ours["map"] == {"pred": "output[0,:,:4]", "target": "output[0,:,4:]"}
    assert ours["attributes"] == {"eps": 1e-7}

    found = load(out)(images=IMAGES)
    np.testing.assert_array_equal(found["output"], OUTPUT)
    expected = ops.pairwise_giou(boxes(OUTPUT[0, :, :4]), boxes(OUTPUT[0, :, 4:]))
    np.testing.assert_allclose(found["score"], expected, atol=2e-6)
    assert engine.build(out.read_bytes(), {"images": IMAGES.shape}, {})[:4] == b"vtrt"

    before = out.read_bytes()
    attach(**arguments(path))
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("pred", "target", "more"),
    [
        ("output[:,:,:4]", "t(output[0,:,4:])", {}),
        ("t(output[:,:,:4], 0, 2, 1)", "t(output[0,:,4:])", {"box_format": "cxcywh"}),
        ("output[0,:,:4]", "t(output[:,:,4:], 0, 2, 1)", {"image_size": (640.0, 480.0)}),
        ("output[:,:,:4]", "'features/0'[0,0]", {"box_format": "xywh", "image_size": (9.0, 7.0)}),
    ],
    ids=["squeezed and turned", "[1,4,A] of centres", "normalised", "an intermediate"],
)
def test_layouts_formats_and_units(
    tmp_path: Path, pred: str, target: str, more: dict[str, Any]
) -> None:
    path = toy(tmp_path)
    attach(**arguments(path, op="pairwise_ciou", inputs={"pred": pred, "target": target}, **more))
    found = load(path.with_name("out.onnx"))(images=IMAGES)["score"]
    as_given = (more.get("box_format", "xyxy"), more.get("image_size", (1, 1)))
    other = np.sqrt(IMAGES)[0, 0] if "features" in target else OUTPUT[0, :, 4:]
    expected = ops.pairwise_ciou(boxes(OUTPUT[0, :, :4], *as_given), boxes(other, *as_given))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=5e-6)


def test_half_precision_detector_gets_the_half_precision_op(tmp_path: Path) -> None:
    path = toy(tmp_path, type="float16")
    np.save(path.with_name("anchors.npy"), np.tile([0.0, 0.0, 8.0, 8.0], (6, 1)))
    inputs = {"deltas": "output[0,:,:4]", "anchors": f"@{path.with_name('anchors.npy')}"}
    done = attach(**arguments(path, op="decode_boxes", inputs=inputs))
    assert (done.precision, done.outputs) == ("fp16", ("boxes float16[6,4]",))
    out = path.with_name("out.onnx")
    assert str(path.parent).encode() not in out.read_bytes()
    found = load(out)(images=IMAGES.astype(np.float16))
    deltas = torch.tensor(found["output"][0, :, :4])
    expected = ops.decode_boxes(deltas, torch.tensor([[0, 0, 8, 8]] * 6, dtype=torch.float16))
    np.testing.assert_allclose(found["boxes"], expected, rtol=1e-3)

    # A file of its own can be the next detector; a mix of types is computed in float32.
    far = "per_class(boxes, argmax(output[0,:,5:]), 4096)"
    inputs = {"pred": far, "target": "boxes"}
    done = attach(**arguments(out, op="box_iou", inputs=inputs, out=out, prefix="far_"))
    assert (done.precision, done.outputs) == ("fp32", ("far_score float32[6]",))
    labels = found["output"][0, :, 5:].argmax(-1)
    overlap = load(out)(images=IMAGES.astype(np.float16))["far_score"]
    np.testing.assert_array_equal(overlap > 0, labels == 0)


def test_integer_inputs(tmp_path: Path) -> None:
    path = toy(tmp_path)
    done = attach(
        **arguments(
            path,
            op="softmax_focal_loss",
            inputs={"logits": "output", "labels": "argmax(output[0])"},
            attributes={"gamma": 1, "reduction": "mean"},
        )
    )
    assert done.outputs == ("loss float32[]",)
    found = load(path.with_name("out.onnx"))(images=IMAGES)["loss"]
    logits = torch.tensor(OUTPUT[0])
    expected = ops.softmax_focal_loss(logits, logits.argmax(1), gamma=1, reduction="mean")
    assert found == pytest.approx(float(expected), rel=1e-5)


OLD = """
<ir_version: 3, opset_import: ["" : 9]>
old (float[1,3,4,4] images, float[1,3,1,1] scale) => (float[1,8,6] output, float[1,16] best)
<float[1,3,1,1] scale = {1, 2, 3}, int64[3] shape = {1, 8, 6}>
{
    scaled = Mul (images, scale)
    flat = Squeeze <axes=[0]> (scaled)
    again = Unsqueeze <axes=[0]> (flat)
    output = Reshape (again, shape)
    row = Flatten (scaled)
    part = Slice <starts=[0], ends=[16], axes=[1]> (row)
    best = Softmax <axis=1> (part)
}
"""


def test_an_old_file_with_weights_among_its_inputs(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(OLD)
    shape = onnx.helper.make_tensor_value_info("shape", onnx.TensorProto.INT64, [3])
    model.graph.input.append(shape)
    path, out = tmp_path / "old.onnx", tmp_path / "new.onnx"
    onnx.save(model, path)
    attach(path, "box_iou", {"pred": "output[0,:4]", "target": "output[0,4:]"}, out)
    session = load(out)
    assert [info.name for info in session.inputs] == ["images"]
    found, before = session(images=IMAGES), load(path)(images=IMAGES)
    for name, array in before.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-6)
    raw = torch.tensor(before["output"][0].T)
    np.testing.assert_allclose(found["score"], ops.box_iou(raw[:, :4], raw[:, 4:]), atol=1e-6)
    assert onnx.load(out).ir_version == 8


def test_a_conversion_that_changes_the_detector_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert = onnx.version_converter.convert_version

    def wrong(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
        converted = convert(model, opset)
        converted.graph.node[0].op_type = "Abs"
        return converted

    monkeypatch.setattr(onnx.version_converter, "convert_version", wrong)
    with pytest.raises(LossexportError, match="output output changes on conversion to opset 17"):
        attach(**arguments(toy(tmp_path, opset=16)))


PIXELS = """
<ir_version: 5, opset_import: ["" : 10]>
old ({images}) => (float[1,12,8] output)
<float[4] scales = {{1, 1, 2, 2}}, int64[3] shape = {{1, -1, 8}}>
{{
    planes = Transpose <perm=[0, 3, 1, 2]> (images)
    real = Cast <to=1> (planes)
    large = Resize <mode="linear"> (real, scales)
    output = Reshape (large, shape)
}}
"""


@pytest.mark.parametrize("images", ["uint8[1,4,2,3] images", "float[1,H,W,3] images"])
def test_a_conversion_known_to_be_wrong_is_mended_or_else_seen(
    tmp_path: Path, images: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = tmp_path / "old.onnx", tmp_path / "new.onnx"
    model = onnx.parser.parse_model(PIXELS.format(images=images))
    model.graph.output[0].type.tensor_type.shape.dim[1].ClearField("dim_value")
    for name, type, shape in (("scales", 1, [4]), ("shape", 7, [3])):
        model.graph.input.append(onnx.helper.make_tensor_value_info(name, type, shape))
    onnx.save(model, path)
    inputs = {"pred": "output[0,:,:4]", "target": "output[0,:,4:]"}
    attach(path, "box_iou", inputs, out)
    kind = np.uint8 if "uint8" in images else np.float32
    feed = np.random.default_rng(0).integers(0, 256, (1, 4, 2, 3)).astype(kind)
    before, after = load(path)(images=feed), load(out)(images=feed)
    np.testing.assert_array_equal(after["output"], before["output"])

    out.unlink()
    monkeypatch.setattr(conversion, "_MENDS", {})
    with pytest.raises(LossexportError, match="output output changes on conversion to opset 17"):
        attach(path, "box_iou", inputs, out)
    assert not out.exists()


def test_newer_opsets_and_open_sizes(tmp_path: Path) -> None:
    path, out = tmp_path / "open.onnx", tmp_path / "out.onnx"
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["ai.onnx": 22]> new (float[1,3,4,W] images) => '
        "(float[1,A,6] output) <int64[3] s = {1, -1, 6}> { output = Reshape (images, s) }"
    )
    onnx.save(model, path)
    inputs = {"boxes": "output[:,:,0:4]", "scores": "output[0,:,5]"}
    done = attach(path, "nms", inputs, out, attributes={"max_output": 9}, box_format="xywh")
    assert done.outputs == ("indices int64[9]", "count int64[]")
    model = onnx.load(out)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == 22
    assert model.functions[0].opset_import[0].version == 22
    for width in (4, 16):
        images = np.random.default_rng(width).random((1, 3, 4, width)).astype(np.float32)
        found, raw = load(out)(images=images), torch.tensor(images.reshape(-1, 6))
        corners = boxes(raw[:, :4].numpy(), "xywh")
        indices, count = ops.nms(corners, raw[:, 5], max_output=9)
        assert found["count"] == count > 0
        np.testing.assert_array_equal(found["indices"], indices)


@pytest.mark.parametrize(("opset", "ir"), [(17, 3), (18, 12), (24, 11), (25, 13), (27, 14)])
def test_opsets_and_versions_that_onnxruntime_takes(tmp_path: Path, opset: int, ir: int) -> None:
    path = toy(tmp_path, ir=ir, opset=opset)
    done = attach(**arguments(path))
    model = onnx.load(path.with_name("out.onnx"))
    assert model.ir_version == max(ir, 8)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == opset
    assert model.functions[0].opset_import[0].version == opset
    onnx.checker.check_model(model, full_check=True)
    found = load(path.with_name("out.onnx"))(images=IMAGES)
    np.testing.assert_array_equal(found["output"], OUTPUT)
    expected = ops.pairwise_giou(boxes(OUTPUT[0, :, :4]), boxes(OUTPUT[0, :, 4:]))
    np.testing.assert_allclose(found["score"], expected, atol=2e-6)
    assert done.rtx.status == "accepted"


def test_what_is_raised_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.onnx"
    older = "its opset is raised from 16 to 17, the oldest that ops are written for"
    oldest = "its IR version is raised from 3 to 8, the oldest in which files have functions"
    asked = "its opset is raised from 17 to 19, as asked for"
    for opset, ir, wanted, notes in (
        (17, 8, None, []),
        (17, 8, 17, []),
        (16, 3, None, [oldest, older]),
        (17, 8, 19, [asked]),
    ):
        path = toy(tmp_path, ir=ir, opset=opset)
        command = ["lossexport", "attach", str(path), "--op", "box_iou", "--out", str(out)]
        command += ["--map", "pred=output[0,:,:4] - reshape(max(output[0]), -1, 1)"]
        command += ["--map", "target=output[0,:,4:]"]
        command += ["--opset", str(wanted)] if wanted else []
        monkeypatch.setattr("sys.argv", command)
        main()
        assert capsys.readouterr().out.splitlines()[1:] == [f"note: {note}" for note in notes]
        model = onnx.load(out)
        onnx.checker.check_model(model, full_check=True)
        imports = [model.opset_import, *(f.opset_import for f in model.functions)]
        written = {e.version for each in imports for e in each if e.domain == ""}
        assert written == {wanted or max(opset, 17)}
        assert model.ir_version == 8
        (reduction,) = [node for node in model.graph.node if node.op_type == "ReduceMax"]
        assert (len(reduction.input) == 1) == (written == {17})
        np.testing.assert_array_equal(load(out)(images=IMAGES)["output"], OUTPUT)
    out.unlink()
    with pytest.raises(LossexportError, match="is of opset 21, which cannot be lowered to 20; lea"):
        attach(**arguments(toy(tmp_path, opset=21), opset=20))
    with pytest.raises(LossexportError, match="opset is 24: a whole number from 17 to 23 is"):
        attach(**arguments(toy(tmp_path), opset=24))
    assert not out.exists()


@pytest.mark.parametrize("opset", [12, 20])
def test_nodes_in_any_order(tmp_path: Path, opset: int) -> None:
    path = toy(tmp_path, opset=opset)
    model = onnx.load(path)
    nodes = list(model.graph.node)[::-1]
    model.graph.ClearField("node")
    model.graph.node.extend(nodes)
    onnx.save(model, path)
    with pytest.raises(onnx.checker.ValidationError, match="topologically sorted"):
        onnx.checker.check_model(path)
    attach(**arguments(path))
    onnx.checker.check_model(path.with_name("out.onnx"))
    found = load(path.with_name("out.onnx"))(images=IMAGES)
    np.testing.assert_array_equal(found["output"], OUTPUT)


def test_float64_and_whole_numbers_are_mapped(tmp_path: Path) -> None:
    path = toy(tmp_path, type="double")
    wide = OUTPUT.astype(np.float64)
    target = "output[0,:,4:] + reshape(float(argmax(output[0])), -1, 1)"
    inputs = {"pred": "output[0,:,:4] / 2", "target": target}
    done = attach(**arguments(path, op="box_iou", inputs=inputs))
    assert (done.precision, done.outputs) == ("fp32", ("score float32[6]",))
    found = load(path.with_name("out.onnx"))(images=IMAGES.astype(np.float64))
    np.testing.assert_allclose(found["output"], wide, rtol=1e-6)
    rows = found["output"][0].astype(np.float32)
    moved = rows[:, 4:] + rows.argmax(1)[:, None].astype(np.float32)
    expected = ops.box_iou(torch.tensor(rows[:, :4] / 2), torch.tensor(moved))
    np.testing.assert_allclose(found["score"], expected, atol=2e-6)


def test_one_op_several_times(tmp_path: Path) -> None:
    path = toy(tmp_path)
    out = path.with_name("out.onnx")
    inputs = {"pred": "output[0,:,:4]", "target": "output[0,:,4:]"}
    eps = ({"eps": 0.5}, {"eps": 0.5}, {"eps": 0.25})
    for number, attributes in enumerate(eps):
        source = out if number else path
        attach(source, "box_diou", inputs, out, attributes=attributes, prefix="abc"[number])
    model = onnx.load(out)
    assert [function.name for function in model.functions] == ["BoxDIoU", "BoxDIoU_2"]
    assert [node.op_type for node in model.graph.node if node.domain == "lossexport"] == [
        *("BoxDIoU", "BoxDIoU", "BoxDIoU_2")
    ]
    found = load(out)(images=IMAGES)
    pred, target = boxes(OUTPUT[0, :, :4]), boxes(OUTPUT[0, :, 4:])
    for letter, attributes in zip("abc", eps, strict=True):
        expected = ops.box_diou(pred, target, **attributes)
        np.testing.assert_allclose(found[f"{letter}score"], expected, atol=2e-6)
    with pytest.raises(LossexportError, match="already has a tensor ascore; name the outputs with"):
        attach(out, "box_diou", inputs, out, prefix="a")


def test_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = toy(tmp_path)
    out = path.with_name("out.onnx")
    command = [
        *("attach", str(path), "--op", "pairwise_iou", "--prefix", "my_", "--out", str(out)),
        *("--map", "pred=output[:,:,:4]", "target=output[0,:,4:]", "--set", "eps=0.5"),
        *("--box-format", "cxcywh", "--image-size", "640,480"),
    ]
    monkeypatch.setattr("sys.argv", ["lossexport", *command])
    main()
    assert capsys.readouterr().out == f"{out}: pairwise_iou (fp32) gives my_score float32[6,6]\n"
    found = load(out)(images=IMAGES)["my_score"]
    pairs = (boxes(half, "cxcywh", (640, 480)) for half in np.split(OUTPUT[0], 2, axis=1))
    np.testing.assert_allclose(found, ops.pairwise_iou(*pairs), atol=1e-6)
    for bad in ("640", "a,b", "-1,2", "1,2,3"):
        monkeypatch.setattr("sys.argv", ["lossexport", *command, "--image-size", bad])
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 2
        assert "expected WIDTH,HEIGHT" in capsys.readouterr().err
