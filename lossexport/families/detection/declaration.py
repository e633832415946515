"""Declarations of the whole losses of detectors."""

from lossexport.catalog.spec import Attribute, Deferred, Op, Reference, Tensor
from lossexport.families.assignment.declaration import ALIGNMENT, TOOD
from lossexport.families.common import GIOU
from lossexport.families.detection import cases, launches

_FOLDER = "lossexport.families.detection"

_LABELS = Tensor("labels", ("B", "T"), "labels", where="valid")
_TARGETS = Tensor("targets", ("B", "T", 4), "boxes")
_VALID = Tensor("valid", ("B", "T"), "mask")
_TOLD = (_LABELS, _TARGETS, _VALID)
_LOSS = Tensor("loss", (), "[0, inf); NaN if an input that counts is not finite or a wrong label")
_FOCAL_GAMMA = Attribute("gamma", 2.0, "exponent of the missing probability", 0.0, 100.0)
_FOCAL_ALPHA = Attribute("alpha", 0.25, "weight of positives, else 1 - alpha", 0.0, 1.0)
_STRIDE = Tensor("stride", ("A",), "of the level of each point, in pixels, above 0", low=1e-6)
_PARTS_OF_IMAGE = "cx, cy, w, h in parts of the image, w >= 0, h >= 0"

_FIXED = (
    "targets are padded to T: `valid` says which are there, and no shape depends on the values",
    "the assignment has no gradient",
)


def _gain(name: str, default: float, doc: str) -> Attribute:
    return Attribute(f"{name}_gain", default, f"weight of the {doc} part", 0.0, 1e6)


def _parts(names: str, count: int) -> Tensor:
    return Tensor("parts", (count,), f"{names}, with their gains")


YOLO = Op(
    name="yolo_detection_loss",
    class_name="YOLODetectionLoss",
    function=Deferred(f"{_FOLDER}.yolo", "yolo_detection_loss"),
    summary="The training loss of YOLOv8, YOLO11 and YOLO26 on the raw heads.",
    formula=r"L = \frac{B}{\max(\sum s, 1)} \left( g_b \sum_i s_i (1 - \mathrm{CIoU}_i) + "
    r"g_c \sum_{i,c} \mathrm{BCE}(x_{ic}, s_{ic}) + g_d \sum_i s_i \mathrm{DFL}_i \right)",
    inputs=(
        Tensor("box_logits", ("B", "D", "A"), "logits"),
        Tensor("class_logits", ("B", "C", "A"), "logits"),
        Tensor("points", ("A", 2), "x and y of the centres of the cells, in cells of their level"),
        _STRIDE,
        *_TOLD,
    ),
    outputs=(_LOSS, _parts("box, class, dfl", 3)),
    attributes=(
        _gain("box", 7.5, "box"),
        _gain("class", 0.5, "class"),
        _gain("dfl", 1.5, "distribution focal"),
        *ALIGNMENT,
    ),
    gradient=("box_logits", "class_logits"),
    samplers=cases.YOLO,
    references=(
        TOOD,
        Reference(
            "Li et al., Generalized Focal Loss, NeurIPS 2020, eq. 6",
            "https://arxiv.org/abs/2006.04388",
        ),
    ),
    kind="loss",
    kernel=launches.YOLO,
    dims={
        "B": (1, 1, 32),
        "D": (64, 64, 64),
        "A": (1, 8400, 65536),
        "C": (1, 80, 512),
        "T": (0, 32, 256),
    },
    work=("B", "T", "A"),
    notes=(
        "D is 4 R for R bins of each side: 64 in YOLOv8 and YOLO11, 4 (`--shape D=4`) in YOLO26, "
        "whose third part is the L1 distance of the sides in parts of the image",
        "loss is B times the sum of the parts, as in the original code, which logs the parts",
        *_FIXED,
        "the gradient with respect to the class logits is of the class part alone",
    ),
)

RETINANET = Op(
    name="retinanet_loss",
    class_name="RetinaNetLoss",
    function=Deferred(f"{_FOLDER}.anchors", "retinanet_loss"),
    summary="The training loss of RetinaNet: matching by IoU, focal loss, smooth L1 of the deltas.",
    formula=r"L = \frac1B \sum_b \frac{1}{\max(n_b, 1)} \left( g_c \sum_{i,c} "
    r"\mathrm{FL}(x_{ic}) + g_b \sum_{i: m_i \ge 0} \mathrm{SmoothL1}(d_i - \hat{d}_i) \right)",
    inputs=(
        Tensor("class_logits", ("B", "A", "C"), "logits"),
        Tensor("deltas", ("B", "A", 4), "real"),
        Tensor("anchors", ("A", 4), "boxes"),
        *_TOLD,
    ),
    outputs=(_LOSS, _parts("class, box", 2)),
    attributes=(
        Attribute("fg_iou", 0.5, "an anchor has a target from this IoU on", 0.0, 1.0),
        Attribute("bg_iou", 0.4, "an anchor is background below this IoU", 0.0, 1.0),
        Attribute("rescue", True, "whether the best anchors of each target always have one"),
        _FOCAL_ALPHA,
        _FOCAL_GAMMA,
        Attribute("beta", 0.0, "where smooth L1 turns linear; 0: L1", 0.0, 1e6),
        _gain("class", 1.0, "class"),
        _gain("box", 1.0, "box"),
    ),
    gradient=("class_logits", "deltas"),
    samplers=cases.RETINANET,
    references=(
        Reference(
            "Lin et al., Focal Loss for Dense Object Detection, ICCV 2017",
            "https://arxiv.org/abs/1708.02002",
        ),
        Reference("torchvision, RetinaNet", "https://github.com/pytorch/vision"),
    ),
    kind="loss",
    kernel=launches.RETINANET,
    dims={"B": (1, 1, 8), "A": (1, 16384, 262144), "C": (1, 80, 512), "T": (0, 32, 256)},
    work=("B", "T", "A"),
    notes=(
        "an anchor that is rescued belongs to its own best target, as in torchvision, which is not "
        "always the one that it is the best for; a target that overlaps no anchor rescues none, "
        "whereas torchvision then gives a target to every anchor that does not overlap it",
        *_FIXED,
    ),
)

FCOS = Op(
    name="fcos_loss",
    class_name="FCOSLoss",
    function=Deferred(f"{_FOLDER}.anchors", "fcos_loss"),
    summary="The training loss of FCOS: focal loss, GIoU loss, centre-ness.",
    formula=r"L = \frac{1}{\max(n, 1)} \left( g_c \sum \mathrm{FL}(x) + g_b \sum_i "
    r"(1 - \mathrm{GIoU}_i) + g_m \sum_i \mathrm{BCE}(z_i, c_i) \right),\quad c = \sqrt{"
    r"\frac{\min(l, r)}{\max(l, r)} \frac{\min(t, b)}{\max(t, b)}}",
    inputs=(
        Tensor("class_logits", ("B", "A", "C"), "logits"),
        Tensor("distances", ("B", "A", 4), "left, top, right, bottom in strides, at least 0"),
        Tensor("centre_logits", ("B", "A"), "logits"),
        Tensor("points", ("A", 2), "x and y of the centres of the cells, in pixels"),
        _STRIDE,
        *_TOLD,
    ),
    outputs=(_LOSS, _parts("class, box, centre-ness", 3)),
    attributes=(
        Attribute("radius", 1.5, "farthest from the centre of a target, in strides", 0.0, 1e6),
        _FOCAL_ALPHA,
        _FOCAL_GAMMA,
        Attribute("eps", 1e-7, "added to the denominators of GIoU", 0.0, 1.0),
        _gain("class", 1.0, "class"),
        _gain("box", 1.0, "box"),
        _gain("centre", 1.0, "centre-ness"),
    ),
    gradient=("class_logits", "distances", "centre_logits"),
    samplers=cases.FCOS,
    references=(
        Reference("Tian et al., FCOS, ICCV 2019, eq. 2 and 3", "https://arxiv.org/abs/1904.01355"),
        Reference("torchvision, FCOS", "https://github.com/pytorch/vision"),
    ),
    kind="loss",
    kernel=launches.FCOS,
    dims={"B": (1, 1, 32), "A": (1, 8400, 65536), "C": (1, 80, 512), "T": (0, 32, 256)},
    work=("B", "T", "A"),
    notes=(
        "of targets of equal area the first; torchvision compares 1e8 - area in float32, in which "
        "areas that differ by less than 8 are equal",
        *_FIXED,
    ),
)

DETR = Op(
    name="detr_detection_loss",
    class_name="DETRDetectionLoss",
    function=Deferred(f"{_FOLDER}.detr", "detr_detection_loss"),
    summary="The training loss of DETR and its descendants for a given assignment.",
    formula=r"L = \frac1n \left( g_c \sum \mathrm{cls}(x, y_\sigma) + g_b \sum_j \lVert "
    r"b_{\sigma(j)} - t_j \rVert_1 + g_g \sum_j (1 - \mathrm{GIoU}(b_{\sigma(j)}, t_j)) \right)",
    inputs=(
        Tensor("logits", ("B", "N", "C"), "logits"),
        Tensor("boxes", ("B", "N", 4), _PARTS_OF_IMAGE),
        _LABELS,
        Tensor("targets", ("B", "T", 4), _PARTS_OF_IMAGE),
        _VALID,
        Tensor(
            "match",
            ("B", "T"),
            "the query of each target in [0, N), or -1",
            "int64",
            low=-1,
            high="N-1",
            where="valid",
        ),
    ),
    outputs=(_LOSS, _parts("class, L1, GIoU", 3)),
    attributes=(
        Attribute("kind", "focal", "the class part", choices=("focal", "softmax", "varifocal")),
        _gain("class", 2.0, "class"),
        _gain("box", 5.0, "L1"),
        _gain("giou", 2.0, "GIoU"),
        Attribute("alpha", 0.25, "focal: weight of positives; varifocal: of negatives", 0.0, 1.0),
        _FOCAL_GAMMA,
        Attribute("no_object", 0.1, "softmax: weight of queries without a target", 1e-6, 1e6),
    ),
    gradient=("logits", "boxes"),
    samplers=cases.DETR,
    references=(
        Reference(
            "Carion et al., End-to-End Object Detection with Transformers, ECCV 2020, section 3.1",
            "https://arxiv.org/abs/2005.12872",
        ),
        Reference("Zhu et al., Deformable DETR, ICLR 2021", "https://arxiv.org/abs/2010.04159"),
        Reference("Zhao et al., RT-DETR, CVPR 2024", "https://arxiv.org/abs/2304.08069"),
        GIOU,
    ),
    kind="loss",
    kernel=launches.DETR,
    dims={"B": (1, 1, 64), "N": (1, 300, 8192), "C": (1, 80, 512), "T": (0, 32, 256)},
    work=("B", "T", "N"),
    notes=(
        "`detr_cost` and `lossexport.runtime.assign` find the assignment, of each image by itself",
        "gains and alpha are class_gain=1 with kind=softmax in DETR, the defaults in Deformable "
        "DETR, and class_gain=1, kind=varifocal, alpha=0.75 in RT-DETR and D-FINE",
        "IoU and GIoU have no eps and are 0 of two boxes that are the same point",
        "if two targets have the same query, the later one counts",
        *_FIXED,
    ),
)

OPS = (YOLO, RETINANET, FCOS, DETR)
