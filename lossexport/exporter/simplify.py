"""Remove from a gradient graph what differentiating a sum leaves behind.

Autograd seeds the gradient of a sum with a tensor of ones of the size of its terms: `Shape`,
`Expand`, then products with 1 and -1 all along the chain. A tensor whose elements are all one known
number may as well be that number wherever it is broadcast against a full tensor.
"""

import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

# What moves elements and computes nothing.
_MOVES = ("Expand", "Slice", "Split", "Squeeze", "Unsqueeze", "Reshape", "Transpose")
_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: a / b,
}


def simplify(model: ir.Model) -> None:
    """Fold uniform tensors into scalars, in place."""
    graph = model.graph
    numbers: dict[ir.Value, float] = {}
    for value in graph.initializers.values():
        if value.const_value is not None and value.shape is not None and value.shape.rank() == 0:
            array = value.const_value.numpy()
            if array.dtype == np.float32 and math.isfinite(array):
                numbers[value] = float(array)
    uniform: dict[ir.Value, float] = {}
    for node in list(graph):
        known = [uniform.get(x, numbers.get(x)) if x is not None else None for x in node.inputs]
        out = node.outputs[0]
        if node.op_type in _MOVES and known[0] is not None:
            uniform |= dict.fromkeys(node.outputs, known[0])
        elif node.op_type == "Neg" and known[0] is not None:
            uniform[out] = -known[0]
        elif node.op_type in _ARITHMETIC and any(x in uniform for x in node.inputs):
            left, right = known
            if left is not None and right is not None:
                uniform[out] = _ARITHMETIC[node.op_type](left, right)
            else:
                _fold(graph, node, uniform)
    RemoveUnusedNodesPass()(model)


def _fold(graph: ir.Graph, node: ir.Node, uniform: dict[ir.Value, float]) -> None:
    """Put a number in the place of a uniform operand of `node`, or take the node away."""
    place = 0 if node.inputs[0] in uniform else 1
    operand, other = node.inputs[place], node.inputs[1 - place]
    out = node.outputs[0]
    if operand is None or other is None or other.shape is None or other.shape != out.shape:
        return
    number = uniform[operand]
    if node.op_type == "Mul" and number in (1.0, -1.0):
        replacement = other
        if number == -1.0:
            negated = ir.node("Neg", [other])
            graph.insert_before(node, negated)
            replacement = negated.outputs[0]
            replacement.shape, replacement.type = out.shape, out.type
        if not out.is_graph_output():
            out.replace_all_uses_with(replacement)
        return
    node.replace_input_with(place, _scalar(graph, number))


def _scalar(graph: ir.Graph, number: float) -> ir.Value:
    name = f"uniform_{number!r}"
    if name not in graph.initializers:
        value = ir.Value(
            name=name,
            shape=ir.Shape(()),
            type=ir.TensorType(ir.DataType.FLOAT),
            const_value=ir.tensor(np.array(number, np.float32), name=name),
        )
        graph.register_initializer(value)
    return graph.initializers[name]
