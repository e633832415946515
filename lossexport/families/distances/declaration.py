"""Declaration of `decode_distances`."""

from lossexport.catalog.spec import Attribute, Op, Reference, Tensor, beside
from lossexport.families.distances import launches
from lossexport.families.distances.cases import SAMPLERS

_torch = beside(__name__)

DECODE = Op(
    name="decode_distances",
    function=_torch("decode_distances"),
    summary="Boxes from points and distributions over the distances to their four sides.",
    formula=r"d = s \sum_{b=0}^{B-1} b\,\mathrm{softmax}(x)_b,\quad "
    r"(p_x - d_l,\ p_y - d_t,\ p_x + d_r,\ p_y + d_b)",
    inputs=(
        Tensor("distribution", ("N", 4, "bins"), "logits for left, top, right, bottom"),
        Tensor("points", ("N", 2), "x, y, in the unit of the boxes"),
        Tensor("stride", ("N",), "size of a step, at least 0, in the unit of the boxes"),
    ),
    outputs=(Tensor("boxes", ("N", 4), "boxes"),),
    attributes=(Attribute("bins", 16, "B: 8 in NanoDet, 16 in YOLOv8", minimum=2, maximum=64),),
    samplers=SAMPLERS,
    references=(
        Reference(
            "Li et al., Generalized Focal Loss, NeurIPS 2020, eq. 5",
            "https://arxiv.org/abs/2006.04388",
        ),
    ),
    kind="transform",
    notes=("bins has to be the size of the last dimension, which is checked",),
    kernel=launches.DECODE,
)

OPS = (DECODE,)
