"""Appends standard ONNX operators to a graph, for expressions and box adapters.

Every method takes and returns `Term`s, whose types and shapes are tracked from node to node, so
that a mistake is reported where it is made. Operators have the forms of the graph's opset.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    """An error in one line, without the expression, which the caller names."""


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
    """Adds nodes at the end of `graph`, with names that begin with `stem`."""

    def __init__(self, graph: ir.Graph, stem: str) -> None:
        self.graph = graph
        self.values = {value.name: value for value in _values(graph) if value.name}
        self._stem = stem
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

    def _name(self) -> str:
        while (name := f"{self._stem}.{self._count}") in self.values:
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
        """All terms in one type: their own, or float32 if their float types differ."""
        strong = {term.dtype for term in terms if not term.weak}
        types = strong or {term.dtype for term in terms}
        if len(types) == 1:
            (dtype,) = types
        elif types <= set(FLOATS) or not strong:
            dtype = ir.DataType.FLOAT
        else:
            raise WiringError(f"types differ: {' and '.join(map(str, terms))}")
        return [self.cast(term, dtype) for term in terms]

    def arithmetic(self, op_type: str, a: Term, b: Term) -> Term:
        """`Add`, `Sub`, `Mul` or `Div`, broadcast as NumPy does; numbers divide as floats."""
        a, b = self.alike(a, b)
        if op_type == "Div" and a.weak and b.weak:
            a, b = (self.cast(x, ir.DataType.FLOAT) for x in (a, b))
        if a.dtype is ir.DataType.BOOL or (op_type == "Div" and not a.floating):
            raise WiringError(f"{op_type} of {a} and {b}")
        rank = max(len(a.shape), len(b.shape))
        rows = [(1,) * (rank - len(x.shape)) + x.shape for x in (a, b)]
        shape: list[Size] = []
        for p, q in zip(*rows, strict=True):
            if p not in (q, 1, None) and q not in (1, None):
                raise WiringError(f"{op_type} of {a} and {b}, whose shapes do not go together")
            shape.append(q if p == 1 or (p is None and q != 1) else p)
        return self.emit(op_type, [a, b], shape)

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
            columns = (_whole(column) for column in zip(*cuts, strict=True))
            axes, starts, stops = columns
            x = self.emit("Slice", [x, starts, stops, axes], shape)
        dropped = [axis for axis, item in enumerate(items) if isinstance(item, int)]
        return self.squeeze(x, dropped) if dropped else x

    def squeeze(self, x: Term, axes: Sequence[int]) -> Term:
        """`x` without `axes`, which have size 1."""
        kept = [size for axis, size in enumerate(x.shape) if axis not in axes]
        return self.emit("Squeeze", [x, _whole(axes)], kept)

    # The functions of expressions. Messages show the names of their parameters.

    def max(self, x: Term, axis: int = -1) -> Term:
        """The largest element along an axis, which is dropped."""
        axis, shape = _without(x, axis)
        return self.emit("ReduceMax", [x, _whole([axis])], shape, keepdims=0)

    def argmax(self, x: Term, axis: int = -1) -> Term:
        """The index of the largest element along an axis, the first of several, int64."""
        axis, shape = _without(x, axis)
        return self.emit("ArgMax", [x], shape, ir.DataType.INT64, axis=axis, keepdims=0)

    def sigmoid(self, x: Term) -> Term:
        """1 / (1 + exp(-x)). Not Sigmoid, which is 0 below -18 in onnxruntime."""
        if not x.floating:
            raise WiringError(f"sigmoid of {x}")
        exp = self.emit("Exp", [self.emit("Neg", [x], x.shape)], x.shape)
        return self.emit("Reciprocal", [self.arithmetic("Add", exp, Term.constant(1))], x.shape)

    def concat(self, *parts: Term, axis: int = 0) -> Term:
        """The parts joined along an axis."""
        if not parts:
            raise WiringError("concat needs a tensor")
        first, *rest = terms = self.alike(*parts)
        axis, others = _without(first, axis)
        for term in rest:
            if len(term.shape) != len(first.shape) or any(
                a != b and None not in (a, b)
                for a, b in zip(others, _without(term, axis)[1], strict=True)
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
        """The same elements in another shape; one size may be -1."""
        if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
            raise WiringError(f"reshape: {list(sizes)} must be sizes, at most one of them -1")
        known = math.prod(size for size in sizes if size > 0)
        rest = None
        if None not in x.shape:
            rest, over = divmod(math.prod(size or 0 for size in x.shape), known)
            if over or (rest != 1 and -1 not in sizes):
                raise WiringError(f"reshape: {list(sizes)} does not fit {x}")
        shape = [rest if size == -1 else size for size in sizes]
        return self.emit("Reshape", [x, _whole(sizes)], shape)

    def take(self, x: Term, indices: Term) -> Term:
        """Rows of `x`; zeros for an index below 0, with which outputs are padded."""
        if not x.shape or indices.dtype not in (ir.DataType.INT64, ir.DataType.INT32):
            raise WiringError(f"take of {x} by {indices}")
        shape = (*indices.shape, *x.shape[1:])
        _, zero = self.alike(indices, Term.constant(0))
        known = self.emit("Max", [indices, zero], indices.shape)
        rows = self.emit("Gather", [x, known], shape, axis=0)
        absent = self.emit("Less", [indices, zero], indices.shape, ir.DataType.BOOL)
        for _ in x.shape[1:]:
            absent = self.emit("Unsqueeze", [absent, _whole([-1])], (*absent.shape, 1))
        return self.emit("Where", [absent, *self.alike(rows, zero)[::-1]], shape, rows.dtype)

    def per_class(self, boxes: Term, labels: Term, distance: int) -> Term:
        """Boxes moved by `distance` times their label, so that classes do not overlap."""
        if not boxes.floating or len(boxes.shape) != len(labels.shape) + 1:
            raise WiringError(f"per_class of {boxes} by {labels}")
        # float32, because float16 cannot hold a distance times the number of classes.
        boxes, labels = (self.cast(x, ir.DataType.FLOAT) for x in (boxes, labels))
        shift = self.arithmetic("Mul", labels, Term.constant(distance))
        column = self.emit("Unsqueeze", [shift, _whole([-1])], (*shift.shape, 1))
        return self.arithmetic("Add", boxes, column)

    def xywh(self, boxes: Term) -> Term:
        """The corners of boxes that are given as corner and size."""
        corner, size = self._halves(boxes)
        return self.concat(corner, self.arithmetic("Add", corner, size), axis=-1)

    def cxcywh(self, boxes: Term) -> Term:
        """The corners of boxes that are given as centre and size."""
        centre, size = self._halves(boxes)
        half = self.arithmetic("Mul", size, Term.constant(0.5))
        low, high = (self.arithmetic(operator, centre, half) for operator in ("Sub", "Add"))
        return self.concat(low, high, axis=-1)

    def as_float(self, x: Term) -> Term:
        """Whole numbers, booleans and float64 as float32; other floats as they are."""
        return x if x.floating else self.cast(x, ir.DataType.FLOAT)

    def _halves(self, boxes: Term) -> tuple[Term, Term]:
        if not boxes.floating or boxes.shape[-1:] != (4,):
            raise WiringError(f"boxes are {boxes}: need 4 columns of floats")
        before = [slice(None)] * (len(boxes.shape) - 1)
        low, high = (self.subscript(boxes, [*before, slice(at, at + 2)]) for at in (0, 2))
        return low, high


FUNCTIONS: Mapping[str, Callable[..., Term]] = {
    "max": Wiring.max,
    "argmax": Wiring.argmax,
    "sigmoid": Wiring.sigmoid,
    "concat": Wiring.concat,
    "t": Wiring.transpose,
    "reshape": Wiring.reshape,
    "take": Wiring.take,
    "per_class": Wiring.per_class,
    "xywh": Wiring.xywh,
    "cxcywh": Wiring.cxcywh,
    "float": Wiring.as_float,
}


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


def _whole(numbers: Sequence[int]) -> Term:
    return Term.constant(np.array(numbers, np.int64))


def _text(item: int | slice) -> str:
    if isinstance(item, int):
        return str(item)
    return ":".join("" if edge is None else str(edge) for edge in (item.start, item.stop))


def _without(x: Term, axis: int) -> tuple[int, tuple[Size, ...]]:
    """`axis` counted from the front, and the other sizes."""
    rank = len(x.shape)
    if not -rank <= axis < rank:
        raise WiringError(f"{x} has no axis {axis}")
    axis %= rank
    return axis, x.shape[:axis] + x.shape[axis + 1 :]
