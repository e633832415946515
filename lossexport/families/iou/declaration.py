"""Declarations of the IoU family: aligned scores, pairwise scores and training losses."""

from dataclasses import dataclass

from lossexport.catalog.spec import Attribute, Op, Reference, Tensor, beside
from lossexport.families.common import DIOU, GIOU, REDUCTION, SCORE_EPS, UNITBOX
from lossexport.families.iou import launches

_torch = beside(__name__)


@dataclass(frozen=True, slots=True)
class _Metric:
    """The fields that the three ops of a metric share."""

    name: str
    title: str
    scores: str
    losses: str
    formula: str
    references: tuple[Reference, ...]


_IOU = _Metric("iou", "IoU", "[0, 1]", "[0, 1]", r"\mathrm{IoU} = \frac{I}{U}", (UNITBOX,))
_GIOU = _Metric(
    "giou",
    "GIoU",
    "[-1, 1]",
    "[0, 2]",
    r"\mathrm{GIoU} = \mathrm{IoU} - \frac{C - U}{C}",
    (GIOU,),
)
_DIOU = _Metric(
    "diou",
    "DIoU",
    "(-1, 1]",
    "[0, 2)",
    r"\mathrm{DIoU} = \mathrm{IoU} - \frac{\rho^2}{c^2 + \epsilon}",
    (DIOU,),
)
_CIOU = _Metric(
    "ciou",
    "CIoU",
    "(-1.5, 1]",
    "[0, 2.5)",
    r"\mathrm{CIoU} = \mathrm{IoU} - \frac{\rho^2}{c^2 + \epsilon} - \alpha v,\quad"
    r"v = \frac{4}{\pi^2}\left(\arctan\frac{w_t}{h_t} - \arctan\frac{w_p}{h_p}\right)^2,\quad"
    r"\alpha = \frac{v}{1 - \mathrm{IoU} + v + \epsilon}",
    (DIOU,),
)
_LOSS_EPS = Attribute("eps", 1e-7, "added to every denominator", minimum=0.0, maximum=1.0)
_PRED = Tensor("pred", ("N", 4), "boxes")


def _aligned(name: str, metric: _Metric) -> Op:
    return Op(
        name=name,
        function=_torch(name),
        summary=f"{metric.title} of aligned boxes: pred[i] with target[i].",
        formula=metric.formula,
        inputs=(_PRED, Tensor("target", ("N", 4), "boxes")),
        outputs=(Tensor("score", ("N",), metric.scores),),
        attributes=(SCORE_EPS,),
        references=metric.references,
        kind="metric",
        kernel=launches.aligned(metric.name),
    )


def _pairwise(name: str, metric: _Metric) -> Op:
    return Op(
        name=name,
        function=_torch(name),
        summary=f"{metric.title} of every prediction with every target.",
        formula=metric.formula,
        inputs=(_PRED, Tensor("target", ("M", 4), "boxes")),
        outputs=(Tensor("score", ("N", "M"), metric.scores),),
        attributes=(SCORE_EPS,),
        references=metric.references,
        kind="metric",
        kernel=launches.pairwise(metric.name),
    )


def _loss(name: str, metric: _Metric, *notes: str) -> Op:
    return Op(
        name=name,
        function=_torch(name),
        summary=f"1 - {metric.title} of aligned boxes, for training.",
        formula=rf"L = 1 - \mathrm{{{metric.title}}}",
        inputs=(_PRED, Tensor("target", ("N", 4), "boxes")),
        outputs=(Tensor("loss", ("N",), metric.losses),),
        attributes=(_LOSS_EPS, REDUCTION),
        gradient=("pred",),
        references=metric.references,
        kind="loss",
        notes=notes,
        kernel=launches.loss(metric.name),
    )


OPS = (
    _aligned("box_iou", _IOU),
    _pairwise("pairwise_iou", _IOU),
    _loss("iou_loss", _IOU),
    _aligned("box_giou", _GIOU),
    _pairwise("pairwise_giou", _GIOU),
    _loss("giou_loss", _GIOU),
    _aligned("box_diou", _DIOU),
    _pairwise("pairwise_diou", _DIOU),
    _loss("diou_loss", _DIOU),
    _aligned("box_ciou", _CIOU),
    _pairwise("pairwise_ciou", _CIOU),
    _loss("ciou_loss", _CIOU, "alpha is a constant in the gradient"),
)
