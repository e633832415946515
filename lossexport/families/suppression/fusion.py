"""Weighted boxes fusion: boxes of several models become clusters, each of them one mean box.

One box joins or opens a cluster in each step, so the graph works on vectors of N. The cluster of a
box is the index of the box that opened it.

Source: Solovyev et al., Weighted boxes fusion, Image and Vision Computing 2021 (arXiv 1910.13302),
and its public code, ensemble-boxes 1.0.9.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lossexport.families.suppression.functions import (
    OUT,
    Boxes,
    Pick,
    Tensors,
    candidates,
    earliest,
    repeat,
    rivalry,
    select,
)
from lossexport.ops.common import tiny


class _Clusters(NamedTuple):
    """Facts about the cluster that each box has opened [1,N], or [4,N] for those of corners.

    `number` is 0 where a box has opened none. `sums` are those of corners times scores, `most` is
    the best score, `weights` the sum over boxes and `models` that over different models.
    """

    corners: Tensor
    sums: Tensor
    total: Tensor
    most: Tensor
    number: Tensor
    weights: Tensor
    models: Tensor


def _clean(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes in [0, 1] with their corners in order, and whether each has an area."""
    inside = boxes.clamp(0, 1)
    low = torch.minimum(inside[:, :2], inside[:, 2:])
    high = torch.maximum(inside[:, :2], inside[:, 2:])
    side = high - low
    return torch.cat((low, high), 1), (side[:, 0] > 0) & (side[:, 1] > 0)


def _fuse(
    table: Tensor, scores: Tensor, labels: Tensor, models: Tensor, weights: Tensor, threshold: float
) -> _Clusters:
    """The clusters of boxes [5,N] that have scores of at least 0 [1,N]."""

    def going(left: Tensor, *_: Tensor) -> Tensor:
        return left.amax((0, 1)) >= 0

    def step(left: Tensor, cluster: Tensor, *rest: Tensor) -> Tensors:
        old = _Clusters(*rest[:7])
        table, scores, labels, models, weights, places = rest[7:]
        first = earliest(left, places)
        at = first.squeeze(0)
        box, score, weight = (x.index_select(1, at) for x in (table, scores, weights))
        label, model = (x.index_select(1, at) for x in (labels, models))

        x1, y1, x2, y2 = torch.split(old.corners, 1)
        fused = Boxes(x1, y1, x2, y2, (x2 - x1) * (y2 - y1))
        candidate = (old.number > 0) & (labels == label)
        overlap = torch.where(candidate, rivalry(Boxes.of(box), fused), OUT)
        best = overlap.amax(1, keepdim=True)
        joins = best > threshold
        home = torch.where(joins, earliest(overlap, places), first)
        here = places == home
        known = ((cluster == home) & (models == model)).any(1, keepdim=True)

        corners = box[:4]
        sums = torch.where(here, old.sums + corners * score, old.sums)
        total = torch.where(here, old.total + score, old.total)
        # A cluster of one box has the corners of that box, and so has one without any score.
        mean = torch.where(total > 0, sums / total.clamp(min=tiny(total)), old.corners)
        new = _Clusters(
            torch.where(here, torch.where(joins, mean, corners), old.corners),
            sums,
            total,
            torch.where(here, torch.maximum(old.most, score), old.most),
            torch.where(here, old.number + 1, old.number),
            torch.where(here, old.weights + weight, old.weights),
            torch.where(here & ~known, old.models + weight, old.models),
        )
        own = places == first
        return (torch.where(own, OUT, left), torch.where(own, home, cluster), *new)

    nothing = torch.zeros_like(scores)
    planes = table[:4] * 0
    state = (
        scores,
        torch.full_like(labels, -1),
        *_Clusters(planes, planes.clone(), *(nothing.clone() for _ in range(5))),
    )
    places = torch.arange(scores.shape[1], device=scores.device).unsqueeze(0)
    constants = (table, scores, labels, models, weights, places)
    return _Clusters(*repeat(going, step, state, constants)[2:])


def weighted_boxes_fusion(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    models: Tensor,
    iou_threshold: float = 0.55,
    skip_threshold: float = 0.0,
    mode: str = "avg",
    weights: tuple[float, ...] = (1.0,),
    allows_overflow: bool = False,
    max_output: int = 300,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Fuse boxes [N,4] xyxy in [0, 1] with scores, labels and models [N] to fused boxes.

    By falling score times weight of its model, ties by rising index, a box joins the cluster of its
    label whose fused box overlaps it most, the first of equal ones, if their IoU is above
    `iou_threshold`, or else opens one. A fused box is the mean of its cluster, weighted by these
    scores. `mode` says how their mean, or with "max" the best one, is scaled. Returns fused boxes
    [max_output,4], their scores [max_output], both padded with 0, labels [max_output], padded with
    -1, and their number [], by falling score.
    """
    inside, solid = _clean(boxes)
    known = (models >= 0) & ((models < len(weights)) if len(weights) > 1 else True)
    scores = torch.where(solid & known & (scores >= skip_threshold), scores, OUT)
    # A box with NaN or infinity takes no part: `boxes` lets it through to `candidates`.
    whole = torch.where(boxes.abs() < torch.inf, inside, boxes)
    table, live, _ = candidates(whole, scores, 0.0)
    label = torch.cat((labels, labels.new_full((1,), -1))).unsqueeze(0)
    model = torch.cat((models, models.new_full((1,), 0))).unsqueeze(0)
    if len(weights) == 1:
        weight = torch.full_like(live, weights[0])
        number = (model.amax((0, 1)) + 1).to(live.dtype)
        total = number * weights[0]
    else:
        listed = torch.tensor(weights, dtype=live.dtype, device=live.device)
        weight = listed[model.clamp(0, len(weights) - 1)]
        number, total = torch.full_like(listed[0], len(weights)), listed.sum()
    weighted = torch.where(live >= 0, live * weight, OUT)
    clusters = _fuse(table, weighted, label, model, weight, iou_threshold)

    count = clusters.number.clamp(min=1)
    if mode == "max":
        fused = clusters.most / max(weights)
    elif mode == "box_and_model_avg":
        spread = clusters.weights.clamp(min=tiny(live))
        fused = clusters.total / spread * (clusters.models / total)
    elif mode == "absent_model_aware_avg":
        absent = total - clusters.models
        fused = clusters.total / (clusters.weights + absent).clamp(min=tiny(live))
    else:
        most = count if allows_overflow else torch.minimum(count, number)
        fused = clusters.total / count * (most / total)
    fused = torch.where(clusters.number > 0, fused, OUT)

    def rule(pick: Pick) -> tuple[Tensor, Tensors]:
        corners = torch.cat(pick.box[:4])
        return torch.where(pick.own, OUT, pick.scores), (corners, pick.best)

    result = candidates(clusters.corners.mT[:-1], fused.squeeze(0)[:-1], 0.0)
    indices, found, (corners, score) = select(rule, result, 0.0, max_output, rows=(4, 1))
    chosen = label.squeeze(0).index_select(0, indices.clamp(min=0))
    return corners.mT, score.squeeze(0), torch.where(indices >= 0, chosen, -1), found
