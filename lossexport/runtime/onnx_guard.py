"""Bounds on an ONNX file, checked before any runtime sees its bytes.

Needs neither `onnx` nor `protobuf`. It bounds what a file *states*: nodes after inlining, nesting,
tensor sizes, external data. What a valid graph computes at run time is not its concern.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from lossexport.errors import LossexportError
from lossexport.runtime.wire import Message, Reader, Schema, WireError


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may hold.

    `nodes` counts every function call as inlined and graphs nested in attributes, `depth` is how
    deep these nest, `elements` bounds the fixed dimensions of a declared type or sparse tensor,
    `fields` the protobuf fields in all.
    """

    nodes: int = 50_000
    functions: int = 256
    depth: int = 16
    elements: int = 2**28
    fields: int = 2_000_000


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """What a file that was let through states. `nodes` has every function call inlined.

    `sizes` are the dimensions of the inputs, None for symbolic ones.
    """

    ir_version: int
    opsets: dict[str, int]
    nodes: int
    functions: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    sizes: dict[str, tuple[int | None, ...]]
    metadata: dict[str, str]


def check_model(data: bytes, source: str, limits: Limits | None = None) -> ModelSummary:
    """Walk the ONNX model `data`; `source` names it in messages.

    Raises LossexportError, naming file, field and value, for malformed wire data, any external
    data, a tensor whose data does not fill its dimensions, or more than `limits` allow.
    """
    limits = limits or Limits()
    try:
        model = Reader(SCHEMA, limits.fields).read("model", memoryview(data), "model")
        return _Guard(limits).model(model)
    except WireError as error:
        raise LossexportError(f"{source}: {error}") from None


def claim(data: bytes, metadata: Mapping[str, str]) -> str:
    """sha256 of a model, of its metadata only ours, among which it stands as CLAIM.

    A kernel of the op that the metadata name may stand in for the very graph they were written for
    and for no other. Raises WireError on malformed data.
    """
    ours = {k: v for k, v in metadata.items() if k.startswith("lossexport.") and k != CLAIM}
    digest = hashlib.sha256(json.dumps(ours, sort_keys=True).encode())
    for number, wire, value, payload in Reader(SCHEMA, Limits().fields).split(
        memoryview(data), "model"
    ):
        if number != _METADATA_PROPS:
            digest.update(b"%d %d %d %d:" % (number, wire, value, len(payload)))
            digest.update(payload)
    return digest.hexdigest()


CLAIM = "lossexport.claim"
_METADATA_PROPS = 14
SCHEMA: Schema = {
    "model": {
        1: ("ir_version", "int"),
        7: ("graph", "graph"),
        8: ("opset_import", "opset*"),
        _METADATA_PROPS: ("metadata_props", "entry*"),
        20: ("training_info", "training*"),
        25: ("functions", "function*"),
    },
    "opset": {1: ("domain", "text"), 2: ("version", "int")},
    "entry": {1: ("key", "text"), 2: ("value", "text")},
    "training": {1: ("initialization", "graph"), 2: ("algorithm", "graph")},
    "graph": {
        1: ("node", "node*"),
        5: ("initializer", "tensor*"),
        11: ("input", "value*"),
        12: ("output", "value*"),
        13: ("value_info", "value*"),
        15: ("sparse_initializer", "sparse*"),
    },
    "function": {
        1: ("name", "text"),
        7: ("node", "node*"),
        10: ("domain", "text"),
        11: ("attribute_proto", "attribute*"),
        12: ("value_info", "value*"),
        13: ("overload", "text"),
    },
    "node": {
        4: ("op_type", "text"),
        5: ("attribute", "attribute*"),
        7: ("domain", "text"),
        8: ("overload", "text"),
    },
    "attribute": {
        5: ("t", "tensor"),
        6: ("g", "graph"),
        10: ("tensors", "tensor*"),
        11: ("graphs", "graph*"),
        14: ("tp", "type"),
        15: ("type_protos", "type*"),
        22: ("sparse_tensor", "sparse"),
        23: ("sparse_tensors", "sparse*"),
    },
    "sparse": {1: ("values", "tensor"), 2: ("indices", "tensor"), 3: ("dims", "ints")},
    "tensor": {
        1: ("dims", "ints"),
        2: ("data_type", "int"),
        4: ("float_data", "floats"),
        5: ("int32_data", "varints"),
        6: ("string_data", "blobs"),
        7: ("int64_data", "varints"),
        8: ("name", "text"),
        9: ("raw_data", "bytes"),
        10: ("double_data", "doubles"),
        11: ("uint64_data", "varints"),
        13: ("external_data", "blobs"),
        14: ("data_location", "int"),
    },
    "value": {1: ("name", "text"), 2: ("type", "type")},
    "type": {
        1: ("tensor_type", "tensor_type"),
        4: ("sequence_type", "element"),
        5: ("map_type", "map"),
        8: ("sparse_tensor_type", "tensor_type"),
        9: ("optional_type", "element"),
    },
    "element": {1: ("elem_type", "type")},
    "map": {2: ("value_type", "type")},
    "tensor_type": {2: ("shape", "shape")},
    "shape": {1: ("dim", "dim*")},
    "dim": {1: ("dim_value", "int")},
}

_INT, _FLOAT, _DOUBLE, _LONG = "int32_data", "float_data", "double_data", "uint64_data"
_STRING = 8
_STORAGE: dict[int, tuple[int, str, float]] = {
    1: (32, _FLOAT, 1),  # FLOAT
    2: (8, _INT, 1),  # UINT8
    3: (8, _INT, 1),  # INT8
    4: (16, _INT, 1),  # UINT16
    5: (16, _INT, 1),  # INT16
    6: (32, _INT, 1),  # INT32
    7: (64, "int64_data", 1),  # INT64
    _STRING: (0, "string_data", 1),
    9: (8, _INT, 1),  # BOOL
    10: (16, _INT, 1),  # FLOAT16
    11: (64, _DOUBLE, 1),  # DOUBLE
    12: (32, _LONG, 1),  # UINT32
    13: (64, _LONG, 1),  # UINT64
    14: (64, _FLOAT, 2),  # COMPLEX64
    15: (128, _DOUBLE, 2),  # COMPLEX128
    16: (16, _INT, 1),  # BFLOAT16
    17: (8, _INT, 1),  # FLOAT8E4M3FN
    18: (8, _INT, 1),  # FLOAT8E4M3FNUZ
    19: (8, _INT, 1),  # FLOAT8E5M2
    20: (8, _INT, 1),  # FLOAT8E5M2FNUZ
    21: (4, _INT, 0.5),  # UINT4
    22: (4, _INT, 0.5),  # INT4
    23: (4, _INT, 0.5),  # FLOAT4E2M1
    24: (8, _INT, 1),  # FLOAT8E8M0
    25: (2, _INT, 0.25),  # UINT2
    26: (2, _INT, 0.25),  # INT2
    27: (6, _INT, 1),  # FLOAT6E2M3
    28: (6, _INT, 1),  # FLOAT6E3M2
}
"""TensorProto.data_type -> bits of an element in raw_data, typed field, entries an element."""

_MAX_RANK = 64

_Call = tuple[str, str, str]
"""Domain, op type and overload, by which a node finds its function."""


class _Guard:
    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def model(self, model: Message) -> ModelSummary:
        graph: Message | None = model.get("graph")
        if graph is None:
            raise WireError("model.graph: missing, this is not an ONNX model")
        main = self.graph(graph, 1)
        for training in model.many("training_info"):
            for name in ("initialization", "algorithm"):
                if (part := training.get(name)) is not None:
                    main.update(self.graph(part, 1))
        functions = {
            _identity(function, "name"): self.body(function, 1)
            for function in model.many("functions")
        }
        if (stated := len(model.many("functions"))) > self.limits.functions:
            raise WireError(
                f"model.functions: {stated}, more than the limit of {self.limits.functions}"
            )
        if len(functions) < stated:
            raise WireError("model.functions: two of the same domain, name and overload")
        # Files of IR 3 list their initializers as inputs too.
        constants = set(_names(graph, "initializer"))
        return ModelSummary(
            ir_version=model.get("ir_version", 0),
            opsets={o.get("domain", ""): o.get("version", 0) for o in model.many("opset_import")},
            nodes=self.inlined(main, functions),
            functions=len(functions),
            inputs=tuple(name for name in _names(graph, "input") if name not in constants),
            outputs=tuple(_names(graph, "output")),
            sizes={value.get("name", ""): _sizes(value) for value in graph.many("input")},
            metadata={p.get("key", ""): p.get("value", "") for p in model.many("metadata_props")},
        )

    def inlined(self, main: Counter[_Call], functions: dict[_Call, Counter[_Call]]) -> int:
        """Nodes of `main` when every call of a function is replaced by the function's nodes."""
        sizes: dict[_Call, int] = {}
        open_calls: set[_Call] = set()

        def size(body: Counter[_Call]) -> int:
            total = 0
            for call, count in body.items():
                if call in functions and call not in sizes:
                    if call in open_calls:
                        raise WireError(f"model.functions: {'::'.join(call[:2])} calls itself")
                    open_calls.add(call)
                    sizes[call] = size(functions[call])
                    open_calls.remove(call)
                total += count * sizes.get(call, 1)
            if total > self.limits.nodes:
                raise WireError(
                    f"model: {total} nodes with functions inlined, "
                    f"more than the limit of {self.limits.nodes}"
                )
            return total

        return size(main)

    def graph(self, graph: Message, depth: int) -> Counter[_Call]:
        """Check a graph; count its nodes, and those of graphs nested in them, by what they call."""
        if depth > self.limits.depth:
            raise WireError(f"model.graph: graphs nested deeper than {self.limits.depth}")
        for tensor in graph.many("initializer"):
            self.tensor(tensor)
        for sparse in graph.many("sparse_initializer"):
            self.sparse(sparse)
        for name in ("input", "output"):
            for value in graph.many(name):
                self.value(value)
        return self.body(graph, depth)

    def body(self, owner: Message, depth: int) -> Counter[_Call]:
        """The same for what a graph and a function have in common."""
        for value in owner.many("value_info"):
            self.value(value)
        calls: Counter[_Call] = Counter()
        for node in owner.many("node"):
            calls[_identity(node, "op_type")] += 1
            for attribute in node.many("attribute"):
                calls.update(self.attribute(attribute, depth))
        for attribute in owner.many("attribute_proto"):
            calls.update(self.attribute(attribute, depth))
        return calls

    def attribute(self, attribute: Message, depth: int) -> Counter[_Call]:
        calls: Counter[_Call] = Counter()
        for tensor in _both(attribute, "t", "tensors"):
            self.tensor(tensor)
        for sparse in _both(attribute, "sparse_tensor", "sparse_tensors"):
            self.sparse(sparse)
        for declared in _both(attribute, "tp", "type_protos"):
            self.type(declared)
        for graph in _both(attribute, "g", "graphs"):
            calls.update(self.graph(graph, depth + 1))
        return calls

    def tensor(self, tensor: Message) -> None:
        where = tensor.where
        if tensor.get("external_data") or tensor.get("data_location"):
            raise WireError(f"{where}.external_data: refused, data outside of the file")
        data_type = tensor.get("data_type", 0)
        if data_type not in _STORAGE:
            raise WireError(f"{where}.data_type: {data_type} is not known")
        bits, typed, entries = _STORAGE[data_type]
        count = self.elements(tensor.get("dims", []), f"{where}.dims", math.inf)
        raw: memoryview | None = tensor.get("raw_data")
        if raw is None or data_type == _STRING:
            stored, wanted, unit = tensor.get(typed, 0), math.ceil(count * entries), "entries"
        else:
            typed, stored, wanted, unit = "raw_data", len(raw), math.ceil(count * bits / 8), "bytes"
        if stored != wanted:
            raise WireError(
                f"{where}.{typed}: {stored} {unit}, dims {tensor.get('dims', [])} need {wanted}"
            )

    def sparse(self, sparse: Message) -> None:
        for name in ("values", "indices"):
            if (part := sparse.get(name)) is not None:
                self.tensor(part)
        self.elements(sparse.get("dims", []), f"{sparse.where}.dims", self.limits.elements)

    def value(self, value: Message) -> None:
        if (declared := value.get("type")) is not None:
            self.type(declared)

    def type(self, declared: Message) -> None:
        for name in ("tensor_type", "sparse_tensor_type"):
            tensor = declared.get(name)
            if tensor is not None and (shape := tensor.get("shape")) is not None:
                fixed = [dim.get("dim_value", 1) for dim in shape.many("dim")]
                self.elements(fixed, shape.where, self.limits.elements)
        for name, inner in (
            ("sequence_type", "elem_type"),
            ("optional_type", "elem_type"),
            ("map_type", "value_type"),
        ):
            owner = declared.get(name)
            if owner is not None and (element := owner.get(inner)) is not None:
                self.type(element)

    def elements(self, dims: list[int], where: str, limit: float) -> int:
        if len(dims) > _MAX_RANK:
            raise WireError(f"{where}: {len(dims)} dimensions, more than {_MAX_RANK}")
        if any(dim < 0 for dim in dims):
            raise WireError(f"{where}: {dims} has a negative dimension")
        if (count := math.prod(dims)) > limit:
            raise WireError(f"{where}: {dims} is more than the limit of {limit} elements")
        return count


def _both(message: Message, one: str, many: str) -> list[Message]:
    """The messages of a field and of its repeated form."""
    single: Message | None = message.get(one)
    return ([] if single is None else [single]) + message.many(many)


def _names(message: Message, field: str) -> list[str]:
    return [item.get("name", "") for item in message.many(field)]


def _identity(message: Message, name: str) -> _Call:
    domain: str = message.get("domain", "")
    return (
        "" if domain == "ai.onnx" else domain,
        message.get(name, ""),
        message.get("overload", ""),
    )


def _sizes(value: Message) -> tuple[int | None, ...]:
    """The dimensions of a declared tensor, () where none are declared."""
    for name in ("type", "tensor_type", "shape"):
        inner: Message | None = value.get(name)
        if inner is None:
            return ()
        value = inner
    return tuple(dim.get("dim_value") for dim in value.many("dim"))
