"""The things that an op's function must not do, and how to find them in a traced graph."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import sympy
import torch
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from lossexport.catalog.variant import Range


@dataclass(frozen=True, slots=True)
class Kind:
    """Something that a function must not do.

    `what` describes it, in words that follow a line of code, and `write` is the remedy.
    """

    what: str
    write: str


MASK = Kind(
    "picks elements by a boolean mask, and how many depends on the data",
    "torch.where(mask, x, 0) and a sum, or a topk of fixed size",
)
MASK_WRITE = Kind("writes by a boolean mask", "x = torch.where(mask, value, x)")
SIZE = Kind(
    "makes a tensor whose size depends on the data ({name})",
    "torch.where(mask, x, 0) and a sum, or a sort or topk of fixed size",
)
CLASSES = Kind(
    "makes a tensor whose size depends on the data ({name})",
    "(index.unsqueeze(-1) == torch.arange(K)).float(), whose size is known",
)
BRANCH = Kind(
    "decides in Python by the values of a tensor",
    "torch.where, clamp or torch.maximum, and no assert",
)
NUMBER = Kind(
    "takes a number out of a tensor ({name})",
    "the tensor itself: x.max() for x.max().item(), torch.stack for torch.tensor, "
    "x.index_select(0, i.reshape(1)) for x[i]",
)
MEMORY = Kind("takes a tensor out of torch ({name})", "the torch function of the same name")
FIXED = Kind(
    "takes {dim}, which may be {least} to {largest}, for the {number} of this trace",
    "what needs no number of it (no loop over rows, x.shape[0] for len(x), torch.full((), n) for "
    "torch.tensor(n)), or fix it with --shape {dim}=SIZE",
)
SIZES = Kind(
    "holds only where {condition}, and {dim} may be {least} to {largest}",
    "the same for every size, or limit {dim} in the field dims of the op, or fix it with --shape "
    "{dim}=SIZE",
)
SCATTER = Kind(
    "adds up by index ({operator}), which TensorRT refuses",
    "one_hot = index.unsqueeze(-1) == torch.arange(K), then torch.where(one_hot, x, 0) and a sum; "
    "slices and torch.stack for constant indices",
)
OPERATOR = Kind("needs {operator}, which has no translation to ONNX", "{instead}")
WRITTEN = Kind("writes into the input {input}", "x = x.clamp(min=0) for x.clamp_(min=0)")
RANDOM = Kind("draws random numbers ({name})", "the numbers as an input of the op")
DEVICE = Kind("asks for the device {device}", "device=x.device, the device of an input")
DOUBLE = Kind(
    "makes the output {output} float64, from other types",
    "constants of the type of the inputs: torch.tensor(values, dtype=x.dtype)",
)
DTYPE = Kind("gives {output} as {dtype}, declared as {wanted}", "x.to(dtype), or declare its type")
SHAPE = Kind(
    "gives {output} the shape {shape} for {inputs}, declared as {wanted}",
    "a sum over the rest, squeeze(1) for squeeze(), or declare its shape",
)
RETURNS = Kind("returns {given}, declared as {wanted}", "a tensor for each output, in a tuple")
GRADIENT = Kind(
    "leaves {input} without a gradient",
    "differentiable operators (no detach, argmax, comparison), or gradient=() without {input}",
)
RAISES = Kind("raises {error}, in plain PyTorch too, for {inputs}", "")
TRACING = Kind("cannot be traced: {error}", "operators of torch on its inputs")

KINDS = tuple(value for value in globals().copy().values() if isinstance(value, Kind))

# Adding or reducing by index, for which ONNX has scatters with a reduction or no operator.
_SCATTERS = {"scatter_add", "scatter_reduce", "index_reduce", "put", "bincount", "index_add"}
_PUTS = {"index_put", "_unsafe_index_put", "_index_put_impl"}
# Operators that the exporter translates into an invalid graph.
_UNTRANSLATED = {"_linalg_det", "diagonal_scatter"}

# Operator -> the same in operators that ONNX supports.
INSTEAD = {
    "median": "topk or sort without stable=True, and an index",
    "kthvalue": "topk or sort without stable=True, and an index",
    "sort": "sort without stable=True",
    "cummax": "torch.where(lower_triangle, x, -inf) and amax",
    "cummin": "torch.where(lower_triangle, x, inf) and amin",
    "searchsorted": "(edges <= x.unsqueeze(-1)).sum(-1)",
    "_cdist_forward": "(a.unsqueeze(1) - b).square().sum(-1).sqrt()",
    "hypot": "(a * a + b * b).sqrt()",
    "prod": "the product of its slices",
    "diagonal_scatter": "(a * b).sum(-1) for the diagonal of a @ b.T",
    "_linalg_det": "a * d - b * c of the elements",
}


class RefusalError(Exception):
    """A function does something that it must not, as a node or a guard of its trace shows."""

    def __init__(
        self, kind: Kind, node: Node | None = None, guard: int | None = None, **words: object
    ) -> None:
        super().__init__(kind.what)
        self.kind = kind
        self.node = node
        self.guard = guard
        self.words = words


def name(target: Any) -> str:
    """The name of an operator without its overload, in place or not: "index_put"."""
    packet = getattr(target, "overloadpacket", target)
    return str(getattr(packet, "__name__", packet)).rstrip("_")


def full_name(target: Any) -> str:
    """The name of an operator as in PyTorch's documentation: "aten.median.dim"."""
    return str(target).removesuffix(".default")


def check_operators(graph: torch.fx.Graph) -> None:
    """Raise RefusalError at the first operator that some runtime does not support."""
    number = None
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        called, tags = name(node.target), getattr(node.target, "tags", ())
        value = node.meta.get("val")
        if _adds_by_index(node, called):
            raise RefusalError(SCATTER, node, operator=full_name(node.target))
        if called in _UNTRANSLATED:
            raise no_translation(node.target, node)
        if called == "masked_scatter" or (called in _PUTS and _masked(node)):
            raise RefusalError(MASK_WRITE, node)
        if called in ("index", "masked_select") and free_unbacked_symbols(value):
            raise RefusalError(MASK, node)
        if torch.Tag.nondeterministic_seeded in tags:
            raise RefusalError(RANDOM, node, name=called)
        if torch.Tag.data_dependent_output in tags:
            number = number or node
        elif isinstance(value, torch.Tensor):
            if free_unbacked_symbols(value):
                raise RefusalError(SIZE, node, name=called)
            if value.device.type != "cpu":
                raise RefusalError(DEVICE, node, device=value.device.type)
    if number is not None:
        raise RefusalError(NUMBER, number, name="item")


def _adds_by_index(node: Node, called: str) -> bool:
    if called in _SCATTERS:
        return True
    if called in _PUTS:
        return _argument(node, 3, "accumulate") is True
    return called == "scatter" and "reduce" in node.kwargs


def _masked(node: Node) -> bool:
    indices = _argument(node, 1, "indices")
    values = [x.meta.get("val") for x in indices if isinstance(x, Node)]
    return any(value is not None and value.dtype in (torch.bool, torch.uint8) for value in values)


def _argument(node: Node, place: int, key: str) -> Any:
    return node.args[place] if len(node.args) > place else node.kwargs.get(key)


@dataclass(slots=True)
class Sizes:
    """The symbols of a trace: each one's size in the example, and its dimension if dynamic."""

    numbers: dict[str, int] = field(default_factory=dict)
    dims: dict[str, str] = field(default_factory=dict)

    def note(self, symbol: object, dim: int | str, number: int) -> None:
        """Remember the size and, if it is dynamic, the dimension of a symbol."""
        self.numbers.setdefault(str(symbol), number)
        if isinstance(dim, str):
            self.dims.setdefault(str(symbol), dim)

    def number(self, size: Any) -> int:
        """The number that a size of the trace has in the example."""
        return int(size if isinstance(size, int) else self._with(size.node.expr, {}))

    def broken(self, condition: Any, ranges: Mapping[str, Range]) -> tuple[Any, str] | None:
        """The condition in terms of dimensions, and one of these, if it fails for some size."""
        symbols = {str(symbol) for symbol in condition.free_symbols}
        if not symbols <= self.numbers.keys():
            return None
        dims = sorted(symbols & self.dims.keys())
        for sizes in product(*(_samples(ranges[self.dims[symbol]]) for symbol in dims)):
            if self._with(condition, dict(zip(dims, sizes, strict=True))) == sympy.false:
                names = {symbol: sympy.Symbol(self.dims[symbol]) for symbol in dims}
                return self._with(condition, names), self.dims[dims[0]]
        return None

    def _with(self, expression: Any, sizes: dict[str, Any]) -> Any:
        known = self.numbers | sizes
        return expression.xreplace(
            {symbol: sympy.sympify(known[str(symbol)]) for symbol in expression.free_symbols}
        )


def _samples(size: Range) -> list[int]:
    wanted = (size.min, size.min + 1, 2, 3, 4, 7, 8, 100, 101, size.opt, size.max)
    return sorted({number for number in wanted if size.min <= number <= size.max})


def no_size(condition: Any, dim: str, size: Range, guard: int) -> RefusalError:
    """The refusal of a function that works only if a condition on the sizes holds."""
    words: dict[str, Any] = {"dim": dim, "least": size.min, "largest": size.max}
    if isinstance(condition, sympy.Eq) and {type(x) for x in condition.args} > {sympy.Symbol}:
        return RefusalError(FIXED, guard=guard, number=condition.rhs, **words)
    sign = {sympy.Eq: "==", sympy.Ne: "!="}.get(type(condition))
    text = f"{condition.lhs} {sign} {condition.rhs}" if sign else str(condition)
    return RefusalError(SIZES, guard=guard, condition=text, **words)


def no_translation(target: Any, node: Node | None = None) -> RefusalError:
    """The refusal of an operator that cannot be traced or has no equivalent in ONNX."""
    instead = INSTEAD.get(name(target), "other operators of torch")
    return RefusalError(OPERATOR, node, operator=full_name(target), instead=instead)
