"""Declarations of `suppression_reliability` and `contrastive_confidence`."""

from lossexport.catalog.spec import Attribute, Op, Reference, Tensor, beside
from lossexport.families.reliability import launches
from lossexport.families.reliability.cases import CONFIDENCE, SUPPRESSION

_torch = beside(__name__)

SUPPRESSION_RELIABILITY = Op(
    name="suppression_reliability",
    function=_torch("suppression_reliability"),
    summary="How far an NMS can be relied on: which boxes it removes, and where they lie.",
    formula=r"r = \frac{\sum_{i:\ s_i > c} \sum_{j \in G_i} w_j}{\sum_{j \in \cup G} w_j},\quad "
    r"w = 0.1 + \frac{0.9}{1 + e^{-20 (s - c)}},\quad q = \frac{1}{n} \sum_i \frac{\frac{1}{2} "
    r"\mathrm{IoU}(b_i, h_i) + \frac{1}{2} \left(1 - \frac{4 \rho_i}{d_i}\right)}"
    r"{1 + e^{10 (s_i - c)}}",
    inputs=(
        Tensor("boxes", ("N", 4), "boxes"),
        Tensor("scores", ("N",), "at least 0; a box below takes no part"),
        Tensor("indices", ("K",), "those that NMS kept; -1 is none", "int64", -1, "N-1"),
    ),
    outputs=(
        Tensor("reliability", (), "0 or more; 0 if nothing was removed"),
        Tensor("consistency", (), "at most 1; 0 if nothing was removed"),
    ),
    attributes=(
        Attribute("iou_threshold", 0.5, "a box is in a group above this, not at it", 0.0, 1.0),
        Attribute("score_threshold", 0.05, "a box takes part above this score", 0.0, 1e6),
        Attribute("center", 0.4, "the score c at which the weights are in the middle", 0.0, 1.0),
    ),
    samplers=SUPPRESSION,
    references=(
        Reference(
            "Yoo et al., Automated Model Evaluation for Object Detection via Prediction "
            "Consistency and Reliability, ICCV 2025, and its code",
            "https://arxiv.org/abs/2508.12082",
        ),
    ),
    kind="metric",
    kernel=launches.SUPPRESSION_RELIABILITY,
    dims={"N": (0, 1024, 32768), "K": (1, 100, 1024)},
    work=("N", "K"),
    notes=(
        "h is the hull of the group G of a kept box b, rho the distance of their centres and d the "
        "diagonal of b; a box without a group adds 0",
        "a removed box is in the group of every kept one that it overlaps, as in the code, so the "
        "reliability of an image may be above 1",
        "of one class and one image: the means over images are the numbers of the publication",
        "needs the boxes before NMS, so it is not for detectors without one",
        "a box with NaN or infinity takes no part",
        "temporaries take a handful of matrices of K x N",
    ),
)

CONTRASTIVE_CONFIDENCE = Op(
    name="contrastive_confidence",
    function=_torch("contrastive_confidence"),
    summary="Confidence in an image: the mean of its high scores less that of its low ones.",
    formula=r"c = \frac{1}{|P|} \sum_{i \in P} s_i - \lambda \frac{1}{|R|} \sum_{i \in R} s_i,"
    r"\quad P = \{s_i > t\},\quad R = \{0 < s_i \le t\}",
    inputs=(Tensor("scores", ("N", "K"), "best score of each box; 0 or less is no box"),),
    outputs=(Tensor("confidence", ("N",), "at most 1"),),
    attributes=(
        Attribute("score_threshold", 0.3, "a score is high above this, not at it", 0.0, 1.0),
        Attribute("weight", 5.0, "factor lambda of the low scores", 0.0, 1e3),
    ),
    samplers=CONFIDENCE,
    references=(
        Reference(
            "Park et al., Identifying Reliable Predictions in Detection Transformers",
            "https://arxiv.org/abs/2412.01782",
        ),
    ),
    kind="metric",
    kernel=launches.CONTRASTIVE_CONFIDENCE,
    notes=(
        "made for DETR, whose queries all have a score; works on the scores of any head",
        "the publication fits lambda to labelled images; a mean over no score is 0",
    ),
)

OPS = (SUPPRESSION_RELIABILITY, CONTRASTIVE_CONFIDENCE)
