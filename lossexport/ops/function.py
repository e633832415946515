"""Functions with derivatives of their own that support all of torch's transforms.

Such a function is an `autograd.Function` with `forward`, `setup_context`, `backward` and `jvp`. Its
backward is differentiable, because it uses only inputs, or outputs that have a derivative. The
second derivative of a `once_differentiable` function would be left out without an error if it
reaches the input in another way too.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from lossexport.errors import LossexportError


class _Primal:
    """A context whose saved tensors have no tangent in the current jvp."""

    def __init__(self, ctx: Any) -> None:
        self._ctx = ctx
        unpack: Any = forward_ad.unpack_dual
        self.saved_tensors = tuple(unpack(x).primal for x in ctx.saved_tensors)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ctx, name)


def function(cls: type[Function]) -> Callable[..., Any]:
    """`cls.apply`, which also works under vmap and nested jvp.

    In compiled graphs it has no `jvp`, because Dynamo refuses functions with one.
    """

    def jvp(ctx: Any, *tangents: Any) -> Any:
        # torch switches forward mode off here, and a jvp of this jvp would silently be 0.
        with forward_ad._set_fwd_grad_enabled(True):
            return cls.jvp(_Primal(ctx), *tangents)

    def variant(jvp: Any) -> Any:
        return type(cls.__name__, (cls,), {"jvp": staticmethod(jvp), "generate_vmap_rule": True})

    eager, compiled = variant(jvp), variant(Function.jvp)

    def apply(*args: Any) -> Any:
        return (compiled if torch.compiler.is_compiling() else eager).apply(*args)

    return apply


def save(ctx: Any, *tensors: Tensor) -> None:
    """Keep tensors for `backward` and `jvp`."""
    ctx.save_for_backward(*tensors)
    ctx.save_for_forward(*tensors)


def total(terms: Sequence[Tensor]) -> Tensor | None:
    """The sum of the terms; None if there are none."""
    return functools.reduce(torch.add, terms) if terms else None


def differentiated_again() -> bool:
    """Whether the results of a backward may be differentiated again."""
    return torch.is_grad_enabled() or forward_ad._current_level >= 0


class _Final(Function):
    """A tensor computed from another one; to differentiate it is an error."""

    @staticmethod
    def forward(x: Tensor, source: Tensor, message: str) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.message = inputs[2]

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise LossexportError(ctx.message)

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        raise LossexportError(ctx.message)


_final = function(_Final)


def final(x: Tensor, source: Tensor, message: str) -> Tensor:
    """`x`, computed from `source`. Differentiating it raises LossexportError with `message`.

    In compiled graphs torch itself refuses second derivatives.
    """
    if torch.compiler.is_compiling() or not differentiated_again():
        return x
    result: Tensor = _final(x, source, message)
    return result
