"""The layouts that this package has."""

from typing import Annotated, Literal

import numpy as np
from msgspec import Meta

from lossexport.boxes.boxset import Float32
from lossexport.detectors.layout import Decoded, Keys, Layout, Name, Names, Size
from lossexport.detectors.tensors import (
    Array,
    Outputs,
    boxes_of,
    matrix,
    misfit,
    plain,
    whole,
)
from lossexport.names import BoxFormat

Strides = Annotated[list[Annotated[int, Meta(ge=1, le=1024)]], Meta(min_length=1, max_length=16)]


class YoloxKeys(Keys, frozen=True, kw_only=True):
    """The keys of `yolox`. The output `boxes` [N,4], if named, replaces the decoded boxes."""

    tensor: Name
    strides: Strides
    boxes: Name | None = None


def _yolox(keys: YoloxKeys, outputs: Outputs, size: Size, classes: int) -> Decoded:
    """Decode rows of (dx, dy, log width, log height, objectness, class scores...).

    There is a row for each cell of each stride's grid, row by row. Centre = (cell + d) x stride,
    size = exp(log) x stride, score = objectness x class. Sigmoid has been applied to the scores.
    """
    grids = [_cells(size, stride) for stride in keys.strides]
    cell = np.concatenate(grids)
    rows = matrix(outputs, keys.tensor, len(cell), 5 + classes)
    if keys.boxes:
        box: Array = boxes_of(outputs, keys.boxes, len(cell))
    else:
        stride = np.repeat(keys.strides, [len(grid) for grid in grids])[:, None]
        centre = (rows[:, :2] + cell) * stride
        with np.errstate(over="ignore"):  # a box with a low score may have any size
            half = np.exp(rows[:, 2:4]) * stride / 2
        box = np.concatenate([centre - half, centre + half], axis=1)
    return box, rows[:, 4:5] * rows[:, 5:], None


class NanoDetKeys(Keys, frozen=True, kw_only=True):
    """The keys of `nanodet`.

    The output `boxes` [N,4], if named, replaces the decoded boxes, stride after stride.
    """

    strides: Strides
    scores: Names
    distances: Names
    boxes: Name | None = None

    def __post_init__(self) -> None:
        """Refuse lists without exactly one tensor for each stride."""
        super().__post_init__()
        if not len(self.strides) == len(self.scores) == len(self.distances):
            raise ValueError("strides, scores and distances must have one length")

    def names(self) -> list[str]:
        """The outputs to read; `distances` are not read if there are `boxes`."""
        unread = self.distances if self.boxes else ()
        return [name for name in super().names() if name not in unread]


def _nanodet(keys: NanoDetKeys, outputs: Outputs, size: Size, classes: int) -> Decoded:
    """Decode distances to the left, top, right and bottom sides from distributions over bins.

    A distance is the expectation of 0, 1, 2... under the softmax of its bins, times the stride. It
    is measured from the centre (cell + 0.5) x stride - 0.5. Sigmoid has been applied to the scores.
    """
    cells = [_cells(size, stride) for stride in keys.strides]
    score = np.concatenate(
        [
            matrix(outputs, name, len(cell), classes)
            for name, cell in zip(keys.scores, cells, strict=True)
        ]
    )
    if keys.boxes:
        return boxes_of(outputs, keys.boxes, len(score)), score, None
    box = np.concatenate(
        [
            _around(outputs, name, cell, stride)
            for name, cell, stride in zip(keys.distances, cells, keys.strides, strict=True)
        ]
    )
    return box, score, None


class BoxesKeys(Keys, frozen=True, kw_only=True):
    """The keys of `boxes`, for boxes that the graph decodes.

    `new_boxes` have the same coordinates and units as `boxes`.
    """

    boxes: Name
    scores: Name
    labels: Name | None = None
    coordinates: BoxFormat = "xyxy"
    units: Literal["pixels", "parts"] = "pixels"

    def corners(self, box: Array, size: Size) -> Array:
        """Convert boxes from the `coordinates` and `units` to corners in pixels."""
        if self.coordinates == "cxcywh":
            box = np.concatenate([box[:, :2] - box[:, 2:] / 2, box[:, 2:]], axis=1)
        if self.coordinates != "xyxy":
            box = np.concatenate([box[:, :2], box[:, :2] + box[:, 2:]], axis=1)
        return box if self.units == "pixels" else box * np.array([*size, *size])


def _boxes(keys: BoxesKeys, outputs: Outputs, size: Size, classes: int) -> Decoded:
    # Either both have a batch dimension of 1 in front, or neither has.
    stated = outputs[keys.scores].ndim - outputs[keys.boxes].ndim + 2
    box = boxes_of(outputs, keys.boxes)
    single = keys.labels is not None or stated < 2
    score = plain(outputs, keys.scores, 1 if single else 2)
    wanted = [len(box)] if single else [len(box), classes]
    if list(score.shape) != wanted:
        misfit(outputs, keys.scores, f"[{','.join(map(str, wanted))}]")
    if keys.labels:
        return box, score, whole(outputs, keys.labels, 1, len(box))[: len(box)]
    if not single:
        return box, score, None
    if classes > 1:
        raise ValueError(f"output {keys.scores!r} is of {classes} categories: labels is missing")
    return box, score, np.zeros(len(box), np.int64)


YOLOX = Layout(
    name="yolox",
    title="[1,N,5+C]: dx, dy, log w, log h, objectness, classes",
    keys=YoloxKeys,
    scores="tensor",
    decode=_yolox,
)
NANODET = Layout(
    name="nanodet",
    title="per stride: [1,N,C] and [1,N,4 x bins]",
    keys=NanoDetKeys,
    scores="scores",
    decode=_nanodet,
)
BOXES = Layout(
    name="boxes",
    title="[N,4]; [N] and [N], or [N,C]",
    keys=BoxesKeys,
    scores="scores",
    decode=_boxes,
)


def _cells(size: Size, stride: int) -> Float32:
    """Column and row of each cell of a grid, row by row: [n,2]."""
    wide, high = (-(-side // stride) for side in size)
    row, column = np.divmod(np.arange(wide * high, dtype=np.int64), wide)
    return np.stack([column, row], axis=1).astype(np.float32)


def _around(outputs: Outputs, name: str, cell: Float32, stride: int) -> Array:
    """Boxes around cells [n,2] from the distributions over the distance of each side."""
    raw = matrix(outputs, name, len(cell), None)
    if raw.shape[1] % 4 or not raw.shape[1]:
        misfit(outputs, name, f"[1,{len(cell)},4 x bins]")
    bins = raw.reshape(len(cell), 4, -1)
    weight = np.exp(bins - bins.max(axis=2, keepdims=True))
    away = weight @ np.arange(bins.shape[2], dtype=np.float32)
    away *= stride / weight.sum(axis=2)
    centre = (cell + np.float32(0.5)) * stride - np.float32(0.5)
    return np.concatenate([centre - away[:, :2], centre + away[:, 2:]], axis=1)
