"""Checks on each message of an ONNX file, made as soon as it has been read.

Of each message only the part that `inlining` needs is kept, so a refused file costs no more than
the part of it that was read.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lossexport.runtime.guard.schema import MAX_RANK, STORAGE, STRING, STRING_BYTES
from lossexport.runtime.wire import Message, WireError

_WIRE_BYTES = {"float_data": 4, "double_data": 8}
_SPARSE_BYTES = 4  # the least that an element of a sparse tensor counts for: filling takes time


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds on a file.

    `nodes` bounds the nodes of the file, and the nodes after inlining including the calls. `moves`
    counts each of these once for every call around it, because inlining takes one level at a time.
    `depth` bounds how deep graphs are nested, `elements` the fixed dimensions of a declared type,
    `fields` all protobuf fields and all names of nodes after inlining, `messages` the messages of
    any one kind. `memory` is the number of bytes that all tensors may take beyond their bytes in
    the file, including copies and sparse tensors. `work` is the number of steps, of about a
    nanosecond each, that graph optimisation may take, with 32 more for each byte of the file.
    """

    nodes: int = 50_000
    moves: int = 250_000
    functions: int = 256
    depth: int = 16
    tensors: int = 50_000
    elements: int = 2**28
    fields: int = 1_000_000
    messages: int = 200_000
    memory: int = 2**26
    work: int = 2**30

    def most(self, kinds: Mapping[str, Any]) -> dict[str, int]:
        """How many messages of each kind there may be."""
        bounds = {
            "node": self.nodes,
            "function": self.functions,
            "tensor": self.tensors,
            "sparse": self.tensors,
        }
        return {kind: bounds.get(kind, self.messages) for kind in kinds}


@dataclass(slots=True)
class Tensor:
    """A tensor with its number of elements and the bytes that it takes in memory."""

    where: str
    name: str
    count: int
    memory: int
    seen: bool = False


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute that holds tensors or graphs, or refers to one of the calling node by `ref`."""

    name: str
    ref: str
    tensors: tuple[Tensor, ...]
    graphs: tuple["Graph", ...]
    count: int


@dataclass(frozen=True, slots=True)
class Node:
    """A node. `call` is the name by which runtimes look for its function, `plain` the same without
    the overload, by which onnxruntime looks within functions."""

    call: str
    plain: str
    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: list[Attribute]


@dataclass(frozen=True, slots=True)
class Body:
    """The nodes of a graph or a function; `constants` are the elements of each constant by name."""

    nodes: list[Node]
    constants: dict[str, int]


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph. `sizes` are the dimensions of its inputs, None where they are open."""

    body: Body
    tensors: list[Tensor]
    sizes: dict[str, tuple[int | None, ...]]
    outputs: list[str]
    initializers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Function:
    """A function; `call` is its name as that of `Node.call`."""

    where: str
    call: str
    inputs: list[str]
    outputs: list[str]
    body: Body
    defaults: list[Attribute]


class Checks:
    """The functions for `Reader.finish`, and the part of the budget that tensors have used."""

    def __init__(self, limits: Limits) -> None:
        """Start with the whole budget."""
        self.limits = limits
        self.memory = 0

    def finish(self) -> dict[str, Callable[[Message], Any]]:
        """The functions by the kind of message."""
        return {
            "graph": self.graph,
            "function": self.function,
            "node": self.node,
            "attribute": self.attribute,
            "tensor": self.tensor,
            "sparse": self.sparse,
            "value": self.value,
            "type": self.type,
            "shape": self.shape,
            "dim": lambda dim: dim.get("dim_value", _OPEN),
        }

    def spend(self, where: str, memory: int) -> None:
        """Take bytes that are not in the file from the budget."""
        self.memory += memory
        if self.memory > self.limits.memory:
            raise WireError(
                f"{where}: the tensors up to here take {self.memory} bytes more than they have in "
                f"the file, more than the limit of {self.limits.memory}"
            )

    def graph(self, graph: Message) -> Graph:
        """Gather a graph."""
        tensors: list[Tensor] = [*graph.many("initializer"), *graph.many("sparse_initializer")]
        constants = {tensor.name: tensor.count for tensor in tensors}
        return Graph(
            _body(graph, constants),
            tensors,
            dict(graph.many("input")),
            [name for name, _ in graph.many("output")],
            frozenset(constants),
        )

    def function(self, function: Message) -> Function:
        """Gather a function.

        onnxruntime and the inliner of onnx find it by one string of domain, name and overload, so
        ("d", "f:o", "") and ("d", "f", "o") are the same function.
        """
        call = f"{_domain(function)}:{function.get('name', '')}"
        return Function(
            function.where,
            f"{call}:{overload}" if (overload := function.get("overload")) else call,
            function.many("input"),
            function.many("output"),
            _body(function, {}),
            function.many("attribute_proto"),
        )

    def node(self, node: Message) -> Node:
        """Gather a node."""
        domain, op, get = _domain(node), node.get("op_type", ""), node.get
        plain = f"{domain}:{op}"
        return Node(
            f"{plain}:{overload}" if (overload := get("overload")) else plain,
            plain,
            plain if domain else op,
            get("input", _NONE),
            get("output", _NONE),
            get("attribute", _NONE),
        )

    def attribute(self, attribute: Message) -> Attribute | None:
        """Gather an attribute; None if nothing in it counts."""
        name, ref = attribute.get("name", ""), attribute.get("ref_attr_name", "")
        tensors = tuple(_both(attribute, "t", "tensors", "sparse_tensor", "sparse_tensors"))
        graphs = tuple(_both(attribute, "g", "graphs"))
        count = attribute.get("ints", 0) + attribute.get("floats", 0)
        if not (tensors or graphs or ref or (count and name.startswith("value"))):
            return None
        return Attribute(name, ref, tensors, graphs, count)

    def tensor(self, tensor: Message) -> Tensor:
        """Check that the data of a tensor fills its dimensions."""
        where = tensor.where
        if tensor.get("external_data") or tensor.get("data_location"):
            raise WireError(f"{where}.external_data: refused, data outside of the file")
        dims: list[int] = tensor.get("dims", [])
        bits, typed, entries = storage(tensor)
        count = elements(dims, f"{where}.dims")
        memory = count * STRING_BYTES if typed == "string_data" else math.ceil(count * bits / 8)
        raw: memoryview | None = tensor.get("raw_data")
        if raw is None or tensor.get("data_type") == STRING:
            stored, wanted, unit = tensor.get(typed, 0), math.ceil(count * entries), "entries"
            size = stored * _WIRE_BYTES.get(typed, 1)
        else:
            typed, stored, wanted, unit = "raw_data", len(raw), math.ceil(count * bits / 8), "bytes"
            size = stored
        if stored != wanted:
            raise WireError(f"{where}.{typed}: {stored} {unit}, dims {dims} need {wanted}")
        self.spend(where, max(memory - size, 0))
        return Tensor(where, tensor.get("name", ""), count, memory)

    def sparse(self, sparse: Message) -> Tensor:
        """Count a sparse tensor as the dense one that runtimes make of it."""
        dims: list[int] = sparse.get("dims", [])
        count = elements(dims, f"{sparse.where}.dims")
        values: Tensor | None = sparse.get("values")
        each = math.ceil(values.memory / values.count) if values and values.count else 0
        memory = count * max(each, _SPARSE_BYTES)
        self.spend(f"{sparse.where}.dims", memory)
        return Tensor(sparse.where, values.name if values else "", count, memory)

    def value(self, value: Message) -> tuple[str, tuple[int | None, ...]]:
        """Name and declared dimensions of a tensor, () where none are declared."""
        return value.get("name", ""), value.get("type", ())

    def type(self, declared: Message) -> tuple[int | None, ...]:
        """The dimensions that a type declares."""
        tensor: Message | None = declared.get("tensor_type")
        found: tuple[int | None, ...] = tensor.get("shape", ()) if tensor is not None else ()
        return found

    def shape(self, shape: Message) -> tuple[int | None, ...]:
        """Check declared dimensions."""
        dims = shape.many("dim")
        fixed = [dim for dim in dims if dim is not _OPEN]
        if (count := elements(fixed, shape.where)) > self.limits.elements:
            raise WireError(
                f"{shape.where}: {fixed} has {count} elements, "
                f"more than the limit of {self.limits.elements}"
            )
        return tuple(None if dim is _OPEN else dim for dim in dims)


_NONE: list[Any] = []
_OPEN = object()
"""A dimension without a size; None would be dropped by the reader."""


def storage(tensor: Message) -> tuple[int, str, float]:
    """The row of STORAGE for a tensor."""
    if (data_type := tensor.get("data_type", 0)) not in STORAGE:
        raise WireError(f"{tensor.where}.data_type: {data_type} is not known")
    return STORAGE[data_type]


def elements(dims: list[int], where: str) -> int:
    """The number of elements. Raises WireError on impossible dimensions."""
    if len(dims) > MAX_RANK:
        raise WireError(f"{where}: {len(dims)} dimensions, more than {MAX_RANK}")
    if any(dim < 0 for dim in dims):
        raise WireError(f"{where}: {dims} has a negative dimension")
    return math.prod(dims)


def _body(owner: Message, constants: dict[str, int]) -> Body:
    nodes: list[Node] = owner.many("node")
    for node in nodes:
        if node.op == "Constant" and node.outputs:
            constants[node.outputs[0]] = sum(constant_sizes(node.attributes)) or 1
    return Body(nodes, constants)


def constant_sizes(attributes: list[Attribute]) -> Iterator[int]:
    """The numbers of elements of the values that a Constant node holds."""
    for attribute in attributes:
        yield attribute.count + sum(tensor.count for tensor in attribute.tensors)


def _both(message: Message, *names: str) -> Iterator[Any]:
    """The contents of fields and of their repeated forms."""
    for name in names:
        found = message.get(name, [])
        yield from found if isinstance(found, list) else [found]


def _domain(message: Message) -> str:
    domain: str = message.get("domain", "")
    return "" if domain == "ai.onnx" else domain
