"""Declarations of the ops on rotated boxes: scores, pairwise scores and training losses."""

from lossexport.catalog.spec import Attribute, Deferred, Op, Reference, Tensor, beside
from lossexport.families.common import REDUCTION
from lossexport.families.rotated import launches

_torch = beside(__name__)

_PRED = Tensor("pred", ("N", 5), "rotated")
_TARGET = Tensor("target", ("N", 5), "rotated")
_TARGETS = Tensor("target", ("M", 5), "rotated")

_PROBIOU = (
    Reference(
        "Llerena et al., Gaussian Bounding Boxes and Probabilistic Intersection-over-Union",
        "https://arxiv.org/abs/2106.06072",
    ),
)
_KLD = (
    Reference(
        "Yang et al., Learning High-Precision Bounding Box for Rotated Object Detection via "
        "Kullback-Leibler Divergence, NeurIPS 2021",
        "https://arxiv.org/abs/2106.01883",
    ),
)
_GWD = (
    Reference(
        "Yang et al., Rethinking Rotated Object Detection with Gaussian Wasserstein Distance "
        "Loss, ICML 2021",
        "https://arxiv.org/abs/2101.11952",
    ),
)
_KFIOU = (
    Reference(
        "Yang et al., The KFIoU Loss for Rotated Object Detection, ICLR 2023",
        "https://arxiv.org/abs/2201.12558",
    ),
)
_EXACT = (
    Reference(
        "Ma et al., Arbitrary-Oriented Scene Text Detection via Rotation Proposals, section IV-C",
        "https://arxiv.org/abs/1703.01086",
    ),
)

_EPS = Attribute(
    "eps",
    1e-7,
    "of the determinants and the distance; the authors' sample has 1e-3",
    minimum=1e-12,
    maximum=1.0,
)


def _floor(default: float) -> Attribute:
    return Attribute(
        "floor",
        default,
        "added to the variances, side^2 / 12; Ultralytics: 0.01 in the loss, 0 elsewhere",
        minimum=0.0,
        maximum=1e6,
    )


_TAU = Attribute("tau", 1.0, "from 1 on, the loss is 1 - 1 / (tau + d); below 1 it is d", 0.0, 1e6)


def _post(doc: str) -> Attribute:
    return Attribute("post", "log1p", doc, choices=("log1p", "sqrt", "none"))


_PROBIOU_FORMULA = (
    r"\mathrm{ProbIoU} = 1 - \sqrt{1 - e^{-B} + \epsilon},\quad "
    r"B = \frac{d^\top \mathrm{adj}(\Sigma)\, d}{4 (|\Sigma| + \epsilon)} + \frac{1}{2} "
    r"\ln\left(\frac{|\Sigma|}{4 \sqrt{|\Sigma_p| |\Sigma_t|} + \epsilon} + \epsilon\right)"
    r"\in [\epsilon, 100],\quad \Sigma = \Sigma_p + \Sigma_t"
)
_IOU_FORMULA = (
    r"\mathrm{IoU} = \frac{I}{w_p h_p + w_t h_t - I},\quad "
    r"I = \oint_{\partial p} \mathrm{clamp}(x, -\frac{w_t}{2}, \frac{w_t}{2})\,"
    r"\left[|y| \le \frac{h_t}{2}\right] dy\ \text{in the frame of}\ t"
)
_ANGLE = (
    "the angle turns the w axis from +x towards +y, clockwise on a screen, as in Ultralytics and "
    "mmrotate; for detectron2's degrees, counter-clockwise, give -angle * pi / 180",
    "(w, h, angle), (h, w, angle + pi/2) and (w, h, angle + pi) are the same box; any angle may be "
    "given, and the difference of two of them is taken in float32",
)
_PROBIOU_NOTES = (
    *_ANGLE,
    "eps makes it depend on the unit: boxes in pixels, not in parts of the image",
    "equal boxes give 0.99955, as published, with a gradient of 0",
    "determinants are sums of terms above 0, and a side of 0 has a finite gradient",
)
_SIDES = (
    "sides are moved into [1e-7, 1e7] and have no gradient outside",
    "determinants and traces are sums of terms above 0, so that alike boxes lose no digits",
)
_IOU_NOTES = (
    *_ANGLE,
    "exact but for rounding at every scale, with no thresholds; 0 where an area is 0",
    "equal boxes score exactly 1",
)

BOX_PROBIOU = Op(
    name="box_probiou",
    function=_torch("box_probiou"),
    summary="ProbIoU of aligned rotated boxes: pred[i] with target[i].",
    formula=_PROBIOU_FORMULA,
    inputs=(_PRED, _TARGET),
    outputs=(Tensor("score", ("N",), "(-0.001, 1)"),),
    attributes=(_EPS, _floor(0.0)),
    references=_PROBIOU,
    kind="metric",
    kernel=launches.aligned("probiou"),
    notes=_PROBIOU_NOTES,
)

PAIRWISE_PROBIOU = Op(
    name="pairwise_probiou",
    function=_torch("pairwise_probiou"),
    summary="ProbIoU of every rotated prediction with every target.",
    formula=_PROBIOU_FORMULA,
    inputs=(_PRED, _TARGETS),
    outputs=(Tensor("score", ("N", "M"), "(-0.001, 1)"),),
    attributes=(_EPS, _floor(0.0)),
    references=_PROBIOU,
    kind="metric",
    kernel=launches.pairwise("probiou"),
    notes=_PROBIOU_NOTES,
)

PROBIOU_LOSS = Op(
    name="probiou_loss",
    function=_torch("probiou_loss"),
    summary="1 - ProbIoU of aligned rotated boxes, for training.",
    formula=rf"L = 1 - \mathrm{{ProbIoU}},\quad {_PROBIOU_FORMULA}",
    inputs=(_PRED, _TARGET),
    outputs=(Tensor("loss", ("N",), "(0, 1.001)"),),
    attributes=(_EPS, _floor(0.01), REDUCTION),
    gradient=("pred",),
    references=_PROBIOU,
    kind="loss",
    kernel=launches.loss("probiou"),
    notes=_PROBIOU_NOTES,
)

BOX_ROTATED_IOU = Op(
    name="box_rotated_iou",
    function=Deferred("lossexport.families.rotated.overlap", "box_rotated_iou"),
    summary="Exact IoU of aligned rotated boxes: pred[i] with target[i].",
    formula=_IOU_FORMULA,
    inputs=(_PRED, _TARGET),
    outputs=(Tensor("score", ("N",), "[0, 1]"),),
    references=_EXACT,
    kind="metric",
    kernel=launches.aligned("rotated_iou"),
    notes=_IOU_NOTES,
)

PAIRWISE_ROTATED_IOU = Op(
    name="pairwise_rotated_iou",
    function=Deferred("lossexport.families.rotated.overlap", "pairwise_rotated_iou"),
    summary="Exact IoU of every rotated prediction with every target.",
    formula=_IOU_FORMULA,
    inputs=(_PRED, _TARGETS),
    outputs=(Tensor("score", ("N", "M"), "[0, 1]"),),
    references=_EXACT,
    kind="metric",
    kernel=launches.pairwise("rotated_iou"),
    work=(4, "N", "M"),
    dims={"N": (1, 256, 8192), "M": (1, 256, 8192)},
    notes=(*_IOU_NOTES, "temporaries of the graph take 4 x N x M numbers each"),
)

ROTATED_IOU_LOSS = Op(
    name="rotated_iou_loss",
    function=Deferred("lossexport.families.rotated.overlap", "rotated_iou_loss"),
    summary="1 - exact IoU of aligned rotated boxes, for training.",
    formula=rf"L = 1 - \mathrm{{IoU}},\quad {_IOU_FORMULA}",
    inputs=(_PRED, _TARGET),
    outputs=(Tensor("loss", ("N",), "[0, 1]"),),
    attributes=(REDUCTION,),
    gradient=("pred",),
    references=_EXACT,
    kind="loss",
    kernel=launches.loss("rotated_iou"),
    notes=(
        *_IOU_NOTES,
        "equal boxes and separate boxes have a gradient of 0; where edges lie on each other the "
        "IoU has a kink, and half of each side's slope is given",
    ),
)

KLD_LOSS = Op(
    name="kld_loss",
    function=_torch("kld_loss"),
    summary="Loss of the Kullback-Leibler divergence of rotated boxes as Gaussians.",
    formula=r"\mathrm{KL} = \frac{1}{2} d^\top \Sigma_p^{-1} d + \frac{1}{2} \mathrm{tr}"
    r"(\Sigma_p^{-1} \Sigma_t) + \frac{1}{2} \ln\frac{|\Sigma_p|}{|\Sigma_t|} - 1,\quad "
    r"L = 1 - \frac{1}{\tau + \mathrm{post}(\sqrt{\mathrm{KL}})},\quad "
    r"\Sigma = R\,\mathrm{diag}\left(\frac{w^2}{4}, \frac{h^2}{4}\right) R^\top",
    inputs=(_PRED, _TARGET),
    outputs=(Tensor("loss", ("N",), "[0, 1) for tau of 1, else unbounded"),),
    attributes=(
        Attribute(
            "direction",
            "kld",
            "kld inverts the predicted covariance; mean, maximum and minimum of both directions",
            choices=("kld", "jd", "symmax", "symmin"),
        ),
        Attribute("sqrt", True, "whether the root of the divergence counts"),
        _post("applied to the divergence or its root"),
        _TAU,
        REDUCTION,
    ),
    gradient=("pred",),
    references=_KLD,
    kind="loss",
    kernel=launches.loss("kld"),
    class_name="KLDLoss",
    notes=(
        *_ANGLE,
        *_SIDES,
        "mmrotate's GDLoss_v1 is another number: it inverts the target's covariance and takes "
        "twice the divergence without the root",
        "below a divergence of 1e-7 the root has a gradient of 0, as in mmrotate",
    ),
)

GWD_LOSS = Op(
    name="gwd_loss",
    function=_torch("gwd_loss"),
    summary="Loss of the Wasserstein distance of rotated boxes as Gaussians.",
    formula=r"W^2 = |d|^2 + \mathrm{tr}\,\Sigma_p + \mathrm{tr}\,\Sigma_t - 2 "
    r"\sqrt{\mathrm{tr}(\Sigma_p \Sigma_t) + 2 \sqrt{|\Sigma_p| |\Sigma_t|}},\quad "
    r"L = 1 - \frac{1}{\tau + \mathrm{post}\left(W / 2 (|\Sigma_p| |\Sigma_t|)^{1/8}\right)}",
    inputs=(_PRED, _TARGET),
    outputs=(Tensor("loss", ("N",), "(0, 1) for tau of 1, else unbounded"),),
    attributes=(
        Attribute("normalize", True, "whether the distance is divided by the size of the boxes"),
        _post("applied to the distance"),
        _TAU,
        REDUCTION,
    ),
    gradient=("pred",),
    references=_GWD,
    kind="loss",
    kernel=launches.loss("gwd"),
    class_name="GWDLoss",
    notes=(
        *_ANGLE,
        *_SIDES,
        "mmrotate's class and its configurations have tau 0: the loss is then post(d)",
        "W^2 and the root of the product of the determinants are at least 1e-7 and 3e-4, as in "
        "mmrotate: equal boxes have a distance of 3e-4 before it is normalised, and boxes of sides "
        "below 0.3 another one than the formula's",
    ),
)

KFIOU_LOSS = Op(
    name="kfiou_loss",
    function=_torch("kfiou_loss"),
    summary="Loss of the overlap of rotated boxes as Gaussians of equal centres.",
    formula=r"\mathrm{KFIoU} = \frac{V}{V_p + V_t - V + 10^{-6}},\quad V_i = 4 \sqrt{|\Sigma_i|},"
    r"\quad V = 4 \sqrt{\frac{|\Sigma_p| |\Sigma_t|}{|\Sigma_p + \Sigma_t|}}",
    inputs=(_PRED, _TARGET),
    outputs=(Tensor("loss", ("N",), "linear: [2/3, 1]; ln: [1.09, 14); exp: [0.94, 1.72]"),),
    attributes=(
        Attribute(
            "form",
            "linear",
            "1 - KFIoU, -ln(KFIoU + 1e-6) or exp(1 - KFIoU) - 1",
            choices=("linear", "ln", "exp"),
        ),
        REDUCTION,
    ),
    gradient=("pred",),
    references=_KFIOU,
    kind="loss",
    kernel=launches.loss("kfiou"),
    notes=(
        *_ANGLE,
        *_SIDES,
        "equal boxes have a KFIoU of 1/3, its largest value, wherever their centres are: mmrotate "
        "adds a smooth L1 loss of the encoded centres, which smooth_l1_loss gives with beta 1/9",
    ),
)

OPS = (
    BOX_PROBIOU,
    PAIRWISE_PROBIOU,
    PROBIOU_LOSS,
    BOX_ROTATED_IOU,
    PAIRWISE_ROTATED_IOU,
    ROTATED_IOU_LOSS,
    KLD_LOSS,
    GWD_LOSS,
    KFIOU_LOSS,
)
