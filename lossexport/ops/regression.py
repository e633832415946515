"""Elementwise regression losses.

Source: smooth L1, Girshick, ICCV 2015 (arXiv 1504.08083), eq. 3, in the beta form of Faster R-CNN.
"""

from torch import Tensor

from lossexport.ops._common import op, poison, reduce

# As in fvcore: below this the quadratic part cannot be told from a corner, and 0.5 d^2/beta would
# overflow.
MIN_BETA = 1e-5


def smooth_l1(difference: Tensor, beta: float) -> Tensor:
    """`0.5 d^2 / beta` where |d| < beta, `|d| - 0.5 beta` elsewhere; |d| for beta < 1e-5."""
    size = difference.abs()
    if beta < MIN_BETA:
        return size
    near = size.clamp(max=beta)
    # d/dsize is near/beta on both branches, so autograd needs no mask.
    return near * (size - 0.5 * near) / beta


@op
def smooth_l1_loss(
    pred: Tensor, target: Tensor, beta: float = 1.0, reduction: str = "none"
) -> Tensor:
    """Smooth L1 of `pred - target`: [N,D] and [N,D] to [N,D]."""
    difference = pred - target
    difference = difference + poison(difference.unsqueeze(-1))
    return reduce(smooth_l1(difference, beta), reduction)
