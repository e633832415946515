"""Bringing a detector to a newer opset without changing what it computes.

onnx's version converter does most of the work. Where it is known to change values, its nodes are
corrected here to compute what onnxruntime computes for the old ones. Nodes that cannot be expressed
in the new opset are refused by name.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnx.version_converter
import onnx_ir as ir

from lossexport.errors import LossexportError, one_line


def to_opset(path: Path, model: ir.Model, opset: int) -> ir.Model:
    """`model` at `opset`, or unchanged if it has that or a newer one, with types and shapes.

    If it is converted, its functions are inlined. Raises LossexportError if that is impossible.
    """
    present = model.opset_imports[""]
    proto = ir.to_proto(model)
    try:
        if present < opset:
            if proto.functions:
                proto = onnx.inliner.inline_local_functions(proto, convert_version=True)
            _refuse_lost(path, ir.from_proto(proto), present)
            proto = onnx.version_converter.convert_version(proto, opset)
            model = ir.from_proto(proto)
            _mend(model, present)
            proto = ir.to_proto(model)
        return ir.from_proto(onnx.shape_inference.infer_shapes(proto, data_prop=True))
    except LossexportError:
        raise
    except Exception as error:  # the converter raises RuntimeError, onnx-ir its own
        raise LossexportError(
            f"{path}: cannot be brought from opset {present} to {opset}: {one_line(error)}; "
            f"export the detector with opset {opset} or newer"
        ) from error


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Every node of the standard domain, those of nested graphs too."""
    found = ir.traversal.RecursiveGraphIterator(model.graph)
    return (node for node in found if node.domain in ("", "ai.onnx"))


def _refuse_lost(path: Path, model: ir.Model, present: int) -> None:
    """Refuse nodes that later opsets have no equivalent of."""
    for node in _nodes(model):
        lost = None
        if node.op_type == "Scan" and present < 9:
            lost = "a batch axis"
        elif node.op_type == "BatchNormalization" and present < 9 and _int(node, "spatial", 1) != 1:
            lost = "spatial=0"
        if lost:
            raise LossexportError(
                f"{path}: node {node.name or node.outputs[0].name!r}: {node.op_type} of opset "
                f"{present} has {lost}, which newer opsets lack; export the detector with opset "
                f"{max(present + 1, 9)} or newer"
            )


def _mend(model: ir.Model, present: int) -> None:
    """Give the nodes that were converted the values they had at opset `present`."""
    for node in list(_nodes(model)):
        if node.op_type in _MENDS:
            below, mend = _MENDS[node.op_type]
            if present < below:
                mend(node)


def _resize(node: ir.Node) -> None:
    """Until 11 the corners of pixels are scaled, not their centres, and `nearest` rounds down where
    it enlarges and up where it shrinks."""
    node.attributes["coordinate_transformation_mode"] = ir.AttrString(
        "coordinate_transformation_mode", "asymmetric"
    )
    mode = node.attributes.get("mode")
    if mode is not None and mode.as_string() != "nearest":
        return
    scales = node.inputs[2]
    tensor = None if scales is None else ir.convenience.get_const_tensor(scales)
    known = None if tensor is None else tensor.numpy()
    if known is not None and (known >= 1).all():
        _round(node, "floor")
    elif known is not None and (known <= 1).all():
        _round(node, "ceil")
    else:  # first the axes that are enlarged, then those that are shrunk
        _round(node, "ceil")
        one = _constant(node, "one", np.array(1, np.float32))
        up, down = (_before(node, name, name.title(), [scales, one], {}) for name in ("max", "min"))
        values = {name: attribute.value for name, attribute in node.attributes.items()}
        first = [node.inputs[0], node.inputs[1], up]
        larger = _before(node, "larger", "Resize", first, values | {"nearest_mode": "floor"})
        node.replace_input_with(0, larger)
        node.replace_input_with(2, down)


def _round(node: ir.Node, mode: str) -> None:
    node.attributes["nearest_mode"] = ir.AttrString("nearest_mode", mode)


def _hardmax(node: ir.Node) -> None:
    """Until 13 it takes the axes from `axis` on as one, by default from 1."""
    x, axis = node.inputs[0], _int(node, "axis", 1)
    shape = _before(node, "shape", "Shape", [x], {})
    rows = _before(node, "rows", "Flatten", [x], {"axis": axis})
    largest = _before(node, "largest", "Hardmax", [rows], {"axis": -1})
    back = ir.node("Reshape", [largest, shape], name=node.name)
    assert node.graph is not None
    ir.convenience.replace_nodes_and_values(
        node.graph, node, [node], [back], node.outputs, back.outputs
    )


def _pad(node: ir.Node) -> None:
    """Drop a value that the mode does not use: newer opsets have no such attribute."""
    node.attributes.pop("value", None)


_MENDS: dict[str, tuple[int, Callable[[ir.Node], None]]] = {
    "Resize": (11, _resize),  # Upsample becomes one
    "Hardmax": (13, _hardmax),
    "Pad": (11, _pad),
}
"""Operator -> the opset that gave it its newer meaning, and the correction below that."""


def _int(node: ir.Node, name: str, default: int) -> int:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def _constant(node: ir.Node, name: str, array: np.ndarray) -> ir.Value:
    return _before(node, name, "Constant", [], {"value": ir.tensor(array)})


def _before(
    node: ir.Node,
    name: str,
    op_type: str,
    inputs: list[ir.Value | None],
    attributes: dict[str, Any],
) -> ir.Value:
    """The output of a node added in front of `node`, named after what that gives."""
    stem = f"{node.outputs[0].name}.lossexport.{name}"
    made = ir.node(op_type, inputs, attributes, outputs=[ir.Value(name=stem)], name=stem)
    assert node.graph is not None
    node.graph.insert_before(node, made)
    return made.outputs[0]
