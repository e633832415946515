"""Detectors of old opsets compute the same at newer ones, or are refused by name."""

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from lossexport.errors import LossexportError
from lossexport.runtime.ort import open_session
from lossexport.runtime.session import Source
from lossexport.wiring import conversion
from lossexport.wiring.unchanged import Original

X, IMAGE, BYTES, OPEN = (
    "float[2,3,4] x",
    "float[1,3,6,6] x",
    "uint8[1,3,6,6] u",
    "float[1,3,H,W] x",
)
CONSTANTS = """
float[3] three = {0.5, 1.5, 2}, float[4] four = {1, 2, 3, 4}, float[1] one = {0.7},
float[3,1,1] slope = {0.1, 0.2, 0.3}, int64[2] pick = {2, 0}, float[4] double = {1, 1, 2, 2},
float[4] larger = {1, 1, 1.5, 1.7}, float[4] smaller = {1, 1, 0.4, 0.6},
float[4] both = {1, 1, 3, 0.7}, float[8] roi = {0, 0, 0.1, 0.2, 1, 1, 0.7, 0.9},
float[2,4] boxes = {0, 0, 3, 3, 1, 1, 4.5, 5}, int64[2] image = {0, 0}, float step = {0.03},
uint8 zero = {3}, float threshold = {0.3}, int64 most = {3}
"""
MENDED = [
    (9, IMAGE, 'y = Upsample<mode="linear">(x, double)'),
    (8, IMAGE, 'y = Upsample<mode="nearest", scales=[1.0,1.0,1.5,1.7]>(x)'),
    (8, IMAGE, 'y = Upsample<mode="linear", scales=[1.0,1.0,2.0,2.0]>(x)'),
    (9, IMAGE, "y = Upsample(x, larger)"),
    *((10, IMAGE, f'y = Resize<mode="linear">(x, {s})') for s in ("double", "smaller", "both")),
    *((10, IMAGE, f'y = Resize<mode="nearest">(x, {s})') for s in ("larger", "smaller", "both")),
    (10, IMAGE, "s = Abs(both)\n y = Resize(x, s)"),  # scales that only running tells
    (10, OPEN, 'y = Resize<mode="linear">(x, double)'),
    (10, BYTES, 'x = Cast<to=1>(u)\n y = Resize<mode="linear">(x, double)'),
    (
        10,
        "float[1,3,6,6] x, bool c",
        "y = If (c) <then_branch = a () => (float[1,3,12,12] p) "
        '{ p = Resize<mode="linear">(x, double) }, '
        'else_branch = b () => (float[1,3,12,12] q) { q = Resize<mode="linear">(x, double) }>',
    ),
    *((o, X, f"y = Hardmax{axis}(x)") for o in (7, 11, 12) for axis in ("", "<axis=0>")),
    (7, IMAGE, 'y = Pad<mode="reflect", pads=[0,0,1,2,0,0,2,1], value=0.5>(x)'),
]
# What the converter gets right by itself, as long as it does.
CONVERTED = [
    *((o, X, f"y = {op}{a}(x)") for o in (7, 12) for op in ("Softmax", "LogSoftmax")
      for a in ("", "<axis=0>")),
    (8, IMAGE, "y = BatchNormalization(x, three, three, three, three)"),
    (9, IMAGE, "y = BatchNormalization<epsilon=0.1>(x, three, three, three, three)"),
    (7, IMAGE, "y = Dropout<ratio=0.3>(x)"),
    *((7, X, f"y = Clip{bounds}(x)") for bounds in ("", "<min=0.2>", "<min=0.2, max=0.5>")),
    (10, IMAGE, "y = Pad<pads=[0,0,-1,2,0,0,2,-1], value=0.5>(x)"),
    (7, X, "y = Slice<starts=[-2], ends=[100], axes=[2]>(x)"),
    (9, X, "y, i = TopK<k=2, axis=1>(x)"),
    *((9, X, f"n = Cast<to={to}>(x)\n y = Cast<to=1>(n)") for to in (2, 6, 9, 10)),
    *((10, IMAGE, f"y = {p}<kernel_shape=[3,3], strides=[2,2], ceil_mode=1, pads=[1,1,1,1]>(x)")
      for p in ("MaxPool", "AveragePool")),
    (7, IMAGE, 'y = AveragePool<kernel_shape=[3,3], auto_pad="SAME_UPPER", strides=[2,2]>(x)'),
    (8, IMAGE, "y, i = MaxPool<kernel_shape=[2,2], storage_order=1>(x)"),
    (7, IMAGE, "y = PRelu(x, slope)"),
    *((11, X, f"y = Reduce{r}<axes=[-1], keepdims=0>(x)") for r in ("Sum", "Mean", "Max", "L2")),
    (7, "float[4,4] x", "y, z = Split<axis=1, split=[1,3]>(x)"),
    (11, "float[1,3,1,4] x", "y = Squeeze<axes=[0,2]>(x)"),
    (7, "float[1,3,1,4] x", "y = Squeeze(x)"),
    (11, X, "n = ArgMax<axis=1>(x)\n y = Cast<to=1>(n)"),
    (7, X, "y = Pow(x, x)"),
    (9, "float[3,4] x", "t = Transpose(x)\n y = Gemm<alpha=0.5, beta=0.3>(x, t, three)"),
    (11, "float[1,8,3,3] x", 'y = DepthToSpace<blocksize=2, mode="CRD">(x)'),
    (16, "float[1,3,6,6] x, float[1,5,4,2] g", 'y = GridSample<mode="bicubic">(x, g)'),
    (10, IMAGE, "y = RoiAlign<output_height=2, output_width=2>(x, boxes, image)"),
    (7, "float[5,2,4] x, float[1,12,4] w, float[1,12,3] r", "y = LSTM<hidden_size=3>(x, w, r)"),
    (10, X, "q = QuantizeLinear(x, step, zero)\n y = DequantizeLinear(q, step, zero)"),
    (10, "float[1,6,4] x, float[1,2,6] s",
     "n = NonMaxSuppression(x, s, most, threshold, threshold)\n y = Cast<to=1>(n)"),
    (9, "float[2,3,4] x",
     "y = Scan<num_scan_inputs=1, body = b (float[3,4] v) => (float[3,4] w) "
     "{ w = Softmax<axis=0>(v) }>(x)"),
    *((11, IMAGE, f'y = Resize<mode="{m}", coordinate_transformation_mode="{t}">(x, roi, both)')
      for m in ("nearest", "linear")
      for t in ("half_pixel", "align_corners", "tf_crop_and_resize")),
]  # fmt: skip
ROUNDED = "AveragePool"  # sums in another order from opset 19 on


def detector(opset: int, inputs: str, body: str) -> bytes:
    text = f'<ir_version: 8, opset_import: ["": {opset}]> old ({inputs}) => (float y)'
    model = onnx.parser.parse_model(f"{text} <{CONSTANTS}> {{ {body} }}")
    used = {name for node in model.graph.node for name in node.input}
    used |= {name for name in ("double",) if f" {name})" in body.replace(",", " ")}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    data: bytes = model.SerializeToString()
    return data


def opset_of(data: bytes) -> int:
    return int(onnx.load_from_string(data).opset_import[0].version)


def converted(data: bytes, opset: int = 17) -> bytes:
    model = ir.from_proto(onnx.load_from_string(data))
    new: bytes = ir.to_proto(conversion.to_opset(Path("old"), model, opset)).SerializeToString()
    assert opset_of(new) == max(opset, opset_of(data))
    return new


def compare(old: bytes, new: bytes) -> None:
    converted = opset_of(new) if opset_of(new) > opset_of(old) else None
    Original(Path("old"), old, converted).check_same(Path("new"), new, lambda step: None)


@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.parametrize("case", [*MENDED, *CONVERTED], ids=lambda case: f"{case[0]} {case[2]:.40}")
def test_a_converted_detector_computes_the_same(case: tuple[int, str, str], opset: int) -> None:
    old = detector(*case)
    new = converted(old, opset)
    compare(old, new)
    if OPEN in case or ROUNDED in case[2]:
        return
    sessions = [open_session(Source(Path("x"), d, None), "ort", "cpu", optimise=False)
                for d in (old, new)]  # fmt: skip
    for flag in (False, True):
        rng = np.random.default_rng(3)
        feeds: dict[str, np.ndarray] = {}
        for info in sessions[0].inputs:
            shape = [int(size) for size in info.shape]
            if info.dtype == "float32":
                feeds[info.name] = rng.uniform(-3, 3, shape).astype(info.dtype)
            elif info.dtype == "bool":
                feeds[info.name] = np.full(shape, flag)
            else:
                feeds[info.name] = rng.integers(0, 256, shape).astype(np.uint8)
        before, after = (session(**feeds)["y"] for session in sessions)
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("case", MENDED, ids=lambda case: f"{case[0]} {case[2]:.40}")
def test_the_comparison_alone_sees_each_wrong_conversion(
    case: tuple[int, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "_MENDS", {})
    old = detector(*case)
    wrong = converted(old)
    message = "Unrecognized attribute" if "Pad" in case[2] else "output y changes on conversion to"
    with pytest.raises(LossexportError, match=message):
        compare(old, wrong)


@pytest.mark.parametrize(
    ("case", "lost"),
    [
        (
            (8, IMAGE, "y = BatchNormalization<spatial=0>(x, three, three, three, three)"),
            "spatial=0",
        ),
        (
            (8, "float[1,2,3,4] x", 'y = Scan<num_scan_inputs=1, body = b (float[3,4] v) => '
             '(float[3,4] w) { w = Exp(v) }>("", x)'),
            "a batch axis",
        ),
    ],
)  # fmt: skip
def test_what_newer_opsets_lack_is_refused_by_name(case: tuple[int, str, str], lost: str) -> None:
    with pytest.raises(LossexportError, match=f"node 'y': .* of opset 8 has {lost}.*; export the"):
        converted(detector(*case))
