"""Expressions over tensors: what they compute, the shapes they state, what they refuse."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch

from lossexport import ops
from lossexport.wiring.expression import Compiler, usage
from lossexport.wiring.functions import FUNCTIONS
from lossexport.wiring.graph import Wiring, WiringError

RNG = np.random.default_rng(0)
ARRAYS: dict[str, np.ndarray] = {
    "out": RNG.normal(0.0, 1.0, (1, 6, 9)).astype(np.float32),
    "input.1": RNG.normal(0.0, 20.0, (3, 4)).astype(np.float32),
    "half": RNG.normal(0.0, 1.0, (3, 4)).astype(np.float16),
    "wide": RNG.normal(0.0, 1.0, (3, 4)),
    "rows": np.array([2, -1, 0, -1], np.int64),
    "labels": np.array([0, 3, 79], np.int32),
    "open": RNG.normal(0.0, 1.0, (2, 5, 3)).astype(np.float32),
}
OPEN = ("A", None, 3)
O, I = ARRAYS["out"], ARRAYS["input.1"]  # noqa: E741


def graph() -> ir.Graph:
    inputs = [
        ir.Value(
            name=name,
            shape=ir.Shape(OPEN if name == "open" else array.shape),
            type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
        )
        for name, array in ARRAYS.items()
    ]
    return ir.Graph(inputs, [], nodes=[], opset_imports={"": 20}, name="detector")


def evaluate(text: str) -> tuple[np.ndarray, tuple[int | None, ...]]:
    """The value of an expression in onnxruntime, and the shape that was stated for it."""
    main = graph()
    wiring = Wiring(main, "op")
    term = Compiler(wiring).compile(text)
    main.outputs.append(wiring.materialise(term))
    model = ir.to_proto(ir.Model(main, ir_version=10))
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, ARRAYS)
    assert all(stated in (None, size) for stated, size in zip(term.shape, found.shape, strict=True))
    return found, term.shape


def taken(rows: np.ndarray) -> np.ndarray:
    return np.where(rows[:, None] < 0, np.float32(0), I[rows])


def corners(boxes: np.ndarray, centre: float) -> np.ndarray:
    low = boxes[..., :2] - centre * boxes[..., 2:]
    return np.concatenate((low, low + boxes[..., 2:]), axis=-1)


VALUES = [
    ("out", O),
    ("input.1", I),
    ("'input.1'", I),
    ("float(rows) / 2", ARRAYS["rows"].astype(np.float32) / 2),
    ("float(half)", ARRAYS["half"]),
    ("wide * 2", ARRAYS["wide"].astype(np.float32) * 2),
    ("out[0]", O[0]),
    ("out[0,:,4]", O[0, :, 4]),
    ("out[0,:,0:4]", O[0, :, 0:4]),
    ("out[:,1:,:-3]", O[:, 1:, :-3]),
    ("out[-1,-2,-1]", O[-1, -2, -1]),
    ("out[0][2:5][:,8]", O[0][2:5][:, 8]),
    ("out[0,:,4] * max(out[0,:,5:])", O[0, :, 4] * O[0, :, 5:].max(-1)),
    ("out + 1 - out * 2.5 / 4", O + 1 - O * 2.5 / 4),
    ("out[0,:,0:1] - out[0,0]", O[0, :, 0:1] - O[0, 0]),
    ("-1 * 'input.1'", -I),
    ("1/4 * 'input.1'", I / 4),
    ("argmax(out[0,:,5:])", O[0, :, 5:].argmax(-1)),
    ("argmax(out, axis=1)", O.argmax(1)),
    ("max(out, axis=-2)", O.max(-2)),
    ("rows * 2 + 1", ARRAYS["rows"] * 2 + 1),
    ("concat(out[0,:,0:2], out[0,:,2:4], axis=1)", O[0, :, :4]),
    ("concat(out, out, out, axis=1)", np.concatenate((O, O, O), 1)),
    ("concat(out[0,0:2], out[0,4:])", O[0, [0, 1, 4, 5]]),
    ("t(out)", O.T),
    ("t(out, 0, 2, 1)", O.transpose(0, 2, 1)),
    ("reshape(out, -1, 3)", O.reshape(-1, 3)),
    ("reshape('input.1', 2, 6)", I.reshape(2, 6)),
    ("take('input.1', rows)", taken(ARRAYS["rows"])),
    ("take(out[0,:,0], rows)", np.where(ARRAYS["rows"] < 0, 0, O[0, ARRAYS["rows"], 0])),
    ("xywh('input.1')", corners(I, 0)),
    ("cxcywh('input.1')", corners(I, 0.5)),
    ("per_class('input.1', labels, 4096)", I + ARRAYS["labels"][:, None].astype(np.float32) * 4096),
    ("half * 0.5", ARRAYS["half"] * np.float16(0.5)),
    ("rows * 1.0", ARRAYS["rows"].astype(np.float32)),
    ("labels * 0.5 - rows[0:3]*1.0", np.array([-2, 2.5, 39.5], np.float32)),
    ("(rows < 0) * 1.0", np.array([0, 1, 0, 1], np.float32)),
    ("-rows", -ARRAYS["rows"]),
    ("-('input.1' * -0.5)", I * np.float32(0.5)),
    ("out[0, 2 - 1 : 7 // 2 * 2]", O[0, 1:6]),
    ("exp(out) + log(exp(out))", np.exp(O) + O),
    ("sqrt(abs(out)) + sin(out) * cos(out)", np.sqrt(np.abs(O)) + np.sin(O) * np.cos(O)),
    ("round('input.1')", np.rint(I)),
    ("softmax(out)", np.exp(O) / np.exp(O).sum(-1, keepdims=True)),
    ("softmax(out, axis=1)", np.exp(O) / np.exp(O).sum(1, keepdims=True)),
    ("sum(out, axis=1)", O.sum(1)),
    ("where(out >= 0.25, out, -1)", np.where(O >= 0.25, O, np.float32(-1))),
    ("where((rows <= 0) | (rows == 2), 7, rows)", np.array([7, 7, 7, 7])),
    ("(out > 0) & (out != out[0,0])", (O > 0) & (O[0, 0] != O)),
    ("cast('input.1', int32)", I.astype(np.int32)),
    ("cast(rows < 0, int64)", np.array([0, 1, 0, 1])),
    ("cast(rows, float16)", ARRAYS["rows"].astype(np.float16)),
    ("reshape(open, 0, -1)", ARRAYS["open"].reshape(2, -1)),
    ("batched('input.1', 3)", I[None]),
    ("batched(out, 2)", O[0]),
    (
        "take(out, reshape(rows, 1, 4), axis=1)",
        np.where([[[0], [1], [0], [1]]], 0, O[:, [2, -1, 0, -1]]),
    ),
    (
        "take(max(out), reshape(rows, 1, 4), axis=1)",
        np.where([[0, 1, 0, 1]], 0, O.max(-1)[:, [2, -1, 0, -1]]),
    ),
    ("range(size(out, 1) // 2) + rows[0:3]", np.array([2, 0, 2])),
    ("positions(open, 1) * 2", np.arange(5) * 2),
    (
        "cells(4, 5, 2, 4)[:,0:2] * 1.0",
        np.array([[0, 0], [1, 0], [0, 1], [1, 1], [0, 2], [1, 2], [0, 0], [0, 1]], np.float32),
    ),
    ("cells(4, 5, 2, 4)[5:,2]", np.array([2, 4, 4])),
    ("concat(out,\n    out,\taxis=1)", np.concatenate((O, O), 1)),
    ("half + 'input.1'", ARRAYS["half"].astype(np.float32) + I),
    ("max(open[0] * 2)", (ARRAYS["open"][0] * 2).max(-1)),
    ("open[:,1:3,0]", ARRAYS["open"][:, 1:3, 0]),
]


@pytest.mark.parametrize(("text", "expected"), VALUES, ids=[text for text, _ in VALUES])
def test_values_types_and_shapes(text: str, expected: np.ndarray) -> None:
    found, _ = evaluate(text)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_sigmoid_is_not_0_far_below_0() -> None:
    found, _ = evaluate("sigmoid('input.1')")
    exact = torch.sigmoid(torch.tensor(I, dtype=torch.float64)).numpy()
    assert exact.min() < 1e-8
    np.testing.assert_allclose(found, exact, rtol=1e-6)


def test_distance_of_classes_in_half_precision_is_float32() -> None:
    found, _ = evaluate("per_class(half, labels, 4096)")
    assert found.dtype == np.float32
    assert found[2].min() == pytest.approx(79 * 4096, abs=4)


def test_open_sizes_stay_open() -> None:
    assert evaluate("open[0] + 1")[1] == (None, 3)
    assert evaluate("open[:,0]")[1] == (None, 3)
    assert evaluate("reshape(open, -1, 3)")[1] == (None, 3)
    assert evaluate("concat(open[0], out[0,:,:3])")[1] == (None, 3)


@pytest.mark.parametrize("kind", ["float64", "int64", "fortran"])
def test_constants_from_files(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.arange(12).reshape(3, 4)
    stored = {"float64": array / 2, "int64": array, "fortran": np.asfortranarray(array)}[kind]
    np.save(tmp_path / "c.npy", stored)
    monkeypatch.chdir(tmp_path)
    for text in ("half * '@c.npy'", f"half * '@{tmp_path}/c.npy'"):
        found, _ = evaluate(text)
        assert found.dtype == np.float16
        np.testing.assert_array_equal(found, ARRAYS["half"] * stored.astype(np.float16))
    assert evaluate("@c.npy")[0].tolist() == stored.tolist()
    assert evaluate("'@c.npy'[1:,0]")[0].tolist() == stored[1:, 0].tolist()


def test_a_list_of_functions_as_they_are_called() -> None:
    assert [usage(name) for name in FUNCTIONS] == [
        *("max(x, axis=-1)", "argmax(x, axis=-1)", "sum(x, axis=-1)"),
        *("sigmoid(x)", "softmax(x, axis=-1)"),
        *(f"{name}(x)" for name in ("exp", "log", "sqrt", "abs", "round", "sin", "cos")),
        *("where(condition, x, y)", "cast(x, type)", "float(x)", "concat(*parts, axis=0)"),
        *("t(x, *axes)", "reshape(x, *sizes)", "batched(x, rank)", "take(x, indices, axis=0)"),
        *("per_class(boxes, labels, distance)", "xywh(boxes)", "cxcywh(boxes)", "size(x, axis)"),
        *("range(stop)", "positions(x, axis)", "cells(width, height, *strides)"),
    ]


BAD = [
    ("nope", "no tensor 'nope'; there are: "),
    ("input.2", "cannot be read: invalid syntax, at character 6; a tensor name that is no"),
    ("out[0,:,9]", r"subscript 9 is outside of axis 2 of float32\[1,6,9\]"),
    ("out[0,:,5:10]", "subscript 5:10 is outside of axis 2"),
    ("out[0,6:]", "subscript 6: is outside of axis 1"),
    ("out[0,0,0,0]", r"4 subscripts of float32\[1,6,9\]"),
    ("out[0,::2]", "has a step"),
    ("out[rows]", "subscript rows: must be N, N:M"),
    ("out[0:rows]", "subscript rows: must be N, N:M"),
    ("out[1.5]", "subscript 1.5: must be N, N:M"),
    ("out * 'input.1'", r"Mul of float32\[1,6,9\] and float32\[3,4\], whose shapes"),
    (
        "out * rows",
        r"types differ: float32.* and int64.*; float\(...\) or cast\(...\) makes them one",
    ),
    ("rows / 2", "Div of int64"),
    ("min(out)", "no function 'min'; there are: max, argmax, sum"),
    ("max()", r"missing a required argument: 'x'; it is max\(x, axis=-1\)"),
    ("max(out, dim=1)", "unexpected keyword argument 'dim'"),
    ("max(out, axis=rows)", "axis must be a whole number"),
    ("max(out, axis=3)", "has no axis 3"),
    ("max(1)", r"int64\[\] has no axis -1"),
    ("max(float16)", "x must be a tensor"),
    ("concat(out, 'input.1')", r"concat of float32\[1,6,9\] and float32\[3,4\] along axis 0"),
    ("concat()", "concat needs"),
    ("t(out, 0, 1)", r"\[0, 1\] is no order of the axes"),
    ("reshape(out, -1, 5)", "does not fit"),
    ("reshape(out, -1, -1)", "at most one of them -1"),
    ("reshape(out, -2, 54)", "must be sizes"),
    ("reshape('input.1', 3, 4, 0)", r"has a 0 where float32\[3,4\] has no axis"),
    ("take(out, out)", "take of float32"),
    ("cxcywh(out)", "need 4 columns"),
    ("per_class('input.1', out, 3)", "per_class of"),
    ("sigmoid(rows)", r"sigmoid of int64.*; float\(...\) makes it one of floats"),
    ("out @ out", "not part of the language"),
    ("out if 1 else out", "1: is not known here; where"),
    ("out if rows else out", "rows: is not known here; where"),
    ("where(out, out, 0)", r"the condition is float32\[1,6,9\], not of booleans"),
    ("where(out > 0, out, rows)", "types differ: float32.* and int64"),
    ("where(out > 0, out, 'input.1')", r"where of .* whose shapes do not go together"),
    ("out < 1 < 2", "not part of the language"),
    ("out & out", "have to be booleans"),
    ("(out > 0) < (out > 1)", r"Less of bool\[1,6,9\] and bool"),
    ("-(out > 0)", "minus of bool"),
    ("sum(out > 0)", "sum of bool"),
    ("cast(out, double)", "no tensor 'double'"),
    ("cast(out, 3)", r"type must be a word; it is cast\(x, type\)"),
    ("exp(rows)", r"exp of int64\[4\]; float\(\.\.\.\) makes it"),
    ("softmax(rows)", r"softmax of int64.*; float\(...\) makes it one of floats"),
    ("3 // 0 * out", "divides by 0"),
    ("out // 2", "not part of the language"),
    ("2**9 * out", "not part of the language"),
    ("size(open, 1) * out", "axis 1 of float32.* is open"),
    ("range(0)", r"range of 0: must be in \[1, 1048576\]"),
    ("range(2000000)", "range of 2000000"),
    ("cells(416, 416)", "needs a width and a height"),
    ("cells(16384, 16384, 1)", "there are more than 1048576"),
    ("cells(64, 64, 0)", "a stride of 0"),
    ("concat(*out)", "a star goes before a name that stands for several"),
    ("batched(out, 5)", "no tensor of 5 axes"),
    ("batched('input.1', 1)", "no tensor of 1 axes"),
    ("take(out, rows, axis=1)", r"take of float32\[1,6,9\] by int64\[4\] along axis 1"),
    ("take(t(open), reshape(rows, 2, 2), axis=1)", "take of|last axis"),
    ("float32", "is no tensor"),
    ("out * float32", "'float32' is no tensor"),
    ("[x for x in out]", "not part of the language"),
    ("(lambda: out)()", "not part of the language"),
    ("__import__('os').system('true')", "not part of the language"),
    ("out.__class__", "goes in quotes"),
    ("True", "not part of the language"),
    ("out[", "cannot be read"),
    ("", "cannot be read"),
    ("out\0", "cannot be read"),
    ("99999999999999999999 * out", "is too large"),
    ("out + " * 200 + "out", "longer than 1000 characters"),
    ("-" * 900 + "1", "not part of the language|cannot be read|nested"),
    ("(" * 400 + "out" + ")" * 400, "cannot be read"),
    ("t(" * 60 + "out" + ")" * 60, "nested deeper than 50"),
    ("reshape('input.1', 12, 1) * reshape('input.1', 1, 12) * reshape(out, 54, 1, 1)", None),
    ("@none.npy", "none.npy: cannot be read"),
    ("'@none.npy' * out", "none.npy: cannot be read"),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=[text[:40] for text, _ in BAD])
def test_what_is_refused(text: str, message: str | None) -> None:
    if message is None:  # large, but not too large
        assert evaluate(text)[0].shape == (54, 12, 12)
        return
    with pytest.raises(WiringError, match=message) as caught:
        evaluate(text)
    assert "\n" not in str(caught.value)


def test_products_that_would_not_end() -> None:
    text = "reshape(out, 54, 1)"
    for _ in range(4):
        text = f"reshape({text} * t({text}), -1, 1)"
    with pytest.raises(WiringError, match=r"longer than|too large"):
        evaluate(text)


def test_corners_agree_with_the_ops() -> None:
    boxes = torch.tensor(np.abs(I) + 1)
    direct = ops.decode_boxes(torch.zeros(3, 4), torch.tensor(corners(boxes.numpy(), 0.5)))
    np.testing.assert_allclose(direct, corners(boxes.numpy(), 0.5), rtol=1e-6)
