"""Logistic functions that keep every digit in both tails, in value and gradient.

A probability close to 1 has lost its distance from 1, and with it its logarithm and its slope.
Everything here is built on exp(-|x|), which neither overflows nor rounds to 1, and on pairs of p
and 1 - p.
"""

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lossexport.ops._common import poison, tiny


class Logistic(NamedTuple):
    """What a logit stands for: p, 1 - p, and its cross entropy with the targets 0 and 1."""

    p: Tensor
    q: Tensor
    miss: Tensor
    hit: Tensor


class _Logistic(torch.autograd.Function):
    """sigmoid(x), sigmoid(-x), softplus(x), softplus(-x)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        tail = torch.log1p(torch.exp(-x.abs()))
        return (
            torch.sigmoid(x),
            torch.sigmoid(-x),
            x.clamp(min=0) + tail,
            (-x).clamp(min=0) + tail,
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*output[:2])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Tensor | None:
        p, q = ctx.saved_tensors
        slopes = (p * q, -p * q, p, -q)
        terms = [g * slope for g, slope in zip(grads, slopes, strict=True) if g is not None]
        return functools.reduce(torch.add, terms) if terms else None


def logistic(x: Tensor) -> Logistic:
    """Probabilities and cross entropies of logits, each to full relative precision."""
    return Logistic(*_Logistic.apply(x))  # type: ignore[no-untyped-call]


def power(base: Tensor, exponent: float) -> Tensor:
    """`base ** exponent` for a base of at least 0, with a finite slope at 0 for any exponent."""
    # What the infinite slope would multiply vanishes with the base.
    return (base.clamp(min=tiny(base)) if 0 < exponent < 1 else base).pow(exponent)


def chosen(labels: Tensor, classes: int, first: int = 0) -> Tensor:
    """Mask [N,C] of the class that each label [N] names, counting from `first`.

    A comparison, because the gradient of a gather is a scatter that adds up.
    """
    return labels.unsqueeze(-1) == torch.arange(first, first + classes, device=labels.device)


def labelled(logits: Tensor, labels: Tensor, low: int, high: int) -> Tensor:
    """Logits [N,C], NaN in the rows that hold NaN or infinity or whose label is out of range.

    In an artifact that is all that can be said about a wrong label; eager PyTorch raises.
    """
    stray = torch.where((labels < low) | (labels > high), torch.nan, poison(logits))
    return logits + stray.unsqueeze(-1)


def rivals(logits: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax [N,C] as each row's own class sees it, without a gradient.

    The logit of its probability, [N], and how the other classes share the rest, [N,C].
    """
    # Finite, so that a single class gives a margin of that size instead of inf - inf.
    lowest = -0.5 * torch.finfo(logits.dtype).max
    label = torch.where(own, logits, 0).sum(-1, keepdim=True)
    # The differences first: the logits may be far larger than their distances.
    others = torch.where(own, lowest, logits - label)
    peak = others.amax(-1, keepdim=True)
    shares = torch.exp(others - peak)
    total = shares.sum(-1, keepdim=True)
    return -(peak + total.log()).squeeze(-1), shares / total


class _Margin(torch.autograd.Function):
    """`x_y - log sum_{k != y} exp x_k`; the slope is the softmax of the others."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        return rivals(logits, own)

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]
    ) -> None:
        ctx.save_for_backward(inputs[1], output[1])
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        own, shares = ctx.saved_tensors
        return torch.where(own, 1, -shares) * grads[0].unsqueeze(-1), None


def margin(logits: Tensor, own: Tensor) -> Tensor:
    """The logit of the probability that softmax gives to each row's own class: [N,C] to [N].

    Softmax losses become binary ones in it, exact where that probability is next to 0 or 1.
    """
    z: Tensor = _Margin.apply(logits, own)[0]  # type: ignore[no-untyped-call]
    return z
