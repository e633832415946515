"""Declarations of box deltas."""

from lossexport.catalog.drawing import samplers
from lossexport.catalog.spec import Attribute, Op, Reference, Tensor, beside
from lossexport.families.deltas import launches
from lossexport.families.deltas.cases import DELTAS

_torch = beside(__name__)
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
    function=_torch("encode_boxes"),
    summary="Regression targets: the deltas that turn anchors into boxes.",
    formula=r"t_x = w_x \frac{c_x - c_x^a}{w^a},\quad t_w = w_w \log\frac{w}{w^a}",
    inputs=(Tensor("boxes", ("N", 4), "xyxy, sides above 0 (below 1e-7: taken as 1e-7)"), _ANCHORS),
    outputs=(Tensor("deltas", ("N", 4)),),
    attributes=(_WEIGHTS,),
    samplers=samplers([Tensor(name, ("N", 4), "boxes") for name in ("boxes", "anchors")]),
    references=(_RCNN,),
    kind="transform",
    kernel=launches.ENCODE,
)

DECODE = Op(
    name="decode_boxes",
    function=_torch("decode_boxes"),
    summary="Boxes from predicted deltas and anchors, the log-sides clamped from above.",
    formula=r"c_x = \frac{t_x}{w_x} w^a + c_x^a,\quad "
    r"w = w^a \exp\min\left(\frac{t_w}{w_w}, K\right)",
    inputs=(_DELTAS, _ANCHORS),
    outputs=(Tensor("boxes", ("N", 4), "boxes"),),
    attributes=(
        _WEIGHTS,
        Attribute(
            "clip", 4.135166556742356, "K, the largest log-side ratio: log(1000/16)", 0.0, 40.0
        ),
    ),
    gradient=("deltas",),
    samplers=DELTAS,
    references=(_RCNN,),
    kind="transform",
    kernel=launches.DECODE,
)

OPS = (ENCODE, DECODE)
