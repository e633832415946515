"""Analyses of random graphs: every number that a graph computes is one that is allowed."""

from typing import Any

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from lossexport.catalog.spec import Op, Tensor
from lossexport.catalog.variant import Range, Variant
from lossexport.ranges import rules
from lossexport.ranges.domain import Domain
from lossexport.ranges.interval import Interval
from lossexport.ranges.walk import inlined
from tests.ranges.sampling import check

_ONE = ("Neg", "Abs", "Exp", "Log", "Sqrt", "Reciprocal", "Atan", "Tanh", "Sigmoid", "Floor",
        "Relu", "Sin", "Cos", "Identity")  # fmt: skip
_TWO = ("Add", "Sub", "Mul", "Div", "Min", "Max")
_KINDS = (TensorProto.FLOAT, TensorProto.FLOAT16)
_ENDS = st.sampled_from([-1e4, -40.0, -1.0, -0.25, 0.0, 2.0**-20, 0.5, 1.0, 3.0, 640.0, 1e4])


@st.composite
def graphs(draw: st.DrawFn) -> tuple[onnx.ModelProto, Variant]:
    """A graph of some of the operators with a rule, on two tensors with drawn bounds."""
    tensors = []
    for name in "ab":
        low, high = sorted((draw(_ENDS), draw(_ENDS)))
        high = high if high > low else low + 1.0
        tensors.append(Tensor(name, ("N", 4), "numbers", low=low, high=high))
    op = Op("drawn", lambda a, b: a, tuple(tensors), (Tensor("y", ("N", 4)),))
    variant = Variant.make(op, precision="fp16", ranges={"N": Range(1, 4, 8)})
    nodes: list[onnx.NodeProto] = []
    constants = {"c0": [0.0], "c1": [1e-7], "c2": [1.0, -2.0, 0.5, 4.0], "c3": [2.0**-126]}
    pools: dict[int, list[str]] = {kind: [] for kind in _KINDS}

    def add(operator: str, inputs: list[str], kind: int, **given: Any) -> None:
        name = f"x{len(nodes)}"
        nodes.append(helper.make_node(operator, inputs, [name], name=name, **given))
        pools[kind].append(name)

    for name in "ab":
        pools[TensorProto.FLOAT16].append(name)
        add("Cast", [name], TensorProto.FLOAT, to=TensorProto.FLOAT)
    for _ in range(draw(st.integers(3, 12))):
        kind = draw(st.sampled_from(_KINDS))
        wide = kind == TensorProto.FLOAT
        one = draw(st.sampled_from(pools[kind]))
        other = draw(st.sampled_from([*pools[kind], *(constants if wide else ())]))
        match draw(st.sampled_from(("one", "two", "two", "two", "cast", "where", "sum", "most"))):
            case "one":
                add(draw(st.sampled_from(_ONE)), [one], kind)
            case "two":
                add(draw(st.sampled_from(_TWO)), [one, other], kind)
            case "cast":
                to = _KINDS[wide]
                add("Cast", [one], to, to=to)
            case "where":
                test = draw(st.sampled_from(("Equal", "Less", "Greater")))
                nodes.append(helper.make_node(test, [one, other], [f"t{len(nodes)}"]))
                add("Where", [f"t{len(nodes) - 1}", other, one], kind)
            case "sum":
                add("ReduceSum", [one, "last"], kind, keepdims=1)
            case "most":
                add("ReduceMax", [one, "last"], kind, keepdims=1)
    given_tensors = [helper.make_tensor_value_info(n, TensorProto.FLOAT16, ["N", 4]) for n in "ab"]
    last = nodes[-1].output[0]
    kind = next(kind for kind in _KINDS if last in pools[kind])
    stored = [helper.make_tensor(n, TensorProto.FLOAT, [len(v)], v) for n, v in constants.items()]
    stored.append(helper.make_tensor("last", TensorProto.INT64, [1], [-1]))
    result = helper.make_tensor_value_info(last, kind, None)
    graph = helper.make_graph(nodes, "drawn", given_tensors, [result], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    return inlined(model), variant


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_every_number_is_allowed(drawn: tuple[onnx.ModelProto, Variant]) -> None:
    model, variant = drawn
    assert check(model, variant, Domain(640.0, 480.0), (1, 4)) > 0


def test_a_wrong_bound_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = rules.Declared(lambda x, _: Interval(0.0, 1.0))
    monkeypatch.setitem(rules.RULES, "Neg", wrong)
    tensors = tuple(Tensor(name, ("N", 4), "numbers", low=1, high=2) for name in "ab")
    variant = Variant.make(Op("drawn", lambda a, b: a, tensors, (Tensor("y", ("N", 4)),)),
                           precision="fp16")  # fmt: skip
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT16, ["N", 4]) for n in ("a", "b")]
    out = [helper.make_tensor_value_info("y", TensorProto.FLOAT16, ["N", 4])]
    graph = helper.make_graph([helper.make_node("Neg", ["a"], ["y"])], "drawn", info, out)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    with pytest.raises(AssertionError, match="Neg"):
        check(inlined(model), variant, Domain(640.0, 480.0), (2,))
