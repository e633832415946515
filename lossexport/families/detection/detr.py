"""The loss of DETR and its descendants for a given assignment.

Sources: DETR, Carion et al., ECCV 2020 (arXiv 2005.12872), section 3.1; Deformable DETR, Zhu et
al., ICLR 2021 (arXiv 2010.04159): focal; RT-DETR, Zhao et al., CVPR 2024 (arXiv 2304.08069):
varifocal, whose weights and IoU have no gradient.
"""

import torch
from torch import Tensor

from lossexport.families.assignment.functions import with_one_more
from lossexport.families.detection.targets import classes_of, of_each, total, usable, whole
from lossexport.families.focal.functions import sigmoid_focal_loss
from lossexport.families.iou.functions import box_giou, box_iou, corners
from lossexport.ops.logistic import logistic, margin, power


def _softmax(logits: Tensor, own: Tensor, taken: Tensor, no_object: float) -> Tensor:
    """The weighted mean of the cross entropies; a query without a target has the last class."""
    last = torch.arange(logits.shape[2], device=logits.device) == logits.shape[2] - 1
    own = own | (last & ~taken.unsqueeze(-1))
    z = logistic(margin(logits.flatten(0, 1), own.flatten(0, 1)))
    # A number alone would be a float32.
    weight = torch.where(taken.flatten(), 1, z.hit.new_full((), no_object))
    return (weight * z.hit).sum() / weight.sum()


def _varifocal(logits: Tensor, own: Tensor, iou: Tensor, alpha: float, gamma: float) -> Tensor:
    """The sum over all queries and classes."""
    x = logistic(logits)
    quality = torch.where(own, iou.unsqueeze(-1), 0)
    weight = torch.where(own, quality, alpha * power(x.p.detach(), gamma))
    return (weight * x.entropy(quality)).sum()


def detr_detection_loss(
    logits: Tensor,
    boxes: Tensor,
    labels: Tensor,
    targets: Tensor,
    valid: Tensor,
    match: Tensor,
    kind: str = "focal",
    class_gain: float = 2.0,
    box_gain: float = 5.0,
    giou_gain: float = 2.0,
    alpha: float = 0.25,
    gamma: float = 2.0,
    no_object: float = 0.1,
) -> tuple[Tensor, Tensor]:
    """The loss of a DETR for an assignment: to loss [] and parts [3] (class, L1, GIoU).

    logits [B,N,C], boxes [B,N,4] cx, cy, w, h in parts of the image; labels [B,T], targets [B,T,4]
    alike, of which those that are `valid` [B,T] count; match [B,T], the query of each target, or -1
    for a target without one. The parts are divided by the number of valid targets, at least 1; the
    softmax form of the class part is the mean of all queries, weighted with `no_object` where there
    is no target, for which the last class stands.
    """
    queries, classes = logits.shape[1:]
    named = classes - 1 if kind == "softmax" else classes
    labels, targets, valid = with_one_more(labels, targets, valid)
    match = torch.cat((match, torch.full_like(labels[:, :1], -1)), 1)
    count = valid.sum().clamp(min=1).to(logits.dtype)
    valid, stray = usable(labels, targets, valid, named)
    beyond = torch.where((valid & (match >= queries)).any(), torch.nan, logits.new_zeros(()))
    stray = stray + whole(logits, boxes) + beyond

    paired = match.unsqueeze(2) == torch.arange(queries, device=match.device)
    order = torch.arange(labels.shape[1], device=match.device).unsqueeze(1)
    places = torch.where(paired & valid.unsqueeze(2), order, -1).amax(1)
    taken = places >= 0
    wanted = torch.where(taken.unsqueeze(-1), of_each(places, targets), boxes.detach())
    edges, wanted_edges = corners(boxes), corners(wanted)

    own = classes_of(places, labels, classes)
    if kind == "softmax":
        class_part = _softmax(logits, own, taken, no_object)
    elif kind == "focal":
        focal = sigmoid_focal_loss(logits, own.to(logits.dtype), alpha, gamma)
        class_part = focal.sum() / count
    else:
        iou = box_iou(edges, wanted_edges).detach()
        class_part = _varifocal(logits, own, iou, alpha, gamma) / count
    distance = torch.where(taken, (boxes - wanted).abs().sum(-1), 0)
    apart = torch.where(taken, 1 - box_giou(edges, wanted_edges), 0)
    found = [class_part, distance.sum() / count, apart.sum() / count]
    parts = total(found, (class_gain, box_gain, giou_gain), stray)
    return parts.sum(), parts
