"""Two ops of one's own: the MPDIoU loss, and the Inner-IoU of aligned boxes.

    lossexport export mpdiou_loss box_inner_iou --ops mpdiou.py --gradient --out out

Sources: Ma and Xu, MPDIoU (arXiv 2307.07662); Zhang et al., Inner-IoU (arXiv 2311.02877). The
functions are plain PyTorch on tensors of any float type; OPS declares them.
"""

import torch

from lossexport.catalog import Attribute, Op, Reference, Tensor

EPS = 1e-7  # in the union, as training codes have it


def _sides(boxes: torch.Tensor) -> torch.Tensor:
    """Width and height of xyxy boxes [N,4]: [N,2]."""
    return boxes[:, 2:] - boxes[:, :2]


def _area(sides: torch.Tensor) -> torch.Tensor:
    return sides[:, 0] * sides[:, 1]


def mpdiou_loss(
    pred: torch.Tensor, target: torch.Tensor, width: float = 640.0, height: float = 640.0
) -> torch.Tensor:
    """1 - MPDIoU: IoU less the squared shifts of both corners, in diagonals of the image."""
    low = torch.maximum(pred[:, :2], target[:, :2])
    shared = _area((torch.minimum(pred[:, 2:], target[:, 2:]) - low).clamp(min=0))
    iou = shared / (_area(_sides(pred)) + _area(_sides(target)) - shared + EPS)
    shift = pred - target
    return 1 - iou + (shift * shift).sum(-1) / (width * width + height * height)


def box_inner_iou(pred: torch.Tensor, target: torch.Tensor, ratio: float = 0.7) -> torch.Tensor:
    """IoU of boxes that are scaled about their own centres."""
    p, t = ratio * _sides(pred), ratio * _sides(target)
    # What each side of an overlap can be, in differences of corners alone: far from the origin a
    # scaled corner would be rounded to more than a small box is wide.
    inset = (_sides(pred) + _sides(target)) * ((1 - ratio) / 2)
    across = torch.minimum(pred[:, 2:] - target[:, :2], target[:, 2:] - pred[:, :2]) - inset
    shared = _area(torch.minimum(torch.minimum(p, t), across).clamp(min=0))
    return shared / (_area(p) + _area(t) - shared + EPS)


PRED = Tensor("pred", ("N", 4), "boxes")
TARGET = Tensor("target", ("N", 4), "boxes")

OPS = (
    Op(
        name="mpdiou_loss",
        function=mpdiou_loss,
        inputs=(PRED, TARGET),
        outputs=(Tensor("loss", ("N",), "[0, inf)"),),
        attributes=(
            Attribute("width", 640.0, "of the image, in the unit of the boxes", minimum=1e-3),
            Attribute("height", 640.0, "of the image", minimum=1e-3),
        ),
        gradient=("pred",),
        formula=r"L = 1 - \mathrm{IoU} + \frac{d_1^2 + d_2^2}{w^2 + h^2}",
        references=(Reference("Ma and Xu, MPDIoU, 2023", "https://arxiv.org/abs/2307.07662"),),
    ),
    Op(
        name="box_inner_iou",
        function=box_inner_iou,
        inputs=(PRED, TARGET),
        outputs=(Tensor("score", ("N",), "[0, 1]"),),
        attributes=(
            Attribute("ratio", 0.7, "of the sides, 0.5 to 1.5", minimum=0.1, maximum=10.0),
        ),
        references=(
            Reference("Zhang et al., Inner-IoU, 2023", "https://arxiv.org/abs/2311.02877"),
        ),
    ),
)
