"""Logistic functions that keep every digit in both tails, in value and gradient.

A probability close to 1 has lost its distance from 1, and so has its logarithm: everything here is
built on exp(-|x|), which never rounds to 1 or overflows, and on pairs of p and 1 - p.
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lossexport.ops._common import poison, tiny


class _Probabilities(torch.autograd.Function):
    """sigmoid(x) and sigmoid(-x), whose slope p (1 - p) does not round to 0 next to 1."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.sigmoid(x), torch.sigmoid(-x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        p, q = ctx.saved_tensors
        return (grads[0] - grads[1]) * p * q


def probabilities(x: Tensor) -> tuple[Tensor, Tensor]:
    """The probability of a logit and its complement, each to full relative precision."""
    return cast(
        tuple[Tensor, Tensor],
        _Probabilities.apply(x),  # type: ignore[no-untyped-call]
    )


def cross_entropy(x: Tensor, target: Tensor | float) -> Tensor:
    """Binary cross entropy of logits with targets in [0, 1]: a sum without a negative term."""
    size = x.abs()
    # As halves of |x| + x and |x| - x, so that autograd's slope at 0 is the mean of both sides.
    linear = (1 - target) * (0.5 * (size + x)) + target * (0.5 * (size - x))
    return linear + torch.log1p(torch.exp(-size))


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)): the cross entropy of a logit with the target 0."""
    size = x.abs()
    return 0.5 * (size + x) + torch.log1p(torch.exp(-size))


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


class _Margin(torch.autograd.Function):
    """Logit of a softmax probability: `x_y - log sum_{k != y} exp x_k`."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, own: Tensor) -> Tensor:
        # Finite, so that a single class gives a margin of that size instead of inf - inf.
        lowest = -0.5 * torch.finfo(logits.dtype).max
        label = torch.where(own, logits, 0).sum(-1, keepdim=True)
        # The differences first: the logits may be far larger than their distances.
        others = torch.where(own, lowest, logits - label)
        peak = others.amax(-1, keepdim=True)
        shares = torch.exp(others - peak)
        total = shares.sum(-1, keepdim=True)
        ctx.save_for_backward(own, shares / total)
        return -(peak + total.log()).squeeze(-1)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        own, shares = ctx.saved_tensors
        return torch.where(own, 1, -shares) * grads[0].unsqueeze(-1), None


def margin(logits: Tensor, own: Tensor) -> Tensor:
    """The logit of the probability that softmax gives to each row's own class: [N,C] to [N].

    Softmax losses become binary ones in it, exact where the probability is next to 0 or 1.
    """
    return _Margin.apply(logits, own)  # type: ignore[no-untyped-call,no-any-return]
