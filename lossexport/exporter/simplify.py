"""Removes nodes from a graph that only tracing, or differentiating a sum, has added.

The gradient of a sum begins with a tensor of ones that is as large as the terms. This adds `Shape`,
`Expand`, and products with 1 and -1 all along the chain. A tensor whose elements are all the same
known number can be replaced by that number if it is broadcast against a full tensor.
"""

import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import onnxscript.optimizer
from onnx_ir.passes.common import (
    InlinePass,
    LiftConstantsToInitializersPass,
    RemoveUnusedNodesPass,
)

# Operators that move elements and compute nothing.
_MOVES = ("Expand", "Slice", "Split", "Squeeze", "Unsqueeze", "Reshape", "Transpose")
_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: a / b,
}


def optimise(model: ir.Model) -> None:
    """Fold constants and remove nodes that compute nothing, in place.

    onnxscript also removes `x + c` and `x * c` if c is within 1e-8 or 1e-5 of 0 or 1, and so an
    eps of 1e-9. To prevent this, such numbers are inputs of the graph in the meantime.
    """
    InlinePass()(model)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    graph = model.graph
    numbers = {x: x.const_value for x in graph.initializers.values() if _nearly_neutral(x)}
    for value in numbers:
        del graph.initializers[str(value.name)]
        graph.inputs.append(value)
        value.const_value = None
    onnxscript.optimizer.optimize(model)
    for value, number in numbers.items():
        graph.inputs.remove(value)
        value.const_value = number
        if value.uses():
            graph.register_initializer(value)


def _nearly_neutral(value: ir.Value) -> bool:
    if value.const_value is None or value.const_value.size != 1:
        return False
    number = float(value.const_value.numpy().item())
    return any(
        number != neutral and math.isclose(number, neutral, rel_tol=1e-4, abs_tol=1e-7)
        for neutral in (0.0, 1.0)
    )


def name_axes(model: ir.Model) -> None:
    """Count the axes of reductions from the front, in place.

    Of a tensor without elements, onnxruntime before 1.32 reduces no axis that is counted from the
    end.
    """
    for node in model.graph.all_nodes():
        if not node.op_type.startswith("Reduce") or len(node.inputs) < 2:
            continue
        operand, axes = node.inputs[:2]
        if operand is None or operand.shape is None or axes is None or axes.const_value is None:
            continue
        numbers = axes.const_value.numpy()
        if (numbers < 0).any():
            front = ir.node("Constant", [], {"value": ir.tensor(numbers % operand.shape.rank())})
            assert node.graph is not None
            node.graph.insert_before(node, front)
            node.replace_input_with(1, front.outputs[0])


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
    """Replace a uniform operand of `node` by a number, or remove the node."""
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
