"""Box losses that have stayed in papers: alpha-IoU, Inner-CIoU, Shape-IoU and Wise-IoU.

    lossexport export wiou_loss --ops paper_losses.py --gradient --out out

Sources: He et al., Alpha-IoU (arXiv 2110.13675); Zhang et al., Inner-IoU (arXiv 2311.02877); Zhang
and Zhang, Shape-IoU (arXiv 2312.17663); Tong et al., Wise-IoU (arXiv 2301.10051). The numbers are
those of the authors' codes, eps included, but finite where these give NaN: for boxes without area.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from lossexport import ops
from lossexport.catalog import Attribute, Op, Reference, Tensor
from lossexport.ops.common import poison

EPS = 1e-7
ALPHA_EPS = 1e-9  # of Alpha-IoU's code


@dataclass(frozen=True)
class Pair:
    """What losses of two boxes are made of; sides are [N,2]."""

    pred: torch.Tensor
    target: torch.Tensor
    shared: torch.Tensor  # area of the overlap
    areas: torch.Tensor  # of both boxes together
    enclosing: torch.Tensor
    distance: torch.Tensor  # of the centres, squared, along each axis


def pair(pred: torch.Tensor, target: torch.Tensor, height_eps: float = 0.0) -> Pair:
    """The parts, with `height_eps` added to the heights in the areas."""
    p, t = pred[:, 2:] - pred[:, :2], target[:, 2:] - target[:, :2]
    low = torch.maximum(pred[:, :2], target[:, :2])
    inside = torch.minimum(pred[:, 2:], target[:, 2:]) - low
    sides = inside.clamp(min=0)
    shift = ((pred[:, :2] - target[:, :2]) + (pred[:, 2:] - target[:, 2:])) / 2
    areas = p[:, 0] * (p[:, 1] + height_eps) + t[:, 0] * (t[:, 1] + height_eps)
    areas = areas + poison(pred, target)  # NaN of boxes with NaN or infinity
    return Pair(p, t, sides[:, 0] * sides[:, 1], areas, (p + t) - inside, shift * shift)


def share(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """A quotient that is 0 if both are 0."""
    return part / whole.clamp(min=torch.finfo(whole.dtype).tiny)


def alpha_iou_loss(
    pred: torch.Tensor, target: torch.Tensor, alpha: float = 3.0, kind: str = "ciou"
) -> torch.Tensor:
    """Alpha-IoU: IoU and the penalty of GIoU, DIoU or CIoU, each to the power `alpha`."""
    at = pair(pred, target, ALPHA_EPS)
    union = at.areas - at.shared + ALPHA_EPS
    iou = at.shared / union
    loss = 1 - (iou + ALPHA_EPS) ** alpha
    if kind == "iou":
        return loss
    if kind == "giou":
        around = torch.maximum(at.enclosing[:, 0] * at.enclosing[:, 1] + ALPHA_EPS, union)
        return loss + ((around - union) / around + ALPHA_EPS) ** alpha
    diagonal = (at.enclosing * at.enclosing).sum(-1)
    # The quotient before the power, which overflows for large boxes.
    far = share(at.distance.sum(-1), diagonal) ** alpha
    # The code adds eps to the diagonal's power, which only small boxes notice.
    whole = diagonal.clamp(max=1e3) ** alpha
    loss = loss + far * (whole / (whole + ALPHA_EPS))
    if kind == "diou":
        return loss
    turn = aspect(at.target, ALPHA_EPS) - aspect(at.pred, ALPHA_EPS)
    v = (4 / math.pi**2) * (turn * turn)
    weight = share(v, (1 - iou) + (v + ALPHA_EPS)).detach()
    return loss + (v * weight + ALPHA_EPS) ** alpha


def aspect(sides: torch.Tensor, eps: float) -> torch.Tensor:
    """The angle of a box's diagonal."""
    return torch.atan(sides[:, 0] / (sides[:, 1] + eps))


def inner_ciou_loss(pred: torch.Tensor, target: torch.Tensor, ratio: float = 0.7) -> torch.Tensor:
    """CIoU loss with the IoU of boxes that are scaled about their centres by `ratio`."""
    at = pair(pred, target)
    low = (at.pred + at.target) * ((1 - ratio) / 2)
    across = torch.minimum(pred[:, 2:] - target[:, :2], target[:, 2:] - pred[:, :2]) - low
    least = torch.minimum(at.pred, at.target) * ratio
    sides = torch.minimum(across, least).clamp(min=0)
    shared = sides[:, 0] * sides[:, 1]
    inner = shared / (ratio * ratio * at.areas - shared + EPS)
    return (1 - inner) + (ops.ciou_loss(pred, target) - ops.iou_loss(pred, target))


def shape_iou_loss(pred: torch.Tensor, target: torch.Tensor, scale: float = 0.0) -> torch.Tensor:
    """Shape-IoU: distances and differences of sides, weighed by the shape of the target."""
    at = pair(pred, target)
    iou = at.shared / (at.areas - at.shared + EPS)
    powers = at.target.clamp(min=torch.finfo(pred.dtype).tiny) ** scale
    # Crossed on purpose: the height weighs what is horizontal.
    weight = 2 * powers.flip(-1) / powers.sum(-1, keepdim=True)
    far = (weight * at.distance).sum(-1) / ((at.enclosing * at.enclosing).sum(-1) + EPS)
    apart = weight * share((at.pred - at.target).abs(), torch.maximum(at.pred, at.target))
    cost = (1 - torch.exp(-apart)) ** 4
    return (1 - iou) + far + 0.5 * cost.sum(-1)


def wiou_loss(
    pred: torch.Tensor,
    target: torch.Tensor,
    version: str = "v3",
    mean: float = 1.0,
    alpha: float = 1.7,
    delta: float = 2.7,
) -> torch.Tensor:
    """Wise-IoU: 1 - IoU, times the attention to distance and, from v2 on, to quality.

    `mean` is the running mean of 1 - IoU that a training keeps.
    """
    at = pair(pred, target)
    loss = 1 - share(at.shared, at.areas - at.shared)
    around = (at.enclosing * at.enclosing).sum(-1).detach()
    attended = torch.exp(share(at.distance.sum(-1), around)) * loss
    outlying = loss.detach() / mean
    if version == "v2":
        return outlying.sqrt() * attended
    if version == "v3":
        return outlying / (delta * alpha ** (outlying - delta)) * attended
    return attended


PRED = Tensor("pred", ("N", 4), "boxes")
TARGET = Tensor("target", ("N", 4), "boxes")
LOSS = Tensor("loss", ("N",), "[0, inf)")


def loss_of(
    function: Callable[..., torch.Tensor], link: str, text: str, *attributes: Attribute
) -> Op:
    """The declaration of one of these losses."""
    return Op(
        name=function.__name__,
        function=function,
        inputs=(PRED, TARGET),
        outputs=(LOSS,),
        attributes=attributes,
        gradient=("pred",),
        references=(Reference(text, f"https://arxiv.org/abs/{link}"),),
    )


OPS = (
    loss_of(
        alpha_iou_loss,
        "2110.13675",
        "He et al., Alpha-IoU, NeurIPS 2021",
        Attribute("alpha", 3.0, "the power; 2 in the code, 3 in the paper", 1.0, 10.0),
        Attribute("kind", "ciou", "of the penalty", choices=("iou", "giou", "diou", "ciou")),
    ),
    loss_of(
        inner_ciou_loss,
        "2311.02877",
        "Zhang et al., Inner-IoU, 2023",
        Attribute("ratio", 0.7, "of the sides, 0.5 to 1.5", 0.1, 10.0),
    ),
    loss_of(
        shape_iou_loss,
        "2312.17663",
        "Zhang and Zhang, Shape-IoU, 2023",
        Attribute("scale", 0.0, "power of the target's sides in the weights", 0.0, 4.0),
    ),
    loss_of(
        wiou_loss,
        "2301.10051",
        "Tong et al., Wise-IoU, 2023",
        Attribute("version", "v3", "how losses are focused", choices=("v1", "v2", "v3")),
        Attribute("mean", 1.0, "running mean of 1 - IoU", 1e-3, 1.0),
        Attribute("alpha", 1.7, "of v3; 1.9 in other ports", 1.0, 10.0),
        Attribute("delta", 2.7, "of v3; 3 in other ports", 0.1, 10.0),
    ),
)
