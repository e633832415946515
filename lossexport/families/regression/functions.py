"""Elementwise regression losses.

Sources: smooth L1, Girshick, ICCV 2015 (arXiv 1504.08083), eq. 3, in the beta form of Faster R-CNN;
KL loss, He et al., CVPR 2019 (arXiv 1809.08545), eq. 9 and 10.
"""

import torch
from torch import Tensor

from lossexport.ops.common import finite, poison, reduce

# As in fvcore: below this the quadratic part is no different from a corner, and 0.5 d^2/beta
# would overflow.
MIN_BETA = 1e-5


def smooth_l1(difference: Tensor, beta: float) -> Tensor:
    """`0.5 d^2 / beta` where |d| < beta, `|d| - 0.5 beta` elsewhere; |d| for beta < 1e-5."""
    size = difference.abs()
    if beta < MIN_BETA:
        return size * (1 + difference.detach() * 0)  # abs() has derivative 0 at NaN
    near = size.clamp(max=beta)
    # d/dsize is near/beta on both branches, so autograd needs no mask.
    return near * (size - 0.5 * near) / beta


def smooth_l1_loss(
    pred: Tensor, target: Tensor, beta: float = 1.0, reduction: str = "none"
) -> Tensor:
    """Smooth L1 of `pred - target`: [N,D] and [N,D] to [N,D]."""
    difference = pred - target
    difference = difference + poison(difference.unsqueeze(-1))
    return reduce(smooth_l1(difference, beta), reduction)


def kl_loss(pred: Tensor, log_variance: Tensor, target: Tensor, reduction: str = "none") -> Tensor:
    """Smooth L1 weighted by a predicted variance: [N,4] three times to [N,4].

    `exp(-log_variance) * smooth_l1(pred - target, beta=1) + log_variance / 2`, the divergence of a
    Gaussian from the target. Mask background rows outside.
    """
    log_variance = finite(log_variance)
    difference = finite(pred - target)
    loss = torch.exp(-log_variance) * smooth_l1(difference, beta=1.0) + 0.5 * log_variance
    return reduce(loss, reduction)
