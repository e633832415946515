"""TensorRT has no float64: it reads the casts around a float64 sum as casts of float32 to itself.

Its compiler stumbles over some of these ("cannot create std::vector larger than max_size()"), so
they are taken out before it sees the graph. It adds in a tree and needs no wider accumulator.
"""

import onnx


def without_float64(model: bytes) -> bytes:
    """The model with every `Cast` to float64, and back to float32, taken away."""
    proto = onnx.load_from_string(model)
    for body in (proto.graph, *proto.functions):
        _strip(body)
    return bytes(proto.SerializeToString(deterministic=True))


def _strip(body: onnx.GraphProto | onnx.FunctionProto) -> None:
    outputs = {item if isinstance(item, str) else item.name for item in body.output}
    source: dict[str, str] = {}
    wide: set[str] = set()
    kept = []
    for node in body.node:
        was_wide = any(name in wide for name in node.input)
        for place, name in enumerate(node.input):
            node.input[place] = source.get(name, name)
        if node.op_type == "Cast":
            to = node.attribute[0].i
            if to == onnx.TensorProto.DOUBLE or (was_wide and to == onnx.TensorProto.FLOAT):
                if to == onnx.TensorProto.DOUBLE:
                    wide.add(node.output[0])
                if node.output[0] not in outputs:
                    source[node.output[0]] = node.input[0]
                    continue
                node.op_type = "Identity"
                del node.attribute[:]
        elif was_wide:
            wide.update(node.output)
        kept.append(node)
    nodes = list(kept)
    del body.node[:]
    body.node.extend(nodes)
