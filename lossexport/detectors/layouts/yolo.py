"""Heads of YOLO whose boxes are decoded in the graph, before and after NMS."""

from functools import partial
from typing import Annotated, Any, NamedTuple

import numpy as np
from msgspec import Meta

from lossexport.detectors.graph import Graph, written
from lossexport.detectors.layout import Decoded, Fit, Keys, Layout, Name, Size
from lossexport.detectors.layouts.common import (
    NMS_IOU,
    ULTRALYTICS,
    cells_of,
    centred,
    rounded,
    sigmoid,
    turned,
)
from lossexport.detectors.tensors import Array, Outputs, misfit, real
from lossexport.runtime.session import TensorInfo


class RowKeys(Keys, frozen=True, kw_only=True):
    """The keys of rows that begin with a box.

    `others` is the number of columns at the end that are not read, such as the mask coefficients
    of a segmentation or the points of a pose. With `angle`, the last of them turns the box, in
    radians; the upright box around it is taken or, with `oriented`, the turned box itself.
    """

    tensor: Name
    others: Annotated[int, Meta(ge=0, le=10_000)] = 0
    angle: bool = False
    oriented: bool = False

    def __post_init__(self) -> None:
        """Refuse an angle without a column, and oriented boxes without an angle."""
        super().__post_init__()
        if self.oriented and (not self.angle or self.new_boxes):
            raise ValueError("oriented boxes need angle, and cannot have new_boxes")
        if self.angle and not self.others:
            raise ValueError("angle is the last of the others: others must be 1 or more")


class HeadKeys(RowKeys, frozen=True, kw_only=True):
    """The keys of decoded heads. With `logits`, scores and objectness still need a sigmoid."""

    logits: bool = False


def _head(
    keys: HeadKeys, outputs: Outputs, size: Size, classes: int, *, first: int, turn: bool = False
) -> Decoded:
    """Decode rows of centre, size, objectness if `first` is 5, class scores and others.

    Boxes are in pixels of the input tensor. With `turn`, the rows are columns.
    """
    rows = real(outputs, keys.tensor, 3)
    wanted = first + classes + keys.others
    if len(rows) != 1 or rows.shape[1 if turn else 2] != wanted:
        misfit(outputs, keys.tensor, f"[1,{wanted},A]" if turn else f"[1,A,{wanted}]")
    rows = rows[0].T if turn else rows[0]
    score = rows[:, 4 : first + classes]
    score = sigmoid(score) if keys.logits else score
    return _corners(keys, rows), score if first == 4 else score[:, :1] * score[:, 1:], None


def _corners(keys: RowKeys, rows: Array) -> Array:
    if keys.oriented:
        return np.concatenate([rows[:, :4], rows[:, -1:]], axis=1)
    return centred(turned(rows[:, :4], rows[:, -1]) if keys.angle else rows[:, :4])


class EndKeys(RowKeys, frozen=True, kw_only=True):
    """The keys of `end_to_end`. With `angle`, boxes are centre and size instead of corners."""


def _end_to_end(keys: EndKeys, outputs: Outputs, size: Size, classes: int) -> Decoded:
    """Decode rows of (x1, y1, x2, y2, score, label) in pixels of the input tensor."""
    rows = real(outputs, keys.tensor, 3)
    if len(rows) != 1 or rows.shape[2] != 6 + keys.others:
        misfit(outputs, keys.tensor, f"[1,K,{6 + keys.others}]")
    rows = rows[0]
    box = _corners(keys, rows) if keys.angle else rows[:, :4]
    return box, rows[:, 4], rounded(keys.tensor, rows[:, 5])


class _Split(NamedTuple):
    """How columns after the box are split: categories, other columns, and words for the latter."""

    classes: int
    others: int
    words: str
    angle: bool = False

    @property
    def keys(self) -> dict[str, Any]:
        keys: dict[str, Any] = {"others": self.others} if self.others else {}
        return keys | ({"angle": True} if self.angle else {})


def _others(graph: Graph) -> tuple[int, str, bool]:
    """The columns at the end by the metadata's task, or by an output of prototype masks."""
    if graph.task == "obb":
        return 1, ", 1 angle", True
    if graph.task == "pose":
        return graph.points, f", {graph.points} of the pose", False
    protos = [info.shape[1] for info in graph.floats(4)]
    masks = int(protos[0]) if len(protos) == 1 and graph.task in ("", "segment") else 0
    return masks, f", {masks} of the masks" if masks else "", False


def _split(graph: Graph, columns: int) -> _Split | None:
    """How `columns` after the box and objectness are split; None if they do not fit."""
    others, words, angle = _others(graph)
    classes = columns - others
    if classes < 1 or (graph.names is not None and classes != len(graph.names)):
        return None
    return _Split(classes, others, words, angle)


def _head_fits(graph: Graph, *, first: int, turn: bool = False) -> list[Fit]:
    """The outputs that are heads; see `_head`."""
    fits = []
    for info in graph.floats(3):
        rows, columns = (int(dim) for dim in (info.shape[:0:-1] if turn else info.shape[1:]))
        split = _split(graph, columns - first)
        if split is None:
            continue
        cells = cells_of(graph, rows, (1, 3) if first == 5 else (1,))
        if graph.names is None:
            likely = bool(cells) and (
                is_decoded(graph, info, turn=True) if turn else _is_head(graph, info, first)
            )
        else:  # rows of an end-to-end head, or of a DETR, may have as many columns
            likely = turn or (
                (bool(cells) or columns != 6 + split.others) and is_decoded(graph, info)
            )
        if not likely and rows < columns:
            continue
        logits = likely and _has_logits(graph, info, columns - split.others, turn=turn)
        head = "4 of the box, " + ("1 of objectness, " if first == 5 else "")
        parts = f"{columns} are {head}{split.classes} classes{split.words}"
        fits.append(
            Fit(
                keys={"tensor": info.name, **split.keys} | ({"logits": True} if logits else {}),
                classes=split.classes,
                likely=likely,
                why=f"output {info.name!r} is {written(info.shape)}: {parts}"
                + (f", {rows} are {cells}" if cells else "")
                + ("; the scores are logits, since some are negative" if logits else ""),
                input=ULTRALYTICS,
                certain=graph.documented,
                nms_iou=NMS_IOU,
            )
        )
    return fits


def _has_logits(graph: Graph, info: TensorInfo, end: int, *, turn: bool) -> bool:
    """Whether scores up to column `end` have no sigmoid yet, by their values on a grey image."""
    rows = graph.probe[info.name][0]
    return bool(((rows.T if turn else rows)[:, 4:end] < 0).any())


def _is_head(graph: Graph, info: TensorInfo, first: int) -> bool:
    """Whether rows of an unnamed number of classes have `first` columns before these.

    Rows of three boxes for each cell always have objectness. Otherwise a usual number of classes
    tells; without one, both may fit.
    """
    rows, columns = (int(dim) for dim in info.shape[1:])
    others = _others(graph)[0]
    possible = [n for n in (4, 5) if graph.usual(columns - n - others)] or [4, 5]
    if cells_of(graph, rows, (3,)):
        possible = [5]
    return first in possible and is_decoded(graph, info)


def is_decoded(graph: Graph, info: TensorInfo, *, turn: bool = False) -> bool:
    """Whether rows begin with centres and sizes in pixels, by their values on a grey image.

    With `turn`, the rows are columns.
    """
    rows, width = graph.probe[info.name][0].astype(np.float64), graph.size[0]
    rows = rows.T if turn else rows
    if width is None or not np.isfinite(rows[:, :4]).all():
        return False
    return bool((rows[:, 2:4] > 0).all() and rows[:, 0].max() > width / 2)


def _end_fits(graph: Graph) -> list[Fit]:
    others, words, angle = _others(graph)
    split = _Split(0, others, words, angle)
    fits = []
    for info in graph.floats(3):
        rows, columns = (int(dim) for dim in info.shape[1:])
        if columns != 6 + others:
            continue
        heads = [first for first in (4, 5) if _split(graph, columns - first)]
        order = "centre, size" if angle else "x1, y1, x2, y2"
        fits.append(
            Fit(
                keys={"tensor": info.name, **split.keys},
                classes=len(graph.names) if graph.names else None,
                likely=not (heads and cells_of(graph, rows)),
                why=f"output {info.name!r} is {written(info.shape)}: rows of {order}, score, "
                f"label{words}",
                input=ULTRALYTICS,
                certain=graph.documented,
            )
        )
    return fits


YOLOV8 = Layout(
    name="yolov8",
    title="[1,4+C,A]: columns of centre, size, class scores",
    models="YOLOv8, 9, 11, 12, 26 (raw), also for OBB, segmentation and pose",
    found="4 + C rows by the names of the metadata, or as many columns as the strides have cells",
    keys=HeadKeys,
    scores="tensor",
    decode=partial(_head, first=4, turn=True),
    fits=partial(_head_fits, first=4, turn=True),
)
YOLOV8_ROWS = Layout(
    name="yolov8_rows",
    title="[1,A,4+C]: rows of the same",
    models="the same after a transpose, as exports for devices have it",
    found="4 + C columns by names or a usual C, and as many rows as the strides have cells",
    keys=HeadKeys,
    scores="tensor",
    decode=partial(_head, first=4),
    fits=partial(_head_fits, first=4),
)
YOLOV5 = Layout(
    name="yolov5",
    title="[1,A,5+C]: rows of centre, size, objectness, class scores",
    models="YOLOv5, YOLOv7, YOLOX that decodes in the graph",
    found="5 + C columns by names or a usual C, or three rows for each cell of the strides",
    keys=HeadKeys,
    scores="tensor",
    decode=partial(_head, first=5),
    fits=partial(_head_fits, first=5),
)
END_TO_END = Layout(
    name="end_to_end",
    title="[1,K,6]: rows of x1, y1, x2, y2, score, label",
    models="YOLOv10, YOLO26, Ultralytics with `nms=True`",
    found="6 columns, and not as many rows as the strides have cells",
    keys=EndKeys,
    scores="tensor",
    decode=_end_to_end,
    fits=_end_fits,
)
