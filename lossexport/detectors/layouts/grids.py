"""Heads of grids whose boxes are decoded here: YOLOX, NanoDet, PicoDet."""

from functools import partial
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from lossexport.boxes.boxset import Float32
from lossexport.detectors.graph import STRIDES, Graph, written
from lossexport.detectors.layout import Decoded, Fit, Keys, Layout, Name, Names, Size
from lossexport.detectors.layouts.common import IMAGENET, NMS_IOU, cells_of
from lossexport.detectors.layouts.yolo import is_decoded
from lossexport.detectors.tensors import Array, Outputs, boxes_of, matrix, misfit
from lossexport.runtime.session import TensorInfo

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


class NanoDetPlusKeys(Keys, frozen=True, kw_only=True):
    """The keys of `nanodet_plus`; each side has a distribution over `bins`."""

    tensor: Name
    strides: Strides
    bins: Annotated[int, Meta(ge=2, le=64)] = 8


def _nanodet_plus(keys: NanoDetPlusKeys, outputs: Outputs, size: Size, classes: int) -> Decoded:
    """Decode rows of class scores and distributions over distances from the cell's first pixel."""
    cells = [_cells(size, stride) for stride in keys.strides]
    rows = matrix(outputs, keys.tensor, sum(map(len, cells)), classes + 4 * keys.bins)
    score, raw = np.split(rows, [classes], axis=1)
    edges = np.cumsum([len(cell) for cell in cells])[:-1]
    box = [
        _around({keys.tensor: part[None]}, keys.tensor, cell, stride, stride / 2)
        for part, cell, stride in zip(np.split(raw, edges), cells, keys.strides, strict=True)
    ]
    return np.concatenate(box), score, None


def _nanodet_plus_fits(graph: Graph) -> list[Fit]:
    """Rows for the cells of four strides: probabilities, and 4 x 8 bins with negative values."""
    fits = []
    for info in graph.floats(3):
        rows, columns = (int(dim) for dim in info.shape[1:])
        classes, strides = columns - 32, STRIDES[1]
        if classes < 1 or graph.anchors().get(rows) != (1, strides):
            continue
        score, raw = np.split(graph.probe[info.name], [classes], axis=2)
        if not ((score >= 0).all() and (score <= 1).all() and (raw < 0).any()):
            continue
        fits.append(
            Fit(
                keys={"tensor": info.name, "strides": [*strides]},
                classes=classes,
                likely=graph.names is None or classes == len(graph.names),
                why=f"output {info.name!r} is {written(info.shape)}: {rows} are the cells of "
                f"strides {', '.join(map(str, strides))}, {columns} are {classes} classes from 0 "
                "to 1 and 4 x 8 bins of distances",
                input=_NANODET,
                certain=True,
                nms_iou=NMS_IOU,
            )
        )
    return fits


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


def _distances(
    keys: NanoDetKeys, outputs: Outputs, size: Size, classes: int, *, back: float
) -> Decoded:
    """Decode distances to the left, top, right and bottom sides from distributions over bins.

    A distance is the expectation of 0, 1, 2... under the softmax of its bins, times the stride. It
    is measured from the centre (cell + 0.5) x stride - back. Sigmoid has been applied to the
    scores.
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
            _around(outputs, name, cell, stride, back)
            for name, cell, stride in zip(keys.distances, cells, keys.strides, strict=True)
        ]
    )
    return box, score, None


def _yolox_fits(graph: Graph) -> list[Fit]:
    fits = []
    for info in graph.floats(3):
        rows, columns = (int(dim) for dim in info.shape[1:])
        cells, anchors = cells_of(graph, rows, (1,)), graph.anchors()
        if not cells or columns < 6 or graph.documented or is_decoded(graph, info):
            continue
        box, scores = np.split(graph.probe[info.name], [4], axis=2)
        if not ((box < 0).any() and (scores >= 0).all() and (scores <= 1).all()):
            continue
        fits.append(
            Fit(
                keys={"tensor": info.name, "strides": [*anchors[rows][1]]},
                classes=columns - 5,
                likely=graph.names is None or columns - 5 == len(graph.names),
                why=f"output {info.name!r} is {written(info.shape)}: {rows} are {cells}, "
                f"{columns} are 4 of the box, 1 of objectness, {columns - 5} classes, which "
                "are not boxes in pixels",
                input={"colour": "bgr", "resize": "letterbox", "place": "corner"},
                certain=True,
                nms_iou=NMS_IOU,
            )
        )
    return fits


def _distance_fits(graph: Graph, *, strides: tuple[int, ...], fed: dict[str, Any]) -> list[Fit]:
    """One pair of class scores and distances for each stride."""
    wide, high = graph.size
    if wide is None or high is None:
        return []
    levels: list[list[TensorInfo]] = []
    for stride in strides:
        cells = -(-wide // stride) * -(-high // stride)
        levels.append([info for info in graph.floats(3) if info.shape[1] == cells])
    if len(graph.floats(3)) != 2 * len(strides) or any(len(pair) != 2 for pair in levels):
        return []
    widths = [{int(info.shape[2]) for info in pair} for pair in levels]
    # The distances are 4 x bins; of two such, those of the usual 8 bins.
    bins = [n for n in widths[0] if n % 4 == 0 and n >= 8 and all(n in w for w in widths)]
    if len(bins) > 1:
        bins = [n for n in bins if n == 32]
    classes = {n for w in widths for n in w if n not in bins} or {*bins}
    if len(bins) != 1 or len(classes) != 1:
        return []
    (count,) = classes
    pairs = [sorted(pair, key=lambda info: info.shape[2] == bins[0]) for pair in levels]
    if count == bins[0]:
        return []
    return [
        Fit(
            keys={
                "strides": [*strides],
                "scores": [pair[0].name for pair in pairs],
                "distances": [pair[1].name for pair in pairs],
            },
            classes=count,
            likely=graph.names is None or count == len(graph.names),
            why=f"for each of the strides {', '.join(map(str, strides))}, as many rows as it has "
            f"cells: {count} classes, and 4 x {bins[0] // 4} bins of distances",
            input=fed,
            certain=True,
            nms_iou=NMS_IOU,
        )
    ]


_NANODET = {
    "colour": "bgr",
    "resize": "stretch",
    "mean": [103.53, 116.28, 123.675],
    "std": [57.375, 57.12, 58.395],
}

YOLOX = Layout(
    name="yolox",
    title="[1,N,5+C]: dx, dy, log w, log h, objectness, classes",
    models="YOLOX as it is exported",
    found="a row for each cell of the strides, 5 + C columns that are no boxes in pixels",
    keys=YoloxKeys,
    scores="tensor",
    decode=_yolox,
    fits=_yolox_fits,
)
NANODET = Layout(
    name="nanodet",
    title="per stride: [1,N,C] and [1,N,4 x bins]",
    models="NanoDet",
    found="three pairs of outputs with a row for each cell of the strides 8, 16, 32",
    keys=NanoDetKeys,
    scores="scores",
    decode=partial(_distances, back=0.5),
    fits=partial(_distance_fits, strides=STRIDES[0], fed=_NANODET),
)
NANODET_PLUS = Layout(
    name="nanodet_plus",
    title="[1,N,C + 4 x bins]: class scores, distributions",
    models="NanoDet-Plus",
    found="a row for each cell of the strides 8, 16, 32, 64: from 0 to 1, but for 4 x 8 columns",
    keys=NanoDetPlusKeys,
    scores="tensor",
    decode=_nanodet_plus,
    fits=_nanodet_plus_fits,
)
PICODET = Layout(
    name="picodet",
    title="the same, with centres that are 0.5 further",
    models="PicoDet",
    found="four pairs of outputs, with the stride 64 too",
    keys=NanoDetKeys,
    scores="scores",
    decode=partial(_distances, back=0.0),
    fits=partial(_distance_fits, strides=STRIDES[1], fed=IMAGENET),
)


def _cells(size: Size, stride: int) -> Float32:
    """Column and row of each cell of a grid, row by row: [n,2]."""
    wide, high = (-(-side // stride) for side in size)
    row, column = np.divmod(np.arange(wide * high, dtype=np.int64), wide)
    return np.stack([column, row], axis=1).astype(np.float32)


def _around(outputs: Outputs, name: str, cell: Float32, stride: int, back: float) -> Array:
    """Boxes around cells [n,2] from the distributions over the distance of each side."""
    raw = matrix(outputs, name, len(cell), None)
    if raw.shape[1] % 4 or not raw.shape[1]:
        misfit(outputs, name, f"[1,{len(cell)},4 x bins]")
    bins = raw.reshape(len(cell), 4, -1)
    weight = np.exp(bins - bins.max(axis=2, keepdims=True))
    away = weight @ np.arange(bins.shape[2], dtype=np.float32)
    away *= stride / weight.sum(axis=2)
    centre = (cell + np.float32(0.5)) * stride - np.float32(back)
    return np.concatenate([centre - away[:, :2], centre + away[:, 2:]], axis=1)
