"""The guard's count of nodes against what onnxruntime and onnx make of the same bytes."""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx.inliner
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper

from lossexport.errors import LossexportError
from lossexport.runtime.onnx_guard import check_model

FLOAT = TensorProto.FLOAT
KEYS = ["d:f", "d:f:o", "d:f:o:g", "e:f", "d:o"]
DOMAINS = ["d", "d:f", "d:f:o", "e"]
OPSETS = [helper.make_opsetid("", 20), *(helper.make_opsetid(name, 1) for name in DOMAINS)]
# Domain, name and overload.
Spelling = tuple[str, str, str]


def spellings(key: str) -> Iterator[Spelling]:
    """Each (domain, name, overload) that joins to `key`."""
    parts = key.split(":")
    for i in range(1, len(parts)):
        for j in range(i + 1, len(parts) + 1):
            yield ":".join(parts[:i]), ":".join(parts[i:j]), ":".join(parts[j:])


def branch(name: str, size: int) -> GraphProto:
    """A graph without inputs, of `size` nodes that lead from `x` of the graph around it."""
    names = ["x", *(f"{name}{i}" for i in range(size))]
    nodes = [helper.make_node("Neg", [a], [b]) for a, b in itertools.pairwise(names)]
    return helper.make_graph(
        nodes, name, [], [helper.make_tensor_value_info(names[-1], FLOAT, [1])]
    )


@st.composite
def bodies(draw: st.DrawFn, level: int, keys: list[str]) -> list[NodeProto]:
    """Nodes from `x` to `y`: plain ones, branches, and calls of the functions of later levels."""
    nodes, last = [], "x"
    for place in range(draw(st.integers(1, 4))):
        found = f"t{place}"
        later = keys[level:]
        kind = draw(st.sampled_from(["Neg", "If", *(["call"] * 3 if later else [])]))
        if kind == "call":
            domain, name, overload = draw(
                st.sampled_from(list(spellings(draw(st.sampled_from(later)))))
            )
            node = helper.make_node(name, [last, "c"], [found], domain=domain, overload=overload)
            given_graph = draw(st.integers(0, 4))
            if given_graph:
                node.attribute.append(helper.make_attribute("g", branch(f"g{place}", given_graph)))
        elif kind == "If":
            node = helper.make_node("If", ["c"], [found])
            for side in ("then_branch", "else_branch"):
                if level and draw(st.booleans()):
                    ref = AttributeProto(name=side, type=AttributeProto.GRAPH, ref_attr_name="g")
                    node.attribute.append(ref)
                else:
                    graph = branch(f"{side[0]}{place}", draw(st.integers(1, 3)))
                    node.attribute.append(helper.make_attribute(side, graph))
        else:
            node = helper.make_node("Neg", [last], [found])
        nodes.append(node)
        last = found
    nodes.append(helper.make_node("Identity", [last], ["y"]))
    return nodes


@st.composite
def models(draw: st.DrawFn) -> ModelProto:
    keys = draw(st.lists(st.sampled_from(KEYS), max_size=5, unique=draw(st.booleans())))
    functions = []
    for level, key in enumerate(keys, 1):
        domain, name, overload = draw(st.sampled_from(list(spellings(key))))
        nodes = draw(bodies(level, keys))
        default = helper.make_attribute("g", branch("dg", 3))
        function = helper.make_function(
            domain, name, ["x", "c"], ["y"], nodes, OPSETS, attribute_protos=[default]
        )
        function.overload = overload
        functions.append(function)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        draw(bodies(0, keys)),
        "g",
        [value("x", FLOAT, [1]), value("c", TensorProto.BOOL, [])],
        [value("y", FLOAT, [1])],
    )
    return helper.make_model(graph, opset_imports=OPSETS, functions=functions, ir_version=10)


def nodes_of(graph: GraphProto) -> int:
    total = 0
    for node in graph.node:
        total += 1
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs] if attribute.type in (5, 10) else []:
                total += nodes_of(inner)
    return total


def by_onnxruntime(data: bytes, path: Path) -> int | None:
    """Nodes that onnxruntime runs, None where it refuses the model."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.optimized_model_filepath = str(path)
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        onnxruntime.InferenceSession(data, options)
    except Exception:  # its errors share no base
        return None
    return nodes_of(onnx.load(path).graph)


def by_onnx(data: bytes) -> int | None:
    """Nodes that the inliner of onnx makes, None where it refuses the model."""
    try:
        proto = onnx.load_from_string(data)
        return nodes_of(onnx.inliner.inline_local_functions(proto).graph)
    except Exception:  # as above, protobuf's among them
        return None


def judge(data: bytes, path: Path) -> int | None:
    with contextlib.suppress(LossexportError):
        counted = check_model(data, "f").nodes
        for others in (by_onnxruntime(data, path), by_onnx(data)):
            assert others is None or counted >= others
        return counted
    return None


settings.register_profile("judges", deadline=None, suppress_health_check=list(HealthCheck))


@settings(settings.get_profile("judges"), max_examples=50)
@given(models())
def test_no_runtime_makes_more_nodes_than_the_guard_counts(
    tmp_path_factory: pytest.TempPathFactory, proto: ModelProto
) -> None:
    judge(proto.SerializeToString(), tmp_path_factory.getbasetemp() / "seen.onnx")


@settings(settings.get_profile("judges"), max_examples=50)
@given(models(), st.data())
def test_nor_from_changed_bytes(
    tmp_path_factory: pytest.TempPathFactory, proto: ModelProto, data: st.DataObject
) -> None:
    changed = bytearray(proto.SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    judge(bytes(changed), tmp_path_factory.getbasetemp() / "seen.onnx")


@pytest.mark.parametrize("called", list(spellings("d:f:o:g")))
@pytest.mark.parametrize("defined", list(spellings("d:f:o:g")))
def test_functions_are_found_as_onnxruntime_finds_them(
    tmp_path: Path, called: Spelling, defined: Spelling
) -> None:
    domain, name, overload = called
    call = helper.make_node(name, ["x"], ["y"], domain=domain, overload=overload)
    domain, name, overload = defined
    negs = [helper.make_node("Neg", ["x" if i == 0 else f"t{i - 1}"], [f"t{i}"]) for i in range(9)]
    end = helper.make_node("Neg", ["t8"], ["y"])
    function = helper.make_function(domain, name, ["x"], ["y"], [*negs, end], OPSETS)
    function.overload = overload
    value = helper.make_tensor_value_info
    graph = helper.make_graph([call], "g", [value("x", FLOAT, [1])], [value("y", FLOAT, [1])])
    proto = helper.make_model(graph, opset_imports=OPSETS, functions=[function], ir_version=10)
    data = proto.SerializeToString()
    assert by_onnxruntime(data, tmp_path / "seen.onnx") == 10
    assert check_model(data, "f").nodes == 11


def test_an_overload_within_a_function_may_not_hide_another(tmp_path: Path) -> None:
    """onnxruntime takes d:f:q for d:f within a function, and so never ends on this one."""
    value = helper.make_tensor_value_info

    def model(nested: NodeProto, overloads: dict[str, list[NodeProto]]) -> bytes:
        functions = []
        for overload, nodes in overloads.items():
            function = helper.make_function("d", "f", ["x"], ["y"], nodes, OPSETS)
            function.overload = overload
            functions.append(function)
        call = helper.make_node("g", ["x"], ["y"], domain="e")
        functions.append(helper.make_function("e", "g", ["x"], ["y"], [nested], OPSETS))
        graph = helper.make_graph([call], "g", [value("x", FLOAT, [1])], [value("y", FLOAT, [1])])
        proto = helper.make_model(graph, opset_imports=OPSETS, functions=functions, ir_version=10)
        return proto.SerializeToString()

    neg = [helper.make_node("Neg", ["x"], ["y"])]
    call = helper.make_node("f", ["x"], ["y"], domain="d", overload="q")
    with pytest.raises(LossexportError, match=r"as d:f:q, which .* takes for d:f$"):
        check_model(model(call, {"": [call], "q": neg}), "f")
    # Without the other it is a call of d:f for onnxruntime, and of d:f:q for onnx.
    data = model(call, {"": neg})
    assert by_onnxruntime(data, tmp_path / "seen.onnx") == 1
    assert check_model(data, "f").nodes == 3
    assert check_model(model(call, {"q": neg}), "f").nodes == 3
