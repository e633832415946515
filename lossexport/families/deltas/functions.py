"""Box deltas: the regression targets of anchor-based detectors.

Source: R-CNN, Girshick et al., CVPR 2014 (arXiv 1311.2524), appendix C, with the weights and the
clamp of Detectron.
"""

import torch
from torch import Tensor

from lossexport.ops.common import poison

# Smaller sides are encoded as this side, so that a degenerate box has finite deltas.
MIN_SIDE = 1e-7


def _columns(x: Tensor, weights: tuple[float, ...]) -> Tensor:
    return torch.tensor(weights, dtype=x.dtype, device=x.device)


def encode_boxes(
    boxes: Tensor, anchors: Tensor, weights: tuple[float, float, float, float] = (1, 1, 1, 1)
) -> Tensor:
    """Deltas (dx, dy, dw, dh) of `boxes` against `anchors`: [N,4] xyxy and [N,4] xyxy to [N,4].

    `dx = wx * (cx - cx_a) / w_a`, `dw = ww * log(w / w_a)`; the inverse of `decode_boxes`. Sides
    below 1e-7 are taken as 1e-7, so that the deltas of a degenerate box are finite.
    """
    low, high = boxes.chunk(2, dim=1)
    anchor_low, anchor_high = anchors.chunk(2, dim=1)
    side = (high - low).clamp(min=MIN_SIDE)
    anchor_side = (anchor_high - anchor_low).clamp(min=MIN_SIDE)
    shift = ((low - anchor_low) + (high - anchor_high)) * 0.5 / anchor_side
    deltas = torch.cat((shift, torch.log(side / anchor_side)), dim=1)
    return deltas * _columns(deltas, weights) + poison(boxes, anchors).unsqueeze(1)


def decode_boxes(
    deltas: Tensor,
    anchors: Tensor,
    weights: tuple[float, float, float, float] = (1, 1, 1, 1),
    clip: float = 4.135166556742356,
) -> Tensor:
    """Boxes of `deltas` (dx, dy, dw, dh) against `anchors` xyxy: [N,4] and [N,4] to [N,4] xyxy.

    `cx = dx / wx * w_a + cx_a`, `w = w_a * exp(min(dw / ww, clip))`. Finite for finite input.
    """
    low, high = anchors.chunk(2, dim=1)
    side = high - low
    # Halves and not slices, because the gradient of a slice is a scatter.
    shift, growth = (deltas / _columns(deltas, weights)).chunk(2, dim=1)
    centre = shift * side + (low + side * 0.5)
    half = side * torch.exp(growth.clamp(max=clip)) * 0.5
    boxes = torch.cat((centre - half, centre + half), dim=1)
    return boxes + poison(deltas, anchors).unsqueeze(1)
