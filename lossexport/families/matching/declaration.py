"""Declaration of `best_match`."""

from lossexport.catalog.spec import Attribute, Op, Tensor, beside
from lossexport.families.common import DIOU, GIOU, SCORE_EPS
from lossexport.families.matching.cases import SAMPLERS
from lossexport.families.matching.launches import BEST_MATCH as LAUNCH
from lossexport.names import METRICS

_torch = beside(__name__)

_SCORE_DOMAIN = "range of the metric; 0 without a partner, NaN where the box is not finite"

BEST_MATCH = Op(
    name="best_match",
    function=_torch("best_match"),
    summary="The best reference of every prediction, and the best prediction of every reference.",
    formula=r"j^*(i) = \arg\max_j m(p_i, t_j),\quad i^*(j) = \arg\max_i m(p_i, t_j)",
    inputs=(Tensor("pred", ("N", 4), "boxes"), Tensor("target", ("M", 4), "boxes")),
    outputs=(
        Tensor("pred_score", ("N",), _SCORE_DOMAIN),
        Tensor("pred_index", ("N",), "in [0, M), -1 without a partner", "int64"),
        Tensor("target_score", ("M",), _SCORE_DOMAIN),
        Tensor("target_index", ("M",), "in [0, N), -1 without a partner", "int64"),
    ),
    attributes=(
        Attribute("metric", "iou", "score by which a partner is the best", choices=METRICS),
        SCORE_EPS,
    ),
    samplers=SAMPLERS,
    references=(GIOU, DIOU),
    kind="metric",
    kernel=LAUNCH,
    work=("N", "M"),
    notes=(
        "of equally good partners, the one with the lowest index is chosen",
        "a box that is not finite has no partner and is nobody's partner",
        "the graph holds the N x M matrix; the kernels and the native backend do not",
    ),
)

OPS = (BEST_MATCH,)
