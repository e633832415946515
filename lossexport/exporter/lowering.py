"""Writes nodes in the forms of opset 17, where torch and expressions use those of opset 18.

Opset 18 made the axes of a reduction an input and gave Split the number of its parts. onnx's own
version converter leaves functions and some loops as they are, so nodes are rewritten here, and one
that has no form in the older opset is refused by name.
"""

from collections.abc import Iterable

import onnx
import onnx_ir as ir

from lossexport.errors import LossexportError
from lossexport.exporter.versions import TRACED_OPSET

_REDUCTIONS = frozenset(
    f"Reduce{name}"
    for name in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
)


def lower(nodes: Iterable[ir.Node], opset: int) -> None:
    """Rewrite `nodes`, whose forms are those of opset 18, in place, for an older `opset`.

    Raises LossexportError on a node without a form in that opset.
    """
    if opset >= TRACED_OPSET:
        return
    for node in nodes:
        if node.domain not in ("", "ai.onnx"):
            continue
        if node.op_type in _REDUCTIONS:
            _state_axes(node)
        elif node.op_type == "Split" and _parts_are_equal(node):
            node.attributes.pop("num_outputs", None)
        _check(node, opset)


def _state_axes(node: ir.Node) -> None:
    """The axes as an attribute instead of an input; `None` stands for all."""
    keeps_all = node.attributes.pop("noop_with_empty_axes", None)
    if len(node.inputs) < 2 or node.inputs[1] is None:
        if keeps_all is not None and keeps_all.as_int():
            node.op_type = "Identity"
            node.attributes.clear()
        return
    axes = node.inputs[1]
    known = ir.convenience.get_const_tensor(axes)
    if known is None:
        return
    node.resize_inputs(1)
    node.attributes["axes"] = ir.AttrInt64s("axes", known.numpy().tolist())
    if axes.is_initializer() and not axes.uses() and node.graph is not None:
        node.graph.initializers.pop(str(axes.name), None)


def _parts_are_equal(node: ir.Node) -> bool:
    """Whether Split divides without a rest, which the older one does if nothing is said."""
    parts = node.attributes.get("num_outputs")
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    if parts is None or shape is None:
        return False
    axis = node.attributes.get("axis")
    size = shape[axis.as_int() if axis is not None else 0]
    return isinstance(size, int) and size % parts.as_int() == 0


def _check(node: ir.Node, opset: int) -> None:
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, "")
        fits = len(node.inputs) <= schema.max_input and set(node.attributes) <= {*schema.attributes}
        if node.op_type.startswith("Scatter") and "reduction" in node.attributes:
            fits = node.attributes["reduction"].as_string() not in ("max", "min")
    except onnx.defs.SchemaError:
        fits = False
    if not fits:
        raise LossexportError(
            f"{node.op_type} cannot be written for opset {opset}, because it is of opset "
            f"{TRACED_OPSET} or its axes are computed; use opset {TRACED_OPSET} or newer"
        )
