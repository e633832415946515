"""The fused kernels of the whole losses, each in one block."""

from collections.abc import Callable, Mapping
from typing import Any

from lossexport.catalog.launch import Constant, Launch, macros_of
from lossexport.families.assignment.launches import ALIGNMENT

_KINDS = ("focal", "softmax", "varifocal")  # DetrKind


def _whole(
    source: str,
    entry: str,
    sizes: tuple[str, ...],
    macros: Callable[[Mapping[str, Any]], Mapping[str, Constant]],
    largest: Mapping[str, int] | None = None,
) -> Launch:
    return Launch(
        source=source,
        entry=entry,
        grid=lambda known: (1,),
        block=512,  # DETECTION_THREADS of detection.cuh
        sizes=lambda known: tuple(known[name] for name in sizes),
        macros=macros,
        largest=largest or {},
    )


_DETR = macros_of("class_gain", "box_gain", "giou_gain", "alpha", "gamma", "no_object")
DETR = _whole(
    "detr_loss.cuh",
    "detr_detection_loss",
    ("B", "N", "C", "T"),
    lambda given: {"LX_DETR_KIND": _KINDS.index(given["kind"]), **_DETR(given)},
)

_RETINANET = macros_of("fg_iou", "bg_iou", "alpha", "gamma", "beta", "class_gain", "box_gain")
RETINANET = _whole(
    "retinanet_loss.cuh",
    "retinanet_loss",
    ("B", "A", "C", "T"),
    lambda given: {"LX_RESCUE": int(given["rescue"]), **_RETINANET(given)},
    largest={"T": 1024},  # ANCHORED_TARGETS
)

FCOS = _whole(
    "fcos_loss.cuh",
    "fcos_loss",
    ("B", "A", "C", "T"),
    macros_of("radius", "alpha", "gamma", "eps", "class_gain", "box_gain", "centre_gain"),
)

_YOLO = macros_of("box_gain", "class_gain", "dfl_gain")
YOLO = _whole(
    "yolo_loss.cuh",
    "yolo_detection_loss",
    ("B", "D", "A", "C", "T"),
    lambda given: {**_YOLO(given), **ALIGNMENT(given)},
    largest={"T": 1024, "A": 65536},  # ALIGNED_TARGETS, YOLO_POINTS
)
