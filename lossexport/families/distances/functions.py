"""Boxes from predicted distances to their sides.

Source: Li et al., Generalized Focal Loss, NeurIPS 2020 (arXiv 2006.04388), eq. 5: a distance is the
expectation of a distribution over whole steps. NanoDet and YOLOv8 use this decoding.
"""

import torch
from torch import Tensor

from lossexport.ops.common import poison


def decode_distances(
    distribution: Tensor, points: Tensor, stride: Tensor, bins: int = 16
) -> Tensor:
    """Boxes around `points` [N,2] from logits [N,4,bins] and `stride` [N]: [N,4] xyxy.

    The distances to the left, top, right and bottom are `stride * sum(b * softmax(logits)[b])` for
    b from 0 to `bins` - 1.
    """
    steps = torch.arange(bins, dtype=distribution.dtype, device=distribution.device)
    expected = (torch.softmax(distribution, dim=2) * steps).sum(2)
    low, high = (expected * stride.unsqueeze(1)).chunk(2, dim=1)
    boxes = torch.cat((points - low, points + high), dim=1)
    return boxes + poison(distribution.flatten(1), points, stride.unsqueeze(1)).unsqueeze(1)
