"""One ONNX file for every runtime.

The graph is a single node in the domain `lossexport`, and the file defines a function of the same
name, which is the body of the node. onnxruntime and TensorRT inline the function. If TensorRT has a
plugin with the node's name, `plugin_version` and `plugin_namespace`, it takes the plugin instead,
without any flag. If the plugin's kernel cannot serve the largest size, the node does not ask for a
plugin. If an op needs several kernels, its function is a chain of such nodes, one for each kernel.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import onnx_ir as ir
import torch

from lossexport import __version__
from lossexport.catalog.spec import Attribute, Tensor
from lossexport.catalog.variant import Variant
from lossexport.exporter.trace import body, stage_body
from lossexport.exporter.versions import DOMAIN, OPSET, ir_version
from lossexport.kernels import Kernel, kernels, plugins
from lossexport.runtime.onnx_guard import CLAIM, claim

_ONNX_TYPES = {"float32": "FLOAT", "float16": "FLOAT16", "bfloat16": "BFLOAT16"} | {
    "int64": "INT64",
    "bool": "BOOL",
}
# `aot` asks TensorRT for a plugin's ahead-of-time implementation, which is embedded in the engine.
_PLUGIN = {"plugin_namespace": plugins.NAMESPACE, "plugin_version": plugins.VERSION, "aot": 1}


def onnx_bytes(variant: Variant, opset: int = OPSET) -> bytes:
    """Serialised model of a variant: a single file, the same bytes for the same versions."""
    attributes = _attributes(variant, variant.op.attributes)
    functions = []
    if stages := kernels(variant.op, variant.gradient) if variant.op.stages else ():
        functions = [_stage(kernel, variant, opset) for kernel in stages]
        graph = _chain(variant, stages, opset)
    else:
        graph = _cleaned(body(variant, opset).graph, variant.op.name)
        if variant.pluggable:
            attributes |= _PLUGIN
    inputs = [_value(variant, tensor) for tensor in variant.op.inputs]
    outputs = [_value(variant, tensor) for tensor in variant.outputs]
    node = ir.node(
        variant.node_type,
        inputs,
        attributes,
        domain=DOMAIN,
        outputs=outputs,
        name=variant.op.name,
    )
    doc = f"{variant.op.summary} {variant.op.formula}"
    model = ir.Model(
        ir.Graph(
            inputs,
            outputs,
            nodes=[node],
            opset_imports={"": opset, DOMAIN: 1},
            name=variant.op.name,
        ),
        ir_version=ir_version(opset),
        producer_name="lossexport",
        producer_version=__version__,
        functions=[*functions, _function(variant.node_type, doc, graph, attributes)],
        metadata_props=metadata(variant),
    )
    proto = ir.to_proto(model)
    digest = claim(proto.SerializeToString(deterministic=True), model.metadata_props)
    proto.metadata_props.add(key=CLAIM, value=digest)
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def raised(data: bytes, opset: int) -> bytes:
    """A model that is declared to be of a later opset, for opsets that change no operator of it."""
    model = ir.from_proto(onnx.load_from_string(data))
    for imports in (model.opset_imports, *(f.opset_imports for f in model.functions.values())):
        imports[""] = opset
    later: bytes = ir.to_proto(model).SerializeToString(deterministic=True)
    return later


def _attributes(variant: Variant, wanted: Sequence[Attribute]) -> dict[str, Any]:
    values = {item.name: variant.attributes[item.name] for item in wanted}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value is not None
    }


def metadata(variant: Variant) -> dict[str, str]:
    """The metadata that the file has about itself."""
    return {
        "lossexport.op": variant.op.name,
        "lossexport.kind": "gradient" if variant.gradient else "value",
        "lossexport.attributes": json.dumps(dict(variant.attributes), sort_keys=True),
        "lossexport.precision": variant.precision,
        "lossexport.version": __version__,
        "lossexport.torch": str(torch.__version__).split("+")[0],
        "lossexport.reference": "; ".join(ref.link for ref in variant.op.references),
    }


def _value(variant: Variant, tensor: Tensor) -> ir.Value:
    dtype = ir.DataType[_ONNX_TYPES[variant.numpy_dtype(tensor)]]
    return ir.Value(
        name=tensor.name, shape=ir.Shape(variant.shape(tensor)), type=ir.TensorType(dtype)
    )


def _stage(kernel: Kernel, variant: Variant, opset: int) -> ir.Function:
    graph = _cleaned(stage_body(kernel, variant, opset).graph, kernel.name)
    # TensorRT's parser has a single namespace for the values of all functions.
    for node in graph:
        for value in node.outputs:
            if not value.is_graph_output():
                value.name = f"{kernel.name}.{value.name}"
    doc = f"A part of {variant.node_type}."
    return _function(kernel.name, doc, graph, _attributes(variant, kernel.attributes) | _PLUGIN)


def _chain(variant: Variant, stages: Sequence[Kernel], opset: int) -> ir.Graph:
    """A graph of the stages of a variant, each of them a node that a plugin may replace."""
    inputs = [ir.Value(name=tensor.name) for tensor in variant.op.inputs]
    values = {str(value.name): value for value in inputs}
    nodes = []
    for kernel in stages:
        node = ir.node(
            kernel.name,
            [values[tensor.name] for tensor in kernel.inputs],
            _attributes(variant, kernel.attributes) | _PLUGIN,
            domain=DOMAIN,
            outputs=[ir.Value(name=tensor.name) for tensor in kernel.outputs],
            name=f"{variant.op.name}.{kernel.name}",
        )
        nodes.append(node)
        values |= {str(value.name): value for value in node.outputs}
    made = {tensor.name: tensor.dtype for kernel in stages for tensor in kernel.outputs}
    for tensor in variant.outputs:
        dtype = variant.numpy_dtype(tensor)
        if made[tensor.name] == "float32" != dtype:
            wide = values[tensor.name]
            wide.name = f"{tensor.name}.wide"
            name = f"{variant.op.name}.{tensor.name}"
            cast = ir.node("Cast", [wide], {"to": ir.DataType[_ONNX_TYPES[dtype]]}, name=name)
            values[tensor.name] = cast.outputs[0]
            values[tensor.name].name = tensor.name
            nodes.append(cast)
    outputs = [values[tensor.name] for tensor in variant.outputs]
    return ir.Graph(inputs, outputs, nodes=nodes, opset_imports={"": opset, DOMAIN: 1})


def _cleaned(graph: ir.Graph, name: str) -> ir.Graph:
    """A traced graph as the body of a function: without initializers, shapes and metadata."""
    constants = []
    for value in list(graph.initializers.values()):
        constant = ir.node("Constant", [], {"value": value.const_value})
        constant.outputs[0].name = value.name
        value.replace_all_uses_with(constant.outputs[0])
        constants.append(constant)
    graph.initializers.clear()
    first = graph[0]
    graph.insert_before(first, constants)
    for index, node in enumerate(graph.all_nodes()):
        # Unique names: the parser warns of duplicates when it inlines. The exporter's own
        # metadata holds paths of this machine.
        node.name = f"{name}.{index}.{node.op_type}"
        node.metadata_props.clear()
        node.doc_string = None
    for scope in (graph, *graph.subgraphs()):
        scope.metadata_props.clear()
        for value in (*scope.inputs, *(output for node in scope for output in node.outputs)):
            value.metadata_props.clear()
            if scope is graph or not (value.is_graph_input() or value.is_graph_output()):
                value.shape = value.type = None
            elif value.shape is not None:
                # The body of a Loop has to state the types and shapes of its inputs and outputs.
                sizes = (size if isinstance(size, int) else None for size in value.shape)
                value.shape = ir.Shape(sizes)
    return graph


def _function(name: str, doc: str, graph: ir.Graph, attributes: Mapping[str, Any]) -> ir.Function:
    declared = [
        ir.Attr(name, ir.convenience.convert_attribute(name, value).type, None)
        for name, value in attributes.items()
    ]
    function = ir.Function(DOMAIN, name, graph=graph, attributes=declared)
    function.doc_string = doc
    return function
