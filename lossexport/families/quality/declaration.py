"""Declarations of the losses with a box quality as their target."""

from lossexport.catalog.spec import Attribute, Op, Reference, Tensor, beside
from lossexport.families.common import CLASSES, LOGITS, REDUCTION
from lossexport.families.logit_sampling import BINARY
from lossexport.families.quality import launches
from lossexport.families.quality.cases import DISTANCES, MATCHES

_torch = beside(__name__)
# IoUs, which roundings may take beyond 1.
_MOST = 1.0001

_TARGET = Tensor(
    "target", ("N", "C"), "0 to 1: IoU at the labelled class, 0 elsewhere", low=0, high=_MOST
)
_QUALITY = Tensor(
    "quality",
    ("N", "C"),
    "0 to 1: IoU with the matched target; any such number where nothing is matched",
    low=0,
    high=_MOST,
)
_MATCHED = Tensor("matched", ("N", "C"), "true at the class of the matched target", dtype="bool")
_LOSS = Tensor("loss", ("N", "C"), "[0, inf)")
_GAMMA = "exponent of the probability in the weight of the others"
_NEGATIVES = "factor of the weight of the others"

_GFL = Reference(
    "Li et al., Generalized Focal Loss, NeurIPS 2020, eq. {}", "https://arxiv.org/abs/2006.04388"
)
_NO_BOXES = (
    "divide the sum by the number of targets, at least 1, as the criteria of {} do; a code that "
    "takes the mean over queries multiplies by their number again"
)
_DEGENERATE = (
    "two matched boxes without area make the loss of {} NaN, through 0/0 in their IoU; box_iou "
    "gives 0"
)


def _gfl(equation: int) -> Reference:
    return Reference(_GFL.text.format(equation), _GFL.link)


DISTRIBUTION_FOCAL = Op(
    name="distribution_focal_loss",
    function=_torch("distribution_focal_loss"),
    summary="Cross entropy of the two bins beside a distance, shared by how near they are.",
    formula=r"L = -(l + 1 - y) \log p_l - (y - l) \log p_{l + 1},\quad "
    r"l = \lfloor y \rfloor,\quad p = \mathrm{softmax}(x)",
    inputs=(
        Tensor("logits", ("N", "K"), "logits"),
        Tensor("target", ("N",), "distance in bins, moved into [0, K - 1 - margin]"),
    ),
    outputs=(Tensor("loss", ("N",), "[0, inf)"),),
    attributes=(
        Attribute("margin", 0.01, "distance of the largest target from the last bin", 0.0, 1.0),
        REDUCTION,
    ),
    gradient=("logits",),
    samplers=DISTANCES,
    references=(_gfl(6),),
    kind="loss",
    dims={"N": (1, 1024, 131072), "K": (1, 16, 64)},
    notes=(
        "a row for each side of a box; K counts the bins: reg_max of Ultralytics, reg_max + 1 of "
        "mmdetection and D-FINE",
        "Ultralytics: margin 0.01, the mean over the four sides, times the target score, over the "
        "sum of scores; its code also changes the caller's targets",
        "mmdetection: the caller clamps to reg_max - 0.1, here margin 0.1; beyond reg_max its "
        "code raises, and a target of -0.5 gets the weights 1.5 and -0.5 there",
        "D-FINE's FGL: margin 0, the target j + w of its bins at unequal positions (left bin j, "
        "weight w of the right one), times the IoU, over the number of boxes",
        "the target is a constant of the gradient",
    ),
    kernel=launches.DISTRIBUTION_FOCAL,
)

QUALITY_FOCAL = Op(
    name="quality_focal_loss",
    function=_torch("quality_focal_loss"),
    summary="Cross entropy with an IoU as its target, weighted down where the answer is right.",
    formula=r"L = |t - p|^\beta \left(-t \log p - (1 - t) \log(1 - p)\right)",
    inputs=(LOGITS, _TARGET),
    outputs=(_LOSS,),
    attributes=(
        Attribute("beta", 2.0, "exponent of the distance from the target", 0.0, 100.0),
        REDUCTION,
    ),
    gradient=("logits",),
    samplers=BINARY,
    any_shape=True,
    references=(_gfl(1),),
    kind="loss",
    dims=CLASSES,
    notes=(
        "mmdetection sums over the classes of a row, and its mean divides by the rows and not by "
        "the elements; avg_factor there has 1.19e-7 added",
        "a beta below 1 has an infinite slope where p equals the target; the gradient is 0 there, "
        "and NaN in mmdetection",
        "mmdetection's variant for probabilities (activated=True) cuts logarithms at -100 and has "
        "gradients of 1e12 at p = 1; it is not this op",
    ),
    kernel=launches.QUALITY_FOCAL,
)

VARIFOCAL = Op(
    name="varifocal_loss",
    function=_torch("varifocal_loss"),
    summary="VarifocalNet's loss: positives weigh as much as their IoU, the others by p.",
    formula=r"L = w \left(-t \log p - (1 - t) \log(1 - p)\right),\quad "
    r"w = t \text{ if } t > 0 \text{ else } \alpha p^\gamma",
    inputs=(LOGITS, _TARGET),
    outputs=(_LOSS,),
    attributes=(
        Attribute("alpha", 0.75, _NEGATIVES, 0.0, 1e6),
        Attribute("gamma", 2.0, _GAMMA, 0.0, 100.0),
        Attribute("iou_weighted", True, "whether a positive weighs its target and not 1"),
        REDUCTION,
    ),
    gradient=("logits",),
    samplers=BINARY,
    any_shape=True,
    references=(
        Reference(
            "Zhang et al., VarifocalNet, CVPR 2021, eq. 2", "https://arxiv.org/abs/2008.13367"
        ),
    ),
    kind="loss",
    dims=CLASSES,
    notes=(
        "four codes mean four losses by this name: this one is VarifocalNet's and mmdetection's; "
        "RT-DETR, D-FINE and DEIM mean matched_varifocal_loss",
        "Ultralytics' VarifocalLoss takes its positives from a label (one of IoU 0 weighs 0 there "
        "and is a negative here), averages over axis 1, then sums; YOLOv8 and 11 do not use it",
        "RF-DETR's sigmoid_varifocal_loss weighs negatives by 1 - alpha: its alpha 0.25 is 0.75 "
        "here",
        "the weight of negatives is differentiated",
    ),
    kernel=launches.VARIFOCAL,
)

MATCHED_VARIFOCAL = Op(
    name="matched_varifocal_loss",
    function=_torch("matched_varifocal_loss"),
    summary="Varifocal loss of RT-DETR, D-FINE and DEIM: matched elements weigh their IoU.",
    formula=r"L = w \left(-q \log p - (1 - q) \log(1 - p)\right),\quad "
    r"w = q \text{ if matched, else } \alpha p^\gamma \text{ and } q = 0",
    inputs=(LOGITS, _QUALITY, _MATCHED),
    outputs=(_LOSS,),
    attributes=(
        Attribute("alpha", 0.75, _NEGATIVES, 0.0, 1e6),
        Attribute("gamma", 2.0, _GAMMA, 0.0, 100.0),
        REDUCTION,
    ),
    gradient=("logits",),
    samplers=MATCHES,
    any_shape=True,
    references=(
        Reference("Zhao et al., RT-DETR, CVPR 2024", "https://arxiv.org/abs/2304.08069"),
        Reference("Peng et al., D-FINE, ICLR 2025", "https://arxiv.org/abs/2410.13842"),
    ),
    kind="loss",
    dims=CLASSES,
    notes=(
        "the weights are constants of the gradient, unlike those of varifocal_loss",
        "a matched pair of IoU 0 weighs 0 and is a negative in varifocal_loss",
        _NO_BOXES.format("RT-DETR and D-FINE"),
        _DEGENERATE.format("both"),
        "the class default of alpha there is 0.2, the shipped configurations have 0.75",
    ),
    kernel=launches.MATCHED_VARIFOCAL,
)

MATCHABILITY_AWARE = Op(
    name="matchability_aware_loss",
    function=_torch("matchability_aware_loss"),
    summary="DEIM's loss: as matched_varifocal_loss, with full weight for poor matches.",
    formula=r"L = w \left(-q^\gamma \log p - (1 - q^\gamma) \log(1 - p)\right),\quad "
    r"w = 1 \text{ if matched, else } \alpha p^\gamma \text{ and } q = 0",
    inputs=(LOGITS, _QUALITY, _MATCHED),
    outputs=(_LOSS,),
    attributes=(
        Attribute("gamma", 1.5, "exponent of the quality, and of the probability", 0.0, 100.0),
        Attribute("alpha", 1.0, _NEGATIVES, 0.0, 1e6),
        REDUCTION,
    ),
    gradient=("logits",),
    samplers=MATCHES,
    any_shape=True,
    references=(
        Reference("Huang et al., DEIM, CVPR 2025, eq. 3", "https://arxiv.org/abs/2412.04234"),
    ),
    kind="loss",
    dims=CLASSES,
    notes=(
        "the weights are constants of the gradient",
        "gamma 1.5 and no alpha as in DEIM's configurations; the class default of gamma is 2 there",
        _NO_BOXES.format("DEIM"),
        _DEGENERATE.format("DEIM"),
    ),
    kernel=launches.MATCHABILITY_AWARE,
)

IOU_AWARE = Op(
    name="iou_aware_bce_loss",
    function=_torch("iou_aware_bce_loss"),
    summary="IoU-aware cross entropy of LW-DETR and RF-DETR: the target mixes IoU and p.",
    formula=r"L = -t \log p - (1 - t) \log(1 - p),\quad "
    r"t = \max(p^\alpha q^{1 - \alpha}, 0.01) \text{ if matched, else } L = -p^2 \log(1 - p)",
    inputs=(LOGITS, _QUALITY, _MATCHED),
    outputs=(_LOSS,),
    attributes=(
        Attribute("alpha", 0.25, "exponent of p in the target, 1 - alpha that of the IoU", 0.0, 1),
        REDUCTION,
    ),
    gradient=("logits",),
    samplers=MATCHES,
    any_shape=True,
    references=(
        Reference("Chen et al., LW-DETR, 2024", "https://arxiv.org/abs/2406.03459"),
        Reference("Cai et al., Align-DETR, 2023", "https://arxiv.org/abs/2304.07527"),
    ),
    kind="loss",
    dims=CLASSES,
    notes=(
        "alpha is focal_alpha of RF-DETR, where the exponent 2 of the others is fixed too",
        "the target is a constant of the gradient; the weight of the others is differentiated",
        "RF-DETR writes the sum as w x - (t + w) logsigmoid(x), which cancels for large logits",
        _NO_BOXES.format("RF-DETR"),
        _DEGENERATE.format("RF-DETR"),
    ),
    kernel=launches.IOU_AWARE,
)

OPS = (
    DISTRIBUTION_FOCAL,
    QUALITY_FOCAL,
    VARIFOCAL,
    MATCHED_VARIFOCAL,
    MATCHABILITY_AWARE,
    IOU_AWARE,
)
