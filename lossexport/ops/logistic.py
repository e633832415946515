"""Logistic functions that keep every digit in both tails, in value and gradient.

A probability close to 1 has lost its distance from 1, and with it its logarithm and its slope.
Everything here is built on exp(-|x|), which neither overflows nor rounds to 1, and on pairs of p
and 1 - p.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from lossexport.ops.common import poison, tiny
from lossexport.ops.function import function, save, total


class Logistic(NamedTuple):
    """What a logit stands for: p, 1 - p, and its cross entropy with the targets 0 and 1."""

    p: Tensor
    q: Tensor
    miss: Tensor
    hit: Tensor


class _Logistic(Function):
    """sigmoid(x), sigmoid(-x), softplus(x), softplus(-x)."""

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
        ctx.set_materialize_grads(False)
        save(ctx, *output[:2])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Tensor | None:
        slopes = _slopes(*ctx.saved_tensors)
        return total([g * slope for g, slope in zip(grads, slopes, strict=True) if g is not None])

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> tuple[Tensor, ...]:
        return tuple(tangents[0] * slope for slope in _slopes(*ctx.saved_tensors))


def _slopes(p: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return p * q, -p * q, p, -q


_logistic = function(_Logistic)


def logistic(x: Tensor) -> Logistic:
    """Probabilities and cross entropies of logits, each to full relative precision."""
    return Logistic(*_logistic(x))


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


def _rivals(logits: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    # Finite, so that a single class gives a margin of that size instead of inf - inf.
    lowest = -0.5 * torch.finfo(logits.dtype).max
    label = torch.where(own, logits, 0).sum(-1, keepdim=True)
    # The differences first: the logits may be far larger than their distances.
    others = torch.where(own, lowest, logits - label)
    peak = others.amax(-1, keepdim=True)
    shares = torch.exp(others - peak)
    total = shares.sum(-1, keepdim=True)
    return -(peak + total.log()).squeeze(-1), shares / total


class _Rivals(Function):
    """`x_y - log sum_{k != y} exp x_k`, whose slope is the softmax of the others, and that."""

    @staticmethod
    def forward(logits: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        return _rivals(logits, own)

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]
    ) -> None:
        ctx.set_materialize_grads(False)
        save(ctx, inputs[1], output[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None]:
        own, shares = ctx.saved_tensors
        margin, share = grads
        terms = []
        if margin is not None:
            terms.append(torch.where(own, 1, -shares) * margin.unsqueeze(-1))
        if share is not None:
            terms.append(softmax_slope(shares, share))
        return total(terms), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> tuple[Tensor, Tensor]:
        own, shares = ctx.saved_tensors
        move = tangents[0]
        return torch.where(own, move, -shares * move).sum(-1), softmax_slope(shares, move)


def softmax_slope(shares: Tensor, move: Tensor) -> Tensor:
    """How shares [...,C] of a softmax move with the logits; the matrix is symmetric."""
    return shares * (move - (shares * move).sum(-1, keepdim=True))


_margin = function(_Rivals)


def rivals(logits: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax [N,C] as each row's own class sees it.

    The logit of its probability, [N], and how the other classes share the rest, [N,C].
    """
    z, shares = _margin(logits, own)
    return z, shares


def margin(logits: Tensor, own: Tensor) -> Tensor:
    """The logit of the probability that softmax gives to each row's own class: [N,C] to [N].

    Softmax losses become binary ones in it, exact where that probability is next to 0 or 1.
    """
    return rivals(logits, own)[0]
