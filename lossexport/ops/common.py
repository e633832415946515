"""Tensor helpers that the functions of the ops share: poison, reductions, what may be looked at."""

import functools

import torch
from torch import Tensor

NARROW = (torch.float16, torch.bfloat16)
"""Types that an op computes in float32."""


def is_concrete(value: Tensor) -> bool:
    """Whether `value` holds numbers that may be looked at: not while a graph is traced.

    Those of a batch, under vmap, through `physical`.
    """
    plain = type(value) in (Tensor, torch.nn.Parameter) and not value.is_meta
    return plain and not torch.compiler.is_compiling()


def physical(value: Tensor) -> Tensor:
    """The tensor inside of the wrappers of torch.func: under vmap all of the batch."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(value):
        value = functorch.get_unwrapped(value)
    return value


def tiny(x: Tensor) -> float:
    """Smallest positive normal number of the dtype of `x`."""
    return torch.finfo(x.dtype).tiny


def poison(*rows: Tensor) -> Tensor:
    """Zero for every row of finite numbers and NaN for the others, summed over the last axis.

    Added to a result it makes NaN and infinity come out as NaN, where a minimum, a clamp or a
    quotient would silently turn them into a plausible number. Constant for autograd.
    """
    return functools.reduce(torch.add, [row.detach().sum(-1) * 0 for row in rows])


def finite(x: Tensor, *others: Tensor) -> Tensor:
    """`x`, NaN if it or one of the others is infinite or NaN: `poison` element by element."""
    return functools.reduce(lambda total, y: total + y.detach() * 0, (x, *others), x)


def reduce(loss: Tensor, reduction: str) -> Tensor:
    """Apply `reduction` ("none", "sum", "mean"); the mean of an empty loss is 0."""
    if reduction == "none":
        return loss
    total = loss.sum()
    if reduction == "sum":
        return total
    # A tensor, because of a symbolic number the exporter would assume that it is at least 2.
    count = torch.full((), loss.numel(), dtype=loss.dtype, device=loss.device)
    return total / count.clamp(min=1)
