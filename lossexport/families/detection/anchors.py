"""The losses of RetinaNet, with anchors, and of FCOS, with points.

Sources: RetinaNet, Lin et al., ICCV 2017 (arXiv 1708.02002); FCOS, Tian et al., ICCV 2019 (arXiv
1904.01355), with the centre sampling and the GIoU of its later version (arXiv 2006.09214); both as
torchvision has them.
"""

import torch
from torch import Tensor

from lossexport.families.assignment.functions import with_one_more
from lossexport.families.deltas.functions import encode_boxes
from lossexport.families.detection.targets import (
    classes_of,
    of_each,
    size,
    total,
    usable,
    whole,
)
from lossexport.families.focal.functions import sigmoid_focal_loss
from lossexport.families.iou.functions import giou_loss, score_matrix
from lossexport.families.regression.functions import smooth_l1
from lossexport.ops.logistic import logistic


def _match(
    anchors: Tensor, targets: Tensor, valid: Tensor, fg_iou: float, bg_iou: float, rescue: bool
) -> Tensor:
    """The target of each anchor by IoU, [A,4] and [B,T,4] to [B,A]; -1: background, -2: neither."""
    batch, count, _ = targets.shape
    iou = score_matrix("iou", targets.flatten(0, 1), anchors, 0.0).unflatten(0, (batch, count))
    iou = torch.where(valid.unsqueeze(2), iou, -1.0)
    best = iou.amax(1)
    places = torch.where(best >= bg_iou, -2, -1)
    near = best >= fg_iou
    if rescue:
        most = iou.amax(2, keepdim=True)
        near = near | ((iou == most) & (most > 0)).any(1)
    return torch.where(near, iou.argmax(1), places)


def retinanet_loss(
    class_logits: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    labels: Tensor,
    targets: Tensor,
    valid: Tensor,
    fg_iou: float = 0.5,
    bg_iou: float = 0.4,
    rescue: bool = True,
    alpha: float = 0.25,
    gamma: float = 2.0,
    beta: float = 0.0,
    class_gain: float = 1.0,
    box_gain: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """The loss of RetinaNet on raw heads: to loss [] and parts [2] (class, box).

    class_logits [B,A,C], deltas [B,A,4] against anchors [A,4] xyxy; labels [B,T], targets [B,T,4]
    xyxy, of which those that are `valid` [B,T] count. An anchor belongs to the target of highest
    IoU from `fg_iou` on, is background below `bg_iou` and left out between; with `rescue`, the
    best anchors of each target belong to one in any case. Each part is divided by the anchors of
    its image that have a target, and is the mean over the images.
    """
    classes = class_logits.shape[2]
    labels, targets, valid = with_one_more(labels, targets, valid)
    valid, stray = usable(labels, targets, valid, classes)
    stray = stray + whole(class_logits, deltas, anchors)
    clean = torch.where(valid.unsqueeze(-1), targets, 0)
    places = _match(anchors, clean, valid, fg_iou, bg_iou, rescue)
    taken = places >= 0
    norm = taken.sum(1).clamp(min=1).to(deltas.dtype) * size(deltas)

    own = classes_of(places, labels, classes).to(deltas.dtype)
    named = sigmoid_focal_loss(class_logits, own, alpha, gamma)
    named = torch.where((places != -2).unsqueeze(-1), named, 0).sum((1, 2)) / norm

    ground = anchors.expand(deltas.shape)
    wanted = torch.where(taken.unsqueeze(-1), of_each(places, clean), ground)
    wanted = encode_boxes(wanted.flatten(0, 1), ground.flatten(0, 1)).view(deltas.shape)
    placed = smooth_l1(torch.where(taken.unsqueeze(-1), deltas - wanted, 0), beta)
    placed = placed.sum((1, 2)) / norm
    parts = total([named.sum(), placed.sum()], (class_gain, box_gain), stray)
    return parts.sum(), parts


def _responsible(
    points: Tensor, stride: Tensor, targets: Tensor, valid: Tensor, radius: float
) -> Tensor:
    """The smallest target [B,A] for which a point has to answer, or -1."""
    low, high = targets[..., :2].unsqueeze(2), targets[..., 2:].unsqueeze(2)
    centre = ((low + high) * 0.5 - points).abs().amax(-1) < radius * stride
    sides = torch.cat((points - low, high - points), -1)
    reach = sides.amax(-1)
    # Every level has the targets of its size; the finest also smaller ones, the coarsest larger.
    least = torch.where(stride == stride.amin(0), 0, stride * 4)
    most = torch.where(stride == stride.amax(0), torch.inf, stride * 8)
    fits = centre & (sides.amin(-1) > 0) & (reach > least) & (reach < most) & valid.unsqueeze(2)
    extent = targets[..., 2:] - targets[..., :2]
    area = (extent[..., 0] * extent[..., 1]).unsqueeze(2)
    rank = torch.where(fits, area, torch.inf)
    return torch.where(fits.any(1), rank.argmin(1), -1)


def fcos_loss(
    class_logits: Tensor,
    distances: Tensor,
    centre_logits: Tensor,
    points: Tensor,
    stride: Tensor,
    labels: Tensor,
    targets: Tensor,
    valid: Tensor,
    radius: float = 1.5,
    alpha: float = 0.25,
    gamma: float = 2.0,
    eps: float = 1e-7,
    class_gain: float = 1.0,
    box_gain: float = 1.0,
    centre_gain: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """The loss of FCOS on raw heads: to loss [] and parts [3] (class, box, centre-ness).

    class_logits [B,A,C]; distances [B,A,4] from the point to left, top, right, bottom in strides;
    centre_logits [B,A]; points [A,2] in pixels and the stride [A] of their level; labels [B,T],
    targets [B,T,4] xyxy in pixels, of which those that are `valid` [B,T] count. A point answers
    for the smallest target that it is inside of, within `radius` strides of the centre, whose
    farthest side is 4 to 8 strides away. The parts are divided by the number of such points.
    """
    classes = class_logits.shape[2]
    labels, targets, valid = with_one_more(labels, targets, valid)
    valid, stray = usable(labels, targets, valid, classes)
    stray = stray + whole(class_logits, distances, centre_logits, points, stride.unsqueeze(0))
    clean = torch.where(valid.unsqueeze(-1), targets, 0)
    places = _responsible(points, stride, clean, valid, radius)
    taken = places >= 0
    norm = taken.sum().clamp(min=1).to(distances.dtype)

    own = classes_of(places, labels, classes).to(distances.dtype)
    named = sigmoid_focal_loss(class_logits, own, alpha, gamma)

    near, far = (distances * stride.unsqueeze(1)).chunk(2, dim=-1)
    boxes = torch.cat((points - near, points + far), -1)
    # A point without a target is the centre of one, so that everything stays finite.
    around = torch.cat((points - 1, points + 1), -1)
    wanted = torch.where(taken.unsqueeze(-1), of_each(places, clean), around)
    placed = torch.where(taken, giou_loss(boxes, wanted, eps), 0)

    before, after = points - wanted[..., :2], wanted[..., 2:] - points
    share = torch.minimum(before, after) / torch.maximum(before, after)
    centre = torch.where(taken, (share[..., 0] * share[..., 1]).sqrt(), 0)
    x = logistic(centre_logits)
    middle = torch.where(taken, x.entropy(centre), 0)

    found = [named.sum() / norm, placed.sum() / norm, middle.sum() / norm]
    parts = total(found, (class_gain, box_gain, centre_gain), stray)
    return parts.sum(), parts
