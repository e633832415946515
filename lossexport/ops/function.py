"""Functions with derivatives of their own that all of torch's transforms take.

Such a function is an `autograd.Function` with `forward`, `setup_context`, `backward` and `jvp`. Its
backward is differentiable: what it computes with are inputs, or outputs with a derivative. A
`once_differentiable` one would be left out without an error where a second derivative reaches the
input in another way too.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from lossexport.errors import LossexportError


class _Primal:
    """A context whose saved tensors have no tangent of the jvp that it is used in."""

    def __init__(self, ctx: Any) -> None:
        self._ctx = ctx
        unpack: Any = forward_ad.unpack_dual
        self.saved_tensors = tuple(unpack(x).primal for x in ctx.saved_tensors)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ctx, name)


def function(cls: type[Function]) -> Callable[..., Any]:
    """`cls.apply`, under vmap and nested jvp too.

    A compiled graph gets no `jvp`: Dynamo refuses a function that has one.
    """

    def jvp(ctx: Any, *tangents: Any) -> Any:
        # torch switches forward mode off here: a jvp of this jvp would be 0 without an error.
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
    """The sum, None if there is no term."""
    return functools.reduce(torch.add, terms) if terms else None


def differentiated_again() -> bool:
    """Whether what a backward gives may itself be differentiated."""
    return torch.is_grad_enabled() or forward_ad._current_level >= 0


class _Final(Function):
    """A tensor computed from another one, with an error in place of its derivative."""

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
    """`x`, computed from `source`; to differentiate it raises LossexportError with `message`.

    A compiled graph has no second derivatives: torch says so itself.
    """
    if torch.compiler.is_compiling() or not differentiated_again():
        return x
    result: Tensor = _final(x, source, message)
    return result
