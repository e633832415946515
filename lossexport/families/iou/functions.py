"""IoU and its extensions, and NWD: aligned scores, pairwise scores and training losses.

One computation over coordinate planes serves all ops but those of NWD. Everything that belongs to
one box (sides, area, aspect angle) is computed before the two sets are broadcast against each
other, and the enclosing box comes from `side + side - overlap`, so that the pairwise graph stays
small. Only differences of coordinates enter the products: the error grows with the size of the
boxes and not with their distance from the origin.

Sources: IoU loss, UnitBox (arXiv 1608.01471); GIoU, Rezatofighi et al., CVPR 2019 (arXiv
1902.09630), eq. 1; DIoU and CIoU, Zheng et al., AAAI 2020 (arXiv 1911.08287), eq. 7 and 8 to 11;
EIoU, Zhang et al. (arXiv 2101.08158), eq. 7; SIoU, Gevorgyan (arXiv 2205.12740); NWD, Wang et al.
(arXiv 2110.13389), eq. 7 and 8.
"""

import math
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from lossexport.names import Metric
from lossexport.ops.common import poison, reduce, tiny
from lossexport.ops.function import function, save

_Kind = Literal[Metric, "eiou", "siou"]
# Added to the squared distance of two boxes by the code of NWD's authors.
_NWD_SCORE_EPS, _NWD_LOSS_EPS = 1e-6, 1e-7


class _AspectAngle(Function):
    """`atan2(w, h)` for sides that are not negative, with derivative 0 at a point box.

    atan(w/h) is NaN at w = h = 0, and its autograd derivative is NaN wherever h = 0.
    """

    @staticmethod
    def forward(w: Tensor, h: Tensor) -> Tensor:
        return torch.atan(w / h.clamp(min=tiny(h)))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        save(ctx, *inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        w, h = ctx.saved_tensors
        scaled = grads[0] / _AspectAngle.square(w, h)
        return scaled * h, -scaled * w

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        w, h = ctx.saved_tensors
        # Both sides belong to the same box, so both or neither have a tangent.
        turn: Tensor = (h * tangents[0] - w * tangents[1]) / _AspectAngle.square(w, h)
        return turn

    @staticmethod
    def square(w: Tensor, h: Tensor) -> Tensor:
        """w^2 + h^2, or a positive number for a point box, whose quotients are then 0."""
        square = w * w + h * h
        return square.clamp(min=tiny(square))


_aspect_angle = function(_AspectAngle)


class _Planes(NamedTuple):
    """The coordinate planes of a set of boxes, and values that depend on a single box.

    `tall` is the height in the area and in the aspect.
    """

    x1: Tensor
    y1: Tensor
    x2: Tensor
    y2: Tensor
    w: Tensor
    h: Tensor
    tall: Tensor
    area: Tensor


def _planes(boxes: Tensor, taller: float = 0.0) -> _Planes:
    x1, y1, x2, y2 = boxes.unbind(-1)
    w, h = x2 - x1, y2 - y1
    tall = h + taller if taller else h
    return _Planes(x1, y1, x2, y2, w, h, tall, w * tall + poison(boxes))


def _metric(
    kind: _Kind, pred: Tensor, target: Tensor, eps: float, training: bool, taller: float = 0.0
) -> Tensor:
    """The metric of boxes that broadcast against each other.

    A loss adds `eps` to every denominator, that of EIoU twice to the union, as the code that
    trained with it does; a score has none in the two area ratios. `taller` is added to the heights
    in areas and aspects.
    """
    p, t = _planes(pred, taller), _planes(target, taller)
    area_eps = 2 * eps if kind == "eiou" else eps

    # Negative where the boxes are apart; the enclosing sides need the sign.
    overlap_w = torch.minimum(p.x2, t.x2) - torch.maximum(p.x1, t.x1)
    overlap_h = torch.minimum(p.y2, t.y2) - torch.maximum(p.y1, t.y1)
    intersection = overlap_w.clamp(min=0) * overlap_h.clamp(min=0)
    union = (p.area + t.area) - intersection
    share = partial(_ratio, eps=area_eps) if training else _share
    iou = share(intersection, union)
    if kind == "iou":
        return iou

    enclosing_w = (p.w + t.w) - overlap_w
    enclosing_h = (p.h + t.h) - overlap_h
    if kind == "giou":
        enclosing = enclosing_w * enclosing_h
        return iou - share(enclosing - union, enclosing)

    shift_x, shift_y = _shift(p, t)
    if kind == "siou":
        distance = _siou_distance(shift_x, shift_y, enclosing_w, enclosing_h, eps)
        if not training:
            # Equal boxes have a score of 1 at every scale, also where `eps` is no small shift.
            distance = torch.where((shift_x == 0) & (shift_y == 0), 0, distance)
        shape = _shape_cost(p.w, t.w) + _shape_cost(p.h + eps, t.h + eps)
        return (iou - 0.5 * (distance + shape)).clamp(min=-1)

    diagonal = enclosing_w * enclosing_w + enclosing_h * enclosing_h
    diou = iou - _ratio((shift_x * shift_x + shift_y * shift_y) * 0.25, diagonal, eps)
    if kind == "diou":
        return diou
    if kind == "eiou":
        w, h = p.w - t.w, p.h - t.h
        return (
            diou
            - _ratio(w * w, enclosing_w * enclosing_w, eps)
            - _ratio(h * h, enclosing_h * enclosing_h, eps)
        )

    angle_p, angle_t = _angle(p), _angle(t)
    turn = angle_t - angle_p
    v = turn * turn
    alpha = _ratio(v, (1 - iou) + v, eps).detach()
    return diou - alpha * v


def _shift(p: _Planes, t: _Planes) -> tuple[Tensor, Tensor]:
    """Twice the distance of the centres, as a sum of differences of corners."""
    return (p.x1 - t.x1) + (p.x2 - t.x2), (p.y1 - t.y1) + (p.y2 - t.y2)


def _siou_distance(
    shift_x: Tensor, shift_y: Tensor, enclosing_w: Tensor, enclosing_h: Tensor, eps: float
) -> Tensor:
    """SIoU's distance cost, which the angle between the centres makes smaller."""
    x, y = eps - 0.5 * shift_x, eps - 0.5 * shift_y
    # sin(2 a) of the angle a to the nearer axis, without the inverse sine of the paper.
    angle = _ratio(2 * (x.abs() * y.abs()), x * x + y * y, 0.0)
    least = eps if eps > 0 else tiny(x)
    far_x, far_y = x / enclosing_w.clamp(min=least), y / enclosing_h.clamp(min=least)
    rate = angle - 2
    return 2 - torch.exp(rate * (far_x * far_x)) - torch.exp(rate * (far_y * far_y))


def _shape_cost(side: Tensor, other: Tensor) -> Tensor:
    """SIoU's cost of one pair of sides."""
    apart = 1 - torch.exp(-_ratio((side - other).abs(), torch.maximum(side, other), 0.0))
    square = apart * apart
    return square * square


def _nwd(pred: Tensor, target: Tensor, constant: float, eps: float) -> Tensor:
    """The exponential of the negative Wasserstein distance of boxes as Gaussians."""
    p, t = _planes(pred), _planes(target)
    x, y = _shift(p, t)
    w, h = p.w - t.w, p.h - t.h
    least = poison(pred) + poison(target) + eps
    square = 0.25 * ((x * x + y * y) + (w * w + h * h)) + least
    return torch.exp(square.sqrt() / -constant)


def _ratio(numerator: Tensor, denominator: Tensor, eps: float) -> Tensor:
    """A quotient that is 0 if both are 0: without eps, the clamp only replaces a 0 under a 0."""
    return numerator / (denominator + eps if eps > 0 else denominator.clamp(min=tiny(denominator)))


def _share(numerator: Tensor, denominator: Tensor) -> Tensor:
    """A quotient of areas that is 0 if both are 0, exact also where they are below `tiny`."""
    return numerator / torch.where(denominator == 0, 1, denominator)


def _angle(box: _Planes) -> Tensor:
    # Scaled for each box, so that the square of a difference is the paper's v.
    angle: Tensor = _aspect_angle(box.w, box.tall)
    return angle * (2 / math.pi)


def score_matrix(kind: Metric, pred: Tensor, target: Tensor, eps: float) -> Tensor:
    """The score of every `pred[i]` with every `target[j]`: [N,4] and [M,4] xyxy to [N,M]."""
    return _metric(kind, pred.unsqueeze(1), target, eps, training=False)


def yolo_ciou(pred: Tensor, target: Tensor, eps: float = 1e-7) -> Tensor:
    """CIoU of boxes [...,4] xyxy that broadcast, with `eps` where the YOLO codes have it.

    It is in every denominator, and added to both heights.
    """
    return _metric("ciou", pred, target, eps, training=True, taller=eps)


def corners(boxes: Tensor) -> Tensor:
    """Boxes [...,4] cx, cy, w, h as xyxy."""
    # Halves and not slices, because the gradient of a slice is a scatter.
    centre, side = boxes.chunk(2, dim=-1)
    half = side * 0.5
    return torch.cat((centre - half, centre + half), -1)


def _loss(kind: _Kind, pred: Tensor, target: Tensor, eps: float, reduction: str) -> Tensor:
    return reduce(1 - _metric(kind, pred, target, eps, training=True), reduction)


def box_iou(pred: Tensor, target: Tensor, eps: float = 1e-7) -> Tensor:
    """IoU of `pred[i]` with `target[i]`: [N,4] and [N,4] xyxy to [N]."""
    return _metric("iou", pred, target, eps, training=False)


def pairwise_iou(pred: Tensor, target: Tensor, eps: float = 1e-7) -> Tensor:
    """IoU of every `pred[i]` with every `target[j]`: [N,4] and [M,4] xyxy to [N,M]."""
    return score_matrix("iou", pred, target, eps)


def iou_loss(pred: Tensor, target: Tensor, eps: float = 1e-7, reduction: str = "none") -> Tensor:
    """1 - IoU of `pred[i]` with `target[i]`, `eps` in every denominator: [N,4] xyxy to [N]."""
    return _loss("iou", pred, target, eps, reduction)


def box_giou(pred: Tensor, target: Tensor, eps: float = 1e-7) -> Tensor:
    """GIoU of `pred[i]` with `target[i]`: [N,4] and [N,4] xyxy to [N]."""
    return _metric("giou", pred, target, eps, training=False)


def pairwise_giou(pred: Tensor, target: Tensor, eps: float = 1e-7) -> Tensor:
    """GIoU of every `pred[i]` with every `target[j]`: [N,4] and [M,4] xyxy to [N,M]."""
    return score_matrix("giou", pred, target, eps)


def giou_loss(pred: Tensor, target: Tensor, eps: float = 1e-7, reduction: str = "none") -> Tensor:
    """1 - GIoU of `pred[i]` with `target[i]`, `eps` in every denominator: [N,4] xyxy to [N]."""
    return _loss("giou", pred, target, eps, reduction)


def box_diou(pred: Tensor, target: Tensor, eps: float = 1e-7) -> Tensor:
    """DIoU of `pred[i]` with `target[i]`: [N,4] and [N,4] xyxy to [N]."""
    return _metric("diou", pred, target, eps, training=False)


def pairwise_diou(pred: Tensor, target: Tensor, eps: float = 1e-7) -> Tensor:
    """DIoU of every `pred[i]` with every `target[j]`: [N,4] and [M,4] xyxy to [N,M]."""
    return score_matrix("diou", pred, target, eps)


def diou_loss(pred: Tensor, target: Tensor, eps: float = 1e-7, reduction: str = "none") -> Tensor:
    """1 - DIoU of `pred[i]` with `target[i]`, `eps` in every denominator: [N,4] xyxy to [N]."""
    return _loss("diou", pred, target, eps, reduction)


def box_ciou(pred: Tensor, target: Tensor, eps: float = 1e-7) -> Tensor:
    """CIoU of `pred[i]` with `target[i]`: [N,4] and [N,4] xyxy to [N]."""
    return _metric("ciou", pred, target, eps, training=False)


def pairwise_ciou(pred: Tensor, target: Tensor, eps: float = 1e-7) -> Tensor:
    """CIoU of every `pred[i]` with every `target[j]`: [N,4] and [M,4] xyxy to [N,M]."""
    return score_matrix("ciou", pred, target, eps)


def ciou_loss(pred: Tensor, target: Tensor, eps: float = 1e-7, reduction: str = "none") -> Tensor:
    """1 - CIoU of `pred[i]` with `target[i]`, `eps` in every denominator: [N,4] xyxy to [N]."""
    return _loss("ciou", pred, target, eps, reduction)


def box_eiou(pred: Tensor, target: Tensor, eps: float = 1e-7) -> Tensor:
    """EIoU of `pred[i]` with `target[i]`: [N,4] and [N,4] xyxy to [N]."""
    return _metric("eiou", pred, target, eps, training=False)


def pairwise_eiou(pred: Tensor, target: Tensor, eps: float = 1e-7) -> Tensor:
    """EIoU of every `pred[i]` with every `target[j]`: [N,4] and [M,4] xyxy to [N,M]."""
    return _metric("eiou", pred.unsqueeze(1), target, eps, training=False)


def eiou_loss(pred: Tensor, target: Tensor, eps: float = 1e-7, reduction: str = "none") -> Tensor:
    """1 - EIoU of `pred[i]` with `target[i]`, `eps` in every denominator: [N,4] to [N]."""
    return _loss("eiou", pred, target, eps, reduction)


def box_siou(pred: Tensor, target: Tensor, eps: float = 1e-7) -> Tensor:
    """SIoU of `pred[i]` with `target[i]`: [N,4] and [N,4] xyxy to [N]."""
    return _metric("siou", pred, target, eps, training=False)


def pairwise_siou(pred: Tensor, target: Tensor, eps: float = 1e-7) -> Tensor:
    """SIoU of every `pred[i]` with every `target[j]`: [N,4] and [M,4] xyxy to [N,M]."""
    return _metric("siou", pred.unsqueeze(1), target, eps, training=False)


def siou_loss(pred: Tensor, target: Tensor, eps: float = 1e-7, reduction: str = "none") -> Tensor:
    """1 - SIoU of `pred[i]` with `target[i]`, `eps` in union and distances: [N,4] to [N]."""
    return _loss("siou", pred, target, eps, reduction)


def box_nwd(pred: Tensor, target: Tensor, constant: float = 12.8) -> Tensor:
    """NWD of `pred[i]` with `target[i]`: [N,4] and [N,4] xyxy to [N]."""
    return _nwd(pred, target, constant, _NWD_SCORE_EPS)


def pairwise_nwd(pred: Tensor, target: Tensor, constant: float = 12.8) -> Tensor:
    """NWD of every `pred[i]` with every `target[j]`: [N,4] and [M,4] xyxy to [N,M]."""
    return _nwd(pred.unsqueeze(1), target, constant, _NWD_SCORE_EPS)


def nwd_loss(
    pred: Tensor, target: Tensor, constant: float = 12.8, reduction: str = "none"
) -> Tensor:
    """1 - NWD of `pred[i]` with `target[i]`: [N,4] and [N,4] xyxy to [N]."""
    return reduce(1 - _nwd(pred, target, constant, _NWD_LOSS_EPS), reduction)
