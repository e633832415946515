"""The declaration of weighted boxes fusion."""

from lossexport.catalog.spec import Attribute, Deferred, Op, Reference, Tensor
from lossexport.families.suppression import fusion_cases, launches

LABELS = Tensor("labels", ("N",), "any whole number", "int64")

WEIGHTED_BOXES_FUSION = Op(
    name="weighted_boxes_fusion",
    function=Deferred("lossexport.families.suppression.fusion", "weighted_boxes_fusion"),
    summary="Weighted boxes fusion: the boxes of several models become their weighted means.",
    formula=r"\hat b = \frac{\sum_i s_i w_{m_i} b_i}{\sum_i s_i w_{m_i}},\quad "
    r"\hat s = \frac{\sum_i s_i w_{m_i}}{n} \cdot \frac{\min(n, M)}{\sum_m w_m}",
    inputs=(
        Tensor("boxes", ("N", 4), "xyxy, in parts of the image; clipped to [0, 1]"),
        Tensor("scores", ("N",), "at least 0; a box below takes no part"),
        LABELS,
        Tensor("models", ("N",), "the model that has found the box, from 0 on", "int64"),
    ),
    outputs=(
        Tensor("fused_boxes", ("max_output", 4), "xyxy in [0, 1]; 0 beyond count"),
        Tensor("fused_scores", ("max_output",), "by falling score; 0 beyond count"),
        Tensor("fused_labels", ("max_output",), "those of the boxes; -1 beyond count", "int64"),
        Tensor("count", (), "fused boxes, at most max_output", "int64"),
    ),
    attributes=(
        Attribute("iou_threshold", 0.55, "a box joins a cluster above this, not at it", 0.0, 1.0),
        Attribute("skip_threshold", 0.0, "a box takes part from this score on", 0.0, 1e6),
        Attribute(
            "mode",
            "avg",
            "how scores are scaled",
            choices=("avg", "max", "box_and_model_avg", "absent_model_aware_avg"),
        ),
        Attribute(
            "weights",
            (1.0,),
            "one for each model, or one for all models",
            minimum=1e-6,
            maximum=1e6,
            any_length=True,
        ),
        Attribute("allows_overflow", False, "avg: n in place of min(n, M); may exceed 1"),
        Attribute("max_output", 300, "most fused boxes", minimum=1, maximum=65536),
    ),
    samplers=fusion_cases.SAMPLERS,
    references=(
        Reference(
            "Solovyev et al., Weighted boxes fusion, Image and Vision Computing 2021",
            "https://arxiv.org/abs/1910.13302",
        ),
    ),
    kind="suppression",
    kernel=launches.WEIGHTED_BOXES_FUSION,
    dims={"N": (0, 256, 1024)},
    notes=(
        "the graph takes one step for each box: time grows with N x N, memory with N; for more "
        "boxes, export it with --shape N=0:1024:4096",
        "with a single weight, the number of models M is the highest in `models` and 1 more, so "
        "give one weight for each if the last ones may have found nothing",
        "a box with inverted corners is turned, and one without an area inside the image, with NaN "
        "or infinity, or of a model without a weight takes no part",
        "skip_threshold is compared with the score before it is weighted",
        "equal scores: the lowest index first; of equally good clusters, the one that was opened "
        "by the lowest index; a cluster of scores of 0 keeps its first box",
        "labels come out as int64, and sums are in the precision of the graph: the published code "
        "has float labels, and sums in float32",
    ),
)
