"""Losses that reshape cross entropy.

Sources: anchor loss, Ryou et al., ICCV 2019 (arXiv 1909.11155), eq. 4 to 6, without its warm-up;
symmetric cross entropy, Wang et al., ICCV 2019 (arXiv 1908.06112), eq. 6 and 7.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from lossexport.ops.common import reduce
from lossexport.ops.function import differentiated_again, function, save
from lossexport.ops.logistic import chosen, labelled, logistic, power, rivals


def anchor_loss(
    logits: Tensor,
    labels: Tensor,
    gamma: float = 0.5,
    slack: float = 0.05,
    anchor: str = "neg",
    reduction: str = "none",
) -> Tensor:
    """Binary cross entropy, harder for classes about as probable as the own: [N,C] and [N] to [N].

    "neg" weighs each other class by how close its probability is to that of the own class, "pos"
    weighs the own class by how far it is behind the best other one. The anchor probability is a
    constant for the gradient.
    """
    classes = logits.shape[1]
    own = chosen(labels, classes)
    x = logistic(labelled(logits, labels, 0, classes - 1))
    # 1 + p - anchor is a sum of probabilities and slack, because a difference would cancel.
    if anchor == "neg":
        gap = torch.where(own, x.q, 0).sum(-1, keepdim=True).detach()
        weighted = power(x.p + (gap + slack).clamp(max=1), gamma) * x.miss
        return reduce(torch.where(own, x.hit, weighted).sum(-1), reduction)
    rival = torch.where(own, 0, x.p).amax(-1, keepdim=True).detach()
    weighted = power(x.q + (rival + slack).clamp(max=1), gamma) * x.hit
    return reduce(torch.where(own, weighted, x.miss).sum(-1), reduction)


def _entropies(
    logits: Tensor, own: Tensor, alpha: float, reverse: float, floor: float
) -> tuple[Tensor, Tensor]:
    """`alpha * -log p_y + reverse * sum_{k != y} max(p_k, floor)` of softmax, and its slope."""
    z, shares = rivals(logits, own)
    p, q, _, hit = (x.unsqueeze(-1) for x in logistic(z))
    others = torch.where(own, 0, q * shares)
    live = others >= floor
    total = torch.where(own, 0, others.clamp(min=floor)).sum(-1)
    moving = torch.where(live & ~own, others, 0).sum(-1, keepdim=True)
    rest = p + torch.where(live, 0, others).sum(-1, keepdim=True)
    pull = torch.where(own, -p * moving, others * torch.where(live, rest, -moving))
    slope = alpha * torch.where(own, -q, others) + reverse * pull
    return alpha * hit.squeeze(-1) + reverse * total, slope


class _SymmetricEntropy(Function):
    """`_entropies`, whose second result is the derivative of the first.

    If a probability is close to 1, autograd would subtract the sum of all from 1, where only the
    sum of the small ones should remain.
    """

    @staticmethod
    def forward(logits: Tensor, own: Tensor, *rates: float) -> tuple[Tensor, Tensor]:
        return _entropies(logits, own, *rates)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.rates = inputs[2:]
        ctx.mark_non_differentiable(output[1])
        save(ctx, *inputs[:2], output[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        logits, own, slope = ctx.saved_tensors
        if differentiated_again():
            slope = _entropies(logits, own, *ctx.rates)[1]
        return slope * grads[0].unsqueeze(-1), None, None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> tuple[Tensor, None]:
        logits, own, _ = ctx.saved_tensors
        slope = _entropies(logits, own, *ctx.rates)[1]
        return (slope * tangents[0]).sum(-1), None


_symmetric_entropy = function(_SymmetricEntropy)


def sce_loss(
    logits: Tensor,
    labels: Tensor,
    alpha: float = 0.1,
    beta: float = 1.0,
    prob_floor: float = 1e-7,
    label_floor: float = 1e-4,
    reduction: str = "none",
) -> Tensor:
    """Cross entropy both ways, `alpha CE(label, p) + beta CE(p, label)`: [N,C] and [N] to [N].

    In the second term, log 0 is replaced by log(label_floor), and p is clamped to prob_floor, with
    no gradient below.
    """
    classes = logits.shape[1]
    own = chosen(labels, classes)
    logits = labelled(logits, labels, 0, classes - 1)
    reverse = -beta * math.log(label_floor)
    loss: Tensor = _symmetric_entropy(logits, own, alpha, reverse, prob_floor)[0]
    return reduce(loss, reduction)
