"""Logistic functions whose values and gradients are precise in both tails.

A probability close to 1 has lost the digits of its distance from 1, and with them those of its
logarithm and slope. Everything here is therefore computed from exp(-|x|), which is precise in both
tails, and from pairs of p and 1 - p.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from lossexport.ops.common import poison, tiny
from lossexport.ops.function import function, save, total


class Logistic(NamedTuple):
    """For logits: p, q = 1 - p, and the cross entropies `miss` and `hit` with targets 0 and 1."""

    p: Tensor
    q: Tensor
    miss: Tensor
    hit: Tensor

    def entropy(self, target: Tensor) -> Tensor:
        """Cross entropy with targets from 0 to 1, as a sum of two numbers that are not negative."""
        return target * self.hit + (1 - target) * self.miss


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
    """`base ** exponent` for a base >= 0, with a finite slope at 0 for any exponent."""
    # The factor of the infinite slope vanishes with the base.
    return (base.clamp(min=tiny(base)) if 0 < exponent < 1 else base).pow(exponent)


def chosen(labels: Tensor, classes: int, first: int = 0) -> Tensor:
    """Mask [N,C] of the class that each label [N] names, counting from `first`.

    This is a comparison because the gradient of a gather is a scatter with additions.
    """
    return labels.unsqueeze(-1) == torch.arange(first, first + classes, device=labels.device)


def labelled(logits: Tensor, labels: Tensor, low: int, high: int) -> Tensor:
    """Logits [N,C], with NaN in rows that hold NaN or infinity or whose label is out of range.

    An artifact has no other way to report a wrong label; eager PyTorch raises.
    """
    stray = torch.where((labels < low) | (labels > high), torch.nan, poison(logits))
    return logits + stray.unsqueeze(-1)


def _rivals(logits: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    # Finite, so that a single class gives a large margin instead of inf - inf.
    lowest = -0.5 * torch.finfo(logits.dtype).max
    label = torch.where(own, logits, 0).sum(-1, keepdim=True)
    # The differences come first, because logits may be far larger than their distances.
    # A label that is NaN stays so where there are no others.
    others = torch.where(own, lowest + label * 0, logits - label)
    peak = others.amax(-1, keepdim=True)
    shares = torch.exp(others - peak)
    total = shares.sum(-1, keepdim=True)
    return -(peak + total.log()).squeeze(-1), shares / total


class _Rivals(Function):
    """`x_y - log sum_{k != y} exp x_k`, and the softmax of the others, which is its slope."""

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
    """The Jacobian of shares [...,C] of a softmax, applied to `move`. It is symmetric."""
    return shares * (move - (shares * move).sum(-1, keepdim=True))


_margin = function(_Rivals)


def rivals(logits: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax [N,C] from the point of view of each row's own class.

    Returns the logit of its probability [N], and the shares of the other classes in the rest [N,C].
    """
    z, shares = _margin(logits, own)
    return z, shares


def margin(logits: Tensor, own: Tensor) -> Tensor:
    """The logit of the probability that softmax gives to each row's own class: [N,C] to [N].

    With it, softmax losses become binary losses, which are precise even if that probability is
    close to 0 or 1.
    """
    return rivals(logits, own)[0]
