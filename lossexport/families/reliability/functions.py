"""Signals of quality without references: of the boxes that NMS removes, and of the scores.

Sources: Yoo et al., Automated Model Evaluation for Object Detection via Prediction Consistency and
Reliability, ICCV 2025 (arXiv 2508.12082) and its code; Park et al. (arXiv 2412.01782), contrastive
confidence.
"""

import torch
from torch import Tensor

from lossexport.families.suppression.functions import Boxes, candidates, rivalry
from lossexport.ops.common import poison, tiny

# Constants of the published code: how steeply the weights change with the score, and the least.
_STEEP_RELIABILITY = 20.0
_STEEP_CONSISTENCY = 10.0
_LEAST = 0.1


def suppression_reliability(
    boxes: Tensor,
    scores: Tensor,
    indices: Tensor,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.05,
    center: float = 0.4,
) -> tuple[Tensor, Tensor]:
    """Reliability [] and consistency [] of an NMS: boxes [N,4] xyxy, scores [N], its indices [K].

    A candidate has a score above `score_threshold`, and is removed if it was not kept and its IoU
    with a kept one is above `iou_threshold`; it is then in the group of each such one. Reliability
    is the weight of the groups of kept boxes with a score above `center`, divided by the weight of
    all removed boxes, where a weight rises from 0.1 to 1 around `center`. Consistency is the mean
    over the kept boxes of 1 / (1 + exp(10 (score - `center`))) times the mean of two numbers: the
    IoU of the box with the hull of its group, and 1 less the distance of their centres in quarters
    of the diagonal of the box. Indices below 0 and rows that are not finite take no part. Both are
    0 where nothing was removed.
    """
    table, found, places = candidates(boxes, scores, score_threshold)
    live = found > score_threshold
    row = Boxes.of(table)
    # The row after the last one is of no box.
    place = torch.where(indices >= 0, indices, boxes.shape[0])
    own = Boxes(*(plane.mT for plane in Boxes.of(table.index_select(1, place))))
    score = found.index_select(1, place).mT
    counts = score > score_threshold
    kept = ((place.unsqueeze(1) == places) & counts).to(table.dtype).amax(0, keepdim=True) > 0
    group = counts & (live & ~kept) & (rivalry(own, row) > iou_threshold)
    weight = _LEAST + (1 - _LEAST) * torch.sigmoid(_STEEP_RELIABILITY * (found - center))
    mass = torch.where(group, weight, 0).sum(1, keepdim=True)
    sure = torch.where(score > center, mass, 0).sum()
    removed = torch.where(group.to(table.dtype).amax(0, keepdim=True) > 0, weight, 0).sum()
    some = group.to(table.dtype).amax(1, keepdim=True) > 0
    agreement = torch.where(some, _agreement(own, _hull(own, row, group)), 0)
    fade = torch.sigmoid(_STEEP_CONSISTENCY * (center - score))
    number = counts.to(table.dtype).sum().clamp(min=1)
    consistency = torch.where(counts, agreement * fade, 0).sum() / number
    return sure / removed.clamp(min=_LEAST / 2), consistency


def _hull(own: Boxes, row: Boxes, group: Tensor) -> Boxes:
    """The smallest box around each group [K,N] of boxes [1,N]: planes [K,1].

    Without a group it is the box itself, [K,1].
    """
    some = group.to(row.x1.dtype).amax(1, keepdim=True) > 0

    def end(plane: Tensor, of: Tensor, sign: float) -> Tensor:
        # Everything else is moved to a corner of the group's own box.
        reach = torch.where(group, plane * sign, -torch.finfo(plane.dtype).max)
        return torch.where(some, reach.amax(1, keepdim=True), of * sign) * sign

    x1, y1 = end(row.x1, own.x1, -1.0), end(row.y1, own.y1, -1.0)
    x2, y2 = end(row.x2, own.x2, 1.0), end(row.y2, own.y2, 1.0)
    return Boxes(x1, y1, x2, y2, (x2 - x1) * (y2 - y1))


def _agreement(a: Boxes, b: Boxes) -> Tensor:
    """The mean of the IoU and of 1 - the distance of the centres in quarters of a's diagonal."""
    width, height = a.x2 - a.x1, a.y2 - a.y1
    shift_x = (a.x1 - b.x1) + (a.x2 - b.x2)
    shift_y = (a.y1 - b.y1) + (a.y2 - b.y2)
    diagonal = width * width + height * height
    ratio = (shift_x * shift_x + shift_y * shift_y) / diagonal.clamp(min=tiny(diagonal))
    # The root has no derivative at 0, where both centres are one.
    apart = torch.where(ratio > 0, torch.sqrt(torch.where(ratio > 0, ratio, 1)), 0)
    # The shifts are twice those of the centres.
    return 0.5 * rivalry(a, b) + 0.5 * (1 - 2 * apart)


def contrastive_confidence(
    scores: Tensor, score_threshold: float = 0.3, weight: float = 5.0
) -> Tensor:
    """Mean of the scores [N,K] above `score_threshold` less `weight` times that of the rest: [N].

    A score is that of the best class of a box, after a sigmoid or softmax. One of 0 or less stands
    for no box, as NMS pads its outputs. The mean of no score is 0. NaN or infinity makes NaN of its
    image.
    """
    above = scores > score_threshold
    below = (scores > 0) & ~above
    sides = [
        torch.where(side, scores, 0).sum(-1) / side.to(scores.dtype).sum(-1).clamp(min=1)
        for side in (above, below)
    ]
    return sides[0] - weight * sides[1] + poison(scores)
