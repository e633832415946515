"""Declarations of the IoU family, box deltas and smooth L1."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lossexport.catalog import kernels, samples
from lossexport.catalog.spec import Arrays, Attribute, Op, Reference, Tensor, Tolerance

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

# u = 2^-24 is the rounding error of one float32 operation. Inputs are exact, so a side has a
# relative error of u, an area 3u, the intersection 3u; the union is at least half the sum of the
# areas, so 12u; their quotient 16u. That is IoU, at every scale: 16 ULP at most.
IOU_ULP = 16
WHY_ULP = (
    "inputs are exact: sides err by 1u, areas and the intersection by 3u, the union (at least half "
    "the sum of the areas) by 12u, so IoU by 16u = 16 ULP (u = 2^-24)"
)
ABSOLUTE = {
    "iou": (1e-6, "16u of a ratio of at most 1"),
    "giou": (4e-6, "IoU 16u; enclosing sides 6u, area 13u, (C - U)/C 40u of at most 1"),
    "diou": (3e-6, "IoU 16u; centre distance and diagonal 6u of the enclosing side each, 28u"),
    "ciou": (5e-6, "DIoU 44u; angles 3u, v 12u, alpha*v has slope at most 1 in IoU, 2 in v: 40u"),
}
_GRADIENT_WHY = (
    "each of at most four terms is a side over an area, a squared diagonal or w^2 + h^2, whose "
    "sizes add up to the scale; each errs by at most 40u of it, and adding them by 4u: 164u"
)


def eps(kind: str) -> Attribute:
    """The attribute `eps` of a "score" or a "loss"."""
    return Attribute("eps", 1e-7, _EPS_DOC[kind], minimum=0.0, maximum=1.0)


def iou_gradient_scale(output: str, inputs: Arrays, attributes: Mapping[str, Any]) -> Any:
    """Sum of the sizes of the terms in the gradient of any loss of the family, per coordinate."""
    if not output.startswith("grad_"):
        return 1.0
    pred, target, eps = inputs["pred"], inputs["target"], attributes["eps"]
    w, h = (pred[:, 2] - pred[:, 0]), (pred[:, 3] - pred[:, 1])
    tw, th = (target[:, 2] - target[:, 0]), (target[:, 3] - target[:, 1])
    cw = np.maximum(pred[:, 2], target[:, 2]) - np.minimum(pred[:, 0], target[:, 0])
    ch = np.maximum(pred[:, 3], target[:, 3]) - np.minimum(pred[:, 1], target[:, 1])
    union = np.maximum(w * h, tw * th) + eps
    diagonal = cw * cw + ch * ch + eps
    square = np.maximum(w * w + h * h, np.finfo(np.float64).tiny)

    def terms(along: Any, across: Any, enclosing: Any, enclosing_across: Any) -> Any:
        return (
            across / union
            + (across + enclosing_across) / (cw * ch + eps)
            + 4 * enclosing / diagonal
            + across / square
        )

    with np.errstate(over="ignore", invalid="ignore"):
        x, y = terms(w, h, cw, ch), terms(h, w, ch, cw)
    return np.stack((x, y, x, y), axis=1)


def _boxes(kind: str) -> list[Op]:
    title = _TITLE[kind]
    absolute, why = ABSOLUTE[kind]
    tolerance = Tolerance(IOU_ULP, absolute, f"{WHY_ULP}; absolute: {why}")
    pred = Tensor("pred", ("N", 4), BOX_DOMAIN)
    score: dict[str, Any] = {
        "formula": _FORMULA[kind],
        "attributes": (eps("score"),),
        "tolerance": tolerance,
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
        tolerance=tolerance,
        gradient=("pred",),
        gradient_tolerance=Tolerance(16, 1e-5, _GRADIENT_WHY),
        scale=iou_gradient_scale,
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


def _encode_scale(output: str, inputs: Arrays, attributes: Mapping[str, Any]) -> Any:
    boxes, anchors = inputs["boxes"], inputs["anchors"]
    side = np.maximum(anchors[:, 2:] - anchors[:, :2], 1e-7)
    moved = np.abs(boxes - anchors)
    shift = (moved[:, :2] + moved[:, 2:]) / (2 * side)
    return np.concatenate((shift, np.ones_like(shift)), axis=1) * np.array(attributes["weights"])


def _decode_scale(output: str, inputs: Arrays, attributes: Mapping[str, Any]) -> Any:
    anchors = inputs["anchors"]
    side = anchors[:, 2:] - anchors[:, :2]
    weights = np.array(attributes["weights"])
    if output.startswith("grad_"):
        return np.tile(2 * side, 2) / weights
    deltas = inputs["deltas"] / weights
    grown = np.exp(np.minimum(deltas[:, 2:], attributes["clip"]))
    terms = np.abs(anchors[:, :2]) + side * (1 + np.abs(deltas[:, :2]) + grown)
    return np.tile(terms, 2)


ENCODE = Op(
    name="encode_boxes",
    summary="Regression targets: the deltas that turn anchors into boxes.",
    formula=r"t_x = w_x \frac{c_x - c_x^a}{w^a},\quad t_w = w_w \log\frac{w}{w^a}",
    inputs=(Tensor("boxes", ("N", 4), "xyxy, sides above 0 (below 1e-7: taken as 1e-7)"), _ANCHORS),
    outputs=(Tensor("deltas", ("N", 4), "real numbers"),),
    attributes=(_WEIGHTS,),
    tolerance=Tolerance(
        16,
        1e-6,
        "shift: two exact differences, a sum, a quotient: 4u of the terms; log of a quotient that "
        "errs by 3u, itself good to 2 ULP: 3u absolute and 4 ULP",
    ),
    scale=_encode_scale,
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
            "clip", 4.135166556742356, "K, the largest log-side ratio: log(1000/16)", 0.0, 80.0
        ),
    ),
    tolerance=Tolerance(
        16,
        1e-6,
        "centre 4u, side 2u, exp of an argument that errs by u (at most 4u relative after the "
        "clip) and is good to 2 ULP: 12u of the sum of the sizes of the terms",
    ),
    gradient=("deltas",),
    gradient_tolerance=Tolerance(
        16, 1e-6, "two terms of equal size: a side (1u) over a weight, times the same exp: 12u"
    ),
    scale=_decode_scale,
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
        Attribute("beta", 1.0, "width of the quadratic part; below 1e-5: plain L1", minimum=0.0),
        REDUCTION,
    ),
    tolerance=Tolerance(
        8,
        1e-37,
        "difference u, near*(size - near/2)/beta: the bracket is at least half its larger term, "
        "so 4u, and two operations: 8u = 8 ULP; absolute: squares below the normal range",
    ),
    gradient=("pred",),
    gradient_tolerance=Tolerance(
        8, 1e-7, "d/beta, 3u, from two terms of at most 1, the second 0 up to rounding"
    ),
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
