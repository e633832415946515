"""Declarations of the elementwise regression losses."""

from lossexport.catalog.spec import Attribute, Op, Reference, Tensor, beside
from lossexport.families.common import REDUCTION
from lossexport.families.regression import launches
from lossexport.families.regression.cases import DIFFERENCES, UNCERTAIN

_torch = beside(__name__)

SMOOTH_L1 = Op(
    name="smooth_l1_loss",
    function=_torch("smooth_l1_loss"),
    summary="Smooth L1: quadratic within beta of the target, linear beyond.",
    formula=r"L = \frac{d^2}{2\beta}\ \text{if}\ |d| < \beta,\quad |d| - \frac{\beta}{2}\ "
    r"\text{otherwise},\quad d = p - t",
    inputs=(
        Tensor("pred", ("N", "D")),
        Tensor("target", ("N", "D")),
    ),
    outputs=(Tensor("loss", ("N", "D"), "[0, inf)"),),
    attributes=(
        Attribute("beta", 1.0, "width of the quadratic part; below 1e-5: plain L1", 0.0, 1e6),
        REDUCTION,
    ),
    gradient=("pred",),
    samplers=DIFFERENCES,
    any_shape=True,
    references=(
        Reference("Girshick, Fast R-CNN, ICCV 2015, eq. 3", "https://arxiv.org/abs/1504.08083"),
    ),
    kind="loss",
    dims={"N": (1, 256, 65536), "D": (1, 4, 4096)},
    kernel=launches.SMOOTH_L1,
)

KL = Op(
    name="kl_loss",
    function=_torch("kl_loss"),
    summary="Smooth L1 weighted by a predicted variance, plus half the log of that variance.",
    formula=r"L = e^{-\alpha}\,\mathrm{SL1}(p - t) + \frac{\alpha}{2},\quad \alpha = \log\sigma^2",
    inputs=(
        Tensor("pred", ("N", 4)),
        Tensor("log_variance", ("N", 4), "log sigma^2, -80 to 80"),
        Tensor("target", ("N", 4)),
    ),
    outputs=(Tensor("loss", ("N", 4)),),
    attributes=(REDUCTION,),
    gradient=("pred", "log_variance"),
    samplers=UNCERTAIN,
    any_shape=True,
    references=(
        Reference(
            "He et al., Bounding Box Regression with Uncertainty, CVPR 2019, eq. 9 and 10",
            "https://arxiv.org/abs/1809.08545",
        ),
    ),
    kind="loss",
    notes=(
        "the original masks background rows and divides by the number of all rows: mask the result",
    ),
    kernel=launches.KL,
)

OPS = (SMOOTH_L1, KL)
