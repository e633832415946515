"""Declarations of the assignments."""

from lossexport.catalog.spec import Attribute, Op, Reference, Tensor, beside
from lossexport.families.assignment import cases, launches
from lossexport.families.common import GIOU

_torch = beside(__name__)

TOOD = Reference(
    "Feng et al., TOOD: Task-aligned One-stage Object Detection, ICCV 2021, section 3.2",
    "https://arxiv.org/abs/2108.07755",
)
ALIGNMENT = (
    Attribute("alpha", 0.5, "exponent of the score", 0.0, 100.0),
    Attribute("beta", 6.0, "exponent of the CIoU", 0.0, 100.0),
    Attribute("topk", 10, "most points of a target, some of which another one may get", 1, 1024),
    Attribute(
        "small_side", 16.0, "a shorter side of a target counts as this long, in pixels", 0.0, 1e6
    ),
)
"""Attributes of the task-aligned assignment."""

_PARTS = "cx, cy, w, h in parts of the image, w >= 0, h >= 0"


def _weight(name: str, default: float, doc: str) -> Attribute:
    return Attribute(name, default, f"weight of {doc}", 0.0, 1e6)


DETR_COST = Op(
    name="detr_cost",
    class_name="DETRCost",
    function=_torch("detr_cost"),
    summary="What it costs to give each target to each query: the matrix that DETR minimises.",
    formula=r"C_{ij} = w_c K(x_i, y_j) + w_b \lVert b_i - t_j \rVert_1 "
    r"- w_g\,\mathrm{GIoU}(b_i, t_j),\quad K = \alpha q^\gamma (-\log(p + \varepsilon)) - "
    r"(1 - \alpha) p^\gamma (-\log(q + \varepsilon))\ \text{or}\ -\mathrm{softmax}(x)_y",
    inputs=(
        Tensor("logits", ("N", "C"), "logits"),
        Tensor("boxes", ("N", 4), _PARTS),
        Tensor("labels", ("M",), "labels"),
        Tensor("targets", ("M", 4), _PARTS),
    ),
    outputs=(Tensor("cost", ("N", "M"), "NaN where an input of the pair is not finite"),),
    attributes=(
        Attribute("kind", "focal", "the class cost", choices=("focal", "softmax")),
        _weight("class_weight", 2.0, "the class cost, 1 in DETR"),
        _weight("box_weight", 5.0, "the distance"),
        _weight("giou_weight", 2.0, "the GIoU"),
        Attribute("alpha", 0.25, "focal: weight of a hit, 1 - alpha that of a miss", 0.0, 1.0),
        Attribute("gamma", 2.0, "focal: exponent of the missing probability", 0.0, 100.0),
        Attribute("eps", 1e-8, "focal: added inside of the logarithms; 0: exact", 0.0, 1.0),
    ),
    samplers=cases.COSTS,
    references=(
        Reference(
            "Carion et al., End-to-End Object Detection with Transformers, ECCV 2020, section 3.1",
            "https://arxiv.org/abs/2005.12872",
        ),
        Reference(
            "Zhu et al., Deformable DETR, ICLR 2021: the focal form, as in RT-DETR and D-FINE",
            "https://arxiv.org/abs/2010.04159",
        ),
        GIOU,
    ),
    kind="metric",
    kernel=launches.DETR_COST,
    dims={"N": (1, 300, 8192), "M": (1, 32, 2048), "C": (1, 80, 512)},
    notes=(
        "`lossexport.runtime.assign` finds the assignment of the least total cost, in which no "
        "entry that is NaN or infinite takes part; scipy raises on such a matrix",
        "with an eps, a logit of 50 costs -13.8 alpha-weighted and not -37.5: eps=0 is RF-DETR's "
        "form, 1e-8 that of Deformable DETR, RT-DETR, D-FINE and DEIM, which in float32 lose the "
        "digits of saturated logits that are kept here",
        "IoU and GIoU have no eps; of two boxes that are the same point they are 0, which is 0 / 0 "
        "in the original codes: D-FINE puts a cost of 1 there, DETR and RT-DETR raise",
        "softmax: the last class of C is that of no object, and no label",
    ),
)

TASK_ALIGNED_ASSIGN = Op(
    name="task_aligned_assign",
    function=_torch("task_aligned_assign"),
    summary="The points that train on each target, by score and overlap: the assignment of YOLOv8.",
    formula=r"m_{ti} = s_{i y_t}^\alpha \max(\mathrm{CIoU}(b_i, t), 0)^\beta,\quad "
    r"\hat{s}_{ti} = m_{ti}\, \frac{\max_i \mathrm{CIoU}}{\max_i m_{ti} + 10^{-9}}",
    inputs=(
        Tensor("scores", ("A", "C"), "probabilities", low=0, high=1),
        Tensor("boxes", ("A", 4), "boxes"),
        Tensor("points", ("A", 2), "centres of the cells, x and y in pixels"),
        Tensor("labels", ("T",), "labels", where="valid"),
        Tensor("targets", ("T", 4), "boxes"),
        Tensor("valid", ("T",), "mask"),
    ),
    outputs=(
        Tensor("assigned", ("A",), "in [0, T), -1 without a target", "int64"),
        Tensor("target_scores", ("A", "C"), "[0, 1]; 0 but at the class of the target"),
    ),
    attributes=ALIGNMENT,
    samplers=cases.ALIGNED,
    references=(TOOD,),
    kind="metric",
    kernel=launches.TASK_ALIGNED_ASSIGN,
    dims={"A": (1, 8400, 65536), "C": (1, 80, 512), "T": (0, 32, 512)},
    work=("T", "A"),
    notes=(
        "equal metrics: the point of the lowest index; the original code leaves it to its runtime",
        "points inside of a target may be its own with a metric of 0, as in the original code: "
        "their target scores are 0",
        "CIoU has 1e-7 in every denominator and on both heights, as in the original code",
        "a target or a point with NaN or infinity takes no part",
        "memory of the graph: a dozen matrices of T x A numbers",
    ),
)

OPS = (DETR_COST, TASK_ALIGNED_ASSIGN)
