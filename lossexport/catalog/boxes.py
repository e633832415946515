"""Declarations of the IoU family, box deltas and smooth L1."""

from typing import Any

from lossexport.catalog import kernels, samples
from lossexport.catalog.spec import Attribute, Op, Reference, Tensor

BOX_DOMAIN = "xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from 1e-4 to 1e5"
REDUCTION = Attribute("reduction", "none", "none, sum or mean", choices=("none", "sum", "mean"))

_EPS_DOC = {
    "score": "added to the squared diagonal (DIoU) and the trade-off denominator (CIoU) only",
    "loss": "added to every denominator",
}
_RANGE = {"iou": "[0, 1]", "giou": "[-1, 1]", "diou": "(-1, 1]", "ciou": "(-1.5, 1]"}
_LOSS_RANGE = {"iou": "[0, 1]", "giou": "[0, 2]", "diou": "[0, 2)", "ciou": "[0, 2.5)"}
_TITLE = {"iou": "IoU", "giou": "GIoU", "diou": "DIoU", "ciou": "CIoU"}
_FORMULA = {
    "iou": r"\mathrm{IoU} = \frac{I}{U}",
    "giou": r"\mathrm{GIoU} = \mathrm{IoU} - \frac{C - U}{C}",
    "diou": r"\mathrm{DIoU} = \mathrm{IoU} - \frac{\rho^2}{c^2 + \epsilon}",
    "ciou": r"\mathrm{CIoU} = \mathrm{IoU} - \frac{\rho^2}{c^2 + \epsilon} - \alpha v,\quad"
    r"v = \frac{4}{\pi^2}\left(\arctan\frac{w_t}{h_t} - \arctan\frac{w_p}{h_p}\right)^2,\quad"
    r"\alpha = \frac{v}{1 - \mathrm{IoU} + v + \epsilon}",
}
_UNITBOX = Reference("Yu et al., UnitBox, ACM MM 2016", "https://arxiv.org/abs/1608.01471")
_GIOU = Reference(
    "Rezatofighi et al., Generalized Intersection over Union, CVPR 2019, eq. 1",
    "https://arxiv.org/abs/1902.09630",
)
_DIOU = Reference(
    "Zheng et al., Distance-IoU Loss, AAAI 2020, eq. 7 (DIoU), eq. 8-11 (CIoU)",
    "https://arxiv.org/abs/1911.08287",
)
REFERENCES = {"iou": (_UNITBOX,), "giou": (_GIOU,), "diou": (_DIOU,), "ciou": (_DIOU,)}


def eps(kind: str) -> Attribute:
    """The attribute `eps` of a "score" or a "loss"."""
    return Attribute("eps", 1e-7, _EPS_DOC[kind], minimum=0.0, maximum=1.0)


def _boxes(kind: str) -> list[Op]:
    title = _TITLE[kind]
    pred = Tensor("pred", ("N", 4), BOX_DOMAIN)
    score: dict[str, Any] = {
        "formula": _FORMULA[kind],
        "attributes": (eps("score"),),
        "samplers": samples.box_pairs(),
        "references": REFERENCES[kind],
        "kind": "metric",
    }
    aligned = Op(
        name=f"box_{kind}",
        summary=f"{title} of aligned boxes: pred[i] with target[i].",
        inputs=(pred, Tensor("target", ("N", 4), BOX_DOMAIN)),
        outputs=(Tensor("score", ("N",), _RANGE[kind]),),
        **score,
    )
    pairwise = Op(
        name=f"pairwise_{kind}",
        summary=f"{title} of every prediction with every target.",
        inputs=(pred, Tensor("target", ("M", 4), BOX_DOMAIN)),
        outputs=(Tensor("score", ("N", "M"), _RANGE[kind]),),
        dims={"N": (1, 256, 16384), "M": (1, 256, 16384)},
        kernel=kernels.pairwise(kind),
        **score,
    )
    loss = Op(
        name=f"{kind}_loss",
        summary=f"1 - {title} of aligned boxes, for training.",
        formula=rf"L = 1 - \mathrm{{{title}}}",
        inputs=(pred, Tensor("target", ("N", 4), BOX_DOMAIN)),
        outputs=(Tensor("loss", ("N",), _LOSS_RANGE[kind]),),
        attributes=(eps("loss"), REDUCTION),
        gradient=("pred",),
        samplers=samples.box_pairs(),
        references=REFERENCES[kind],
        kind="loss",
        notes=("alpha is a constant of the gradient",) if kind == "ciou" else (),
    )
    return [aligned, pairwise, loss]


_RCNN = Reference(
    "Girshick et al., Rich feature hierarchies (R-CNN), CVPR 2014, appendix C; weights and clamp "
    "of Detectron",
    "https://arxiv.org/abs/1311.2524",
)
_WEIGHTS = Attribute(
    "weights",
    (1.0, 1.0, 1.0, 1.0),
    "divisors of the deltas' scale: (10, 10, 5, 5) in the second stage of Faster R-CNN",
    minimum=1e-6,
    maximum=1e6,
)
_ANCHORS = Tensor("anchors", ("N", 4), "xyxy in the unit of the boxes, sides above 0")
_DELTAS = Tensor("deltas", ("N", 4), "dx, dy, dw, dh, scaled by the weights")


ENCODE = Op(
    name="encode_boxes",
    summary="Regression targets: the deltas that turn anchors into boxes.",
    formula=r"t_x = w_x \frac{c_x - c_x^a}{w^a},\quad t_w = w_w \log\frac{w}{w^a}",
    inputs=(Tensor("boxes", ("N", 4), "xyxy, sides above 0 (below 1e-7: taken as 1e-7)"), _ANCHORS),
    outputs=(Tensor("deltas", ("N", 4), "real numbers"),),
    attributes=(_WEIGHTS,),
    samplers=samples.box_pairs("boxes", "anchors"),
    references=(_RCNN,),
    kind="transform",
)

DECODE = Op(
    name="decode_boxes",
    summary="Boxes from predicted deltas and anchors, the log-sides clamped from above.",
    formula=r"c_x = \frac{t_x}{w_x} w^a + c_x^a,\quad "
    r"w = w^a \exp\min\left(\frac{t_w}{w_w}, K\right)",
    inputs=(_DELTAS, _ANCHORS),
    outputs=(Tensor("boxes", ("N", 4), BOX_DOMAIN),),
    attributes=(
        _WEIGHTS,
        Attribute(
            "clip", 4.135166556742356, "K, the largest log-side ratio: log(1000/16)", 0.0, 40.0
        ),
    ),
    gradient=("deltas",),
    samplers=samples.DELTAS,
    references=(_RCNN,),
    kind="transform",
)

SMOOTH_L1 = Op(
    name="smooth_l1_loss",
    summary="Smooth L1: quadratic within beta of the target, linear beyond.",
    formula=r"L = \frac{d^2}{2\beta}\ \text{if}\ |d| < \beta,\quad |d| - \frac{\beta}{2}\ "
    r"\text{otherwise},\quad d = p - t",
    inputs=(
        Tensor("pred", ("N", "D"), "real numbers"),
        Tensor("target", ("N", "D"), "real numbers"),
    ),
    outputs=(Tensor("loss", ("N", "D"), "[0, inf)"),),
    attributes=(
        Attribute("beta", 1.0, "width of the quadratic part; below 1e-5: plain L1", 0.0, 1e6),
        REDUCTION,
    ),
    gradient=("pred",),
    samplers=samples.DIFFERENCES,
    any_shape=True,
    references=(
        Reference("Girshick, Fast R-CNN, ICCV 2015, eq. 3", "https://arxiv.org/abs/1504.08083"),
    ),
    kind="loss",
    dims={"N": (1, 256, 65536), "D": (1, 4, 4096)},
)

OPS = (
    *(op for kind in ("iou", "giou", "diou", "ciou") for op in _boxes(kind)),
    ENCODE,
    DECODE,
    SMOOTH_L1,
)
