"""Declarations of the suppression family."""

from lossexport.catalog.spec import Attribute, Deferred, Op, Reference, Tensor, beside
from lossexport.families.suppression import batched_cases, cases, launches, matrix_cases
from lossexport.families.suppression.fusion_declaration import LABELS, WEIGHTED_BOXES_FUSION

_torch = beside(__name__)

_BOXES = Tensor("boxes", ("N", 4), "boxes")
_SCORES = Tensor("scores", ("N",), "at least 0; a box below takes no part")
_INDICES = Tensor(
    "indices", ("max_output",), "in [0, N), by falling score; -1 beyond count", "int64"
)
_COUNT = Tensor("count", (), "boxes that were chosen, at most max_output", "int64")
_NEW_SCORES = Tensor("new_scores", ("max_output",), "scores at the pick; 0 beyond count")

_IOU_THRESHOLD = Attribute(
    "iou_threshold", 0.5, "a box is removed above this, not at it", minimum=0.0, maximum=1.0
)
_MAX_OUTPUT = Attribute("max_output", 100, "most boxes that are chosen", minimum=1, maximum=65536)


def _score_threshold(default: float) -> Attribute:
    return Attribute("score_threshold", default, "a box takes part from this score on", 0.0, 1e6)


def _sigma(name: str) -> Attribute:
    return Attribute(
        name, 0.5, "scores are multiplied by exp(-IoU^2 / sigma)", minimum=1e-6, maximum=1e6
    )


def _beta(doc: str) -> Attribute:
    return Attribute("beta", 1.0, doc, minimum=1e-3, maximum=1e3)


_BETA = "exponent of the distance term"
_ANY_BOXES = (
    "the CPU kernel has no limit on N, also for a file exported for fewer: its memory grows with N"
)
_ANY_NUMBER = f"{_ANY_BOXES}, and its time with N log N where few kept boxes lie on each other"
_SEQUENTIAL = (
    "the graph takes one step for each chosen box: time grows with count x N, memory with N",
    "a box with NaN or infinity is never chosen and removes none",
    "equal scores: the lowest index first",
)
_SOFT_NMS = Reference(
    "Bodla et al., Soft-NMS, ICCV 2017, figure 2", "https://arxiv.org/abs/1704.04503"
)
_DIOU = Reference(
    "Zheng et al., Distance-IoU Loss, AAAI 2020, DIoU-NMS", "https://arxiv.org/abs/1911.08287"
)
_CLUSTER = Reference(
    "Zheng et al., Enhancing Geometric Factors in Model Learning and Inference, Cluster-NMS",
    "https://arxiv.org/abs/2005.03572",
)
_SOFTER = Reference(
    "He et al., Bounding Box Regression with Uncertainty, CVPR 2019, algorithm 1 and its code",
    "https://arxiv.org/abs/1809.08545",
)
_GREEDY_FORMULA = (
    r"\mathrm{keep}_j = s_j \ge s_{\min} \wedge \neg\exists i:\ \mathrm{keep}_i \wedge i \prec j "
    r"\wedge m(b_i, b_j) > t"
)

NMS = Op(
    name="nms",
    function=_torch("nms"),
    summary="Greedy non-maximum suppression by IoU.",
    formula=rf"{_GREEDY_FORMULA},\quad m = \mathrm{{IoU}}",
    inputs=(_BOXES, _SCORES),
    outputs=(_INDICES, _COUNT),
    attributes=(
        _IOU_THRESHOLD,
        _score_threshold(0.0),
        _MAX_OUTPUT,
        _beta("no effect, as IoU has no distance term: the three NMS share a signature"),
    ),
    samplers=cases.greedy("iou"),
    references=(_SOFT_NMS,),
    kind="suppression",
    kernel=launches.nms("iou"),
    dims={"N": (0, 1024, 32768)},
    notes=(*_SEQUENTIAL, _ANY_NUMBER),
)

DIOU_NMS = Op(
    name="diou_nms",
    function=_torch("diou_nms"),
    summary="Greedy non-maximum suppression by DIoU: overlapping boxes of far centres both stay.",
    formula=rf"{_GREEDY_FORMULA},\quad m = \mathrm{{IoU}} - \left(\frac{{\rho^2}}{{c^2}}\right)"
    r"^\beta",
    inputs=(_BOXES, _SCORES),
    outputs=(_INDICES, _COUNT),
    attributes=(_IOU_THRESHOLD, _score_threshold(0.0), _MAX_OUTPUT, _beta(_BETA)),
    samplers=cases.greedy("diou"),
    references=(_DIOU,),
    kind="suppression",
    kernel=launches.nms("diou"),
    dims={"N": (0, 1024, 32768)},
    notes=(
        *_SEQUENTIAL,
        _ANY_NUMBER,
        "the squared diagonal has no eps: the result is the same at every scale",
    ),
)

ROTATED_NMS = Op(
    name="rotated_nms",
    function=_torch("rotated_nms"),
    summary="Greedy non-maximum suppression by the exact IoU of rotated boxes.",
    formula=rf"{_GREEDY_FORMULA},\quad m = \mathrm{{IoU}}",
    inputs=(Tensor("boxes", ("N", 5), "rotated"), _SCORES),
    outputs=(_INDICES, _COUNT),
    attributes=(
        _IOU_THRESHOLD,
        _score_threshold(0.0),
        _MAX_OUTPUT,
        _beta("no effect, as IoU has no distance term: the NMS share a signature"),
    ),
    samplers=cases.ROTATED,
    references=(
        Reference(
            "Ma et al., Arbitrary-Oriented Scene Text Detection via Rotation Proposals, skew NMS",
            "https://arxiv.org/abs/1703.01086",
        ),
    ),
    kind="suppression",
    kernel=launches.ROTATED_NMS,
    dims={"N": (0, 1024, 4096)},
    work=(4, "N"),
    notes=(
        *_SEQUENTIAL,
        "the IoU is that of box_rotated_iou, of the chosen box with each other one",
        "detectron2 and mmcv also remove a box at the threshold; Ultralytics compares ProbIoU, and "
        "there a box that is itself removed still removes others",
    ),
)

CLUSTER_NMS = Op(
    name="cluster_nms",
    function=_torch("cluster_nms"),
    summary="Greedy non-maximum suppression as a fixed point over all pairs, for parallel devices.",
    formula=r"k^{(0)}_j = [s_j \ge s_{\min}],\quad k^{(t+1)}_j = k^{(0)}_j \wedge "
    r"\sum_{i \prec j} k^{(t)}_i\,[m(b_i, b_j) > t] = 0\ \text{until}\ k^{(t+1)} = k^{(t)}",
    inputs=(_BOXES, _SCORES),
    outputs=(_INDICES, _COUNT),
    attributes=(
        _IOU_THRESHOLD,
        _score_threshold(0.0),
        _MAX_OUTPUT,
        _beta(f"{_BETA}, if the metric is diou"),
        Attribute("metric", "iou", "the overlap of nms or of diou_nms", choices=("iou", "diou")),
    ),
    samplers=cases.greedy(None),
    references=(_CLUSTER, _DIOU),
    kind="suppression",
    kernel=launches.nms(None),
    dims={"N": (0, 256, 4096)},
    work=("N", "N"),
    notes=(
        "gives exactly the result of nms or diou_nms, for any N",
        "takes one step for each link of the longest chain of suppressions, N at worst and usually "
        "a handful, each of N x N: on a CPU nms and diou_nms are faster beyond some hundred boxes",
        "temporaries take N x N x 4 bytes, six at a time in onnxruntime, and max_output x N x 8",
        *_SEQUENTIAL[1:],
        _ANY_NUMBER,
    ),
)

SOFT_NMS = Op(
    name="soft_nms",
    function=_torch("soft_nms"),
    summary="Soft-NMS: overlap with a chosen box lowers a score instead of removing the box.",
    formula=r"s_j \leftarrow s_j\, e^{-\mathrm{IoU}(b_i, b_j)^2 / \sigma},\quad "
    r"i = \arg\max_{\text{left}} s",
    inputs=(_BOXES, _SCORES),
    outputs=(_INDICES, _NEW_SCORES, _COUNT),
    attributes=(_sigma("sigma"), _score_threshold(0.001), _MAX_OUTPUT),
    samplers=cases.SOFT,
    references=(_SOFT_NMS,),
    kind="suppression",
    kernel=launches.SOFT_NMS,
    dims={"N": (0, 1024, 16384)},
    notes=(
        *_SEQUENTIAL,
        f"{_ANY_BOXES}, and its time with max_output x the boxes whose score at first is at least "
        "that of the last pick",
    ),
)

VARIANCE_VOTING = Op(
    name="variance_voting",
    function=_torch("variance_voting"),
    summary="Softer-NMS: a chosen box moves to the mean of its rivals, weighted by certainty.",
    formula=r"x \leftarrow \frac{\sum_i p_i x_i / \sigma_{x,i}^2}{\sum_i p_i / \sigma_{x,i}^2},"
    r"\quad p_i = e^{-(1 - \mathrm{IoU}(b_i, b))^2 / \sigma_t}",
    inputs=(
        _BOXES,
        _SCORES,
        Tensor("log_variance", ("N", 4), "log sigma^2 of x1, y1, x2, y2 in the unit of the boxes"),
    ),
    outputs=(
        Tensor("indices", ("max_output",), "in [0, N), in order; -1 beyond count", "int64"),
        Tensor("new_boxes", ("max_output", 4), "voted corners; 0 beyond count"),
        _NEW_SCORES,
        _COUNT,
    ),
    attributes=(
        Attribute("method", "soft", "how overlap lowers scores", choices=("soft", "hard")),
        Attribute("sigma_t", 0.02, "how close a voting box has to be", minimum=1e-6, maximum=1e6),
        _sigma("soft_sigma"),
        Attribute(
            "iou_threshold",
            0.5,
            "hard: IoU above which the score becomes 0",
            minimum=0.0,
            maximum=1.0,
        ),
        Attribute("vote_threshold", 0.01, "IoU above which a box votes", 0.0, 0.999),
        Attribute("score_threshold", 0.001, "an overlapped box is dropped below this", 0.0, 1e6),
        Attribute("offset", 0.0, "added to every side: 1 for whole pixels", 0.0, 1.0),
        _MAX_OUTPUT,
    ),
    samplers=cases.VOTING,
    references=(_SOFTER,),
    kind="suppression",
    kernel=launches.VARIANCE_VOTING,
    dims={"N": (0, 1024, 16384)},
    notes=(
        *_SEQUENTIAL,
        f"{_ANY_BOXES}, and its time with count x N",
        "a box that no chosen one overlaps stays, whatever its score, as in the original code",
        "scores have to be 0 or above; the order of equal scores in the original depends on swaps",
    ),
)

BATCHED_NMS = Op(
    name="batched_nms",
    function=Deferred("lossexport.families.suppression.batched", "batched_nms"),
    summary="NMS of a batch of images with scores of many classes: what a detector ends with.",
    formula=_GREEDY_FORMULA.replace("m(b_i", r"[c_i = c_j]\,m(b_i"),
    inputs=(
        Tensor("boxes", ("B", "N", 4), "boxes"),
        Tensor("scores", ("B", "N", "C"), "at least 0; a score below takes no part"),
    ),
    outputs=(
        Tensor(
            "detections", ("B", "max_output", 6), "x1, y1, x2, y2, score, class; 0 beyond count"
        ),
        Tensor(
            "indices",
            ("B", "max_output"),
            "of the boxes in [0, N), by falling score; -1 beyond count",
            "int64",
        ),
        Tensor("count", ("B",), "detections of each image, at most max_output", "int64"),
    ),
    attributes=(
        Attribute("iou_threshold", 0.7, "a candidate is removed above this, not at it", 0.0, 1.0),
        Attribute("score_threshold", 0.25, "a candidate takes part from this on", 0.0, 1e6),
        Attribute("max_output", 300, "most detections of an image", 1, 16384),
        Attribute("metric", "iou", "the overlap of nms or of diou_nms", choices=("iou", "diou")),
        Attribute("class_aware", True, "whether only boxes of the same class remove each other"),
        Attribute(
            "multi_label",
            False,
            "whether every class of a box is a candidate, instead of its best one, or of equal "
            "ones the first",
        ),
        Attribute("max_candidates", 30000, "the best candidates, which alone take part", 1, 2**24),
    ),
    samplers=batched_cases.SAMPLERS,
    kernel=launches.BATCHED_NMS,
    references=(
        _DIOU,
        Reference(
            "Hosang et al., Learning non-maximum suppression, CVPR 2017, GreedyNMS",
            "https://arxiv.org/abs/1705.02950",
        ),
    ),
    kind="suppression",
    dims={"B": (1, 1, 64), "N": (0, 8400, 32768), "C": (1, 80, 512)},
    notes=(
        "with one class it gives what nms or diou_nms gives; with more, what they give for every "
        "class by itself, merged by falling score",
        "the classes are compared, and no box is moved: the overlaps have the same bits as in nms",
        "the graph takes candidates in blocks of 128, until there are max_output or none is left: "
        "its time grows with the candidates that it has to look at, and it is exact for any "
        "number of them, although TensorRT gives at most 3840 from a topk",
        "memory of the graph: a few matrices of B x (max_output + 128) x 128 numbers",
        "a box with NaN or infinity is never chosen and removes none; a score that is NaN or "
        "infinite takes out its box, with multi_label only its class of the box",
        "equal scores: the lowest index first, then the lowest class",
        "N x C may be up to 2^24; in bf16 a class is exact up to 256, in fp16 up to 2048",
    ),
)

MATRIX_NMS = Op(
    name="matrix_nms",
    function=Deferred("lossexport.families.suppression.matrix", "matrix_nms"),
    summary="Matrix NMS: all better boxes of a class lower a score once, without a loop.",
    formula=r"s_j \leftarrow s_j \min_{i \prec j,\ c_i = c_j} \frac{f(\mathrm{IoU}_{ij})}"
    r"{f(\max_{k \prec i,\ c_k = c_i} \mathrm{IoU}_{ki})},\quad f(x) = e^{-\sigma x^2}\ "
    r"\text{or}\ 1 - x",
    inputs=(_BOXES, _SCORES, LABELS),
    outputs=(_INDICES, _NEW_SCORES, _COUNT),
    attributes=(
        Attribute("kernel", "gaussian", "the function f", choices=("gaussian", "linear")),
        Attribute("sigma", 2.0, "gaussian: a factor of IoU^2", 1e-6, 1e6),
        Attribute(
            "score_threshold", 0.001, "a box stays if its new score is at least this", 0, 1e6
        ),
        _MAX_OUTPUT,
    ),
    samplers=matrix_cases.SAMPLERS,
    references=(
        Reference(
            "Wang et al., SOLOv2, NeurIPS 2020, Matrix NMS", "https://arxiv.org/abs/2003.10152"
        ),
    ),
    kind="suppression",
    kernel=launches.MATRIX_NMS,
    dims={"N": (0, 256, 4096)},
    work=("N", "N"),
    notes=(
        "sigma is a factor here and a divisor in soft_nms",
        "linear: a box that equals a better one lowers no other score, as the published code "
        "divides by 0 there and returns NaN",
        "temporaries take a handful of matrices of N x N, and max_output x N x 8 bytes",
        *_SEQUENTIAL[1:],
        "the order is that of the new scores; equal ones: the lowest index first",
    ),
)

OPS = (
    NMS,
    DIOU_NMS,
    ROTATED_NMS,
    CLUSTER_NMS,
    SOFT_NMS,
    VARIANCE_VOTING,
    BATCHED_NMS,
    MATRIX_NMS,
    WEIGHTED_BOXES_FUSION,
)
