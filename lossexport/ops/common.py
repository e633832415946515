"""Tensor helpers for the functions of the ops: NaN propagation, reductions, concrete values."""

import functools

import torch
from torch import Tensor

NARROW = (torch.float16, torch.bfloat16)
"""Types that an op computes in float32."""
PLAIN = (Tensor, torch.nn.Parameter)
"""Classes of tensors whose numbers can be read."""


def is_concrete(value: Tensor) -> bool:
    """Whether the numbers of `value` can be read, which is not so while a graph is traced.

    Under vmap, `physical` gives those of the whole batch.
    """
    plain = type(value) in PLAIN and not value.is_meta
    return plain and not torch.compiler.is_compiling()


def physical(value: Tensor) -> Tensor:
    """The tensor inside the wrappers of torch.func; under vmap, that of the whole batch."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(value):
        value = functorch.get_unwrapped(value)
    return value


def tiny(x: Tensor) -> float:
    """The smallest positive normal number of the dtype of `x`."""
    return torch.finfo(x.dtype).tiny


def poison(*rows: Tensor) -> Tensor:
    """0 for every row of finite numbers and NaN for the others; the last axis is reduced.

    Added to a result, it turns NaN and infinity into NaN, where a minimum, a clamp or a quotient
    would silently give a plausible number. It is a constant for autograd.
    """
    return functools.reduce(torch.add, [row.detach().sum(-1) * 0 for row in rows])


def finite(x: Tensor, *others: Tensor) -> Tensor:
    """`x`, with NaN for elements where it or one of the others is infinite or NaN."""
    return functools.reduce(lambda total, y: total + y.detach() * 0, (x, *others), x)


def reduce(loss: Tensor, reduction: str) -> Tensor:
    """Apply `reduction` ("none", "sum", "mean"); the mean of an empty loss is 0."""
    if reduction == "none":
        return loss
    total = loss.sum()
    if reduction == "sum":
        return total
    # A tensor, because the exporter would assume that a symbolic number is at least 2.
    count = torch.full((), loss.numel(), dtype=loss.dtype, device=loss.device)
    return total / count.clamp(min=1)
