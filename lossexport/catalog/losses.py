"""Declarations of the losses that judge elements and rows on their own."""

from lossexport.catalog import loss_samples
from lossexport.catalog.boxes import REDUCTION
from lossexport.catalog.spec import Attribute, Op, Reference, Tensor

_CLASSES = {"N": (1, 256, 131072), "C": (1, 80, 512)}
LOGITS = Tensor("logits", ("N", "C"), "real numbers, exact from -1e4 to 1e4")
_LABELS = Tensor("labels", ("N",), "class indices 0 to C-1", "int64", low=0, high="C-1")
_MEMORY = "peak memory of the gradient in onnxruntime: about {} tensors of the logits' size"
_GAMMA_DOC = "power of the probability that is missing"

KL = Op(
    name="kl_loss",
    summary="Smooth L1 weighted by a predicted variance, plus half the log of that variance.",
    formula=r"L = e^{-\alpha}\,\mathrm{SL1}(p - t) + \frac{\alpha}{2},\quad \alpha = \log\sigma^2",
    inputs=(
        Tensor("pred", ("N", 4), "real numbers"),
        Tensor("log_variance", ("N", 4), "log sigma^2, -80 to 80"),
        Tensor("target", ("N", 4), "real numbers"),
    ),
    outputs=(Tensor("loss", ("N", 4), "real numbers"),),
    attributes=(REDUCTION,),
    gradient=("pred", "log_variance"),
    samplers=loss_samples.UNCERTAIN,
    any_shape=True,
    references=(
        Reference(
            "He et al., Bounding Box Regression with Uncertainty, CVPR 2019, eq. 9 and 10",
            "https://arxiv.org/abs/1809.08545",
        ),
    ),
    kind="loss",
    notes=("the original masks background rows and divides by all rows: mask the result",),
)

SIGMOID_FOCAL = Op(
    name="sigmoid_focal_loss",
    summary="Binary cross entropy of every class, weighted down where the answer is right.",
    formula=r"L = -\alpha_t (1 - p_t)^\gamma \log p_t",
    inputs=(
        LOGITS,
        Tensor("target", ("N", "C"), "0 to 1, soft targets included", low=0, high=1),
    ),
    outputs=(Tensor("loss", ("N", "C"), "[0, inf)"),),
    attributes=(
        Attribute(
            "alpha", 0.25, "weight of positives, 1 - alpha of negatives; negative: off", -1e6, 1
        ),
        Attribute("gamma", 2.0, _GAMMA_DOC, 0.0, 100.0),
        REDUCTION,
    ),
    gradient=("logits",),
    samplers=loss_samples.BINARY,
    any_shape=True,
    references=(
        Reference(
            "Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, eq. 5",
            "https://arxiv.org/abs/1708.02002",
        ),
    ),
    kind="loss",
    dims=_CLASSES,
    notes=(_MEMORY.format(15),),
)

SOFTMAX_FOCAL = Op(
    name="softmax_focal_loss",
    summary="Softmax cross entropy, weighted down where the answer is right.",
    formula=r"L = -\alpha_y (1 - p_y)^\gamma \log p_y,\quad p = \mathrm{softmax}(x)",
    inputs=(LOGITS, _LABELS),
    outputs=(Tensor("loss", ("N",), "[0, inf)"),),
    attributes=(
        Attribute(
            "alpha",
            0.25,
            "weight of class 0, 1 - alpha of the others; or a list with a weight for every class",
            minimum=0.0,
            maximum=1.0,
            per_class=True,
        ),
        Attribute("gamma", 2.0, _GAMMA_DOC, 0.0, 100.0),
        REDUCTION,
    ),
    gradient=("logits",),
    samplers=loss_samples.LABELLED,
    references=(
        Reference(
            "Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, eq. 5, over a softmax",
            "https://arxiv.org/abs/1708.02002",
        ),
    ),
    kind="loss",
    dims=_CLASSES,
    notes=("a list of weights fixes C", _MEMORY.format(6)),
)

ANCHOR = Op(
    name="anchor_loss",
    summary="Binary cross entropy, harder for classes that come near the own one's probability.",
    formula=r"L = \ell(x_y) + \sum_{k \neq y} (1 + p_k - a)^\gamma\, \ell(-x_k),\quad "
    r"a = \max(p_y - s, 0)",
    inputs=(LOGITS, _LABELS),
    outputs=(Tensor("loss", ("N",), "[0, inf)"),),
    attributes=(
        Attribute("gamma", 0.5, "power of the gap to the anchor probability", 0.0, 100.0),
        Attribute("slack", 0.05, "margin of the anchor probability", minimum=0.0, maximum=1.0),
        Attribute(
            "anchor",
            "neg",
            "what is reshaped: the other classes (neg) or the own one (pos)",
            choices=("neg", "pos"),
        ),
        REDUCTION,
    ),
    gradient=("logits",),
    samplers=loss_samples.LABELLED,
    references=(
        Reference(
            "Ryou et al., Anchor Loss, ICCV 2019, eq. 4 to 6", "https://arxiv.org/abs/1909.11155"
        ),
    ),
    kind="loss",
    dims=_CLASSES,
    notes=(
        "the anchor probability a is a constant of the gradient",
        "without the warm-up of the original: plain softmax cross entropy for five epochs",
        _MEMORY.format(15),
    ),
)

SCE = Op(
    name="sce_loss",
    summary="Cross entropy of the label and the prediction, both ways, for noisy labels.",
    formula=r"L = -\alpha \log p_y - \beta \log(\epsilon_q) \sum_{k \neq y} \max(p_k, \epsilon_p)",
    inputs=(LOGITS, _LABELS),
    outputs=(Tensor("loss", ("N",), "[0, inf)"),),
    attributes=(
        Attribute("alpha", 0.1, "weight of the cross entropy", 0.0, 1e6),
        Attribute("beta", 1.0, "weight of the reverse cross entropy", 0.0, 1e6),
        Attribute("prob_floor", 1e-7, "smallest probability, without gradient below", 0.0, 1.0),
        Attribute("label_floor", 1e-4, "stands for 0 in the logarithm of a label", 1e-30, 1.0),
        REDUCTION,
    ),
    gradient=("logits",),
    samplers=loss_samples.LABELLED,
    references=(
        Reference(
            "Wang et al., Symmetric Cross Entropy for Learning with Noisy Labels, ICCV 2019, eq. 7",
            "https://arxiv.org/abs/1908.06112",
        ),
    ),
    kind="loss",
    dims=_CLASSES,
    notes=(_MEMORY.format(9),),
)

OPS = (KL, SIGMOID_FOCAL, SOFTMAX_FOCAL, ANCHOR, SCE)
