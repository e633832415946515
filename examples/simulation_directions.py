"""Directions in which the regression simulation moves a box, from the exported graphs.

Boxes are float32 [N,4] of (centre x, centre y, width, height). Every direction is an ascent of the
metric, that is a descent of its loss.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lossexport.runtime import Session, load

LOSSES = ("iou", "giou", "diou", "ciou")

Array = np.ndarray[Any, np.dtype[Any]]
Direction = Callable[["Graphs", str, Array, Array], tuple[Array, Array]]

CORNERS: Array = np.array(
    [[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]], np.float32
)
"""`boxes @ CORNERS` is xyxy; a gradient in xyxy times its transpose is the gradient in `boxes`."""

_SIDES_TWICE: Array = np.array([1, 1, 2, 2], np.float32)


def exported() -> list[str]:
    """Names of the ops that the simulation runs."""
    return [f"{loss}_loss" for loss in LOSSES] + ["box_iou"]


class Graphs:
    """The exported graphs of a folder, each loaded when it is first run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sessions: dict[str, Session] = {}

    def ascent(self, loss: str, boxes: Array, targets: Array) -> tuple[Array, Array]:
        """Value of a loss [N], and its direction of descent [N,4]."""
        found = self._run(f"{loss}_loss.grad.onnx", boxes, targets)
        return found["loss"], -(found["grad_pred"] @ CORNERS.T)

    def iou(self, boxes: Array, targets: Array) -> Array:
        """IoU [N]."""
        return self._run("box_iou.onnx", boxes, targets)["score"]

    def _run(self, file: str, boxes: Array, targets: Array) -> dict[str, Array]:
        if file not in self._sessions:
            self._sessions[file] = load(self._folder / file, "ort")
        return self._sessions[file](pred=boxes @ CORNERS, target=targets @ CORNERS)


def true(graphs: Graphs, loss: str, boxes: Array, targets: Array) -> tuple[Array, Array]:
    """IoU [N] and the gradient of the exported loss [N,4], nothing added."""
    value, ascent = graphs.ascent(loss, boxes, targets)
    return 1 - value if loss == "iou" else graphs.iou(boxes, targets), ascent


def coded(graphs: Graphs, loss: str, boxes: Array, targets: Array) -> tuple[Array, Array]:
    """IoU [N] and the direction of the paper's own code [N,4], made from the true gradients.

    That code doubles width and height of the IoU part; where boxes are apart, GIoU takes the
    product of two negative sides for an intersection; the enclosing diagonal enters x and y with
    the wrong sign; CIoU drops 1 / (w^2 + h^2). Its crossed derivatives of the enclosing width and
    height, which change little, are left out.
    """
    if loss == "giou":
        _, ascent = graphs.ascent("giou", boxes, targets)
        ascent += _raw_intersection(boxes @ CORNERS, targets @ CORNERS) @ CORNERS.T
        return graphs.iou(boxes, targets), ascent * _SIDES_TWICE
    value, overlap = graphs.ascent("iou", boxes, targets)
    ascent = overlap * _SIDES_TWICE
    if loss == "iou":
        return 1 - value, ascent
    _, diou = graphs.ascent("diou", boxes, targets)
    penalty = diou - overlap
    # x and y have two parts, of the distance and of the diagonal: turn the second one round.
    penalty[:, :2] = 2 * _distance_part(boxes, targets) - penalty[:, :2]
    ascent += penalty
    if loss == "ciou":
        aspect = graphs.ascent("ciou", boxes, targets)[1] - diou
        ascent += aspect * _square(boxes[:, 2:])
    return 1 - value, ascent


DIRECTIONS: dict[str, Direction] = {"true": true, "coded": coded}


def _enclosing(corners: Array, goal: Array) -> Array:
    """Width and height of the enclosing box [N,2]."""
    low, high = np.minimum(corners[:, :2], goal[:, :2]), np.maximum(corners[:, 2:], goal[:, 2:])
    return np.asarray(high - low)


def _distance_part(boxes: Array, targets: Array) -> Array:
    """Ascent of -rho^2 / c^2 in x and y where c^2 is held [N,2]."""
    sides = _enclosing(boxes @ CORNERS, targets @ CORNERS)
    offset = targets[:, :2] - boxes[:, :2]
    return np.asarray(2 * offset / _square(sides))


def _raw_intersection(corners: Array, goal: Array) -> Array:
    """Gradient in xyxy [N,4] of -I / C, I the product of raw sides, where boxes are apart."""
    inner = np.minimum(corners[:, 2:], goal[:, 2:]) - np.maximum(corners[:, :2], goal[:, :2])
    outer = _enclosing(corners, goal)
    inner_area, outer_area = (sides[:, :1] * sides[:, 1:] for sides in (inner, outer))
    # Moving a corner by 1 changes an area by the other side, if that corner bounds the area.
    signs = np.array([-1, -1, 1, 1], np.float32)
    bounds_inner = corners * signs < goal * signs
    bounds_outer = corners * signs > goal * signs
    swap = [1, 0, 1, 0]
    d_inner, d_outer = inner[:, swap] * signs * bounds_inner, outer[:, swap] * signs * bounds_outer
    gradient = (inner_area * d_outer - outer_area * d_inner) / outer_area**2
    return np.asarray(gradient * (np.minimum(inner[:, :1], inner[:, 1:]) <= 0))


def _square(vectors: Array) -> Array:
    """Squared length of [N,2] as [N,1]; a sum over so short an axis is slow."""
    return np.asarray(vectors[:, :1] ** 2 + vectors[:, 1:] ** 2)
