"""Brings the tensors of a detector into the types and shapes of an op's inputs.

Detectors give boxes in several formats, and rows as [A,C] or as [C,A], with a batch or without.
"""

import itertools
import math
from collections.abc import Mapping

import onnx_ir as ir

from lossexport.catalog.spec import Dim, Op, Tensor
from lossexport.catalog.variant import Range, Variant
from lossexport.names import BoxFormat
from lossexport.wiring.functions import TYPES, cxcywh, xywh
from lossexport.wiring.graph import Size, Term, Wiring, WiringError

_WITH_BATCH = 3
_CASTS = {name: TYPES[name] for name in ("int64", "bool", "float32")}


def is_box(tensor: Tensor) -> bool:
    """Whether an input holds boxes, to which `box_format` and `image_size` apply."""
    return tensor.shape[-1:] == (4,) and tensor.text.startswith("xyxy")


def xyxy(
    wiring: Wiring, boxes: Term, box_format: BoxFormat, image_size: tuple[float, float] | None
) -> Term:
    """Corners in pixels. The coordinates may be the last axis or, for [1,4,A], the one before."""
    if box_format == "xyxy" and image_size is None:
        return boxes
    if boxes.weak and not boxes.floating:
        boxes = wiring.cast(boxes, ir.DataType.FLOAT)
    if boxes.shape[-1:] != (4,) and boxes.shape[-2:-1] == (4,):
        order = list(range(len(boxes.shape)))
        boxes = wiring.transpose(boxes, *order[:-2], order[-1], order[-2])
    if box_format != "xyxy":
        boxes = xywh(wiring, boxes) if box_format == "xywh" else cxcywh(wiring, boxes)
    if image_size is not None:
        boxes = wiring.arithmetic("Mul", boxes, Term.constant([float(v) for v in image_size * 2]))
    return boxes


def fit(
    wiring: Wiring,
    term: Term,
    tensor: Tensor,
    wanted: tuple[Dim, ...],
    bound: Mapping[Dim, Size],
) -> Term:
    """`term` in the type and the shape of an input of the op; `bound` are sizes of other inputs."""
    if tensor.dtype in _CASTS and (tensor.dtype != "bool" or term.dtype is _CASTS["bool"]):
        term = wiring.cast(term, _CASTS[tensor.dtype])
    elif tensor.dtype == "float" and (term.floating or term.weak):
        term = term if term.floating else wiring.cast(term, ir.DataType.FLOAT)
    else:
        hint = "; float(...) makes it one" if tensor.dtype == "float" else ""
        raise WiringError(f"is {term}; {shown(tensor)} has to be {tensor.dtype}{hint}")
    laid_out = _layout(wiring, _in_rows(wiring, term, wanted, bound), wanted)
    if laid_out is None:
        batch = f", and no batch of {term.shape[0] or 'any size'}; a subscript picks an image of it"
        batch = batch if len(term.shape) > len(wanted) else ""
        raise WiringError(f"is {term}; the op needs {shown(tensor)}{batch}")
    return laid_out


def _in_rows(
    wiring: Wiring, term: Term, wanted: tuple[Dim, ...], bound: Mapping[Dim, Size]
) -> Term:
    """`term`, as [B,A,C] where it is [B,C,A] and does not fit the sizes of the other inputs.

    `wanted` is the shape that the op declares, and `bound` are the sizes of its dimensions in the
    inputs so far, None where a size is open.
    """
    if len(term.shape) != len(wanted) or len(wanted) < _WITH_BATCH:
        return term
    form = tuple(bound.get(dim, dim) for dim in wanted)
    order = (*range(len(wanted) - 2), len(wanted) - 1, len(wanted) - 2)
    other = tuple(term.shape[axis] for axis in order)
    if _fits(term.shape, form) or not _fits(other, form):
        return term
    return wiring.transpose(term, *order)


def _fits(shape: tuple[Size, ...], form: tuple[Dim | Size, ...]) -> bool:
    return all(isinstance(dim, str) or size == dim for size, dim in zip(shape, form, strict=True))


def _layout(wiring: Wiring, term: Term, wanted: tuple[Dim, ...]) -> Term | None:
    """`term` in a shape that fits `wanted`; None if there is none.

    A batch of 1 is dropped, [C,A] is transposed to [A,C] if C is fixed, and the fixed dimensions
    after the first are split if the detector has them as one.
    """
    fixed = [dim for dim in wanted[1:] if isinstance(dim, int)]
    forms = [wanted]
    if 2 <= len(fixed) == len(wanted) - 1:
        forms.append((wanted[0], math.prod(fixed)))
    batches = (False, True) if term.shape[:1] == (1,) else (False,)
    for form, batch, turned in itertools.product(forms, batches, (False, True)):
        shape = term.shape[1:] if batch else term.shape
        if turned and (len(form) != 2 or not fixed):
            continue
        if _matches(shape[::-1] if turned else shape, form):
            term = wiring.squeeze(term, [0]) if batch else term
            term = wiring.transpose(term) if turned else term
            return term if form is wanted else wiring.reshape(term, -1, *fixed)
    return None


def _matches(shape: tuple[Size, ...], form: tuple[Dim, ...]) -> bool:
    return len(shape) == len(form) and all(
        size in (dim, None) or isinstance(dim, str) for size, dim in zip(shape, form, strict=True)
    )


def bind(op: Op, base: Variant, terms: Mapping[str, Term]) -> dict[str, Size]:
    """Sizes of the op's symbolic dimensions in `terms`. Raises WiringError if two inputs differ."""
    sizes: dict[str, Size] = {}
    source: dict[str, str] = {}
    for tensor in op.inputs:
        if tensor.name not in terms:
            continue
        for dim, size in zip(base.shape(tensor), terms[tensor.name].shape, strict=True):
            if not isinstance(dim, str) or size is None:
                continue
            if sizes.setdefault(dim, size) != size:
                raise WiringError(
                    f"{tensor.name} has {dim}={size} where {source[dim]} has {dim}={sizes[dim]}"
                )
            source.setdefault(dim, tensor.name)
    for dim, size in sizes.items():
        if size is not None and size < op.dims[dim][0]:
            raise WiringError(f"{dim}={size} must be at least {op.dims[dim][0]}")
    return sizes


def ranges(op: Op, sizes: Mapping[str, Size]) -> dict[str, Range]:
    """Ranges for dimensions whose size exceeds the usual range, extended up to that size."""
    return {
        dim: Range(low, best, size)
        for dim, (low, best, high) in op.dims.items()
        if (size := sizes.get(dim)) is not None and size > high
    }


def shown(tensor: Tensor) -> str:
    """An input with its shape, for messages."""
    return f"{tensor.name}[{','.join(map(str, tensor.shape))}]"
