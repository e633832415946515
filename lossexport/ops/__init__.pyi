"""The ops as PyTorch functions, which are differentiable and exportable."""

# Written by docs/generate.py from the catalogue: change it there.

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor

def box_iou(pred: Tensor, target: Tensor, eps: float = 1e-07) -> Tensor:
    """IoU of `pred[i]` with `target[i]`: [N,4] and [N,4] xyxy to [N].

    Args:
        pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        target: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        eps: added to the squared diagonal (DIoU) and the trade-off denominator (CIoU) only
            (in [0, 1])
    """

def pairwise_iou(pred: Tensor, target: Tensor, eps: float = 1e-07) -> Tensor:
    """IoU of every `pred[i]` with every `target[j]`: [N,4] and [M,4] xyxy to [N,M].

    Args:
        pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        target: [M,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        eps: added to the squared diagonal (DIoU) and the trade-off denominator (CIoU) only
            (in [0, 1])
    """

def iou_loss(
    pred: Tensor,
    target: Tensor,
    eps: float = 1e-07,
    reduction: Literal["none", "sum", "mean"] = "none",
) -> Tensor:
    """1 - IoU of `pred[i]` with `target[i]`, `eps` in every denominator: [N,4] xyxy to [N].

    Args:
        pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        target: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        eps: added to every denominator (in [0, 1])
        reduction: none, sum or mean
    """

def box_giou(pred: Tensor, target: Tensor, eps: float = 1e-07) -> Tensor:
    """GIoU of `pred[i]` with `target[i]`: [N,4] and [N,4] xyxy to [N].

    Args:
        pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        target: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        eps: added to the squared diagonal (DIoU) and the trade-off denominator (CIoU) only
            (in [0, 1])
    """

def pairwise_giou(pred: Tensor, target: Tensor, eps: float = 1e-07) -> Tensor:
    """GIoU of every `pred[i]` with every `target[j]`: [N,4] and [M,4] xyxy to [N,M].

    Args:
        pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        target: [M,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        eps: added to the squared diagonal (DIoU) and the trade-off denominator (CIoU) only
            (in [0, 1])
    """

def giou_loss(
    pred: Tensor,
    target: Tensor,
    eps: float = 1e-07,
    reduction: Literal["none", "sum", "mean"] = "none",
) -> Tensor:
    """1 - GIoU of `pred[i]` with `target[i]`, `eps` in every denominator: [N,4] xyxy to [N].

    Args:
        pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        target: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        eps: added to every denominator (in [0, 1])
        reduction: none, sum or mean
    """

def box_diou(pred: Tensor, target: Tensor, eps: float = 1e-07) -> Tensor:
    """DIoU of `pred[i]` with `target[i]`: [N,4] and [N,4] xyxy to [N].

    Args:
        pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        target: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        eps: added to the squared diagonal (DIoU) and the trade-off denominator (CIoU) only
            (in [0, 1])
    """

def pairwise_diou(pred: Tensor, target: Tensor, eps: float = 1e-07) -> Tensor:
    """DIoU of every `pred[i]` with every `target[j]`: [N,4] and [M,4] xyxy to [N,M].

    Args:
        pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        target: [M,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        eps: added to the squared diagonal (DIoU) and the trade-off denominator (CIoU) only
            (in [0, 1])
    """

def diou_loss(
    pred: Tensor,
    target: Tensor,
    eps: float = 1e-07,
    reduction: Literal["none", "sum", "mean"] = "none",
) -> Tensor:
    """1 - DIoU of `pred[i]` with `target[i]`, `eps` in every denominator: [N,4] xyxy to [N].

    Args:
        pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        target: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        eps: added to every denominator (in [0, 1])
        reduction: none, sum or mean
    """

def box_ciou(pred: Tensor, target: Tensor, eps: float = 1e-07) -> Tensor:
    """CIoU of `pred[i]` with `target[i]`: [N,4] and [N,4] xyxy to [N].

    Args:
        pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        target: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        eps: added to the squared diagonal (DIoU) and the trade-off denominator (CIoU) only
            (in [0, 1])
    """

def pairwise_ciou(pred: Tensor, target: Tensor, eps: float = 1e-07) -> Tensor:
    """CIoU of every `pred[i]` with every `target[j]`: [N,4] and [M,4] xyxy to [N,M].

    Args:
        pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        target: [M,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        eps: added to the squared diagonal (DIoU) and the trade-off denominator (CIoU) only
            (in [0, 1])
    """

def ciou_loss(
    pred: Tensor,
    target: Tensor,
    eps: float = 1e-07,
    reduction: Literal["none", "sum", "mean"] = "none",
) -> Tensor:
    """1 - CIoU of `pred[i]` with `target[i]`, `eps` in every denominator: [N,4] xyxy to [N].

    Args:
        pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        target: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        eps: added to every denominator (in [0, 1])
        reduction: none, sum or mean
    """

def box_eiou(pred: Tensor, target: Tensor, eps: float = 1e-07) -> Tensor:
    """EIoU of `pred[i]` with `target[i]`: [N,4] and [N,4] xyxy to [N].

    Args:
        pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        target: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        eps: added to the squared diagonal and the squared enclosing sides only (in [0, 1])
    """

def pairwise_eiou(pred: Tensor, target: Tensor, eps: float = 1e-07) -> Tensor:
    """EIoU of every `pred[i]` with every `target[j]`: [N,4] and [M,4] xyxy to [N,M].

    Args:
        pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        target: [M,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        eps: added to the squared diagonal and the squared enclosing sides only (in [0, 1])
    """

def eiou_loss(
    pred: Tensor,
    target: Tensor,
    eps: float = 1e-07,
    reduction: Literal["none", "sum", "mean"] = "none",
) -> Tensor:
    """1 - EIoU of `pred[i]` with `target[i]`, `eps` in every denominator: [N,4] to [N].

    Args:
        pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        target: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        eps: added to every denominator, to the union twice (in [0, 1])
        reduction: none, sum or mean
    """

def box_siou(pred: Tensor, target: Tensor, eps: float = 1e-07) -> Tensor:
    """SIoU of `pred[i]` with `target[i]`: [N,4] and [N,4] xyxy to [N].

    Args:
        pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        target: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        eps: added to a shift of the centres and the heights, the least side (in [0, 1])
    """

def pairwise_siou(pred: Tensor, target: Tensor, eps: float = 1e-07) -> Tensor:
    """SIoU of every `pred[i]` with every `target[j]`: [N,4] and [M,4] xyxy to [N,M].

    Args:
        pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        target: [M,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        eps: added to a shift of the centres and the heights, the least side (in [0, 1])
    """

def siou_loss(
    pred: Tensor,
    target: Tensor,
    eps: float = 1e-07,
    reduction: Literal["none", "sum", "mean"] = "none",
) -> Tensor:
    """1 - SIoU of `pred[i]` with `target[i]`, `eps` in union and distances: [N,4] to [N].

    Args:
        pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        target: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        eps: added to the union, the shift of the centres and the heights (in [0, 1])
        reduction: none, sum or mean
    """

def box_nwd(pred: Tensor, target: Tensor, constant: float = 12.8) -> Tensor:
    """NWD of `pred[i]` with `target[i]`: [N,4] and [N,4] xyxy to [N].

    Args:
        pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        target: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        constant: distance at which NWD is 1/e, in the unit of the boxes (in [0.001, 1e+06])
    """

def pairwise_nwd(pred: Tensor, target: Tensor, constant: float = 12.8) -> Tensor:
    """NWD of every `pred[i]` with every `target[j]`: [N,4] and [M,4] xyxy to [N,M].

    Args:
        pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        target: [M,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        constant: distance at which NWD is 1/e, in the unit of the boxes (in [0.001, 1e+06])
    """

def nwd_loss(
    pred: Tensor,
    target: Tensor,
    constant: float = 12.8,
    reduction: Literal["none", "sum", "mean"] = "none",
) -> Tensor:
    """1 - NWD of `pred[i]` with `target[i]`: [N,4] and [N,4] xyxy to [N].

    Args:
        pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        target: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        constant: distance at which NWD is 1/e, in the unit of the boxes (in [0.001, 1e+06])
        reduction: none, sum or mean
    """

def box_probiou(
    pred: Tensor,
    target: Tensor,
    eps: float = 1e-07,
    floor: float = 0.0,
) -> Tensor:
    """ProbIoU of `pred[i]` with `target[i]`: [N,5] and [N,5] (cx, cy, w, h, radians) to [N].

    Args:
        pred: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit
        target: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit
        eps: of the determinants and the distance; the authors' sample has 1e-3 (in [1e-12,
            1])
        floor: added to the variances, side^2 / 12; Ultralytics: 0.01 in the loss, 0
            elsewhere (in [0, 1e+06])
    """

def pairwise_probiou(
    pred: Tensor,
    target: Tensor,
    eps: float = 1e-07,
    floor: float = 0.0,
) -> Tensor:
    """ProbIoU of every `pred[i]` with every `target[j]`: [N,5] and [M,5] to [N,M].

    Args:
        pred: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit
        target: [M,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit
        eps: of the determinants and the distance; the authors' sample has 1e-3 (in [1e-12,
            1])
        floor: added to the variances, side^2 / 12; Ultralytics: 0.01 in the loss, 0
            elsewhere (in [0, 1e+06])
    """

def probiou_loss(
    pred: Tensor,
    target: Tensor,
    eps: float = 1e-07,
    floor: float = 0.01,
    reduction: Literal["none", "sum", "mean"] = "none",
) -> Tensor:
    """1 - ProbIoU of `pred[i]` with `target[i]`: [N,5] (cx, cy, w, h, radians) to [N].

    Args:
        pred: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit
        target: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit
        eps: of the determinants and the distance; the authors' sample has 1e-3 (in [1e-12,
            1])
        floor: added to the variances, side^2 / 12; Ultralytics: 0.01 in the loss, 0
            elsewhere (in [0, 1e+06])
        reduction: none, sum or mean
    """

def box_rotated_iou(pred: Tensor, target: Tensor) -> Tensor:
    """IoU of `pred[i]` with `target[i]`: [N,5] and [N,5] (cx, cy, w, h, radians) to [N].

    Args:
        pred: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit
        target: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit
    """

def pairwise_rotated_iou(pred: Tensor, target: Tensor) -> Tensor:
    """IoU of every `pred[i]` with every `target[j]`: [N,5] and [M,5] to [N,M].

    Args:
        pred: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit
        target: [M,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit
    """

def rotated_iou_loss(
    pred: Tensor,
    target: Tensor,
    reduction: Literal["none", "sum", "mean"] = "none",
) -> Tensor:
    """1 - IoU of `pred[i]` with `target[i]`: [N,5] (cx, cy, w, h, radians) to [N].

    Args:
        pred: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit
        target: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit
        reduction: none, sum or mean
    """

def kld_loss(
    pred: Tensor,
    target: Tensor,
    direction: Literal["kld", "jd", "symmax", "symmin"] = "kld",
    sqrt: bool = True,
    post: Literal["log1p", "sqrt", "none"] = "log1p",
    tau: float = 1.0,
    reduction: Literal["none", "sum", "mean"] = "none",
) -> Tensor:
    """A loss of the divergence of `pred[i]` from `target[i]`: [N,5] (cx, cy, w, h, radians) to [N].

    `direction`: "kld" inverts the predicted covariance; "jd", "symmax" and "symmin" are the mean,
    the larger and the smaller of both directions. With `sqrt`, the root of the divergence counts.
    The loss is 1 - 1 / (tau + post(d)), or post(d) for tau < 1.

    Args:
        pred: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit
        target: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit
        direction: kld inverts the predicted covariance; mean, maximum and minimum of both
            directions
        sqrt: whether the root of the divergence counts (any finite number)
        post: applied to the divergence or its root
        tau: from 1 on, the loss is 1 - 1 / (tau + d); below 1 it is d (in [0, 1e+06])
        reduction: none, sum or mean
    """

def gwd_loss(
    pred: Tensor,
    target: Tensor,
    normalize: bool = True,
    post: Literal["log1p", "sqrt", "none"] = "log1p",
    tau: float = 1.0,
    reduction: Literal["none", "sum", "mean"] = "none",
) -> Tensor:
    """A loss of the Wasserstein distance of boxes: [N,5] (cx, cy, w, h, radians) to [N].

    `normalize` divides the distance by 2 (det det)^(1/8), the size of the boxes. The loss is
    1 - 1 / (tau + post(d)), or post(d) for tau < 1.

    Args:
        pred: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit
        target: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit
        normalize: whether the distance is divided by the size of the boxes (any finite
            number)
        post: applied to the distance
        tau: from 1 on, the loss is 1 - 1 / (tau + d); below 1 it is d (in [0, 1e+06])
        reduction: none, sum or mean
    """

def kfiou_loss(
    pred: Tensor,
    target: Tensor,
    form: Literal["linear", "ln", "exp"] = "linear",
    reduction: Literal["none", "sum", "mean"] = "none",
) -> Tensor:
    """A loss of the overlap of Gaussians of equal centres: [N,5] (cx, cy, w, h, radians) to [N].

    The KFIoU of equal boxes is 1/3, its largest value; the centres have no effect. `form`: "linear"
    is 1 - KFIoU, "ln" its negative logarithm, "exp" exp(1 - KFIoU) - 1.

    Args:
        pred: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit
        target: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit
        form: 1 - KFIoU, -ln(KFIoU + 1e-6) or exp(1 - KFIoU) - 1
        reduction: none, sum or mean
    """

def best_match(
    pred: Tensor,
    target: Tensor,
    metric: Literal["iou", "giou", "diou", "ciou"] = "iou",
    eps: float = 1e-07,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Best partners by `metric`: pred [N,4] and target [M,4] xyxy to scores and indices.

    Returns pred_score [N] and pred_index [N] (int64, into target), target_score [M] and
    target_index [M] (into pred). Of equally good partners, the one with the lowest index is
    taken; without a partner, the index is -1 and the score 0. A box with NaN or infinity has a
    score of NaN and index -1, and is nobody's partner.

    Args:
        pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        target: [M,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        metric: score by which a partner is the best
        eps: added to the squared diagonal (DIoU) and the trade-off denominator (CIoU) only
            (in [0, 1])
    """

def detr_cost(
    logits: Tensor,
    boxes: Tensor,
    labels: Tensor,
    targets: Tensor,
    kind: Literal["focal", "softmax"] = "focal",
    class_weight: float = 2.0,
    box_weight: float = 5.0,
    giou_weight: float = 2.0,
    alpha: float = 0.25,
    gamma: float = 2.0,
    eps: float = 1e-08,
) -> Tensor:
    """The cost of giving each target to each query, which DETR minimises: to [N,M].

    logits [N,C], boxes [N,4] cx, cy, w, h in parts of the image, labels [M], targets [M,4].
    `class_weight` * class cost + `box_weight` * sum |b - t| - `giou_weight` * GIoU. The class cost
    is minus the probability of the softmax, or the focal loss of target 1 minus that of target 0,
    with `eps` inside its logarithms. Rows and columns with NaN or infinity are NaN.

    Args:
        logits: [N,C] float, real numbers, exact from -1e4 to 1e4
        boxes: [N,4] float, cx, cy, w, h in parts of the image, w >= 0, h >= 0
        labels: [M] int64, class indices 0 to C-1
        targets: [M,4] float, cx, cy, w, h in parts of the image, w >= 0, h >= 0
        kind: the class cost
        class_weight: weight of the class cost, 1 in DETR (in [0, 1e+06])
        box_weight: weight of the distance (in [0, 1e+06])
        giou_weight: weight of the GIoU (in [0, 1e+06])
        alpha: focal: weight of a hit, 1 - alpha that of a miss (in [0, 1])
        gamma: focal: exponent of the missing probability (in [0, 100])
        eps: focal: added inside of the logarithms; 0: exact (in [0, 1])
    """

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

    Args:
        scores: [A,C] float, 0 to 1
        boxes: [A,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        points: [A,2] float, centres of the cells, x and y in pixels
        labels: [T] int64, class indices 0 to C-1
        targets: [T,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        valid: [T] bool, true or false
        alpha: exponent of the score (in [0, 100])
        beta: exponent of the CIoU (in [0, 100])
        topk: most points of a target, some of which another one may get (in [1, 1024])
        small_side: a shorter side of a target counts as this long, in pixels (in [0,
            1e+06])
    """

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

    Args:
        box_logits: [B,D,A] float, real numbers, exact from -1e4 to 1e4
        class_logits: [B,C,A] float, real numbers, exact from -1e4 to 1e4
        points: [A,2] float, x and y of the centres of the cells, in cells of their level
        stride: [A] float, of the level of each point, in pixels, above 0
        labels: [B,T] int64, class indices 0 to C-1
        targets: [B,T,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets
            from 1e-4 to 1e5
        valid: [B,T] bool, true or false
        box_gain: weight of the box part (in [0, 1e+06])
        class_gain: weight of the class part (in [0, 1e+06])
        dfl_gain: weight of the distribution focal part (in [0, 1e+06])
        alpha: exponent of the score (in [0, 100])
        beta: exponent of the CIoU (in [0, 100])
        topk: most points of a target, some of which another one may get (in [1, 1024])
        small_side: a shorter side of a target counts as this long, in pixels (in [0,
            1e+06])
    """

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

    Args:
        class_logits: [B,A,C] float, real numbers, exact from -1e4 to 1e4
        deltas: [B,A,4] float, real numbers
        anchors: [A,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        labels: [B,T] int64, class indices 0 to C-1
        targets: [B,T,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets
            from 1e-4 to 1e5
        valid: [B,T] bool, true or false
        fg_iou: an anchor has a target from this IoU on (in [0, 1])
        bg_iou: an anchor is background below this IoU (in [0, 1])
        rescue: whether the best anchors of each target always have one (any finite number)
        alpha: weight of positives, else 1 - alpha (in [0, 1])
        gamma: exponent of the missing probability (in [0, 100])
        beta: where smooth L1 turns linear; 0: L1 (in [0, 1e+06])
        class_gain: weight of the class part (in [0, 1e+06])
        box_gain: weight of the box part (in [0, 1e+06])
    """

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
    eps: float = 1e-07,
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

    Args:
        class_logits: [B,A,C] float, real numbers, exact from -1e4 to 1e4
        distances: [B,A,4] float, left, top, right, bottom in strides, at least 0
        centre_logits: [B,A] float, real numbers, exact from -1e4 to 1e4
        points: [A,2] float, x and y of the centres of the cells, in pixels
        stride: [A] float, of the level of each point, in pixels, above 0
        labels: [B,T] int64, class indices 0 to C-1
        targets: [B,T,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets
            from 1e-4 to 1e5
        valid: [B,T] bool, true or false
        radius: farthest from the centre of a target, in strides (in [0, 1e+06])
        alpha: weight of positives, else 1 - alpha (in [0, 1])
        gamma: exponent of the missing probability (in [0, 100])
        eps: added to the denominators of GIoU (in [0, 1])
        class_gain: weight of the class part (in [0, 1e+06])
        box_gain: weight of the box part (in [0, 1e+06])
        centre_gain: weight of the centre-ness part (in [0, 1e+06])
    """

def detr_detection_loss(
    logits: Tensor,
    boxes: Tensor,
    labels: Tensor,
    targets: Tensor,
    valid: Tensor,
    match: Tensor,
    kind: Literal["focal", "softmax", "varifocal"] = "focal",
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

    Args:
        logits: [B,N,C] float, real numbers, exact from -1e4 to 1e4
        boxes: [B,N,4] float, cx, cy, w, h in parts of the image, w >= 0, h >= 0
        labels: [B,T] int64, class indices 0 to C-1
        targets: [B,T,4] float, cx, cy, w, h in parts of the image, w >= 0, h >= 0
        valid: [B,T] bool, true or false
        match: [B,T] int64, the query of each target in [0, N), or -1
        kind: the class part
        class_gain: weight of the class part (in [0, 1e+06])
        box_gain: weight of the L1 part (in [0, 1e+06])
        giou_gain: weight of the GIoU part (in [0, 1e+06])
        alpha: focal: weight of positives; varifocal: of negatives (in [0, 1])
        gamma: exponent of the missing probability (in [0, 100])
        no_object: softmax: weight of queries without a target (in [1e-06, 1e+06])
    """

def encode_boxes(
    boxes: Tensor,
    anchors: Tensor,
    weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
) -> Tensor:
    """Deltas (dx, dy, dw, dh) of `boxes` against `anchors`: [N,4] xyxy and [N,4] xyxy to [N,4].

    `dx = wx * (cx - cx_a) / w_a`, `dw = ww * log(w / w_a)`; the inverse of `decode_boxes`. Sides
    below 1e-7 are taken as 1e-7, so that the deltas of a degenerate box are finite.

    Args:
        boxes: [N,4] float, xyxy, sides above 0 (below 1e-7: taken as 1e-7)
        anchors: [N,4] float, xyxy in the unit of the boxes, sides above 0
        weights: divisors of the deltas' scale: (10, 10, 5, 5) in the second stage of Faster
            R-CNN (in [1e-06, 1e+06])
    """

def decode_boxes(
    deltas: Tensor,
    anchors: Tensor,
    weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
    clip: float = 4.135166556742356,
) -> Tensor:
    """Boxes of `deltas` (dx, dy, dw, dh) against `anchors` xyxy: [N,4] and [N,4] to [N,4] xyxy.

    `cx = dx / wx * w_a + cx_a`, `w = w_a * exp(min(dw / ww, clip))`. Finite for finite input.

    Args:
        deltas: [N,4] float, dx, dy, dw, dh, scaled by the weights
        anchors: [N,4] float, xyxy in the unit of the boxes, sides above 0
        weights: divisors of the deltas' scale: (10, 10, 5, 5) in the second stage of Faster
            R-CNN (in [1e-06, 1e+06])
        clip: K, the largest log-side ratio: log(1000/16) (in [0, 40])
    """

def decode_distances(
    distribution: Tensor,
    points: Tensor,
    stride: Tensor,
    bins: int = 16,
) -> Tensor:
    """Boxes around `points` [N,2] from logits [N,4,bins] and `stride` [N]: [N,4] xyxy.

    The distances to the left, top, right and bottom are `stride * sum(b * softmax(logits)[b])` for
    b from 0 to `bins` - 1.

    Args:
        distribution: [N,4,bins] float, logits for left, top, right, bottom
        points: [N,2] float, x, y, in the unit of the boxes
        stride: [N] float, size of a step, at least 0, in the unit of the boxes
        bins: B: 8 in NanoDet, 16 in YOLOv8 (in [2, 64])
    """

def smooth_l1_loss(
    pred: Tensor,
    target: Tensor,
    beta: float = 1.0,
    reduction: Literal["none", "sum", "mean"] = "none",
) -> Tensor:
    """Smooth L1 of `pred - target`: [N,D] and [N,D] to [N,D].

    Args:
        pred: [N,D] float, real numbers
        target: [N,D] float, real numbers
        beta: width of the quadratic part; below 1e-5: plain L1 (in [0, 1e+06])
        reduction: none, sum or mean
    """

def kl_loss(
    pred: Tensor,
    log_variance: Tensor,
    target: Tensor,
    reduction: Literal["none", "sum", "mean"] = "none",
) -> Tensor:
    """Smooth L1 weighted by a predicted variance: [N,4] three times to [N,4].

    `exp(-log_variance) * smooth_l1(pred - target, beta=1) + log_variance / 2`, the divergence of a
    Gaussian from the target. Mask background rows outside.

    Args:
        pred: [N,4] float, real numbers
        log_variance: [N,4] float, log sigma^2, -80 to 80
        target: [N,4] float, real numbers
        reduction: none, sum or mean
    """

def localization_confidence(boxes: Tensor, log_variance: Tensor) -> Tensor:
    """Estimated IoU of boxes [N,4] xyxy with the true ones, from log sigma^2 [N,4]: [N] in [0, 1].

    A coordinate is off by `sigma * sqrt(2 / pi)` on average. The result is `1 / (1 + e)`, where `e`
    is the sum of this over the four coordinates, each divided by its side. It is 0 for a box
    without area.

    Args:
        boxes: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        log_variance: [N,4] float, log sigma^2 of x1, y1, x2, y2 in the unit of the boxes,
            -200 to 200
    """

def sigmoid_focal_loss(
    logits: Tensor,
    target: Tensor,
    alpha: float = 0.25,
    gamma: float = 2.0,
    reduction: Literal["none", "sum", "mean"] = "none",
) -> Tensor:
    """Binary focal loss of every class, soft targets allowed: [N,C] and [N,C] to [N,C].

    A negative `alpha` switches its weights off.

    Args:
        logits: [N,C] float, real numbers, exact from -1e4 to 1e4
        target: [N,C] float, 0 to 1, soft targets included
        alpha: weight of positives, 1 - alpha that of negatives; below 0: off (in [-1e+06,
            1])
        gamma: exponent of the missing probability (in [0, 100])
        reduction: none, sum or mean
    """

def softmax_focal_loss(
    logits: Tensor,
    labels: Tensor,
    alpha: float | Sequence[float] = 0.25,
    gamma: float = 2.0,
    reduction: Literal["none", "sum", "mean"] = "none",
) -> Tensor:
    """Multi-class focal loss: logits [N,C] and class indices [N] to [N].

    A number `alpha` weighs class 0, the background, and 1 - alpha the others; a sequence weighs
    each class. It is the binary loss of the margin between the own class and all others.

    Args:
        logits: [N,C] float, real numbers, exact from -1e4 to 1e4
        labels: [N] int64, class indices 0 to C-1
        alpha: weight of class 0, 1 - alpha that of the others; or a list of a weight for
            each class (in [0, 1])
        gamma: exponent of the missing probability (in [0, 100])
        reduction: none, sum or mean
    """

def distribution_focal_loss(
    logits: Tensor,
    target: Tensor,
    margin: float = 0.01,
    reduction: Literal["none", "sum", "mean"] = "none",
) -> Tensor:
    """Cross entropy of the two bins beside a distance: logits [N,K] and distances [N] to [N].

    A distance between two bins asks for a share of each, by how near they are. Distances are in
    bins, and are moved into [0, K - 1 - `margin`].

    Args:
        logits: [N,K] float, real numbers, exact from -1e4 to 1e4
        target: [N] float, distance in bins, moved into [0, K - 1 - margin]
        margin: distance of the largest target from the last bin (in [0, 1])
        reduction: none, sum or mean
    """

def quality_focal_loss(
    logits: Tensor,
    target: Tensor,
    beta: float = 2.0,
    reduction: Literal["none", "sum", "mean"] = "none",
) -> Tensor:
    """Cross entropy with a soft target, times `|target - p| ** beta`: [N,C] and [N,C] to [N,C].

    Args:
        logits: [N,C] float, real numbers, exact from -1e4 to 1e4
        target: [N,C] float, 0 to 1: IoU at the labelled class, 0 elsewhere
        beta: exponent of the distance from the target (in [0, 100])
        reduction: none, sum or mean
    """

def varifocal_loss(
    logits: Tensor,
    target: Tensor,
    alpha: float = 0.75,
    gamma: float = 2.0,
    iou_weighted: bool = True,
    reduction: Literal["none", "sum", "mean"] = "none",
) -> Tensor:
    """Varifocal loss of VarifocalNet and mmdetection: [N,C] and [N,C] to [N,C].

    Positives are elements with a target above 0. They weigh as much as their target, or 1 if not
    `iou_weighted`, and the others `alpha * p ** gamma`, which is differentiated.

    Args:
        logits: [N,C] float, real numbers, exact from -1e4 to 1e4
        target: [N,C] float, 0 to 1: IoU at the labelled class, 0 elsewhere
        alpha: factor of the weight of the others (in [0, 1e+06])
        gamma: exponent of the probability in the weight of the others (in [0, 100])
        iou_weighted: whether a positive weighs its target and not 1 (any finite number)
        reduction: none, sum or mean
    """

def matched_varifocal_loss(
    logits: Tensor,
    quality: Tensor,
    matched: Tensor,
    alpha: float = 0.75,
    gamma: float = 2.0,
    reduction: Literal["none", "sum", "mean"] = "none",
) -> Tensor:
    """Varifocal loss of RT-DETR and D-FINE: logits, quality, matched [N,C] to [N,C].

    Matched elements have their `quality` as target and as weight; the others have the target 0 and
    the weight `alpha * p ** gamma`. Weights are constants of the gradient.

    Args:
        logits: [N,C] float, real numbers, exact from -1e4 to 1e4
        quality: [N,C] float, 0 to 1: IoU with the matched target; any such number where
            nothing is matched
        matched: [N,C] bool, true at the class of the matched target
        alpha: factor of the weight of the others (in [0, 1e+06])
        gamma: exponent of the probability in the weight of the others (in [0, 100])
        reduction: none, sum or mean
    """

def matchability_aware_loss(
    logits: Tensor,
    quality: Tensor,
    matched: Tensor,
    gamma: float = 1.5,
    alpha: float = 1.0,
    reduction: Literal["none", "sum", "mean"] = "none",
) -> Tensor:
    """Matchability-aware loss of DEIM: logits, quality, matched [N,C] to [N,C].

    Matched elements have the target `quality ** gamma` and the weight 1; the others have the target
    0 and the weight `alpha * p ** gamma`, a constant of the gradient.

    Args:
        logits: [N,C] float, real numbers, exact from -1e4 to 1e4
        quality: [N,C] float, 0 to 1: IoU with the matched target; any such number where
            nothing is matched
        matched: [N,C] bool, true at the class of the matched target
        gamma: exponent of the quality, and of the probability (in [0, 100])
        alpha: factor of the weight of the others (in [0, 1e+06])
        reduction: none, sum or mean
    """

def iou_aware_bce_loss(
    logits: Tensor,
    quality: Tensor,
    matched: Tensor,
    alpha: float = 0.25,
    reduction: Literal["none", "sum", "mean"] = "none",
) -> Tensor:
    """IoU-aware cross entropy of LW-DETR and RF-DETR: logits, quality, matched [N,C] to [N,C].

    The target of matched elements is `p ** alpha * quality ** (1 - alpha)`, at least 0.01 and a
    constant of the gradient. The others have the target 0 and the weight `p ** 2`, which is
    differentiated.

    Args:
        logits: [N,C] float, real numbers, exact from -1e4 to 1e4
        quality: [N,C] float, 0 to 1: IoU with the matched target; any such number where
            nothing is matched
        matched: [N,C] bool, true at the class of the matched target
        alpha: exponent of p in the target, 1 - alpha that of the IoU (in [0, 1])
        reduction: none, sum or mean
    """

def anchor_loss(
    logits: Tensor,
    labels: Tensor,
    gamma: float = 0.5,
    slack: float = 0.05,
    anchor: Literal["neg", "pos"] = "neg",
    reduction: Literal["none", "sum", "mean"] = "none",
) -> Tensor:
    """Binary cross entropy, harder for classes about as probable as the own: [N,C] and [N] to [N].

    "neg" weighs each other class by how close its probability is to that of the own class, "pos"
    weighs the own class by how far it is behind the best other one. The anchor probability is a
    constant for the gradient.

    Args:
        logits: [N,C] float, real numbers, exact from -1e4 to 1e4
        labels: [N] int64, class indices 0 to C-1
        gamma: power of the gap to the anchor probability (in [0, 100])
        slack: margin of the anchor probability (in [0, 1])
        anchor: terms that are reshaped: of the other classes (neg) or the own class (pos)
        reduction: none, sum or mean
    """

def sce_loss(
    logits: Tensor,
    labels: Tensor,
    alpha: float = 0.1,
    beta: float = 1.0,
    prob_floor: float = 1e-07,
    label_floor: float = 0.0001,
    reduction: Literal["none", "sum", "mean"] = "none",
) -> Tensor:
    """Cross entropy both ways, `alpha CE(label, p) + beta CE(p, label)`: [N,C] and [N] to [N].

    In the second term, log 0 is replaced by log(label_floor), and p is clamped to prob_floor, with
    no gradient below.

    Args:
        logits: [N,C] float, real numbers, exact from -1e4 to 1e4
        labels: [N] int64, class indices 0 to C-1
        alpha: weight of the cross entropy (in [0, 1e+06])
        beta: weight of the reverse cross entropy (in [0, 1e+06])
        prob_floor: smallest probability; there is no gradient below it (in [0, 1])
        label_floor: replaces 0 in the logarithm of a label (in [1e-30, 1])
        reduction: none, sum or mean
    """

def ghm_c_loss(
    logits: Tensor,
    target: Tensor,
    weight: Tensor,
    bin_count: Tensor,
    bins: int = 10,
    momentum: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Harmonised binary cross entropy: [N,C] three times and [bins] to a scalar and [bins].

    `weight` of 0 leaves an element out, any other takes it in. `bin_count` is the state, zeros at
    first; the second result takes its place in the next call.

    Args:
        logits: [N,C] float, real numbers, exact from -1e4 to 1e4
        target: [N,C] float, 0 or 1
        weight: [N,C] float, 0: ignored; above: counted, whatever the size
        bin_count: [bins] float32, running counts, zeros at first
        bins: number of bins of equal width over the size of the gradient (in [1, 512])
        momentum: momentum of the running counts; 0: only this call counts (in [0, 1))
    """

def ghm_r_loss(
    pred: Tensor,
    target: Tensor,
    weight: Tensor,
    bin_count: Tensor,
    bins: int = 10,
    momentum: float = 0.0,
    mu: float = 0.02,
) -> tuple[Tensor, Tensor]:
    """Harmonised `sqrt(d^2 + mu^2) - mu`: [N,4] three times and [bins] to a scalar and [bins].

    `weight` of 0 leaves an element out, any other takes it in. `bin_count` is the state, zeros at
    first; the second result takes its place in the next call.

    Args:
        pred: [N,4] float, real numbers
        target: [N,4] float, real numbers
        weight: [N,4] float, 0: ignored; above: counted, whatever the size
        bin_count: [bins] float32, running counts, zeros at first
        bins: number of bins of equal width over the size of the gradient (in [1, 512])
        momentum: momentum of the running counts; 0: only this call counts (in [0, 1))
        mu: width of the quadratic part (in [1e-06, 1e+06])
    """

def ap_loss(
    logits: Tensor,
    target: Tensor,
    delta: float = 1.0,
    max_positives: int = 512,
) -> Tensor:
    """1 - interpolated average precision, ranked jointly: any shape and the same to a scalar.

    `target` (int64) is 1 for positives, 0 for negatives, -1 for ignored elements. A graph has
    `max_positives` slots and gives NaN for more positives; in Python there is no limit.

    Args:
        logits: [K] float, real numbers
        target: [K] int64, 1 positive, 0 negative, -1 ignored
        delta: half the width of the ramp H (in [1e-06, 1e+06])
        max_positives: most positives in a graph; more give NaN (eager PyTorch takes any
            number) (in [1, 3840])
    """

def dr_loss(
    logits: Tensor,
    labels: Tensor,
    pos_lambda: float = 1.0,
    neg_lambda: float = 0.07982356001479281,
    L: float = 6.0,
    tau: float = 4.0,
    margin: float = 0.5,
) -> Tensor:
    """Distributional ranking: logits [N,C] and labels [N] to a scalar.

    Labels are 1 to C for classes, 0 for background, -1 for ignored rows. The worst-case
    distributions of positives and negatives are masked softmaxes, through which gradients flow.

    Args:
        logits: [N,C] float, real numbers, exact from -1e4 to 1e4
        labels: [N] int64, 1 to C: class, 0: background, -1: ignored
        pos_lambda: spread of the positives' distribution (in [0.0125, 1e+06])
        neg_lambda: spread of the negatives' distribution (in [0.0125, 1e+06])
        L: sharpness of the logistic loss (in [0.001, 1000])
        tau: scale of the loss (in [0, 1e+06])
        margin: gamma, the wanted distance (in [-1000, 1000])
    """

def nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
    max_output: int = 100,
    beta: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Greedy NMS by IoU: boxes [N,4] xyxy and scores [N] to indices [max_output] and count [].

    The indices are sorted by falling score, ties by rising index, and padded with -1. A box is kept
    if its score is at least `score_threshold` and its IoU with every box kept before it is at most
    `iou_threshold`. `beta` has no effect; it is there because the three NMS share one signature.

    Args:
        boxes: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        scores: [N] float, at least 0; a box below takes no part
        iou_threshold: a box is removed above this, not at it (in [0, 1])
        score_threshold: a box takes part from this score on (in [0, 1e+06])
        max_output: most boxes that are chosen (in [1, 65536])
        beta: no effect, as IoU has no distance term: the three NMS share a signature (in
            [0.001, 1000])
    """

def diou_nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
    max_output: int = 100,
    beta: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Greedy NMS by DIoU: boxes [N,4] xyxy and scores [N] to indices [max_output] and count [].

    As `nms`, but the threshold applies to IoU - (squared distance of the centres / squared diagonal
    of the enclosing box) ^ `beta`.

    Args:
        boxes: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        scores: [N] float, at least 0; a box below takes no part
        iou_threshold: a box is removed above this, not at it (in [0, 1])
        score_threshold: a box takes part from this score on (in [0, 1e+06])
        max_output: most boxes that are chosen (in [1, 65536])
        beta: exponent of the distance term (in [0.001, 1000])
    """

def rotated_nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
    max_output: int = 100,
    beta: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Greedy NMS by the exact IoU of rotated boxes: boxes [N,5] (cx, cy, w, h, radians).

    As `nms` otherwise: scores [N] to indices [max_output] and count []. `beta` has no effect.

    Args:
        boxes: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit
        scores: [N] float, at least 0; a box below takes no part
        iou_threshold: a box is removed above this, not at it (in [0, 1])
        score_threshold: a box takes part from this score on (in [0, 1e+06])
        max_output: most boxes that are chosen (in [1, 65536])
        beta: no effect, as IoU has no distance term: the NMS share a signature (in [0.001,
            1000])
    """

def cluster_nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
    max_output: int = 100,
    beta: float = 1.0,
    metric: Literal["iou", "diou"] = "iou",
) -> tuple[Tensor, Tensor]:
    """`nms` (`metric` "iou") or `diou_nms` ("diou") as a fixed point over all pairs.

    Whether a box is kept depends only on the boxes before it, so step t decides every box at the
    end of a chain of t suppressions. The steps therefore end, with the result of the greedy rule.

    Args:
        boxes: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        scores: [N] float, at least 0; a box below takes no part
        iou_threshold: a box is removed above this, not at it (in [0, 1])
        score_threshold: a box takes part from this score on (in [0, 1e+06])
        max_output: most boxes that are chosen (in [1, 65536])
        beta: exponent of the distance term, if the metric is diou (in [0.001, 1000])
        metric: the overlap of nms or of diou_nms
    """

def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    sigma: float = 0.5,
    score_threshold: float = 0.001,
    max_output: int = 100,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gaussian Soft-NMS: boxes [N,4] xyxy, scores [N] to indices, new scores and count [].

    The box with the best remaining score is picked, and the scores of the others are multiplied by
    exp(-IoU^2 / sigma), until none is at least `score_threshold`. Returns the indices [max_output]
    in this order, padded with -1, and the scores when picked [max_output], padded with 0.

    Args:
        boxes: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        scores: [N] float, at least 0; a box below takes no part
        sigma: scores are multiplied by exp(-IoU^2 / sigma) (in [1e-06, 1e+06])
        score_threshold: a box takes part from this score on (in [0, 1e+06])
        max_output: most boxes that are chosen (in [1, 65536])
    """

def variance_voting(
    boxes: Tensor,
    scores: Tensor,
    log_variance: Tensor,
    method: Literal["soft", "hard"] = "soft",
    sigma_t: float = 0.02,
    soft_sigma: float = 0.5,
    iou_threshold: float = 0.5,
    vote_threshold: float = 0.01,
    score_threshold: float = 0.001,
    offset: float = 0.0,
    max_output: int = 100,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Softer-NMS: boxes [N,4] xyxy, scores [N], log_variance [N,4] to new boxes and scores.

    A picked box moves to the mean of the remaining boxes with an IoU above `vote_threshold`,
    including itself, weighted by exp(-(1 - IoU)^2 / sigma_t) / variance. Then the scores of the
    boxes that it overlaps are lowered ("soft": times exp(-IoU^2 / soft_sigma), "hard": to 0 above
    `iou_threshold`), and those below `score_threshold` are dropped. A box that no pick overlaps is
    kept whatever its score. Returns indices [max_output] in order, padded with -1, boxes
    [max_output,4] and scores, padded with 0, count [].

    Args:
        boxes: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        scores: [N] float, at least 0; a box below takes no part
        log_variance: [N,4] float, log sigma^2 of x1, y1, x2, y2 in the unit of the boxes
        method: how overlap lowers scores
        sigma_t: how close a voting box has to be (in [1e-06, 1e+06])
        soft_sigma: scores are multiplied by exp(-IoU^2 / sigma) (in [1e-06, 1e+06])
        iou_threshold: hard: IoU above which the score becomes 0 (in [0, 1])
        vote_threshold: IoU above which a box votes (in [0, 0.999])
        score_threshold: an overlapped box is dropped below this (in [0, 1e+06])
        offset: added to every side: 1 for whole pixels (in [0, 1])
        max_output: most boxes that are chosen (in [1, 65536])
    """

def batched_nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float = 0.7,
    score_threshold: float = 0.25,
    max_output: int = 300,
    metric: Literal["iou", "diou"] = "iou",
    class_aware: bool = True,
    multi_label: bool = False,
    max_candidates: int = 30000,
) -> tuple[Tensor, Tensor, Tensor]:
    """NMS of images: boxes [B,N,4] xyxy and scores [B,N,C] to detections, indices and count.

    The candidates of an image are its boxes, each with its best class, or with `multi_label` all
    pairs of a box and a class, as far as their score is at least `score_threshold`; of these the
    best `max_candidates`. By falling score, ties by rising index and then class, a candidate is
    kept if its `metric`, IoU or DIoU, with every one kept before it is at most `iou_threshold`. If
    `class_aware`, only those of its own class count. Returns the detections [B,max_output,6] (x1,
    y1, x2, y2, score, class), padded with 0, the indices of their boxes [B,max_output], padded with
    -1, and the number of them [B].

    Args:
        boxes: [B,N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        scores: [B,N,C] float, at least 0; a score below takes no part
        iou_threshold: a candidate is removed above this, not at it (in [0, 1])
        score_threshold: a candidate takes part from this on (in [0, 1e+06])
        max_output: most detections of an image (in [1, 16384])
        metric: the overlap of nms or of diou_nms
        class_aware: whether only boxes of the same class remove each other (any finite
            number)
        multi_label: whether every class of a box is a candidate, instead of its best one,
            or of equal ones the first (any finite number)
        max_candidates: the best candidates, which alone take part (in [1, 1.67772e+07])
    """

def matrix_nms(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    kernel: Literal["gaussian", "linear"] = "gaussian",
    sigma: float = 2.0,
    score_threshold: float = 0.001,
    max_output: int = 100,
) -> tuple[Tensor, Tensor, Tensor]:
    """Matrix NMS: boxes [N,4] xyxy, scores [N], labels [N] to indices, new scores and count [].

    With m_ij the IoU of a box and a better one i of its class, and c_i the largest IoU of i with a
    box better than itself, a score is multiplied by the least f(m_ij) / f(c_i), at most 1, where f
    is exp(-`sigma` m^2) or, with `kernel` "linear", 1 - m; there, boxes with c_i = 1 are left out.
    Returns the indices [max_output] of those whose new score is at least `score_threshold`, by
    falling new score and rising index, padded with -1, their new scores [max_output], padded with
    0, and their number.

    Args:
        boxes: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        scores: [N] float, at least 0; a box below takes no part
        labels: [N] int64, any whole number
        kernel: the function f
        sigma: gaussian: a factor of IoU^2 (in [1e-06, 1e+06])
        score_threshold: a box stays if its new score is at least this (in [0, 1e+06])
        max_output: most boxes that are chosen (in [1, 65536])
    """

def weighted_boxes_fusion(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    models: Tensor,
    iou_threshold: float = 0.55,
    skip_threshold: float = 0.0,
    mode: Literal["avg", "max", "box_and_model_avg", "absent_model_aware_avg"] = "avg",
    weights: tuple[float] = (1.0,),
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

    Args:
        boxes: [N,4] float, xyxy, in parts of the image; clipped to [0, 1]
        scores: [N] float, at least 0; a box below takes no part
        labels: [N] int64, any whole number
        models: [N] int64, the model that has found the box, from 0 on
        iou_threshold: a box joins a cluster above this, not at it (in [0, 1])
        skip_threshold: a box takes part from this score on (in [0, 1e+06])
        mode: how scores are scaled
        weights: one for each model, or one for all models (in [1e-06, 1e+06])
        allows_overflow: avg: n in place of min(n, M); may exceed 1 (any finite number)
        max_output: most fused boxes (in [1, 65536])
    """

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

    Args:
        boxes: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
            1e-4 to 1e5
        scores: [N] float, at least 0; a box below takes no part
        indices: [K] int64, those that NMS kept; -1 is none
        iou_threshold: a box is in a group above this, not at it (in [0, 1])
        score_threshold: a box takes part above this score (in [0, 1e+06])
        center: the score c at which the weights are in the middle (in [0, 1])
    """

def contrastive_confidence(
    scores: Tensor,
    score_threshold: float = 0.3,
    weight: float = 5.0,
) -> Tensor:
    """Mean of the scores [N,K] above `score_threshold` less `weight` times that of the rest: [N].

    A score is that of the best class of a box, after a sigmoid or softmax. One of 0 or less stands
    for no box, as NMS pads its outputs. The mean of no score is 0. NaN or infinity makes NaN of its
    image.

    Args:
        scores: [N,K] float, best score of each box; 0 or less is no box
        score_threshold: a score is high above this, not at it (in [0, 1])
        weight: factor lambda of the low scores (in [0, 1000])
    """

def __getattr__(name: str) -> Any: ...
