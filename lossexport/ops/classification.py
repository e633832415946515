"""Losses that reshape cross entropy.

Sources: anchor loss, Ryou et al., ICCV 2019 (arXiv 1909.11155), eq. 4 to 6, without its warm-up;
symmetric cross entropy, Wang et al., ICCV 2019 (arXiv 1908.06112), eq. 6 and 7.
"""

import math

import torch
from torch import Tensor

from lossexport.ops._common import op, reduce
from lossexport.ops._logistic import chosen, labelled, logistic, margin, power


@op
def anchor_loss(
    logits: Tensor,
    labels: Tensor,
    gamma: float = 0.5,
    slack: float = 0.05,
    anchor: str = "neg",
    reduction: str = "none",
) -> Tensor:
    """Binary cross entropy, harder for classes about as probable as the own: [N,C] and [N] to [N].

    "neg" weighs the other classes by how far they reach up to the own one, "pos" the own class by
    how far it falls behind the best other. The anchor probability is a constant of the gradient.
    """
    classes = logits.shape[1]
    own = chosen(labels, classes)
    x = logistic(labelled(logits, labels, 0, classes - 1))
    # 1 + p - anchor as sums of probabilities and slack: a difference would cancel.
    if anchor == "neg":
        gap = torch.where(own, x.q, 0).sum(-1, keepdim=True).detach()
        weighted = power(x.p + (gap + slack).clamp(max=1), gamma) * x.miss
        return reduce(torch.where(own, x.hit, weighted).sum(-1), reduction)
    rival = torch.where(own, 0, x.p).amax(-1, keepdim=True).detach()
    weighted = power(x.q + (rival + slack).clamp(max=1), gamma) * x.hit
    return reduce(torch.where(own, weighted, x.miss).sum(-1), reduction)


@op
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

    In the second, log 0 is log(label_floor), and p is clamped to prob_floor, without a gradient
    below.
    """
    classes = logits.shape[1]
    own = chosen(labels, classes)
    z, shares = margin(labelled(logits, labels, 0, classes - 1), own)
    x = logistic(z)
    others = (x.q.unsqueeze(-1) * shares).clamp(min=prob_floor)
    reverse = -math.log(label_floor) * torch.where(own, 0, others).sum(-1)
    return reduce(alpha * x.hit + beta * reverse, reduction)
