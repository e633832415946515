"""The functions of expressions, by the name that they are called with.

Messages show the names of their parameters; a parameter takes what its annotation says: a tensor, a
whole number, or a word, such as the name of a type.
"""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from lossexport.wiring.graph import Term, Wiring, WiringError, broadcast, whole, without

TYPES = {
    "float32": ir.DataType.FLOAT,
    "float16": ir.DataType.FLOAT16,
    "bfloat16": ir.DataType.BFLOAT16,
    "int64": ir.DataType.INT64,
    "int32": ir.DataType.INT32,
    "uint8": ir.DataType.UINT8,
    "bool": ir.DataType.BOOL,
}
_MAX_RANGE = 2**20
_MAX_SIDE = 2**14


def largest(w: Wiring, x: Term, axis: int = -1) -> Term:
    """The largest element along an axis, which is dropped."""
    axis, shape = without(x, axis)
    return w.emit("ReduceMax", [x, whole([axis])], shape, keepdims=0)


def argmax(w: Wiring, x: Term, axis: int = -1) -> Term:
    """The index of the largest element along an axis, the first of several, int64."""
    axis, shape = without(x, axis)
    return w.emit("ArgMax", [x], shape, ir.DataType.INT64, axis=axis, keepdims=0)


def total(w: Wiring, x: Term, axis: int = -1) -> Term:
    """The sum along an axis, which is dropped."""
    axis, shape = without(x, axis)
    if x.dtype is ir.DataType.BOOL:
        raise WiringError(f"sum of {x}; float(...) or cast(..., int64) makes them numbers")
    return w.emit("ReduceSum", [x, whole([axis])], shape, keepdims=0)


def sigmoid(w: Wiring, x: Term) -> Term:
    """1 / (1 + exp(-x)). Not Sigmoid, which is 0 below -18 in onnxruntime."""
    if not x.floating:
        raise WiringError(f"sigmoid of {x}; float(...) makes it one of floats")
    exp = w.emit("Exp", [w.emit("Neg", [x], x.shape)], x.shape)
    return w.emit("Reciprocal", [w.arithmetic("Add", exp, Term.constant(1))], x.shape)


def softmax(w: Wiring, x: Term, axis: int = -1) -> Term:
    """exp(x) over its sum along an axis."""
    axis, _ = without(x, axis)
    if not x.floating:
        raise WiringError(f"softmax of {x}; float(...) makes it one of floats")
    return w.emit("Softmax", [x], x.shape, axis=axis)


def _elementwise(operator: str, text: str) -> Callable[..., Term]:
    def function(w: Wiring, x: Term) -> Term:
        if not x.floating:
            raise WiringError(f"{operator.lower()} of {x}; float(...) makes it one of floats")
        return w.emit(operator, [x], x.shape)

    function.__doc__ = text
    return function


def where(w: Wiring, condition: Term, x: Term, y: Term) -> Term:
    """`x` where the condition holds and `y` elsewhere."""
    if condition.dtype is not ir.DataType.BOOL:
        raise WiringError(f"where: the condition is {condition}, not of booleans")
    x, y = w.alike(x, y)
    return w.emit("Where", [condition, x, y], broadcast("where", condition, x, y), x.dtype)


def cast(w: Wiring, x: Term, type: str) -> Term:
    """`x` in another type; floats lose their fractions in a type of whole numbers."""
    if type not in TYPES:
        raise WiringError(f"cast: no type {type!r}; there are: {', '.join(TYPES)}")
    dtype = TYPES[type]
    return x if x.dtype is dtype else w.emit("Cast", [x], x.shape, dtype, to=int(dtype))


def as_float(w: Wiring, x: Term) -> Term:
    """Whole numbers, booleans and float64 as float32; other floats as they are."""
    return x if x.floating else w.cast(x, ir.DataType.FLOAT)


def concat(w: Wiring, *parts: Term, axis: int = 0) -> Term:
    """The parts joined along an axis."""
    return w.concat(parts, axis)


def transpose(w: Wiring, x: Term, *axes: int) -> Term:
    """`x` with its axes in that order, reversed if none is given."""
    return w.transpose(x, *axes)


def reshape(w: Wiring, x: Term, *sizes: int) -> Term:
    """The same elements in another shape; one size may be -1, and 0 is that of `x`."""
    return w.reshape(x, *sizes)


def batched(w: Wiring, x: Term, rank: int) -> Term:
    """`x` with `rank` axes: axes of size 1 are put in front, or taken from there."""
    missing = rank - len(x.shape)
    if missing > 1 or any(size != 1 for size in x.shape[: max(-missing, 0)]):
        raise WiringError(f"batched: {x} is no tensor of {rank} axes, of which one may be missing")
    if missing < 0:
        return w.squeeze(x, range(-missing))
    return w.unsqueeze(x, 0) if missing else x


def take(w: Wiring, x: Term, indices: Term, axis: int = 0) -> Term:
    """Rows of `x`; zeros for an index below 0, with which outputs are padded.

    With axis 1, `x` [B,N] or [B,N,C] and `indices` [B,K] are of batches: each image has its own.
    """
    ranks = (len(indices.shape) == 2 and len(x.shape) in (2, 3)) if axis else len(x.shape) > 0
    whole_type = indices.dtype in (ir.DataType.INT64, ir.DataType.INT32)
    if not (ranks and whole_type and axis in (0, 1)):
        raise WiringError(f"take of {x} by {indices}" + (f" along axis {axis}" if axis else ""))
    _, zero = w.alike(indices, Term.constant(0))
    known = w.emit("Max", [indices, zero], indices.shape)
    absent = w.compare("Less", indices, zero)
    rest = x.shape[1 + axis :]
    for _ in rest:
        absent = w.unsqueeze(absent, -1)
    if axis == 0:
        rows = w.emit("Gather", [x, known], (*indices.shape, *rest), axis=0)
    else:
        for columns in rest:
            if columns is None:
                raise WiringError(f"take along axis 1: the last axis of {x} is open")
            known = w.unsqueeze(known, -1)
            known = w.emit("Expand", [known, whole([1, 1, columns])], (*indices.shape, columns))
        rows = w.emit("GatherElements", [x, known], known.shape, x.dtype, axis=1)
    return where(w, absent, Term.constant(0), rows)


def per_class(w: Wiring, boxes: Term, labels: Term, distance: int) -> Term:
    """Boxes moved by `distance` times their label, so that classes do not overlap."""
    if not boxes.floating or len(boxes.shape) != len(labels.shape) + 1:
        raise WiringError(f"per_class of {boxes} by {labels}")
    # float32, because float16 cannot hold a distance times the number of classes.
    boxes, labels = (w.cast(x, ir.DataType.FLOAT) for x in (boxes, labels))
    shift = w.arithmetic("Mul", labels, Term.constant(distance))
    return w.arithmetic("Add", boxes, w.unsqueeze(shift, -1))


def xywh(w: Wiring, boxes: Term) -> Term:
    """The corners of boxes that are given as corner and size."""
    corner, size = _halves(w, boxes)
    return w.concat((corner, w.arithmetic("Add", corner, size)), -1)


def cxcywh(w: Wiring, boxes: Term) -> Term:
    """The corners of boxes that are given as centre and size."""
    centre, size = _halves(w, boxes)
    half = w.arithmetic("Mul", size, Term.constant(0.5))
    low, high = (w.arithmetic(operator, centre, half) for operator in ("Sub", "Add"))
    return w.concat((low, high), -1)


def _halves(w: Wiring, boxes: Term) -> tuple[Term, Term]:
    if not boxes.floating or boxes.shape[-1:] != (4,):
        raise WiringError(f"boxes are {boxes}: need 4 columns of floats")
    before = [slice(None)] * (len(boxes.shape) - 1)
    low, high = (w.subscript(boxes, [*before, slice(at, at + 2)]) for at in (0, 2))
    return low, high


def size(w: Wiring, x: Term, axis: int) -> int:
    """The size of an axis, a whole number."""
    axis, _ = without(x, axis)
    found = x.shape[axis]
    if found is None:
        raise WiringError(f"size: axis {axis} of {x} is open")
    return found


def count_up(w: Wiring, stop: int) -> Term:
    """The whole numbers 0, 1, 2, ... below `stop`."""
    if not 0 < stop <= _MAX_RANGE:
        raise WiringError(f"range of {stop}: must be in [1, {_MAX_RANGE}]")
    return Term.constant(np.arange(stop))


def positions(w: Wiring, x: Term, axis: int) -> Term:
    """The whole numbers 0, 1, 2, ... of the places along an axis, which may be open."""
    axis, _ = without(x, axis)
    found = x.shape[axis]
    if found is not None:
        return count_up(w, found)
    size = w.emit("Shape", [x], (1,), ir.DataType.INT64, start=axis, end=axis + 1)
    ends = [whole(0), w.squeeze(size, [0]), whole(1)]
    return w.emit("Range", ends, (None,), ir.DataType.INT64)


def cells(w: Wiring, width: int, height: int, *strides: int) -> Term:
    """Column, row and stride [A,3] of the cells of an input, row by row, stride after stride."""
    if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE and strides):
        raise WiringError(f"cells: needs a width and a height in [1, {_MAX_SIDE}] and strides")
    grids: list[np.ndarray] = []
    for stride in strides:
        if stride < 1:
            raise WiringError(f"cells: a stride of {stride}: must be at least 1")
        wide, high = -(-width // stride), -(-height // stride)
        if sum(map(len, grids)) + wide * high > _MAX_RANGE:
            raise WiringError(f"cells: there are more than {_MAX_RANGE}")
        row, column = np.divmod(np.arange(wide * high), wide)
        grids.append(np.stack([column, row, np.full_like(row, stride)], 1))
    return Term.constant(np.concatenate(grids))


FUNCTIONS: Mapping[str, Callable[..., Term | int]] = {
    "max": largest,
    "argmax": argmax,
    "sum": total,
    "sigmoid": sigmoid,
    "softmax": softmax,
    "exp": _elementwise("Exp", "e to the power of `x`."),
    "log": _elementwise("Log", "The natural logarithm of `x`."),
    "sqrt": _elementwise("Sqrt", "The square root of `x`."),
    "abs": _elementwise("Abs", "`x` without its sign."),
    "round": _elementwise("Round", "The nearest whole number, the even one of two."),
    "sin": _elementwise("Sin", "The sine of `x` in radians."),
    "cos": _elementwise("Cos", "The cosine of `x` in radians."),
    "where": where,
    "cast": cast,
    "float": as_float,
    "concat": concat,
    "t": transpose,
    "reshape": reshape,
    "batched": batched,
    "take": take,
    "per_class": per_class,
    "xywh": xywh,
    "cxcywh": cxcywh,
    "size": size,
    "range": count_up,
    "positions": positions,
    "cells": cells,
}
