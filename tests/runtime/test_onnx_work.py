"""What loading a file may cost: refused while it is read, or loaded without the optimisation."""

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import NodeProto, SparseTensorProto, TensorProto, helper, numpy_helper

from lossexport.errors import LossexportError
from lossexport.runtime import load
from lossexport.runtime.guard.inlining import Plan
from lossexport.runtime.onnx_guard import Limits, check_model
from lossexport.runtime.ort import OrtSession
from lossexport.runtime.session import Source
from lossexport.runtime.wire import varint_bytes

node = helper.make_node
FULL = 2**30


def array(values: npt.ArrayLike, name: str, dtype: npt.DTypeLike = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def sizes(values: npt.ArrayLike, name: str = "s") -> TensorProto:
    return array(values, name, np.int64)


def file(
    nodes: Sequence[NodeProto],
    tensors: Sequence[TensorProto],
    shape: Sequence[int] = (1,),
    sparse: Sequence[SparseTensorProto] = (),
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        initializer=tensors,
        sparse_initializer=sparse,
    )
    opset = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()


def chain(op: str, count: int, **attributes: Any) -> list[NodeProto]:
    return [node(op, [f"m{i}", f"m{i}"], [f"m{i + 1}"], **attributes) for i in range(count)]


def end(last: str) -> list[NodeProto]:
    return [node("ReduceMax", [last], ["r"], keepdims=0), node("Add", ["x", "r"], ["y"])]


def many(op: str, inputs: list[str], count: int) -> list[NodeProto]:
    names = [f"m{i}" for i in range(count)]
    return [*(node(op, inputs, [name]) for name in names), node("Sum", names, ["z"]), *end("z")]


FILL = node("ConstantOfShape", ["s"], ["m0"])
BRANCH = helper.make_graph(
    [FILL, *chain("MatMul", 60)],
    "b",
    [],
    [helper.make_tensor_value_info("m60", TensorProto.FLOAT, None)],
)
LARGE = sizes([8192, 8192])
ADDED = node("CumSum", ["s", "axis"], ["t"])  # a shape that no shape inference knows
AXIS = array(0, "axis", np.int32)
BOMBS = {
    "products of a filled matrix": file([FILL, *chain("MatMul", 60), *end("m60")], [LARGE]),
    "in the wrong order": file([*end("m60"), *chain("MatMul", 60)[::-1], FILL], [LARGE]),
    "products of an input's shape": file(
        [node("Shape", ["x"], ["s"]), FILL, *chain("MatMul", 60), *end("m60")], [], [8192, 8192]
    ),
    "in a branch": file(
        [node("If", ["c"], ["z"], then_branch=BRANCH, else_branch=BRANCH), *end("z")],
        [LARGE, array(True, "c", np.bool_)],
    ),
    "sums over all elements of three": file(
        [FILL, node("Einsum", ["m0"] * 3, ["z"], equation="ab,cd,ef->"), *end("z")],
        [sizes([300, 300])],
    ),
    "convolutions": file(
        [
            FILL,
            node("ConstantOfShape", ["t"], ["w"]),
            *(node("Conv", [f"m{i}", "w"], [f"m{i + 1}"], pads=[4] * 4) for i in range(20)),
            *end("m20"),
        ],
        [sizes([1, 64, 500, 500]), sizes([64, 64, 9, 9], "t")],
    ),
    "fills": file(
        [ADDED, *many("Expand", ["v", "t"], 100)], [sizes([9000, 999]), AXIS, array(1, "v")]
    ),
    "ranges": file(
        many("Range", ["a", "b", "c"], 100), [array(0, "a"), array(5e7, "b"), array(1, "c")]
    ),
    "outer sums": file(
        [node("Add", ["a", "b"], ["m0"]), *chain("Add", 100), *end("m100")],
        [array(np.ones((5000, 1)), "a"), array(np.ones((1, 5000)), "b")],
    ),
    "one weight repacked for each of many nodes": file(
        [
            *(node("MatMul", [f"m{i}" if i else "x", "w"], [f"m{i + 1}"]) for i in range(2000)),
            node("Identity", ["m2000"], ["y"]),
        ],
        [],
        [1, 4000],
        [helper.make_sparse_tensor(array([1.0], "w"), sizes([0], "i"), [4000, 4000])],
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_files_that_would_take_minutes_load_at_once(tmp_path: Path, name: str) -> None:
    """Measured on one core they take 0.6 s at most; each takes 20 s to days without a bound."""
    path = tmp_path / "bomb.onnx"
    path.write_bytes(BOMBS[name])
    assert check_model(BOMBS[name], "f").plan != Plan(FULL, optimise=True)
    started = time.process_time()
    load(path, "ort")
    assert time.process_time() - started < 8


def test_a_limit_of_folding_is_handed_to_onnxruntime(tmp_path: Path) -> None:
    """Small sizes that depend on values are folded, and large ones are not."""
    shape = [node("Shape", ["x"], ["s"]), FILL, node("Add", ["x", "m0"], ["y"])]
    for side, kept in ((10, 1), (1000, 2)):
        data = file(shape, [], [side, side])
        plan = check_model(data, "f").plan
        assert plan.optimise
        assert 0 < plan.fold_bytes < FULL
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / "seen.onnx")
        options.add_session_config_entry(
            "optimization.constant_folding_max_output_size_in_bytes", str(2**16)
        )
        onnxruntime.InferenceSession(data, options)
        assert len(onnx.load(tmp_path / "seen.onnx").graph.node) == kept


@pytest.mark.parametrize(
    "plan", [Plan(FULL, True), Plan(2**16, True), Plan(0, True), Plan(0, False)]
)
def test_outputs_are_the_same_under_every_plan(
    add_model: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, plan: Plan
) -> None:
    session = OrtSession(Source(Path("f"), add_model, None), "ort", "CPUExecutionProvider", plan)
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    np.testing.assert_array_equal(session(x=x, y=x)["z"], x + x)


def test_ordinary_graphs_are_optimised_in_full() -> None:
    """Weights that are cast, scaled and shared by five nodes; a table of points."""
    weight = array(np.ones((512, 512)), "half", np.float16)
    nodes = [
        node("Cast", ["half"], ["wide"], to=TensorProto.FLOAT),
        node("Mul", ["wide", "scale"], ["w"]),
        *(node("MatMul", [f"m{i}" if i else "x", "w"], [f"m{i + 1}"]) for i in range(5)),
        node("Concat", ["points", "points"], ["two"], axis=0),
        node("Add", ["m5", "two"], ["y"]),
    ]
    tensors = [weight, array(2, "scale"), array(np.ones((50, 1)), "points")]
    assert check_model(file(nodes, tensors, [100, 512]), "f").plan == Plan(FULL, optimise=True)
    assert check_model(file(nodes[::-1], tensors, [100, 512]), "f").plan == Plan(
        FULL, optimise=True
    )


def wrapped(tag: int, payload: bytes) -> bytes:
    return bytes([tag]) + varint_bytes(len(payload)) + payload


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (wrapped(0x3A, b"\x0a\x00" * 1_990_000), "model.graph.node[50000]: more than"),
        (wrapped(0x3A, b"\x7a\x00" * 1_990_000), "model.graph.sparse_initializer[50000]: more"),
        (wrapped(0x3A, wrapped(0x0A, b"\x2a\x00" * 1_990_000)), "model.graph.node[0].attribute["),
        (wrapped(0x3A, wrapped(0x0A, b"\x0a\x00" * 1_990_000)), "model.graph.node[0]: more than"),
        (wrapped(0x3A, wrapped(0x0A, wrapped(0x2A, wrapped(0x42, bytes(2_000_000))))), "model.gr"),
        (b"\xca\x01\x00" * 1_300_000, "model.functions[256]: more than the limit of 256"),
    ],
)
def test_a_limit_ends_the_reading(data: bytes, message: str) -> None:
    """Measured on one core 0.25 s for nodes, 1 s for a million fields."""
    started = time.process_time()
    with pytest.raises(LossexportError) as caught:
        check_model(data, "f")
    assert str(caught.value).startswith(f"f: {message}")
    assert time.process_time() - started < 5


def sparse(side: int, count: int) -> list[SparseTensorProto]:
    return [
        helper.make_sparse_tensor(array([1.0], f"w{i}"), sizes([0], "i"), [side])
        for i in range(count)
    ]


def test_all_tensors_share_one_budget() -> None:
    held = 2**26 // 4
    check_model(file([], [], sparse=sparse(held, 1)), "f")
    check_model(file([], [], sparse=sparse(held // 16, 16)), "f")
    for bad in (sparse(held + 1, 1), sparse(held // 16 + 1, 16), sparse(2**28, 1)):
        with pytest.raises(LossexportError, match="the tensors up to here take"):
            check_model(file([], [], sparse=bad), "f")


def test_copies_of_a_tensor_count() -> None:
    """A function with a tensor of 4 MB that is called 16 times, and once more."""
    weight = helper.make_node("Constant", [], ["w"], value=array(np.ones(2**20), "w"))
    opset = [helper.make_opsetid("", 20), helper.make_opsetid("d", 1)]
    add = node("Add", ["x", "w"], ["y"])
    function = helper.make_function("d", "f", ["x"], ["y"], [weight, add], opset)
    for calls in (17, 18):
        proto = helper.make_model(
            helper.make_graph(
                [node("f", ["x"], [f"y{i}"], domain="d") for i in range(calls)], "g", [], []
            ),
            functions=[function],
            opset_imports=opset,
        )
        data = proto.SerializeToString()
        if calls == 17:  # of which the first is the one in the file
            check_model(data, "f")
        else:
            with pytest.raises(LossexportError, match="the tensors up to here take"):
                check_model(data, "f")


def test_numbers_that_grow_in_memory_count() -> None:
    """A varint of one byte is a number of eight."""
    packed = wrapped(0x3A, bytes(2**24))
    dims = b"\x08" + varint_bytes(2**24)
    tensor = dims + b"\x10\x07" + packed
    with pytest.raises(LossexportError, match="the tensors up to here take 117440512 bytes more"):
        check_model(wrapped(0x3A, wrapped(0x2A, tensor)), "f")


def test_functions_in_many_levels_count_for_each() -> None:
    opset = [helper.make_opsetid("", 20), helper.make_opsetid("d", 1)]
    functions = []
    for level in range(100):
        names = ["x", *(f"t{i}" for i in range(50))]
        nodes = [node("Neg", [a], [b]) for a, b in itertools.pairwise(names)]
        nodes.append(node(f"f{level + 1}", [names[-1]], ["y"], domain="d"))
        functions.append(helper.make_function("d", f"f{level}", ["x"], ["y"], nodes, opset))
    graph = helper.make_graph([node("f0", ["x"], ["y"], domain="d")], "g", [], [])
    proto = helper.make_model(graph, functions=functions, opset_imports=opset)
    with pytest.raises(LossexportError, match="more than the limit of 250000 moves"):
        check_model(proto.SerializeToString(), "f")
    limits = Limits(moves=300_000)
    assert check_model(proto.SerializeToString(), "f", limits).nodes == 1 + 100 * 51
