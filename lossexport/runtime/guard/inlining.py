"""A walk through a model as a runtime inlines it: every call replaced by the function's nodes."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Optional

from lossexport.runtime.guard.folding import fold
from lossexport.runtime.guard.reading import (
    Attribute,
    Body,
    Function,
    Graph,
    Limits,
    Node,
    Tensor,
    constant_sizes,
)
from lossexport.runtime.guard.schema import MAX_RANK
from lossexport.runtime.wire import WireError

FOLD_BYTES = (2**30, 2**24, 2**16, 0)
"""Limits of the bytes of an output that is folded; the first one that keeps the work in bounds is
used. The largest is onnxruntime's own; at 0 nothing is folded."""

_USE = 4  # steps to repack an element of a constant for a node that uses it


@dataclass(frozen=True, slots=True)
class Plan:
    """How much graph optimisation keeps within the bounds.

    `fold_bytes` is the largest output to fold, one of FOLD_BYTES; without `optimise` the nodes must
    run as they are, and constants must not be repacked.
    """

    fold_bytes: int
    optimise: bool


Bound = tuple[Attribute, "Attributes"]
"""An attribute, and the attributes that its own references stand for."""


class Attributes(dict[str, Bound]):
    """The attributes of a call by name."""

    def resolve(self, attribute: Attribute) -> Bound | None:
        """The attribute that `attribute` is within the called function; None if nothing counts."""
        return self.get(attribute.ref) if attribute.ref else (attribute, self)


@dataclass(slots=True)
class _Scope:
    """The number of elements of each constant by name; None for a name that is no constant."""

    names: dict[str, int | None]
    outer: Optional["_Scope"] = None

    def get(self, name: str, unknown: int | None) -> int | None:
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.outer
        return unknown


def plan(
    main: Graph,
    others: Iterable[Graph],
    functions: Mapping[str, Function],
    limits: Limits,
    size: int,
    spend: Callable[[str, int], None],
) -> tuple[int, Plan]:
    """Count the nodes after inlining, and choose a plan for a file of `size` bytes.

    `others` are only counted. Raises WireError if there are too many nodes. `spend` is called with
    the memory of each copy of a tensor, and raises if that is too much.
    """
    main = replace(main, body=_in_order(main.body))
    counted = 0
    allowed = limits.work + 32 * size
    for cap in FOLD_BYTES:
        walk = _Walk(functions, limits, spend, cap)
        walk.graph(main, None, Attributes(), 1)
        if not counted:
            for other in others:
                walk.graph(other, None, Attributes(), 1)
            counted, spend = walk.nodes, _free
        if walk.work <= allowed:
            return counted, Plan(cap, optimise=True)
    return counted, Plan(0, optimise=False)


def _in_order(body: Body) -> Body:
    """The nodes, each after those whose outputs it uses, as far as such an order exists.

    Runtimes sort the nodes of the main graph, and of no other.
    """
    makers = {name: place for place, node in enumerate(body.nodes) for name in node.outputs}
    order: list[Node] = []
    state = bytearray(len(body.nodes))  # 1: opened, 2: in the order
    for first in range(len(body.nodes)):
        stack = [first]
        while stack:
            place = stack[-1]
            node = body.nodes[place]
            waits = [] if state[place] else [makers[i] for i in node.inputs if i in makers]
            state[place] = max(state[place], 1)
            stack.extend(wait for wait in waits if not state[wait])
            if stack[-1] == place:
                stack.pop()
                if state[place] == 1:
                    order.append(node)
                    state[place] = 2
    return Body(order, body.constants)


def _free(where: str, memory: int) -> None:
    """Spend nothing: the copies have been paid for."""


@dataclass(slots=True)
class _Walk:
    functions: Mapping[str, Function]
    limits: Limits
    spend: Callable[[str, int], None]
    cap: int
    nodes: int = 0
    moves: int = 0
    steps: int = 0
    work: int = 0
    open: list[str] = field(default_factory=list)

    def graph(
        self, graph: Graph, outer: _Scope | None, attributes: Attributes, depth: int
    ) -> list[int | None]:
        """Walk a graph; the elements of those outputs that are constants."""
        if depth > self.limits.depth:
            raise WireError(f"model: graphs nested deeper than the limit of {self.limits.depth}")
        self.tensors(graph.tensors)
        names: dict[str, int | None] = dict.fromkeys(graph.sizes)
        scope = self.body(graph.body, _Scope(names, outer), attributes, depth)
        return [scope.get(name, None) for name in graph.outputs]

    def body(self, body: Body, scope: _Scope, attributes: Attributes, depth: int) -> _Scope:
        """Walk the nodes within `scope`, which has the inputs' names."""
        self.step(len(scope.names) + len(body.constants))
        scope.names.update(body.constants)
        for node in body.nodes:
            self.nodes += 1
            if self.nodes > self.limits.nodes:
                raise WireError(
                    f"model: more than the limit of {self.limits.nodes} nodes "
                    "with functions inlined"
                )
            self.moves += len(self.open)
            if self.moves > self.limits.moves:
                raise WireError(
                    f"model: more than the limit of {self.limits.moves} moves of a node out of a "
                    "function: functions call functions in too many levels"
                )
            self.step(1 + len(node.inputs) + len(node.outputs) + len(node.attributes))
            self.node(node, scope, attributes, depth)
        return scope

    def node(self, node: Node, scope: _Scope, attributes: Attributes, depth: int) -> None:
        unknown = self.cap or None  # of a name that a later node may define
        inputs = [scope.get(name, unknown) if name else 0 for name in node.inputs]
        held = [(one.name, bound) for one in node.attributes if (bound := attributes.resolve(one))]
        branches: list[list[int | None]] = []
        for _, (attribute, inner) in held:
            self.tensors(attribute.tensors)
            branches += [self.graph(one, scope, inner, depth + 1) for one in attribute.graphs]
        function = self.callee(node)
        if function is None:
            constants = [attribute for _, (attribute, _) in held]
            outputs = self.run(node, inputs, constants, branches)
        else:
            if function.call in self.open:
                raise WireError(f"{function.where}: {function.call} calls itself")
            given = Attributes((one.name, (one, Attributes())) for one in function.defaults)
            given.update(held)
            formal: dict[str, int | None] = dict.fromkeys(function.inputs)
            formal.update(zip(function.inputs, inputs, strict=False))
            self.step(len(function.inputs) + len(function.outputs) + len(given))
            self.open.append(function.call)
            found = self.body(function.body, _Scope(formal), given, depth)
            self.open.pop()
            outputs = [found.get(name, None) for name in function.outputs]
        scope.names.update(zip(node.outputs, outputs, strict=False))

    def callee(self, node: Node) -> Function | None:
        """The function that a node calls.

        onnxruntime loses the overload of a call that is itself within a function, and would take
        another function, or the same one for ever.
        """
        exact = self.functions.get(node.call)
        if not self.open or node.call == node.plain:
            return exact
        plain = self.functions.get(node.plain)
        if exact is not None and plain is not None:
            raise WireError(
                f"{exact.where}: called within a function as {node.call}, "
                f"which onnxruntime takes for {node.plain}"
            )
        return exact or plain

    def run(
        self,
        node: Node,
        inputs: list[int | None],
        held: list[Attribute],
        branches: list[list[int | None]],
    ) -> list[int | None]:
        """Count the work of optimising a node that calls no function; sizes of its outputs."""
        constants = [count for count in inputs if count is not None]
        self.work += _USE * sum(constants)
        wide = len(node.outputs)
        if node.op == "Constant":
            return [sum(constant_sizes(held)) or 1]
        if branches:
            # Where the condition is a constant, an If is replaced by one of its branches.
            merged: list[int | None] = [None] * wide
            for branch in branches if node.op == "If" else []:
                for place, count in enumerate(branch[:wide]):
                    if count is not None:
                        merged[place] = max(count, merged[place] or 0)
            return merged
        if not self.cap:
            return [None] * wide
        if node.op in ("Shape", "Size"):  # of a shape that is known, whatever the values
            return [MAX_RANK] * wide
        if len(constants) < len(inputs):
            return [None] * wide
        work, made = fold(node.op, constants, wide, self.cap)
        self.work += work
        return [made] * wide

    def tensors(self, tensors: Iterable[Tensor]) -> None:
        """Pay for a tensor that is copied: the first of the copies is in the file."""
        for tensor in tensors:
            self.step(1)
            if tensor.seen:
                self.spend(tensor.where, tensor.memory)
            tensor.seen = True

    def step(self, count: int) -> None:
        self.steps += count
        if self.steps > self.limits.fields:
            raise WireError(
                f"model: more than the limit of {self.limits.fields} names with functions inlined"
            )
