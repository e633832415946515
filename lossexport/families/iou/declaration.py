"""Declarations of the IoU family: aligned scores, pairwise scores and training losses."""

from dataclasses import dataclass, replace

from lossexport.catalog.spec import Attribute, Op, Reference, Tensor, beside
from lossexport.families.common import DIOU, GIOU, REDUCTION, SCORE_EPS, UNITBOX
from lossexport.families.iou import launches

_torch = beside(__name__)

_LOSS_EPS = Attribute("eps", 1e-7, "added to every denominator", minimum=0.0, maximum=1.0)


@dataclass(frozen=True, slots=True)
class _Metric:
    """The fields that the three ops of a metric share."""

    name: str
    title: str
    scores: str
    losses: str
    formula: str
    references: tuple[Reference, ...]
    attribute: Attribute = SCORE_EPS
    loss_attribute: Attribute = _LOSS_EPS
    notes: tuple[str, ...] = ()


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
_EIOU = _Metric(
    "eiou",
    "EIoU",
    "(-3, 1]",
    "[0, 4)",
    r"\mathrm{EIoU} = \mathrm{IoU} - \frac{\rho^2}{c^2 + \epsilon}"
    r" - \frac{(w_p - w_t)^2}{c_w^2 + \epsilon} - \frac{(h_p - h_t)^2}{c_h^2 + \epsilon}",
    (
        Reference(
            "Zhang et al., Focal and Efficient IOU Loss, 2021, eq. 7",
            "https://arxiv.org/abs/2101.08158",
        ),
    ),
    replace(SCORE_EPS, doc="added to the squared diagonal and the squared enclosing sides only"),
    replace(_LOSS_EPS, doc="added to every denominator, to the union twice"),
    (
        "EIoULoss of mmdetection is another loss by this name, Extended IoU, which is above 1.9 "
        "for boxes far apart and quadratic for near ones",
        "_EIoU of the WIoU code has the distance of the centres in place of the differences of "
        "the sides",
        "Focal-EIoU is this loss times IoU ** 0.5, a constant of the gradient: it is 0 for "
        "disjoint boxes",
    ),
)
_SIOU = _Metric(
    "siou",
    "SIoU",
    "[-1, 1]",
    "[0, 2]",
    r"\mathrm{SIoU} = \mathrm{IoU} - \frac{\Delta + \Omega}{2},\quad"
    r"\Delta = \sum_{t = x, y} 1 - e^{(\Lambda - 2) \rho_t},\quad"
    r"\Omega = \sum_{t = w, h} \left(1 - e^{-\omega_t}\right)^4",
    (Reference("Gevorgyan, SIoU Loss, 2022", "https://arxiv.org/abs/2205.12740"),),
    replace(SCORE_EPS, doc="added to a shift of the centres and the heights, the least side"),
    replace(_LOSS_EPS, doc="added to the union, the shift of the centres and the heights"),
    (
        "SIoULoss(neg_gamma=True) of mmdetection, which is the paper; without it, its default, "
        "distance lowers the loss: boxes of 20 x 20 at a diagonal offset of 15, 60 and 300 cost "
        "0.77, 0.24 and 0 there",
        "YOLOv6 clamps neither sides nor scores, and is NaN for two equal points; older ports "
        "are NaN for identical boxes",
        "scores below -1 are -1, with a gradient of 0, as in mmdetection",
    ),
)
_CONSTANT = Attribute(
    "constant", 12.8, "distance at which NWD is 1/e, in the unit of the boxes", 1e-3, 1e6
)
_NWD = _Metric(
    "nwd",
    "NWD",
    "[0, 1)",
    "(0, 1]",
    r"\mathrm{NWD} = e^{-W / C},\quad W^2 = (x_p - x_t)^2 + (y_p - y_t)^2"
    r" + \frac{(w_p - w_t)^2 + (h_p - h_t)^2}{4} + \epsilon",
    (
        Reference(
            "Wang et al., A Normalized Gaussian Wasserstein Distance for Tiny Object Detection, "
            "2021, eq. 7 and 8",
            "https://arxiv.org/abs/2110.13389",
        ),
    ),
    _CONSTANT,
    _CONSTANT,
    (
        "12.8 is the mean size of objects in AI-TOD, in pixels: with other data, and with "
        "normalised boxes, it needs another value",
        "epsilon is 1e-6 in scores and 1e-7 in the loss, as in the authors' code: identical "
        "boxes score 0.99992 and cost 2.5e-5, with a gradient of 0",
    ),
)
_PRED = Tensor("pred", ("N", 4), "boxes")


def _aligned(name: str, metric: _Metric) -> Op:
    return Op(
        name=name,
        function=_torch(name),
        summary=f"{metric.title} of aligned boxes: pred[i] with target[i].",
        formula=metric.formula,
        inputs=(_PRED, Tensor("target", ("N", 4), "boxes")),
        outputs=(Tensor("score", ("N",), metric.scores),),
        attributes=(metric.attribute,),
        references=metric.references,
        kind="metric",
        notes=metric.notes,
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
        attributes=(metric.attribute,),
        references=metric.references,
        kind="metric",
        notes=metric.notes,
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
        attributes=(metric.loss_attribute, REDUCTION),
        gradient=("pred",),
        references=metric.references,
        kind="loss",
        notes=(*notes, *metric.notes),
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
    _aligned("box_eiou", _EIOU),
    _pairwise("pairwise_eiou", _EIOU),
    _loss("eiou_loss", _EIOU),
    _aligned("box_siou", _SIOU),
    _pairwise("pairwise_siou", _SIOU),
    _loss("siou_loss", _SIOU),
    _aligned("box_nwd", _NWD),
    _pairwise("pairwise_nwd", _NWD),
    _loss("nwd_loss", _NWD),
)
