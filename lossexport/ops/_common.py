"""What every op shares: argument checks, the precision policy, reductions."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import torch
from torch import Tensor

from lossexport.catalog import CATALOG
from lossexport.catalog.spec import Op
from lossexport.errors import LossexportError

P = ParamSpec("P")
R = TypeVar("R")

NARROW = (torch.float16, torch.bfloat16)


def op(function: Callable[P, R]) -> Callable[P, R]:
    """Bind a torch function to its catalogue entry of the same name.

    Arguments are checked against the entry (LossexportError, a ValueError for torch users, names
    argument and value); float16 and bfloat16 inputs are computed in float32, since a box of 256 x
    256 px already has an area that float16 cannot hold, and floating outputs return in that type.
    """
    spec = CATALOG[function.__name__]
    names = [tensor.name for tensor in spec.inputs] + [item.name for item in spec.attributes]

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        arguments: dict[str, Any] = dict(zip(names, args, strict=False)) | kwargs
        if not torch.compiler.is_compiling():
            _check(spec, arguments)
        narrow = None
        for tensor in spec.inputs:
            value = arguments.get(tensor.name)
            if isinstance(value, Tensor) and value.dtype in NARROW:
                narrow = value.dtype
                arguments[tensor.name] = value.float()
        result = cast(Any, function)(**arguments)
        if narrow is None:
            return cast(R, result)
        if isinstance(result, Tensor):
            return cast(R, _narrowed(result, narrow))
        return cast(R, tuple(_narrowed(item, narrow) for item in result))

    return wrapper


def _narrowed(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if value.is_floating_point() else value


def _check(spec: Op, arguments: dict[str, Any]) -> None:
    sizes: dict[str, int] = {}
    for tensor in spec.inputs:
        value = arguments.get(tensor.name)
        if not isinstance(value, Tensor):
            continue  # a missing argument is Python's own TypeError
        where = f"{spec.name}: {tensor.name}"
        if tensor.dtype == "float" and not value.is_floating_point():
            raise LossexportError(f"{where} has dtype {value.dtype}, expected a floating dtype")
        if tensor.dtype == "int64" and value.dtype not in (torch.int64, torch.int32):
            raise LossexportError(f"{where} has dtype {value.dtype}, expected int64")
        shape = tuple(value.shape)
        expected = f"[{', '.join(map(str, tensor.shape))}]"
        if len(shape) != len(tensor.shape):
            raise LossexportError(f"{where} has shape {list(shape)}, expected {expected}")
        for size, dim in zip(shape, tensor.shape, strict=True):
            wanted = dim if isinstance(dim, int) else sizes.setdefault(dim, size)
            if size != wanted:
                raise LossexportError(
                    f"{where} has shape {list(shape)}, expected {expected}"
                    + (f" with {dim}={wanted}" if isinstance(dim, str) else "")
                )
    for attribute in spec.attributes:
        if attribute.name in arguments:
            attribute.check(spec.name, arguments[attribute.name])


def tiny(x: Tensor) -> float:
    """Smallest positive normal number of the dtype of `x`."""
    return torch.finfo(x.dtype).tiny


def poison(*rows: Tensor) -> Tensor:
    """Zero for every row of finite numbers and NaN for the others, summed over the last axis.

    Added to a result it makes NaN and infinity come out as NaN, where a minimum, a clamp or a
    quotient would silently turn them into a plausible number. Constant for autograd.
    """
    return functools.reduce(torch.add, [row.detach().sum(-1) * 0 for row in rows])


def reduce(loss: Tensor, reduction: str) -> Tensor:
    """Apply `reduction` ("none", "sum", "mean"); the mean of an empty loss is 0."""
    if reduction == "none":
        return loss
    total = loss.sum()
    return total if reduction == "sum" else total / torch.sym_max(loss.numel(), 1)
