"""Declarations of the focal losses."""

from lossexport.catalog.spec import Attribute, Op, Reference, Tensor, beside
from lossexport.families.common import CLASSES, LABELS, LOGITS, MEMORY, REDUCTION
from lossexport.families.focal import launches
from lossexport.families.logit_sampling import BINARY

_torch = beside(__name__)
_GAMMA_DOC = "exponent of the missing probability"

SIGMOID_FOCAL = Op(
    name="sigmoid_focal_loss",
    function=_torch("sigmoid_focal_loss"),
    summary="Binary cross entropy of every class, weighted down where the answer is right.",
    formula=r"L = -\alpha_t (1 - p_t)^\gamma \log p_t",
    inputs=(
        LOGITS,
        Tensor("target", ("N", "C"), "0 to 1, soft targets included", low=0, high=1),
    ),
    outputs=(Tensor("loss", ("N", "C"), "[0, inf)"),),
    attributes=(
        Attribute(
            "alpha", 0.25, "weight of positives, 1 - alpha that of negatives; below 0: off", -1e6, 1
        ),
        Attribute("gamma", 2.0, _GAMMA_DOC, 0.0, 100.0),
        REDUCTION,
    ),
    gradient=("logits",),
    samplers=BINARY,
    any_shape=True,
    references=(
        Reference(
            "Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, eq. 5",
            "https://arxiv.org/abs/1708.02002",
        ),
    ),
    kind="loss",
    dims=CLASSES,
    notes=(MEMORY.format(15),),
    kernel=launches.SIGMOID_FOCAL,
)

SOFTMAX_FOCAL = Op(
    name="softmax_focal_loss",
    function=_torch("softmax_focal_loss"),
    summary="Softmax cross entropy, weighted down where the answer is right.",
    formula=r"L = -\alpha_y (1 - p_y)^\gamma \log p_y,\quad p = \mathrm{softmax}(x)",
    inputs=(LOGITS, LABELS),
    outputs=(Tensor("loss", ("N",), "[0, inf)"),),
    attributes=(
        Attribute(
            "alpha",
            0.25,
            "weight of class 0, 1 - alpha that of the others; or a list of a weight for each class",
            minimum=0.0,
            maximum=1.0,
            per_class=True,
        ),
        Attribute("gamma", 2.0, _GAMMA_DOC, 0.0, 100.0),
        REDUCTION,
    ),
    gradient=("logits",),
    references=(
        Reference(
            "Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, eq. 5, over a softmax",
            "https://arxiv.org/abs/1708.02002",
        ),
    ),
    kind="loss",
    dims=CLASSES,
    notes=("a list of weights fixes the number of classes C", MEMORY.format(6)),
    kernel=launches.SOFTMAX_FOCAL,
)

OPS = (SIGMOID_FOCAL, SOFTMAX_FOCAL)
