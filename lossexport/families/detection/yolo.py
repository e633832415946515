"""The loss of YOLOv8 and YOLO11, and of YOLO26, whose heads give distances and no distributions.

Source: the Ultralytics code, release 8.4; distribution focal loss, Li et al., NeurIPS 2020 (arXiv
2006.04388), eq. 6; task-aligned assignment, Feng et al., ICCV 2021 (arXiv 2108.07755).
"""

import torch
from torch import Tensor

from lossexport.errors import LossexportError
from lossexport.families.assignment.functions import class_chances, task_align, with_one_more
from lossexport.families.detection.targets import of_each, size, total, usable, whole
from lossexport.families.iou.functions import yolo_ciou
from lossexport.ops.logistic import logistic

# Targets stay this far below the last bin.
_MARGIN = 0.01


def _log_softmax(logits: Tensor) -> Tensor:
    """The logarithm of the softmax over the bins of [B,4,R,A]."""
    below = logits - logits.detach().amax(2, keepdim=True)
    return below - below.exp().sum(2, keepdim=True).log()


def _distribution(shares: Tensor, distance: Tensor) -> Tensor:
    """Cross entropy of log-probabilities [B,4,R,A] with distances [B,4,A] between two bins."""
    bins = torch.arange(shares.shape[2], device=shares.device).to(shares.dtype).unsqueeze(1)
    within = distance.clamp(0.0, shares.shape[2] - 1 - _MARGIN)
    # Falls from 1 at the distance to 0 at the bins beyond its neighbours.
    weight = (1 - (bins - within.unsqueeze(2)).abs()).clamp(min=0)
    return -(weight * shares).sum(2)


def _extent(points: Tensor, stride: Tensor) -> Tensor:
    """Width and height [2] of the image, in pixels, by the cells of the finest level."""
    far = (points + 0.5) * stride.unsqueeze(1)
    return torch.where((stride == stride.amin(0)).unsqueeze(1), far, 0).amax(0)


def yolo_detection_loss(
    box_logits: Tensor,
    class_logits: Tensor,
    points: Tensor,
    stride: Tensor,
    labels: Tensor,
    targets: Tensor,
    valid: Tensor,
    box_gain: float = 7.5,
    class_gain: float = 0.5,
    dfl_gain: float = 1.5,
    alpha: float = 0.5,
    beta: float = 6.0,
    topk: int = 10,
    small_side: float = 16.0,
) -> tuple[Tensor, Tensor]:
    """The loss of YOLOv8, 11 and 26 on raw heads: to loss [] and parts [3] (box, class, dfl).

    box_logits [B,D,A] with D = 4 R: for each side, left, top, right, bottom, the logits of R bins
    of the distance from the point; with R = 1 the distance itself, in cells. class_logits [B,C,A],
    points [A,2] in cells, stride [A]; labels [B,T], targets [B,T,4] xyxy in pixels, of which those
    that are `valid` [B,T] count. The parts have their gains; the loss is B times their sum.
    """
    batch, rows, count = box_logits.shape
    classes = class_logits.shape[1]
    if rows % 4:
        raise LossexportError(
            f"yolo_detection_loss: box_logits has {rows} rows: four times the number of bins is "
            "expected"
        )
    labels, targets, valid = with_one_more(labels, targets, valid)
    valid, stray = usable(labels, targets, valid, classes)
    stray = stray + whole(box_logits, class_logits, points, stride.unsqueeze(0))

    logits = box_logits.reshape(batch, 4, rows // 4, count)
    if rows > 4:
        shares = _log_softmax(logits)
        bins = torch.arange(rows // 4, device=logits.device).to(logits.dtype).unsqueeze(1)
        distance = (shares.exp() * bins).sum(2)
    else:
        shares, distance = logits, logits.squeeze(2)
    near, far = distance.chunk(2, dim=1)
    boxes = torch.cat((points.mT - near, points.mT + far), 1).mT

    step = stride.unsqueeze(1)
    given = task_align(
        class_chances(class_logits.detach().sigmoid(), labels),
        boxes.detach() * step,
        points * step,
        targets,
        valid,
        alpha,
        beta,
        topk,
        small_side,
    )
    places = given.target()
    taken = places >= 0
    weight = given.scores.amax(1)
    norm = weight.sum().clamp(min=1)

    # A point without a target has its own box, so that everything stays finite.
    wanted = torch.where(taken.unsqueeze(-1), of_each(places, targets) / step, boxes.detach())
    apart = torch.where(taken, 1 - yolo_ciou(boxes, wanted), 0)
    reach = torch.cat((points - wanted[..., :2], wanted[..., 2:] - points), -1).mT
    if rows > 4:
        sides = _distribution(shares, reach)
    else:
        extent = _extent(points, stride).repeat(2).unsqueeze(1)
        sides = ((distance - reach) * stride / extent).abs()
    sides = torch.where(taken, sides.sum(1) * 0.25, 0)

    x = logistic(class_logits)
    score = given.class_scores(labels, classes)
    found = [(apart * weight).sum(), x.entropy(score).sum(), (sides * weight).sum()]
    parts = total([part / norm for part in found], (box_gain, class_gain, dfl_gain), stray)
    return parts.sum() * size(box_logits), parts
