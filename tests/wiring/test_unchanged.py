"""`attach` compares a detector before and after: every planted change is seen."""

from pathlib import Path
from typing import Any

import onnx
import onnx.parser
import pytest

from lossexport.errors import LossexportError
from lossexport.runtime import Session
from lossexport.runtime.ort import open_session
from lossexport.runtime.session import Source
from lossexport.wiring import feeds, unchanged
from lossexport.wiring.unchanged import Original

FLOATS = ("float16", "bfloat16", "float", "double")
WHOLE = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def model(signature: str, body: str, opset: int = 20) -> bytes:
    text = f'<ir_version: 10, opset_import: ["": {opset}, "custom": 1]> a {signature} {{ {body} }}'
    inferred = onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text))
    data: bytes = inferred.SerializeToString()
    return data


def compare(signature: str, before: str, after: str, opset: int = 20) -> list[str]:
    """The steps that are shown; LossexportError where a change is seen."""
    converted = 20 if opset < 20 else None
    original = Original(Path("old.onnx"), model(signature, before, opset), converted)
    steps: list[str] = []
    original.check_same(Path("new.onnx"), model(signature, after, max(opset, 20)), steps.append)
    return steps


def refused(signature: str, before: str, after: str, opset: int = 20) -> str:
    with pytest.raises(LossexportError) as caught:
        compare(signature, before, after, opset)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", [*FLOATS, *WHOLE, "bool"])
def test_one_column_of_the_last_output_in_every_type(kind: str) -> None:
    signature = f"({kind}[1,8,5] x) => ({kind}[1,8,5] first, {kind}[1,8,5] last)"
    columns = "first = Identity(x)\n i = Constant<value=int64[5] {{0,1,2,3,{}}}>()\n"
    columns += "last = Gather<axis=2>(x, i)"
    assert len(compare(signature, columns.format(4), columns.format(4))) == len(feeds.RANGES)
    message = refused(signature, columns.format(4), columns.format(3))
    assert message.startswith("old.onnx: output last changes: element [0, ")
    assert ", 4] is " in message
    assert message.endswith("on x[1, 8, 5] from 0 to 1")


@pytest.mark.parametrize(
    ("kind", "change", "where"),
    [
        ("float", "c = Constant<value=float {1.0}>()\n y = Min(x, c)", "0 to 255"),
        ("float", "c = Constant<value=float {0.0}>()\n y = Max(x, c)", "-2.5 to 2.5"),
        ("uint8", "c = Constant<value=uint8 {200}>()\n y = Min(x, c)", "0 to 255"),
        ("int8", "c = Constant<value=int8 {0}>()\n y = Max(x, c)", "-2.5 to 2.5"),
    ],
)
def test_values_of_every_range(kind: str, change: str, where: str) -> None:
    signature = f"({kind}[1,3,8,8] x) => ({kind}[1,3,8,8] y)"
    assert refused(signature, "y = Identity(x)", change).endswith(f"from {where}")


@pytest.mark.parametrize("sizes", ["H,W", "H,4", "?,W", "H,H"])
def test_open_sizes_have_several_values(sizes: str) -> None:
    """The change is in pixels beyond 64, or beyond 2 of 3 in a batch."""
    signature = f"(float[1,3,{sizes}] x) => (float[1,3,P,Q] y)"
    axis = 3 if sizes.endswith("W") else 2
    part = f"""a = Constant<value=int64[1] {{{axis}}}>()\n f = Constant<value=int64[1] {{0}}>()
        m = Constant<value=int64[1] {{64}}>()\n e = Constant<value=int64[1] {{9999}}>()
        l = Slice(x, f, m, a)\n r = Slice(x, m, e, a)\n n = Neg(r)\n y = Concat<axis={axis}>(l, """
    compare(signature, f"{part} r)", f"{part} r)")
    assert " on x[1, 3, " in refused(signature, f"{part} r)", f"{part} n)")


def fitting(inputs: str, body: str) -> list[dict[str, tuple[int, ...]]]:
    """The shapes of the inputs on which a graph is run."""
    data = model(f"({inputs}) => (float y)", body)
    proto = onnx.load_from_string(data)
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    source = Source(Path("a.onnx"), proto.SerializeToString(), None)
    found = feeds.fitting(open_session(source, "ort", "cpu"))
    shapes = [dict(feed.shapes) for feed in found]
    assert len(shapes) % len(feeds.RANGES) == 0
    return shapes[:: len(feeds.RANGES)]


def test_sizes_that_fit_are_looked_for() -> None:
    reshape = "s = Constant<value=int64[2] {{{}}}>()\n y = Reshape(x, s)"
    found = fitting("float[1,3,H,W] x", reshape.format("-1, 7"))
    assert {shape["x"][2:] for shape in found} == {(7, 64), (7, 96), (64, 7)} or len(found) >= 2
    assert all(shape["x"][2] * shape["x"][3] % 7 == 0 for shape in found)
    # H and W hang together: each has two values all the same.
    found = fitting("float[1,3,H,W] x", reshape.format("64, 3"))
    assert found[0]["x"] == (1, 3, 8, 8)
    assert len({shape["x"][2] for shape in found}) == len({shape["x"][3] for shape in found}) == 2
    # Only one size: that is what there is.
    assert fitting("float[1,3,H,H] x", reshape.format("1, 1200")) == [{"x": (1, 3, 20, 20)}]
    # A batch, and channels.
    found = fitting("float[B,3,8,8] x", "w = Constant<value=float[2,3,1,1] {1,2,3,4,5,6}>()\n"
                    "y = Conv(x, w)")  # fmt: skip
    assert [shape["x"][:2] for shape in found] == [(1, 3), (2, 3)]


@pytest.mark.parametrize(
    ("signature", "body", "message"),
    [
        ("(float[2] x) => (float[2] y)", "y = custom.Thing(x)", "custom:Thing"),
        ("(string[2] x) => (string[2] y)", "y = Identity(x)", "tensor 'x': string is not supp"),
        ("(float[2] x) => (string[2] y)", "y = Cast<to=8>(x)", "tensor 'y': string is not supp"),
        (
            "(float[1,3,H,W] x) => (float[1,7] y)",
            "s = Constant<value=int64[2] {1, 7}>()\n y = Reshape(x, s)",
            "does not run on any of the random inputs tried for x[1, 3, H, W] float32: onnxruntime",
        ),
        (
            "(int64[2] x) => (float[2] y)",
            "t = Constant<value=float[1] {1.0}>()\n m = Constant<value=int64 {-9}>()\n"
            "i = Add(x, m)\n y = Gather(t, i)",
            "does not run on any of the random inputs tried for x[2] int64: onnxruntime",
        ),
    ],
    ids=["custom operator", "strings in", "strings out", "sizes", "values"],
)
def test_what_cannot_be_run_is_refused(
    signature: str, body: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "_MAX_TRIES", 60)
    found = refused(signature, body, body)
    assert message in found
    assert "attach runs a detector to see that its outputs stay the same: export it" in found


def test_indices_are_given_in_a_range_that_they_allow() -> None:
    signature = "(int64[2] x) => (float[2] y)"
    body = "t = Constant<value=float[2] {{1.0, {}}}>()\n y = Gather(t, x)"
    compare(signature, body.format(2.0), body.format(2.0))
    assert "is 3.0 instead of 2.0" in refused(signature, body.format(2.0), body.format(3.0))


def test_nan_equals_nan_and_nothing_else() -> None:
    signature = "(float[1,99] x) => (float[1,99] y)"
    assert compare(signature, "y = Sqrt(x)", "y = Sqrt(x)")
    zero = "z = Constant<value=float {0.0}>()\n"
    message = refused(signature, "y = Sqrt(x)", f"{zero} m = Max(x, z)\n y = Sqrt(m)")
    assert "is 0.0 instead of nan" in message


def test_only_a_converted_detector_may_round_otherwise() -> None:
    signature = "(float[1,99] x) => (float[1,99] y)"
    body = "c = Constant<value=float {{{}}}>()\n y = Mul(x, c)"
    compare(signature, body.format(1), body.format(1.00001), opset=17)
    message = refused(signature, body.format(1), body.format(1.001), opset=17)
    assert "output y changes on conversion to opset 20: element " in message
    assert message.endswith("; export the detector with opset 20 or newer")
    refused(signature, body.format(1), body.format(1.00001))
    # Whole numbers never.
    signature = "(int32[1,99] x) => (int32[1,99] y)"
    body = "c = Constant<value=int32 {{{}}}>()\n y = Add(x, c)"
    refused(signature, body.format(100_000), body.format(100_001), opset=17)


def test_random_operators_are_named_as_the_reason() -> None:
    body = "r = RandomUniformLike(x)\n y = Add(x, r)"
    message = refused("(float[1,99] x) => (float[1,99] y)", body, body)
    assert "y differs from run to run on the same input" in message


def test_an_output_that_stays_empty_is_compared_through_what_it_is_made_of() -> None:
    signature = "(float[9,4] x) => (float[N,4] y)"
    body = """h = {}(x)\n a = Constant<value=int64[1] {{1}}>()\n s = ReduceSum<keepdims=0>(h, a)
        c = Constant<value=float {{1e9}}>()\n g = Greater(s, c)\n y = Compress<axis=0>(h, g)"""
    steps = compare(signature, body.format("Abs"), body.format("Abs"))
    assert steps[-1] == "comparing, tensor 1 of 5"
    assert "output h changes" in refused(signature, body.format("Relu"), body.format("Neg"))


def test_an_output_of_which_nothing_can_be_seen_is_refused() -> None:
    signature = "(float[9,4] x) => (float[9,4] y)"
    body = "c = Constant<value=float {-1e9}>()\n y = Sqrt(c)"
    message = refused(signature.replace("[9,4] y", " y"), body, "y = Constant<value=float {1.0}>()")
    assert "output y changes" in message
    both = model(signature.replace("[9,4] y", " y"), "y = Constant<value_float=1.0>()")
    empty = onnx.load_from_string(both)
    empty.graph.node[0].attribute[0].f = float("nan")
    data = empty.SerializeToString()
    with pytest.raises(LossexportError, match="output y is empty or not finite on every random"):
        Original(Path("old"), data, None).check_same(Path("new"), data, lambda step: None)


def test_optimisations_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise what is fused behind the op rounds otherwise, and exact comparison fails."""
    given: list[bool] = []

    def opened(*args: Any, optimise: bool) -> Session:
        given.append(optimise)
        return open_session(*args, optimise=optimise)

    monkeypatch.setattr(unchanged, "open_session", opened)
    compare("(float[2] x) => (float[2] y)", "y = Exp(x)", "y = Exp(x)")
    assert given == [False, False]
