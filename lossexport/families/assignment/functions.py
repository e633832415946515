"""Assignments of predictions to targets, of fixed shapes: by comparisons and a top-k of values.

Nothing here has a gradient. Equal values are put in order by their index and not by the runtime.

Sources: DETR, Carion et al., ECCV 2020 (arXiv 2005.12872), section 3.1; its focal form, Deformable
DETR, Zhu et al. (arXiv 2010.04159), and the matchers of RT-DETR and D-FINE; task-aligned
assignment, TOOD, Feng et al., ICCV 2021 (arXiv 2108.07755), as the YOLO codes have it.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lossexport.families.iou.functions import corners, score_matrix, yolo_ciou
from lossexport.ops.common import poison
from lossexport.ops.logistic import logistic, power

# A point is inside of a target if it is farther than this from all of its sides.
_INSIDE = 1e-9
# Added to the largest metric of a target, by which its scores are divided.
_NORM_EPS = 1e-9


def _class_cost(logits: Tensor, kind: str, alpha: float, gamma: float, eps: float) -> Tensor:
    """The cost of every class: [N,C] to [N,C]."""
    if kind == "softmax":
        return -logits.softmax(-1)
    x = logistic(logits)
    hit = -(x.p + eps).log() if eps > 0 else x.hit
    miss = -(x.q + eps).log() if eps > 0 else x.miss
    return alpha * power(x.q, gamma) * hit - (1 - alpha) * power(x.p, gamma) * miss


def detr_cost(
    logits: Tensor,
    boxes: Tensor,
    labels: Tensor,
    targets: Tensor,
    kind: str = "focal",
    class_weight: float = 2.0,
    box_weight: float = 5.0,
    giou_weight: float = 2.0,
    alpha: float = 0.25,
    gamma: float = 2.0,
    eps: float = 1e-8,
) -> Tensor:
    """The cost of giving each target to each query, which DETR minimises: to [N,M].

    logits [N,C], boxes [N,4] cx, cy, w, h in parts of the image, labels [M], targets [M,4].
    `class_weight` * class cost + `box_weight` * sum |b - t| - `giou_weight` * GIoU. The class cost
    is minus the probability of the softmax, or the focal loss of target 1 minus that of target 0,
    with `eps` inside its logarithms. Rows and columns with NaN or infinity are NaN.
    """
    classes = logits.shape[1]
    cost = _class_cost(logits + poison(logits).unsqueeze(1), kind, alpha, gamma, eps)
    known = (labels >= 0) & (labels < classes)
    cost = cost.index_select(1, torch.where(known, labels, 0))
    stray = torch.where(known, poison(targets), torch.nan)
    distance = (boxes.unsqueeze(1) - targets).abs().sum(-1)
    giou = score_matrix("giou", corners(boxes), corners(targets), 0.0)
    return class_weight * cost + (box_weight * distance - giou_weight * giou) + stray


class Aligned(NamedTuple):
    """A task-aligned assignment of T targets to A points, for each of B images.

    `taken` [B,T,A] has at most one True for each point; `scores` [B,T,A] are 0 elsewhere.
    """

    taken: Tensor
    scores: Tensor

    def target(self) -> Tensor:
        """The target of every point [B,A], or -1."""
        places = torch.arange(self.taken.shape[1], device=self.taken.device).unsqueeze(1)
        return torch.where(self.taken, places, -1).amax(1)

    def class_scores(self, labels: Tensor, classes: int) -> Tensor:
        """The scores [B,C,A] at the classes of the targets, of `labels` [B,T]."""
        label = labels.gather(1, self.target().clamp(min=0)).unsqueeze(1)
        names = torch.arange(classes, device=labels.device).unsqueeze(1)
        return torch.where(names == label, self.scores.amax(1, keepdim=True), 0)


def _inside(points: Tensor, targets: Tensor, small_side: float) -> Tensor:
    """Whether points [A,2] are in targets [B,T,4], the short sides of which are lengthened."""
    low, high = targets[..., :2], targets[..., 2:]
    centre, small = (low + high) * 0.5, high - low < small_side
    low = torch.where(small, centre - small_side * 0.5, low)
    high = torch.where(small, centre + small_side * 0.5, high)
    left, right = points - low.unsqueeze(2), high.unsqueeze(2) - points
    return torch.minimum(left, right).amin(-1) > _INSIDE


def _best(metric: Tensor, count: int) -> Tensor:
    """Whether each of [...,A] is one of the `count` largest, ties by rising index."""
    # So that there are enough.
    padded = torch.cat((metric, metric.new_full((*metric.shape[:-1], count), -1.0)), -1)
    last = padded.topk(count)[0][..., -1:]
    tie = metric == last
    above = (metric > last) & ~tie
    room = count - above.sum(-1, keepdim=True)
    return above | (tie & (tie.to(torch.int64).cumsum(-1) <= room))


def task_align(
    chances: Tensor,
    boxes: Tensor,
    points: Tensor,
    targets: Tensor,
    valid: Tensor,
    alpha: float,
    beta: float,
    topk: int,
    small_side: float,
) -> Aligned:
    """The assignment for each of B images.

    `chances` [B,T,A] are the probabilities of each point for the class of each target, `boxes`
    [B,A,4] and `targets` [B,T,4] xyxy, `points` [A,2], all in pixels, `valid` [B,T]. A target with
    NaN or infinity, and a point whose probability, box or place has it, take no part.
    """
    fit = poison(targets) == 0
    sound = (poison(boxes) == 0) & (poison(points) == 0)
    here = (valid & fit).unsqueeze(2) & sound.unsqueeze(1) & (chances.abs() < torch.inf)
    targets = torch.where(fit.unsqueeze(-1), targets, 0)
    boxes = torch.where(sound.unsqueeze(-1), boxes, 0)
    candidate = here & _inside(points, targets, small_side)

    overlap = yolo_ciou(boxes.unsqueeze(1), targets.unsqueeze(2)).clamp(min=0)
    overlap = torch.where(candidate, overlap, 0)
    chances = torch.where(candidate, chances, 0)
    metric = torch.where(candidate, chances.pow(alpha) * overlap.pow(beta), 0)
    chosen = _best(metric, topk) & candidate

    # A point that several targets want is that of the largest overlap, or of those the first.
    most = torch.where(valid.unsqueeze(2), overlap, -1.0)
    places = torch.arange(targets.shape[1], device=targets.device).unsqueeze(1)
    nearest = places == most.argmax(1, keepdim=True)
    several = chosen.sum(1, keepdim=True) > 1
    taken = (several & nearest) | (~several & chosen)

    metric = torch.where(taken, metric, 0)
    best = torch.where(taken, overlap, 0).amax(-1, keepdim=True)
    return Aligned(taken, metric * (best / (metric.amax(-1, keepdim=True) + _NORM_EPS)))


def class_chances(scores: Tensor, labels: Tensor) -> Tensor:
    """The scores [B,T,A] of the classes `labels` [B,T] of targets; `scores` are [B,C,A].

    NaN where the label is no class.
    """
    classes, points = scores.shape[1:]
    known = (labels >= 0) & (labels < classes)
    within = torch.where(known, labels, 0)
    chances = scores.gather(1, within.unsqueeze(2).expand(-1, -1, points))
    return torch.where(known.unsqueeze(2), chances, torch.nan)


def with_one_more(labels: Tensor, targets: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Targets [B,T,...] and one that is not valid, so that there are some."""
    batch = labels.shape[0]
    return (
        torch.cat((labels, labels.new_zeros(batch, 1)), 1),
        torch.cat((targets, targets.new_zeros(batch, 1, 4)), 1),
        torch.cat((valid, valid.new_zeros(batch, 1)), 1),
    )


def task_aligned_assign(
    scores: Tensor,
    boxes: Tensor,
    points: Tensor,
    labels: Tensor,
    targets: Tensor,
    valid: Tensor,
    alpha: float = 0.5,
    beta: float = 6.0,
    topk: int = 10,
    small_side: float = 16.0,
) -> tuple[Tensor, Tensor]:
    """The task-aligned assignment: to `assigned` [A], a target or -1, and target scores [A,C].

    scores [A,C] are probabilities; boxes [A,4] and targets [T,4] are xyxy and points [A,2] the
    centres of the cells, all in pixels. Of the points inside of a target, whose sides are at least
    `small_side` for this, the `topk` with the largest score^alpha * CIoU^beta are its own, ties by
    rising index. A point of several targets is that of the largest CIoU, then the first. A row of
    target scores with NaN belongs to a point that has NaN or infinity.
    """
    labels, targets, valid = with_one_more(labels[None], targets[None], valid[None])
    chances = class_chances(scores.mT.unsqueeze(0), labels)
    given = task_align(
        chances, boxes.unsqueeze(0), points, targets, valid, alpha, beta, topk, small_side
    )
    spoilt = poison(scores, boxes, points).unsqueeze(1)
    wanted = given.class_scores(labels, scores.shape[1]).squeeze(0).mT
    return given.target().squeeze(0), wanted + spoilt
