"""Arithmetic and usual inputs that several layouts share."""

from typing import Any

import numpy as np

from lossexport.detectors.graph import Graph
from lossexport.detectors.tensors import Array

NMS_IOU = 0.65
"""The IoU of YOLOX's NMS, for heads that have none."""
ULTRALYTICS: dict[str, Any] = {
    "colour": "rgb",
    "resize": "letterbox",
    "place": "centre",
    "std": [255.0, 255.0, 255.0],
}
"""Values of `[input]` as Ultralytics' packages feed their exports."""
STRETCHED: dict[str, Any] = {"colour": "rgb", "resize": "stretch", "std": [255.0, 255.0, 255.0]}
"""Values from 0 to 1, as RT-DETR, D-FINE and DEIM take them."""
IMAGENET: dict[str, Any] = {
    "colour": "rgb",
    "resize": "stretch",
    "mean": [123.675, 116.28, 103.53],
    "std": [58.395, 57.12, 57.375],
}
"""Values by the mean and deviation of ImageNet, as RF-DETR, DETR, YOLOS and PicoDet take them."""


def centred(box: Array) -> Array:
    """Corners of boxes [N,4] of centre and size, in the precision of the boxes."""
    half = box[:, 2:] * box.dtype.type(0.5)
    return np.concatenate([box[:, :2] - half, box[:, :2] + half], axis=1)


def turned(box: Array, angle: Array) -> Array:
    """Centre and size of the upright boxes around boxes [N,4] that are turned by `angle` [N]."""
    cos, sin = np.abs(np.cos(angle)), np.abs(np.sin(angle))
    wide, high = box[:, 2], box[:, 3]
    return np.stack([box[:, 0], box[:, 1], wide * cos + high * sin, wide * sin + high * cos], 1)


def rounded(name: str, column: Array) -> Array:
    """A column of labels as int64, rounded: quantised and 16-bit graphs give 16.98 for 17."""
    if not (np.abs(column) < np.float64(2**31)).all():
        raise ValueError(f"output {name!r} has a label that is NaN or too large")
    return np.rint(column).astype(np.int64)


def sigmoid(logits: Array) -> Array:
    """The logistic function, in float64."""
    with np.errstate(over="ignore"):
        found: Array = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return found


def is_undecoded(graph: Graph, name: str) -> bool:
    """Whether an output [1,N,4] holds neither corners nor sizes, by its values on a grey image."""
    box = graph.probe[name][0].astype(np.float64)
    forms = (box[:, 2:] >= box[:, :2], box[:, 2:] > 0)
    return len(box) > 0 and not any(form.all(axis=1).mean() > 0.5 for form in forms)


def cells_of(graph: Graph, rows: int, boxes: tuple[int, ...] = (1, 3)) -> str:
    """Words for the strides whose cells have `rows` boxes; "" if there are none.

    `boxes` are the numbers of boxes that a cell may have.
    """
    found = graph.anchors().get(rows)
    if found is None or found[0] not in boxes:
        return ""
    each = "" if found[0] == 1 else f", {found[0]} anchors each"
    return f"the cells of strides {', '.join(map(str, found[1]))}{each}"
