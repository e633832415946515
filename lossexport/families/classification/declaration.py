"""Declarations of the losses of labelled logits."""

from lossexport.catalog.spec import Attribute, Op, Reference, Tensor, beside
from lossexport.families.classification import launches
from lossexport.families.common import CLASSES, LABELS, LOGITS, MEMORY, REDUCTION

_torch = beside(__name__)

ANCHOR = Op(
    name="anchor_loss",
    function=_torch("anchor_loss"),
    summary="Binary cross entropy, harder for classes that come near the own one's probability.",
    formula=r"L = \ell(x_y) + \sum_{k \neq y} (1 + p_k - a)^\gamma\, \ell(-x_k),\quad "
    r"a = \max(p_y - s, 0)",
    inputs=(LOGITS, LABELS),
    outputs=(Tensor("loss", ("N",), "[0, inf)"),),
    attributes=(
        Attribute("gamma", 0.5, "power of the gap to the anchor probability", 0.0, 100.0),
        Attribute("slack", 0.05, "margin of the anchor probability", minimum=0.0, maximum=1.0),
        Attribute(
            "anchor",
            "neg",
            "terms that are reshaped: of the other classes (neg) or the own class (pos)",
            choices=("neg", "pos"),
        ),
        REDUCTION,
    ),
    gradient=("logits",),
    references=(
        Reference(
            "Ryou et al., Anchor Loss, ICCV 2019, eq. 4 to 6", "https://arxiv.org/abs/1909.11155"
        ),
    ),
    kind="loss",
    dims=CLASSES,
    notes=(
        "the anchor probability a is a constant in the gradient",
        "leaves out the warm-up of the original: five epochs of plain softmax cross entropy",
        MEMORY.format(15),
    ),
    kernel=launches.ANCHOR,
)

SCE = Op(
    name="sce_loss",
    function=_torch("sce_loss"),
    summary="Cross entropy of the label and the prediction, both ways, for noisy labels.",
    formula=r"L = -\alpha \log p_y - \beta \log(\epsilon_q) \sum_{k \neq y} \max(p_k, \epsilon_p)",
    inputs=(LOGITS, LABELS),
    outputs=(Tensor("loss", ("N",), "[0, inf)"),),
    attributes=(
        Attribute("alpha", 0.1, "weight of the cross entropy", 0.0, 1e6),
        Attribute("beta", 1.0, "weight of the reverse cross entropy", 0.0, 1e6),
        Attribute(
            "prob_floor", 1e-7, "smallest probability; there is no gradient below it", 0.0, 1.0
        ),
        Attribute("label_floor", 1e-4, "replaces 0 in the logarithm of a label", 1e-30, 1.0),
        REDUCTION,
    ),
    gradient=("logits",),
    references=(
        Reference(
            "Wang et al., Symmetric Cross Entropy for Learning with Noisy Labels, ICCV 2019, eq. 7",
            "https://arxiv.org/abs/1908.06112",
        ),
    ),
    kind="loss",
    dims=CLASSES,
    notes=(MEMORY.format(9),),
    kernel=launches.SCE,
)

OPS = (ANCHOR, SCE)
