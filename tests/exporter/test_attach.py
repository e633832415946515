"""`attach` on small detectors: layouts, formats, types, versions, and what is refused."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
import torch

import lossexport.exporter.attach
from lossexport import ops
from lossexport.cli import main
from lossexport.errors import LossexportError
from lossexport.exporter import detector, engine
from lossexport.exporter.attach import attach
from lossexport.exporter.onnx_file import onnx_bytes
from lossexport.exporter.variant import Variant
from lossexport.runtime import load
from lossexport.runtime.onnx_guard import check_model

Make = Callable[..., Path]
IMAGES = np.random.default_rng(0).random((1, 3, 4, 4)).astype(np.float32)
TRACED: dict[str, bytes] = {}
# What the detector below gives for IMAGES: 6 candidates of 8 numbers.
OUTPUT = np.sqrt(IMAGES.reshape(1, 6, 8))
TEXT = """
<ir_version: {ir}, opset_import: ["" : {opset}], metadata_props: ["author": "somebody"]>
detector ({type}[{batch},3,4,4] images) => ({type}[1,6,8] output)
<int64[3] shape = {{1, 6, 8}}>
{{
    "features/0" = Sqrt (images)
    output = Reshape ("features/0", shape)
}}
"""


@pytest.fixture(autouse=True)
def traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracing takes most of the time, and gives the same bytes for the same variant."""

    def cached(variant: Variant, opset: int) -> bytes:
        key = repr((variant, opset))
        if key not in TRACED:
            TRACED[key] = onnx_bytes(variant, opset)
        return TRACED[key]

    monkeypatch.setattr(lossexport.exporter.attach, "onnx_bytes", cached)


@pytest.fixture
def toy(tmp_path: Path) -> Make:
    def make(ir: int = 8, opset: int = 17, type: str = "float", batch: object = 1) -> Path:
        model = onnx.parser.parse_model(
            TEXT.format(ir=ir, opset=opset, type=type, batch=batch).replace('"features/0"', "f0")
        )
        for node in model.graph.node:  # a name that is no identifier
            for names in (node.input, node.output):
                names[:] = ["features/0" if name == "f0" else name for name in names]
        path = tmp_path / "toy.onnx"
        onnx.save(model, path)
        return path

    return make


def boxes(array: np.ndarray, kind: str = "xyxy", size: tuple[float, float] = (1, 1)) -> Any:
    low, rest = array[..., :2], array[..., 2:]
    if kind == "cxcywh":
        low = low - rest / 2
    corners = array if kind == "xyxy" else np.concatenate((low, low + rest), -1)
    return torch.tensor(corners * np.array(size * 2, array.dtype))


def arguments(path: Path, **more: Any) -> dict[str, Any]:
    given = {
        "model": path,
        "op": "pairwise_giou",
        "inputs": {"pred": "output[0,:,:4]", "target": "output[0,:,4:]"},
        "out": path.with_name("out.onnx"),
    }
    return given | more


def test_the_op_stands_in_the_file_as_exported(toy: Make) -> None:
    path = toy()
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
def test_layouts_formats_and_units(toy: Make, pred: str, target: str, more: dict[str, Any]) -> None:
    path = toy()
    attach(**arguments(path, op="pairwise_ciou", inputs={"pred": pred, "target": target}, **more))
    found = load(path.with_name("out.onnx"))(images=IMAGES)["score"]
    as_given = (more.get("box_format", "xyxy"), more.get("image_size", (1, 1)))
    other = np.sqrt(IMAGES)[0, 0] if "features" in target else OUTPUT[0, :, 4:]
    expected = ops.pairwise_ciou(boxes(OUTPUT[0, :, :4], *as_given), boxes(other, *as_given))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=5e-6)


def test_half_precision_detector_gets_the_half_precision_op(toy: Make) -> None:
    path = toy(type="float16")
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


def test_integer_inputs(toy: Make) -> None:
    path = toy()
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
    assert onnx.load(out).ir_version == 10


def test_a_conversion_that_changes_the_detector_is_noticed(
    toy: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert = onnx.version_converter.convert_version

    def wrong(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
        converted = convert(model, opset)
        converted.graph.node[0].op_type = "Abs"
        return converted

    monkeypatch.setattr(detector.onnx.version_converter, "convert_version", wrong)
    with pytest.raises(LossexportError, match="output output changes on conversion to opset 20"):
        attach(**arguments(toy()))


def test_newer_opsets_keep_their_own(toy: Make) -> None:
    path = toy(ir=10, opset=22)
    attach(**arguments(path))
    model = onnx.load(path.with_name("out.onnx"))
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == 22
    assert model.functions[0].opset_import[0].version == 22
    found = load(path.with_name("out.onnx"))(images=IMAGES)["score"]
    expected = ops.pairwise_giou(boxes(OUTPUT[0, :, :4]), boxes(OUTPUT[0, :, 4:]))
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_one_op_several_times(toy: Make) -> None:
    path = toy()
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
    pairs = boxes(OUTPUT[0, :, :4]), boxes(OUTPUT[0, :, 4:])
    for letter, attributes in zip("abc", eps, strict=True):
        expected = ops.box_diou(*pairs, **attributes)
        np.testing.assert_allclose(found[f"{letter}score"], expected, atol=2e-6)
    with pytest.raises(LossexportError, match="already has a tensor ascore; name the outputs with"):
        attach(out, "box_diou", inputs, out, prefix="a")


BAD = [
    ({"op": "pairwise_gio"}, "unknown op 'pairwise_gio'; did you mean pairwise_giou"),
    ({"inputs": {"pred": "output"}}, r"input target\[M,4\] is not mapped to a tensor"),
    (
        {"inputs": {"pred": "output", "boxes": "output"}},
        "has no input 'boxes'; it has: pred, target",
    ),
    ({"attributes": {"eps": -0.5}}, r"eps=-0.5: must be in \[0, 1\]"),
    ({"attributes": {"iou_threshold": 1}}, "unknown attribute 'iou_threshold'"),
    ({"box_format": "yxyx"}, "box format 'yxyx': must be one of xyxy, xywh, cxcywh"),
    ({"image_size": (0.0, 2.0)}, "must be above 0"),
    (
        {"op": "smooth_l1_loss", "image_size": (2.0, 2.0)},
        "has no box input for a box format or an image size",
    ),
    ({"inputs": {"pred": "boxes", "target": "output"}}, "no tensor 'boxes'; there are: output, f"),
    ({"inputs": {"pred": "output", "target": "output"}}, r"pred=output: is float32\[1,6,8\]; the"),
    (
        {"inputs": {"pred": "'features/0'[0]", "target": "output"}},
        r"is float32\[3,4,4\]; the op needs pred\[N,4\], and no batch of 3",
    ),
    (
        {"inputs": {"pred": "argmax(output)", "target": "output"}},
        r"is int64\[1,6\]; pred\[N,4\] has to be float",
    ),
    (
        {"op": "box_iou", "inputs": {"pred": "output[0,:,:4]", "target": "output[0,:5,4:]"}},
        "box_iou: target has N=5 where pred has N=6",
    ),
    (
        {"op": "dr_loss", "inputs": {"logits": "output", "labels": "output[0,:,0]"}},
        r"labels=output\[0,:,0\]: float32\[6\] where int64 is needed",
    ),
    ({"inputs": {"pred": "@no.npy", "target": "output"}}, "pred=@no.npy: no.npy: cannot be read"),
    ({"out": "/proc/nope/out.onnx"}, "/proc/nope"),
    ({"out": "toy.onnx/out.onnx"}, "cannot be made"),
]


@pytest.mark.parametrize(("more", "message"), BAD)
def test_bad_requests_write_nothing(
    toy: Make, more: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = toy()
    monkeypatch.chdir(path.parent)
    with pytest.raises(LossexportError, match=message) as caught:
        attach(**arguments(path, **more))
    assert "\n" not in str(caught.value)
    assert [found.name for found in path.parent.iterdir()] == ["toy.onnx"]


@pytest.mark.parametrize("batch", ["B", 4])
def test_batches_are_refused(toy: Make, batch: object) -> None:
    path = toy(batch=batch)
    with pytest.raises(LossexportError, match=rf"images\[{batch},3,4,4\]: batch {batch}; attach"):
        attach(**arguments(path))


def damaged(path: Path, kind: str) -> None:
    model = onnx.load(path)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:-7])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("hello")
    elif kind == "external":
        tensor = model.graph.initializer[0]
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../../etc/passwd")
        tensor.ClearField("int64_data")
        onnx.save(model, path)
    elif kind == "invalid":
        model.graph.node[0].input[0] = "nowhere"
        onnx.save(model, path)
    elif kind == "future":
        model.opset_import[0].version = 99
        onnx.save(model, path)
    elif kind == "unknown":
        model.graph.node[0].domain = "somewhere"
        model.opset_import.add(domain="somewhere", version=1)
        onnx.save(model, path)
    else:
        path.unlink()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated", "toy.onnx: "),
        ("empty", "this is not an ONNX model"),
        ("text", "toy.onnx: "),
        ("external", "external_data: refused"),
        ("invalid", "toy.onnx: not a valid ONNX model"),
        ("future", "toy.onnx: "),
        ("unknown", "out.onnx: onnxruntime"),
        ("missing", "toy.onnx: cannot be read"),
    ],
)
def test_damaged_detectors(
    toy: Make,
    kind: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = toy()
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


def test_command_line(
    toy: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = toy()
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
