"""Estimates the IoU of a box from the uncertainty that its detector predicts.

Source: the Gaussian corner of He et al., CVPR 2019 (arXiv 1809.08545), eq. 3; `kl_loss` trains its
log sigma^2. The estimate of IoU from it is our own; docs/scoring.md derives it.
"""

import math

import torch
from torch import Tensor

from lossexport.ops.common import poison, tiny


def localization_confidence(boxes: Tensor, log_variance: Tensor) -> Tensor:
    """Estimated IoU of boxes [N,4] xyxy with the true ones, from log sigma^2 [N,4]: [N] in [0, 1].

    A coordinate is off by `sigma * sqrt(2 / pi)` on average. The result is `1 / (1 + e)`, where `e`
    is the sum of this over the four coordinates, each divided by its side. It is 0 for a box
    without area.
    """
    x1, y1, x2, y2 = boxes.unbind(1)
    # Roots of sigma: a sigma itself, or the sum of two, may leave the range of the float type where
    # its ratio to a side does not. A ratio that does makes the quality 0.
    left, top, right, bottom = torch.exp(log_variance * 0.25).unbind(1)
    w, h = x2 - x1, y2 - y1
    width, height = w.clamp(min=tiny(w)), h.clamp(min=tiny(h))
    off = (left / width * left + right / width * right) + (
        top / height * top + bottom / height * bottom
    )
    quality = 1 / (1 + off * math.sqrt(2 / math.pi))
    return torch.where(torch.minimum(w, h) > 0, quality, 0) + poison(boxes, log_variance)
