"""Losses whose target is the quality of a box: an IoU in place of a class, or a distance in bins.

Sources: distribution and quality focal loss, Li et al. (arXiv 2006.04388), eq. 1 and 6; varifocal
loss, Zhang et al. (arXiv 2008.13367), eq. 2; matchability-aware loss, Huang et al. (arXiv
2412.04234), eq. 3; the others follow the criteria of RT-DETR, D-FINE and RF-DETR. Cross entropies
come from the logits, by `softplus`, and p - t from p and 1 - p, so that no logit from -100 to 100
loses digits to a logarithm of a rounded probability.
"""

import torch
from torch import Tensor

from lossexport.ops import logistic as logits_of
from lossexport.ops.common import finite, poison, reduce
from lossexport.ops.logistic import Logistic, logistic, power

LEAST_TARGET = 0.01
"""The least target of a matched element in `iou_aware_bce_loss`."""


def distribution_focal_loss(
    logits: Tensor, target: Tensor, margin: float = 0.01, reduction: str = "none"
) -> Tensor:
    """Cross entropy of the two bins beside a distance: logits [N,K] and distances [N] to [N].

    A distance between two bins asks for a share of each, by how near they are. Distances are in
    bins, and are moved into [0, K - 1 - `margin`].
    """
    bins = torch.arange(logits.shape[1], dtype=logits.dtype, device=logits.device)
    distance = target.detach()
    x = logits + (poison(logits) + distance * 0).unsqueeze(-1)
    # A tensor, because the exporter would fix a number that depends on a size.
    last = torch.full((), logits.shape[1] - 1, dtype=x.dtype, device=x.device) - margin
    distance = torch.minimum(distance, last).clamp(min=0)
    # The nearer bin has the larger share. Counted from it, no difference of large numbers is small.
    nearest = (bins + 0.5 <= distance.unsqueeze(-1)).to(x.dtype).sum(-1)
    beyond = distance - nearest
    own = bins == nearest.unsqueeze(-1)
    other = bins == (nearest + torch.where(beyond < 0, -1.0, 1.0)).unsqueeze(-1)
    label = torch.where(own, x, 0).sum(-1, keepdim=True)
    lead = torch.where(other, x - label, 0).sum(-1)
    return reduce(logistic(logits_of.margin(x, own)).hit - beyond.abs() * lead, reduction)


def quality_focal_loss(
    logits: Tensor, target: Tensor, beta: float = 2.0, reduction: str = "none"
) -> Tensor:
    """Cross entropy with a soft target, times `|target - p| ** beta`: [N,C] and [N,C] to [N,C]."""
    x = logistic(finite(logits, target))
    gap = (target * x.q - (1 - target) * x.p).abs()
    return reduce(power(gap, beta) * x.entropy(target), reduction)


def varifocal_loss(
    logits: Tensor,
    target: Tensor,
    alpha: float = 0.75,
    gamma: float = 2.0,
    iou_weighted: bool = True,
    reduction: str = "none",
) -> Tensor:
    """Varifocal loss of VarifocalNet and mmdetection: [N,C] and [N,C] to [N,C].

    Positives are elements with a target above 0. They weigh as much as their target, or 1 if not
    `iou_weighted`, and the others `alpha * p ** gamma`, which is differentiated.
    """
    x = logistic(finite(logits, target))
    own = target if iou_weighted else torch.ones_like(target)
    weight = torch.where(target > 0, own, alpha * power(x.p, gamma))
    return reduce(weight * x.entropy(target), reduction)


def matched_varifocal_loss(
    logits: Tensor,
    quality: Tensor,
    matched: Tensor,
    alpha: float = 0.75,
    gamma: float = 2.0,
    reduction: str = "none",
) -> Tensor:
    """Varifocal loss of RT-DETR and D-FINE: logits, quality, matched [N,C] to [N,C].

    Matched elements have their `quality` as target and as weight; the others have the target 0 and
    the weight `alpha * p ** gamma`. Weights are constants of the gradient.
    """
    x, quality = _elements(logits, quality)
    target = torch.where(matched, quality, 0)
    weight = torch.where(matched, quality, alpha * x.p.detach().pow(gamma))
    return reduce(weight * x.entropy(target), reduction)


def matchability_aware_loss(
    logits: Tensor,
    quality: Tensor,
    matched: Tensor,
    gamma: float = 1.5,
    alpha: float = 1.0,
    reduction: str = "none",
) -> Tensor:
    """Matchability-aware loss of DEIM: logits, quality, matched [N,C] to [N,C].

    Matched elements have the target `quality ** gamma` and the weight 1; the others have the target
    0 and the weight `alpha * p ** gamma`, a constant of the gradient.
    """
    x, quality = _elements(logits, quality)
    target = torch.where(matched, quality.pow(gamma), 0)
    weight = torch.where(matched, 1, alpha * x.p.detach().pow(gamma))
    return reduce(weight * x.entropy(target), reduction)


def iou_aware_bce_loss(
    logits: Tensor,
    quality: Tensor,
    matched: Tensor,
    alpha: float = 0.25,
    reduction: str = "none",
) -> Tensor:
    """IoU-aware cross entropy of LW-DETR and RF-DETR: logits, quality, matched [N,C] to [N,C].

    The target of matched elements is `p ** alpha * quality ** (1 - alpha)`, at least 0.01 and a
    constant of the gradient. The others have the target 0 and the weight `p ** 2`, which is
    differentiated.
    """
    x, quality = _elements(logits, quality)
    mixed = x.p.detach().pow(alpha) * quality.pow(1 - alpha)
    target = mixed.clamp(min=LEAST_TARGET)
    return reduce(torch.where(matched, x.entropy(target), x.p * x.p * x.miss), reduction)


def _elements(logits: Tensor, quality: Tensor) -> tuple[Logistic, Tensor]:
    """The logistic functions of the logits, NaN where a number is not finite, and the quality."""
    quality = quality.detach()
    return logistic(finite(logits, quality)), quality
