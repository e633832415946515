"""Runs an op once on ordinary inputs to check that its function fits its declaration."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossexport.catalog.spec import Op
from lossexport.catalog.spec import Tensor as Declared
from lossexport.catalog.variant import Variant
from lossexport.errors import LossexportError
from lossexport.parity.cases import Case, clipped, largest
from lossexport.parity.oracle import function, one_thread, reported, tensors
from lossexport.parity.roundings import Roundings

_SIDE = 33
_ELEMENTS = 2**14


def trial(variant: Variant) -> tuple[str, ...]:
    """The operators of the op for which the error analysis has no rule.

    Raises LossexportError if the function fails, if its results are not those declared, and if
    they are not finite on ordinary inputs, since nothing could be compared then.
    """
    attributes = tuple(variant.attributes.items())
    return _trial(variant.op, attributes, variant.gradient)


@functools.lru_cache(1024)
def _trial(op: Op, attributes: tuple[tuple[str, Any], ...], gradient: bool) -> tuple[str, ...]:
    variant = Variant.make(op, dict(attributes), gradient=gradient)
    side = _SIDE
    while largest(variant, clipped(variant, side)) > _ELEMENTS and side > 1:
        side //= 2
    case = Case(next(iter(op.samplers)), tuple(clipped(variant, side).items()), 0)
    given = tensors(variant, case.inputs(variant))
    sizes = {**variant.attributes, **dict(case.sizes)}
    with one_thread():
        alone = function(replace(variant, gradient=False))
        for dtype in (torch.float64, torch.float32):
            narrowed = [x.to(dtype) if x.is_floating_point() else x for x in given]
            with reported(op, "ordinary inputs"):
                results = alone(*narrowed)
            _check(op, replace(variant, gradient=False).outputs, results, dtype, sizes)
        if all(tensor.dtype in ("int64", "bool") for tensor in variant.outputs):
            return ()
        run = Roundings()
        with run, np.errstate(all="ignore"), reported(op, "ordinary inputs"):
            results = function(variant)(*given)
    for tensor, result in zip(variant.outputs, results, strict=True):
        if result.is_floating_point() and not bool(result.isfinite().all()):
            at = (~result.isfinite()).nonzero()[0].tolist()
            raise LossexportError(
                f"op {op.name!r}: {tensor.name}{at} is {result[tuple(at)].item()} on ordinary "
                f"inputs, case {case}: nothing can be compared there; keep it finite, or narrow "
                "the domains of the inputs"
            )
    return tuple(sorted(run.measured))


def _check(
    op: Op,
    declared: Sequence[Declared],
    results: Sequence[Any],
    dtype: torch.dtype,
    sizes: dict[str, Any],
) -> None:
    """Check number, kind, type and shape of the function's results for floats of `dtype`."""
    where = f"op {op.name!r}: the function returns"
    names = ", ".join(tensor.name for tensor in declared)
    if len(results) != len(declared):
        raise LossexportError(
            f"{where} {len(results)} values, declared are {len(declared)}: {names}"
        )
    wanted = {"float": dtype, "float32": dtype, "int64": torch.int64, "bool": torch.bool}
    for tensor, result in zip(declared, results, strict=True):
        if not isinstance(result, Tensor):
            raise LossexportError(
                f"{where} a {type(result).__name__} for {tensor.name}: a tensor is expected"
            )
        if result.dtype != wanted[tensor.dtype]:
            remedy = "" if tensor.dtype in ("int64", "bool") else "; keep the type of the inputs"
            raise LossexportError(
                f"{where} {result.dtype} for {tensor.name}, declared {tensor.dtype}, of inputs of "
                f"{dtype}{remedy}"
            )
        shape = [dim if isinstance(dim, int) else sizes[dim] for dim in tensor.shape]
        if list(result.shape) != shape:
            raise LossexportError(
                f"{where} {tensor.name} of shape {list(result.shape)}, declared is "
                f"[{', '.join(map(str, tensor.shape))}], here {shape}"
            )
