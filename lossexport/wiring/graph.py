"""Appends standard ONNX operators to a graph, for expressions and box adapters.

Every method takes and returns `Term`s, whose types and shapes are tracked from node to node, so
that a mistake is reported where it is made. Operators have the forms of the graph's opset.
`functions` has what expressions call by name.
"""

import ast
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from lossexport.errors import shown
from lossexport.exporter.lowering import lower

Size = int | None
"""A dimension; None if the detector leaves it open."""

FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
MAX_RANK = 8
_MAX_ELEMENTS = 2**28
_END = 2**63 - 1
_NAMES = {"float": "float32", "double": "float64"}


class WiringError(Exception):
    """An error in one line, without the expression, which the caller names.

    `node` is the part of the expression that it is about, if it came from one.
    """

    node: ast.expr | None = None


@dataclass(frozen=True, slots=True)
class Term:
    """A tensor of the graph: its `value`, or the `array` of a constant that is not in it yet.

    A `weak` term, made of constants only, takes the type of the term it is combined with.
    """

    value: ir.Value | None
    dtype: ir.DataType
    shape: tuple[Size, ...]
    array: np.ndarray | None = None
    weak: bool = False

    @classmethod
    def constant(cls, value: Any) -> "Term":
        """A number or an array of numbers. Raises WiringError if its type cannot hold one."""
        array = np.asarray(value)
        dtype = ir.DataType.FLOAT if array.dtype.kind == "f" else ir.DataType.INT64
        _check_fits(array, dtype)
        return cls(None, dtype, array.shape, array, weak=True)

    @classmethod
    def of(cls, value: ir.Value) -> "Term":
        """A value of the graph. Raises WiringError if shape inference found no type for it."""
        if value.dtype is None or value.shape is None:
            raise WiringError(f"tensor {value.name!r}: its type and shape cannot be inferred")
        sizes = (size if isinstance(size, int) else None for size in value.shape)
        return cls(value, value.dtype, tuple(sizes))

    @property
    def floating(self) -> bool:
        """Whether its elements are float32, float16 or bfloat16."""
        return self.dtype in FLOATS

    def __str__(self) -> str:
        name = self.dtype.name.lower()
        sizes = ",".join("?" if size is None else str(size) for size in self.shape)
        return f"{_NAMES.get(name, name)}[{sizes}]"


class Wiring:
    """Adds nodes at the end of `graph`, with names that begin with `stem`.

    `values` are the tensors of the graph that expressions may name, without those of such nodes.
    """

    def __init__(self, graph: ir.Graph, stem: str) -> None:
        self.graph = graph
        self.values = {value.name: value for value in _values(graph) if value.name}
        self.stem = stem
        self._count = 0

    def emit(
        self,
        op_type: str,
        inputs: Sequence[Term],
        shape: Sequence[Size],
        dtype: ir.DataType | None = None,
        **attributes: Any,
    ) -> Term:
        """Append a node with one output, by default with the type of its first input."""
        if math.prod(size or 1 for size in shape) > _MAX_ELEMENTS or len(shape) > MAX_RANK:
            raise WiringError(f"{op_type} would give {list(shape)}, which is too large")
        dtype = dtype or inputs[0].dtype
        values = [self.materialise(term) for term in inputs]
        out = ir.Value(name=self._name(), shape=ir.Shape(shape), type=ir.TensorType(dtype))
        node = ir.node(op_type, values, attributes, outputs=[out], name=out.name)
        self.graph.append(node)
        lower([node], self.graph.opset_imports[""])
        return Term(out, dtype, tuple(shape), weak=all(term.weak for term in inputs))

    def materialise(self, term: Term) -> ir.Value:
        """The value of a term; a constant becomes an initializer."""
        if term.value is not None:
            return term.value
        assert term.array is not None
        name = self._name()
        array = term.array.astype(term.dtype.numpy())
        value = ir.Value(
            name=name,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(term.dtype),
            const_value=ir.tensor(array, dtype=term.dtype, name=name),
        )
        self.graph.register_initializer(value)
        return value

    def input(self, name: str, dtype: ir.DataType, shape: Sequence[int | str]) -> Term:
        """A new input of the graph."""
        value = ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(dtype))
        self.graph.inputs.append(value)
        self.values[name] = value
        return Term.of(value)

    def output(self, name: str, term: Term) -> ir.Value:
        """Make a term an output of the graph; open sizes are named after `stem`."""
        sizes = [
            f"{self.stem}.{name}.{axis}" if size is None else size
            for axis, size in enumerate(term.shape)
        ]
        value = ir.Value(name=name, shape=ir.Shape(sizes), type=ir.TensorType(term.dtype))
        node = ir.node(
            "Identity", [self.materialise(term)], outputs=[value], name=f"{self.stem}.{name}"
        )
        self.graph.append(node)
        self.graph.outputs.append(value)
        self.values[name] = value
        return value

    def _name(self) -> str:
        while (name := f"{self.stem}.{self._count}") in self.values:
            self._count += 1
        self._count += 1
        return name

    def cast(self, x: Term, dtype: ir.DataType) -> Term:
        """`x` converted to another type."""
        if x.dtype is dtype:
            return x
        fractions = x.floating if x.array is None else np.any(x.array % 1)
        if dtype not in FLOATS and fractions:
            raise WiringError(f"{x} where {dtype.name.lower()} is needed")
        if x.array is None:
            return self.emit("Cast", [x], x.shape, dtype, to=int(dtype))
        _check_fits(x.array, dtype)
        return Term(None, dtype, x.shape, x.array, weak=True)

    def alike(self, *terms: Term) -> list[Term]:
        """All terms in one type: their own, or float32 if their float types differ.

        Whole numbers and booleans become float32 beside a constant that is a float.
        """
        strong = {term.dtype for term in terms if not term.weak}
        types = strong or {term.dtype for term in terms}
        fraction = types.isdisjoint(FLOATS) and any(x.weak and x.floating for x in terms)
        if len(types) == 1 and not fraction:
            (dtype,) = types
        elif len(types) == 1 or types <= set(FLOATS) or not strong:
            dtype = ir.DataType.FLOAT
        else:
            raise WiringError(
                f"types differ: {' and '.join(map(str, terms))}; float(...) or cast(...) makes "
                "them one"
            )
        return [self.cast(term, dtype) for term in terms]

    def arithmetic(self, op_type: str, a: Term, b: Term) -> Term:
        """`Add`, `Sub`, `Mul` or `Div`, broadcast as NumPy does; numbers divide as floats."""
        a, b = self.alike(a, b)
        if op_type == "Div" and a.weak and b.weak:
            a, b = (self.cast(x, ir.DataType.FLOAT) for x in (a, b))
        if a.dtype is ir.DataType.BOOL or (op_type == "Div" and not a.floating):
            raise WiringError(f"{op_type} of {a} and {b}")
        return self.emit(op_type, [a, b], broadcast(op_type, a, b))

    def compare(self, op_type: str, a: Term, b: Term) -> Term:
        """`Less`, `LessOrEqual`, `Greater`, `GreaterOrEqual` or `Equal`, elementwise."""
        a, b = self.alike(a, b)
        if a.dtype is ir.DataType.BOOL and op_type != "Equal":
            raise WiringError(f"{op_type} of {a} and {b}")
        return self.emit(op_type, [a, b], broadcast(op_type, a, b), ir.DataType.BOOL)

    def logic(self, op_type: str, a: Term, b: Term) -> Term:
        """`And` or `Or` of booleans, elementwise."""
        if not a.dtype is b.dtype is ir.DataType.BOOL:
            raise WiringError(f"{op_type} of {a} and {b}; they have to be booleans")
        return self.emit(op_type, [a, b], broadcast(op_type, a, b))

    def negative(self, x: Term) -> Term:
        """`-x`."""
        if x.dtype is ir.DataType.BOOL:
            raise WiringError(f"minus of {x}")
        if x.array is not None:
            return Term(None, x.dtype, x.shape, -x.array, weak=True)
        return self.emit("Neg", [x], x.shape)

    def subscript(self, x: Term, items: Sequence[int | slice]) -> Term:
        """`x[items]` with whole numbers, which drop their axis, and slices of step 1."""
        if len(items) > len(x.shape):
            raise WiringError(f"{len(items)} subscripts of {x}")
        cuts: list[tuple[int, int, int]] = []
        shape = list(x.shape)
        for axis, (item, size) in enumerate(zip(items, x.shape, strict=False)):
            if item == slice(None):
                continue
            if isinstance(item, int):
                start, stop = item, item + 1 if item != -1 else None
            else:
                start, stop = item.start or 0, item.stop
            if size is not None:
                edges = (start, start + 1 if isinstance(item, int) else stop)
                inside = all(edge is None or -size <= edge <= size for edge in edges)
                kept = len(range(size)[start:stop])
                if not (inside and kept):
                    raise WiringError(f"subscript {_text(item)} is outside of axis {axis} of {x}")
                shape[axis] = kept
            cuts.append((axis, start, _END if stop is None else stop))
        if x.array is not None:
            return Term.constant(x.array[tuple(items)])
        if cuts:
            columns = (whole(column) for column in zip(*cuts, strict=True))
            axes, starts, stops = columns
            x = self.emit("Slice", [x, starts, stops, axes], shape)
        dropped = [axis for axis, item in enumerate(items) if isinstance(item, int)]
        return self.squeeze(x, dropped) if dropped else x

    def squeeze(self, x: Term, axes: Sequence[int]) -> Term:
        """`x` without `axes`, which have size 1."""
        kept = [size for axis, size in enumerate(x.shape) if axis not in axes]
        return self.emit("Squeeze", [x, whole(axes)], kept)

    def unsqueeze(self, x: Term, axis: int) -> Term:
        """`x` with an axis of size 1 in front of `axis`; -1 is behind all."""
        at = axis % (len(x.shape) + 1)
        shape = (*x.shape[:at], 1, *x.shape[at:])
        return self.emit("Unsqueeze", [x, whole([axis])], shape)

    def concat(self, parts: Sequence[Term], axis: int) -> Term:
        """The parts joined along an axis."""
        if not parts:
            raise WiringError("concat needs a tensor")
        first, *rest = terms = self.alike(*parts)
        axis, others = without(first, axis)
        for term in rest:
            if len(term.shape) != len(first.shape) or any(
                a != b and None not in (a, b)
                for a, b in zip(others, without(term, axis)[1], strict=True)
            ):
                raise WiringError(f"concat of {first} and {term} along axis {axis}")
        sizes = [term.shape[axis] for term in terms]
        total = None if None in sizes else sum(size or 0 for size in sizes)
        return self.emit("Concat", terms, (*others[:axis], total, *others[axis:]), axis=axis)

    def transpose(self, x: Term, *axes: int) -> Term:
        """`x` with its axes in that order, reversed if none is given."""
        order = list(axes or reversed(range(len(x.shape))))
        if sorted(order) != list(range(len(x.shape))):
            raise WiringError(f"t: {order} is no order of the axes of {x}")
        return self.emit("Transpose", [x], [x.shape[axis] for axis in order], perm=order)

    def reshape(self, x: Term, *sizes: int) -> Term:
        """The same elements in another shape; one size may be -1, and 0 is that of `x`."""
        if sizes.count(-1) > 1 or any(size < -1 for size in sizes):
            raise WiringError(f"reshape: {list(sizes)} must be sizes, at most one of them -1")
        if any(size == 0 and at >= len(x.shape) for at, size in enumerate(sizes)):
            raise WiringError(f"reshape: {list(sizes)} has a 0 where {x} has no axis")
        shape = [x.shape[at] if size == 0 else size for at, size in enumerate(sizes)]
        # Sizes that stay as they are count on neither side, so that they may be open.
        given = [size for at, size in enumerate(x.shape) if sizes[at : at + 1] != (0,)]
        known = math.prod(size for size in sizes if size > 0)
        rest = None
        if None not in given:
            rest, over = divmod(math.prod(size or 0 for size in given), known)
            if over or (rest != 1 and -1 not in sizes):
                raise WiringError(f"reshape: {list(sizes)} does not fit {x}")
        shape = [rest if size == -1 else size for size in shape]
        return self.emit("Reshape", [x, whole(sizes)], shape)


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs


def _check_fits(array: np.ndarray, dtype: ir.DataType) -> None:
    """Refuse values that another type cannot hold; a float may only be rounded."""
    with np.errstate(all="ignore"):
        converted = array.astype(dtype.numpy())
        if dtype in FLOATS:
            fits = np.isfinite(converted) | ~np.isfinite(array)
        else:  # the result of casting a float beyond int64 depends on the machine
            fits = (converted == array) & ((converted < 0) == (array < 0))
            if array.dtype.kind == "f":
                fits &= np.abs(array) < 2.0**63
    if not fits.all():
        name = dtype.name.lower()
        raise WiringError(f"{shown(array[~fits][0])} does not fit {_NAMES.get(name, name)}")


def broadcast(what: str, *terms: Term) -> list[Size]:
    """The shape of terms that are combined as in NumPy; `what` names that in the message."""
    shape: list[Size] = [1] * max(len(term.shape) for term in terms)
    for term in terms:
        row = (1,) * (len(shape) - len(term.shape)) + term.shape
        for axis, (p, q) in enumerate(zip(shape, row, strict=True)):
            if p not in (q, 1, None) and q not in (1, None):
                shapes = " and ".join(map(str, terms))
                raise WiringError(f"{what} of {shapes}, whose shapes do not go together")
            shape[axis] = q if p == 1 or (p is None and q != 1) else p
    return shape


def whole(numbers: int | Sequence[int]) -> Term:
    """A constant of whole numbers."""
    return Term.constant(np.array(numbers, np.int64))


def _text(item: int | slice) -> str:
    if isinstance(item, int):
        return str(item)
    return ":".join("" if edge is None else str(edge) for edge in (item.start, item.stop))


def without(x: Term, axis: int) -> tuple[int, tuple[Size, ...]]:
    """`axis` counted from the front, and the other sizes."""
    rank = len(x.shape)
    if not -rank <= axis < rank:
        raise WiringError(f"{x} has no axis {axis}")
    axis %= rank
    return axis, x.shape[:axis] + x.shape[axis + 1 :]
