"""The fused kernels of the suppression ops."""

from collections.abc import Callable, Mapping
from typing import Any

from lossexport.catalog.launch import METRIC_CODES, Constant, Launch, macros_of

# As in suppression.cuh: blocks whose threads keep what they know of their boxes in registers, most
# of all a bit for each; and a score, a score and an overlap, or a cluster.
_PICKERS = 1024
_MASK_BOXES, _SCORED_BOXES = 32 * _PICKERS, 16 * _PICKERS
_FADED_BOXES, _FUSED_BOXES = 8 * _PICKERS, 4 * _PICKERS


def _picking(
    entry: str, most: int, macros: Callable[[Mapping[str, Any]], Mapping[str, Constant]]
) -> Launch:
    return Launch(
        source=f"{entry}.cuh",
        entry=entry,
        grid=lambda sizes: (1,),
        block=_PICKERS,
        sizes=lambda sizes: (sizes["N"],),
        macros=macros,
        largest={"N": most},
    )


def nms(metric: str | None) -> Launch:
    """Greedy NMS by "iou", by "diou" or by the attribute `metric`."""
    constants = macros_of("iou_threshold", "score_threshold", "beta", "max_output")
    return _picking(
        "nms",
        _MASK_BOXES,
        lambda attributes: {
            "LX_METRIC": METRIC_CODES[metric or attributes["metric"]],
            **constants(attributes),
        },
    )


ROTATED_NMS = _picking(
    "nms",
    _MASK_BOXES,
    lambda attributes: {
        "LX_ROTATED": 1,
        **macros_of("iou_threshold", "score_threshold", "max_output")(attributes),
    },
)
SOFT_NMS = _picking("soft_nms", _SCORED_BOXES, macros_of("sigma", "score_threshold", "max_output"))

_VOTING = macros_of(
    "sigma_t",
    "soft_sigma",
    "iou_threshold",
    "vote_threshold",
    "score_threshold",
    "offset",
    "max_output",
)
VARIANCE_VOTING = _picking(
    "variance_voting",
    _SCORED_BOXES,
    lambda attributes: {"LX_HARD": int(attributes["method"] == "hard"), **_VOTING(attributes)},
)

_MATRIX = macros_of("sigma", "score_threshold", "max_output")
MATRIX_NMS = _picking(
    "matrix_nms",
    _FADED_BOXES,
    lambda attributes: {
        "LX_LINEAR": int(attributes["kernel"] == "linear"),
        **_MATRIX(attributes),
    },
)

_FUSION = macros_of("iou_threshold", "skip_threshold", "weights", "max_output")
_MODES = ("avg", "max", "box_and_model_avg", "absent_model_aware_avg")  # FusionMode
WEIGHTED_BOXES_FUSION = _picking(
    "weighted_boxes_fusion",
    _FUSED_BOXES,
    lambda attributes: {
        "LX_MODE": _MODES.index(attributes["mode"]),
        "LX_MODELS": len(attributes["weights"]),
        "LX_ALLOWS_OVERFLOW": int(attributes["allows_overflow"]),
        **_FUSION(attributes),
    },
)

_BATCHED = macros_of("iou_threshold", "score_threshold", "max_output", "max_candidates")
BATCHED_NMS = Launch(
    source="batched_nms.cuh",
    entry="batched_nms",
    grid=lambda sizes: (sizes["B"],),
    block=_PICKERS,
    sizes=lambda sizes: (sizes["N"], sizes["C"]),
    macros=lambda attributes: {
        "LX_METRIC": METRIC_CODES[attributes["metric"]],
        "LX_CLASS_AWARE": int(attributes["class_aware"]),
        "LX_MULTI_LABEL": int(attributes["multi_label"]),
        **_BATCHED(attributes),
    },
)
