"""Focal losses.

Source: Lin et al., ICCV 2017 (arXiv 1708.02002), eq. 5; the softmax form with weights per class
follows its public PyTorch ports. 1 - p_t is computed as the sum of the other probabilities and not
as a difference, so that easy examples keep their relative precision.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lossexport.errors import LossexportError
from lossexport.ops.common import finite, reduce
from lossexport.ops.logistic import chosen, labelled, logistic, margin, power


def sigmoid_focal_loss(
    logits: Tensor,
    target: Tensor,
    alpha: float = 0.25,
    gamma: float = 2.0,
    reduction: str = "none",
) -> Tensor:
    """Binary focal loss of every class, soft targets allowed: [N,C] and [N,C] to [N,C].

    A negative `alpha` switches its weights off.
    """
    x = logistic(finite(logits))
    wrong = target * x.q + (1 - target) * x.p
    loss = power(wrong, gamma) * x.entropy(target)
    if alpha >= 0:
        loss = (alpha * target + (1 - alpha) * (1 - target)) * loss
    return reduce(loss, reduction)


def softmax_focal_loss(
    logits: Tensor,
    labels: Tensor,
    alpha: float | Sequence[float] = 0.25,
    gamma: float = 2.0,
    reduction: str = "none",
) -> Tensor:
    """Multi-class focal loss: logits [N,C] and class indices [N] to [N].

    A number `alpha` weighs class 0, the background, and 1 - alpha the others; a sequence weighs
    each class. It is the binary loss of the margin between the own class and all others.
    """
    classes = logits.shape[1]
    own = chosen(labels, classes)
    z = logistic(margin(labelled(logits, labels, 0, classes - 1), own))
    if isinstance(alpha, Sequence):
        if len(alpha) != classes:
            raise LossexportError(
                f"softmax_focal_loss: alpha has {len(alpha)} weights, logits have {classes} classes"
            )
        weights = torch.tensor(alpha, dtype=logits.dtype, device=logits.device)
        weight = torch.where(own, weights, 0).sum(-1)
    else:
        background = (labels == 0).to(logits.dtype)
        weight = alpha * background + (1 - alpha) * (1 - background)
    return reduce(weight * power(z.q, gamma) * z.hit, reduction)
