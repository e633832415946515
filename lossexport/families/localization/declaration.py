"""Declaration of `localization_confidence`."""

from lossexport.catalog.spec import Op, Reference, Tensor, beside
from lossexport.families.localization import launches
from lossexport.families.localization.cases import SAMPLERS

_torch = beside(__name__)

CONFIDENCE = Op(
    name="localization_confidence",
    function=_torch("localization_confidence"),
    summary="Estimated IoU of a box with the true one, from the variance that a detector predicts.",
    formula=r"q = \frac{1}{1 + e},\quad e = \sqrt{\frac{2}{\pi}}\left("
    r"\frac{\sigma_{x_1} + \sigma_{x_2}}{w} + \frac{\sigma_{y_1} + \sigma_{y_2}}{h}\right)",
    inputs=(
        Tensor("boxes", ("N", 4), "boxes"),
        Tensor(
            "log_variance",
            ("N", 4),
            "log sigma^2 of x1, y1, x2, y2 in the unit of the boxes, -200 to 200",
        ),
    ),
    outputs=(Tensor("quality", ("N",), "[0, 1]; 0 for a box without area"),),
    attributes=(),
    samplers=SAMPLERS,
    references=(
        Reference(
            "He et al., Bounding Box Regression with Uncertainty, CVPR 2019, eq. 3: the Gaussian "
            "corner; the estimate of IoU from it is our own",
            "https://arxiv.org/abs/1809.08545",
        ),
    ),
    kind="metric",
    notes=(
        "needs no reference boxes, and is as good as the variances, which kl_loss trains",
        "if the true corners of a box are off by independent Gaussian errors, its mean IoU is at "
        "least q - e^2 / (1 + e) and at most q + v, where v is the variance of the error, "
        "(1 - 2 / pi) times the sum of (sigma / side)^2; docs/scoring.md derives it",
    ),
    kernel=launches.CONFIDENCE,
)

OPS = (CONFIDENCE,)
