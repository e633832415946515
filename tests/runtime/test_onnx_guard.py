"""Hostile and broken ONNX files are refused in one line, before a runtime sees them."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import (
    AttributeProto,
    FunctionProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

from lossexport.errors import LossexportError
from lossexport.runtime import load
from lossexport.runtime.guard.schema import STORAGE
from lossexport.runtime.onnx_guard import Limits, check_model

FLOAT = TensorProto.FLOAT
OPSET = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]


def value(name: str = "x", shape: Sequence[str | int] = ("N",)) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, FLOAT, list(shape))


def model(
    nodes: Iterable[NodeProto] = (),
    initializers: Iterable[TensorProto] = (),
    functions: Sequence[FunctionProto] = (),
) -> ModelProto:
    graph = helper.make_graph(
        list(nodes), "g", [value("x")], [value("y")], initializer=list(initializers)
    )
    return helper.make_model(graph, opset_imports=OPSET, functions=functions)


def constant(tensor: TensorProto) -> NodeProto:
    return helper.make_node("Constant", [], ["c"], value=tensor)


def refusal(proto: ModelProto | bytes, limits: Limits | None = None) -> str:
    data = proto if isinstance(proto, bytes) else proto.SerializeToString()
    with pytest.raises(LossexportError) as caught:
        check_model(data, "file.onnx", limits)
    message = str(caught.value)
    assert message.startswith("file.onnx: ")
    assert "\n" not in message
    return message.removeprefix("file.onnx: ")


# Sound files


@pytest.mark.parametrize("data_type", [t for t in STORAGE if t != TensorProto.STRING])
@pytest.mark.parametrize("raw", [True, False])
def test_sound_tensors_of_every_type_pass(data_type: int, raw: bool) -> None:
    dtype = helper.tensor_dtype_to_np_dtype(data_type)
    for shape in ((3,), (2, 5), (), (0,), (4, 0)):
        array = np.zeros(shape, dtype)
        if raw:
            tensor = numpy_helper.from_array(array, "t")
            assert tensor.HasField("raw_data")
        else:
            tensor = helper.make_tensor("t", data_type, shape, array.flatten())
            assert not tensor.HasField("raw_data")
        check_model(model([constant(tensor)]).SerializeToString(), "file.onnx")


def test_the_summary_says_what_is_inside(add_model: bytes) -> None:
    found = check_model(add_model, "add.onnx")
    assert (found.ir_version, found.opsets, found.nodes, found.functions) == (10, {"": 20}, 4, 0)
    assert (found.inputs, found.outputs) == (("x", "y"), ("z",))
    assert found.metadata == {"lossexport.op": "add"}


def test_a_file_that_passed_is_checked_by_other_limits(add_model: bytes) -> None:
    first = check_model(add_model, "a.onnx")
    assert check_model(bytearray(add_model), "b.onnx") is first  # type: ignore[arg-type]
    assert "fields" in refusal(add_model, Limits(fields=3))
    renamed = onnx.load_from_string(add_model)
    renamed.graph.output[0].name = "other"
    assert check_model(renamed.SerializeToString(), "c.onnx") is not first
    for number in range(9):  # of which only the last few are kept
        check_model(model([helper.make_node("Neg", ["x"], [f"y{number}"])]).SerializeToString(), "")
    assert check_model(add_model, "a.onnx") == first
    assert check_model(add_model, "a.onnx") is not first


def test_initializers_that_are_listed_as_inputs_are_not_inputs() -> None:
    proto = model(initializers=[helper.make_tensor("w", FLOAT, [1], [1.0])])
    proto.graph.input.append(value("w", [1]))
    assert check_model(proto.SerializeToString(), "file.onnx").inputs == ("x",)


# Malformed data


def test_a_file_cut_at_any_byte_is_refused_or_read(add_model: bytes, tmp_path: Path) -> None:
    """The guard refuses most; what it lets through, onnxruntime refuses as cleanly."""
    path = tmp_path / "cut.onnx"
    refusals = []
    for end in range(len(add_model)):
        path.write_bytes(add_model[:end])
        try:
            load(path)
        except LossexportError as error:
            refusals.append(str(error))
    assert len(refusals) >= len(add_model) * 0.9
    assert not any("\n" in message for message in refusals)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_an_empty_graph(data: bytes) -> None:
    with contextlib.suppress(LossexportError):
        assert check_model(data, "file.onnx").nodes <= len(data)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_changed_bytes_are_refused_or_summarised(add_model: bytes, data: st.DataObject) -> None:
    changed = bytearray(add_model)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(LossexportError):
        assert check_model(bytes(changed), "file.onnx").nodes <= 50_000


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "model.graph: missing, this is not an ONNX model"),
        (b"\x80", "model: truncated in a number"),
        (b"\xff" * 11, "model: malformed, a number of more than 10 bytes"),
        (b"\x00\x00", "model: malformed, field number 0"),
        (b"\x0b", "model: malformed, wire type 3 of field 1"),
        (b"\x0f", "model: malformed, wire type 7 of field 1"),
        (b"\x12\x05ab", "model: truncated, field 2 lacks 3 bytes"),
        (b"\x12\xff\xff\xff\xff\x7f", "model: truncated, field 2 lacks 34359738367 bytes"),
        (b"\x3a\x00\x3a\x00", "model.graph: given twice"),
        (b"\x38\x01", "model.graph: malformed, wire type 0 in place of 2"),
        (b"\x3a\x05\x5a\x03\x0a\x01\xff", "model.graph.input[0].name: not UTF-8"),
        # Bit 35 set: protobuf would drop it and read field 7.
        (b"\xba\x80\x80\x80\x80\x01\x00", "model: malformed, field number 4294967303"),
    ],
)
def test_malformed_wire_data(data: bytes, message: str) -> None:
    assert refusal(data) == message


def test_too_many_fields() -> None:
    assert refusal(b"\x12\x00" * 50, Limits(fields=20)) == "model: more than 20 protobuf fields"
    dims = TensorProto(dims=[1] * 50, data_type=FLOAT, raw_data=bytes(4))
    assert "more than 60 protobuf fields" in refusal(model([constant(dims)]), Limits(fields=60))


def test_deeply_nested_types() -> None:
    kind = onnx.TypeProto()
    inner = kind
    for _ in range(45):
        inner = inner.sequence_type.elem_type
    inner.tensor_type.elem_type = FLOAT
    proto = model()
    proto.graph.value_info.append(onnx.ValueInfoProto(name="v", type=kind))
    assert refusal(proto) == "model: messages nested deeper than 90"


# External data


def external() -> TensorProto:
    tensor = TensorProto(name="w", dims=[1], data_type=FLOAT, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def located() -> TensorProto:
    return TensorProto(dims=[0], data_type=FLOAT, data_location=TensorProto.EXTERNAL)


def entries() -> TensorProto:
    tensor = TensorProto(dims=[0], data_type=FLOAT)
    tensor.external_data.add(key="location", value="w.bin")
    return tensor


def in_initializer(tensor: TensorProto) -> ModelProto:
    return model(initializers=[tensor])


def in_sparse(tensor: TensorProto) -> ModelProto:
    proto = model()
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(tensor, indices, [1]))
    return proto


def in_attribute(tensor: TensorProto) -> ModelProto:
    return model([constant(tensor)])


def in_attribute_list(tensor: TensorProto) -> ModelProto:
    node = helper.make_node("Odd", [], ["c"], domain="own")
    node.attribute.append(AttributeProto(name="ts", type=AttributeProto.TENSORS, tensors=[tensor]))
    return model([node])


def in_branch(tensor: TensorProto) -> ModelProto:
    branch = helper.make_graph([constant(tensor)], "b", [], [value("c")])
    return model([helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)])


def in_function(tensor: TensorProto) -> ModelProto:
    body = helper.make_function("own", "F", [], ["c"], [constant(tensor)], OPSET)
    return model(functions=[body])


def in_function_default(tensor: TensorProto) -> ModelProto:
    body = helper.make_function("own", "F", [], [], [], OPSET)
    body.attribute_proto.append(helper.make_attribute("t", tensor))
    return model(functions=[body])


def in_training(tensor: TensorProto) -> ModelProto:
    proto = model()
    proto.training_info.add().algorithm.CopyFrom(
        helper.make_graph([], "t", [], [], initializer=[tensor])
    )
    return proto


@pytest.mark.parametrize("tensor", [external, located, entries])
@pytest.mark.parametrize(
    "place",
    [
        in_initializer,
        in_sparse,
        in_attribute,
        in_attribute_list,
        in_branch,
        in_function,
        in_function_default,
        in_training,
    ],
)
def test_external_data_is_refused_everywhere(
    place: Callable[[TensorProto], ModelProto], tensor: Callable[[], TensorProto]
) -> None:
    message = refusal(place(tensor()))
    assert message.endswith(".external_data: refused, data outside of the file")


def test_a_location_beyond_32_bits_is_external_too() -> None:
    """Protobuf keeps the low 32 bits of an enum: 2^32 + 1 is EXTERNAL."""
    tensor = TensorProto(dims=[0], data_type=FLOAT).SerializeToString()
    tensor += b"\x70\x81\x80\x80\x80\x10"
    assert TensorProto.FromString(tensor).data_location == TensorProto.EXTERNAL
    graph = b"\x2a" + bytes([len(tensor)]) + tensor
    assert "external_data: refused" in refusal(b"\x3a" + bytes([len(graph)]) + graph)


# Bombs


def test_too_many_nodes() -> None:
    nodes = [helper.make_node("Neg", ["x"], ["y"]) for _ in range(11)]
    assert check_model(model(nodes).SerializeToString(), "f", Limits(nodes=11)).nodes == 11
    assert refusal(model(nodes), Limits(nodes=10)) == (
        "model.graph.node[10]: more than the limit of 10 in a file"
    )


def chain(length: int, width: int) -> list[FunctionProto]:
    """F0 calls F1 `width` times, which calls F2 so: width^length nodes out of a small file."""

    def body(level: int) -> FunctionProto:
        last = level == length - 1
        call = ("Neg", "") if last else (f"F{level + 1}", "own")
        nodes = [helper.make_node(call[0], ["a"], ["b"], domain=call[1]) for _ in range(width)]
        return helper.make_function("own", f"F{level}", ["a"], ["b"], nodes, OPSET)

    return [body(level) for level in range(length)]


def test_functions_are_counted_as_inlined() -> None:
    call = helper.make_node("F0", ["x"], ["y"], domain="own")
    found = check_model(model([call], functions=chain(3, 4)).SerializeToString(), "f")
    assert (found.nodes, found.functions) == (1 + 4 + 16 + 64, 3)
    message = refusal(model([call], functions=chain(4, 16)))
    assert message == "model: more than the limit of 50000 nodes with functions inlined"
    message = refusal(model([call], functions=chain(30, 10)))
    assert message.startswith("model: more than the limit of 250000 moves of a node out of")


def test_functions_that_call_themselves() -> None:
    call = helper.make_node("F", ["a"], ["b"], domain="own")
    body = helper.make_function("own", "F", ["a"], ["b"], [call], OPSET)
    assert refusal(model([call], functions=[body])) == "model.functions[0]: own:F calls itself"


def test_too_many_or_equal_functions() -> None:
    assert refusal(model(functions=chain(4, 1)), Limits(functions=3)) == (
        "model.functions[3]: more than the limit of 3 in a file"
    )
    assert refusal(model(functions=[*chain(1, 1), *chain(1, 2)])) == (
        "model.functions[1]: a second function of the name own:F0"
    )


def test_a_long_chain_of_functions_is_walked() -> None:
    call = helper.make_node("F0", ["x"], ["y"], domain="own")
    found = check_model(model([call], functions=chain(256, 1)).SerializeToString(), "f")
    assert found.nodes == 257


def nested(depth: int) -> ModelProto:
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "leaf", [], [value("y")])
    for _ in range(depth):
        node = helper.make_node("If", ["x"], ["y"], then_branch=graph, else_branch=graph)
        graph = helper.make_graph([node], "g", [], [value("y")])
    return helper.make_model(graph, opset_imports=OPSET)


def test_nested_graphs() -> None:
    found = check_model(nested(3).SerializeToString(), "f", Limits(depth=4))
    assert found.nodes == 1 + 2 + 4 + 8
    assert refusal(nested(4), Limits(depth=4)) == "model: graphs nested deeper than the limit of 4"


# Tensors


def tensor(dims: list[int], data_type: int = FLOAT, **data: Any) -> ModelProto:
    return model([constant(TensorProto(dims=dims, data_type=data_type, **data))])


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (tensor([2**40]), "float_data: 0 entries, dims [1099511627776] need 1099511627776"),
        (tensor([3], raw_data=bytes(8)), "raw_data: 8 bytes, dims [3] need 12"),
        (tensor([], raw_data=bytes(8)), "raw_data: 8 bytes, dims [] need 4"),
        (tensor([2], float_data=[1.0]), "float_data: 1 entries, dims [2] need 2"),
        (
            tensor([2], TensorProto.INT64, int64_data=[-1, 1, 2]),
            "int64_data: 3 entries, dims [2] need 2",
        ),
        (
            tensor([2], TensorProto.STRING, string_data=[b"a"]),
            "string_data: 1 entries, dims [2] need 2",
        ),
        (tensor([3], TensorProto.INT4, raw_data=bytes(1)), "raw_data: 1 bytes, dims [3] need 2"),
        (tensor([-1], raw_data=b""), "dims: [-1] has a negative dimension"),
        (tensor([1], 99), "data_type: 99 is not known"),
        (tensor([1] * 65, raw_data=bytes(4)), "dims: 65 dimensions, more than 64"),
    ],
)
def test_tensors_must_be_filled(proto: ModelProto, message: str) -> None:
    assert refusal(proto) == f"model.graph.node[0].attribute[0].t.{message}"


def test_sparse_tensors_that_would_fill_memory() -> None:
    proto = in_sparse(numpy_helper.from_array(np.ones(1, np.float32)))
    indices = numpy_helper.from_array(np.zeros(1, np.int64))
    proto.graph.sparse_initializer[0].indices.CopyFrom(indices)
    proto.graph.sparse_initializer[0].dims[:] = [2**20, 2**20]
    assert refusal(proto) == (
        "model.graph.sparse_initializer[0].dims: the tensors up to here take 4398046511104 bytes "
        "more than they have in the file, more than the limit of 67108864"
    )


@pytest.mark.parametrize("place", ["input", "output", "value_info"])
def test_declared_shapes_that_would_fill_memory(place: str) -> None:
    proto = model()
    getattr(proto.graph, place).append(value("v", ["N", 2**40, 2]))
    assert "[1099511627776, 2] has 2199023255552 elements" in refusal(proto)
    getattr(proto.graph, place)[-1].CopyFrom(value("v", [-5]))
    assert "[-5] has a negative dimension" in refusal(proto)


def test_load_guards_before_onnxruntime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "InferenceSession", None)
    path = tmp_path / "evil.onnx"
    path.write_bytes(in_initializer(external()).SerializeToString())
    with pytest.raises(LossexportError, match=r"evil\.onnx: model\.graph\.initializer\[0\]"):
        load(path)
