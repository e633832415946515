"""Heads of DETR: class logits, and boxes of centre and size in parts of the image."""

import numpy as np

from lossexport.detectors.graph import Graph, written
from lossexport.detectors.layout import Decoded, Fit, Keys, Layout, Name, Size
from lossexport.detectors.layouts.common import IMAGENET, STRETCHED, centred, is_undecoded, sigmoid
from lossexport.detectors.tensors import Array, Outputs, misfit, real

_COCO = 91
"""The highest id of COCO's 80 categories, with which many DETRs are trained, plus 1."""


class DetrKeys(Keys, frozen=True, kw_only=True):
    """The keys of `detr_sigmoid` and `detr_softmax`."""

    logits: Name
    boxes: Name


def _box(keys: DetrKeys, outputs: Outputs, size: Size, rows: int) -> Array:
    box = real(outputs, keys.boxes, 3)
    if box.shape != (1, rows, 4):
        misfit(outputs, keys.boxes, f"[1,{rows},4]")
    corners: Array = centred(box[0]) * np.array([*size, *size], box.dtype)
    return corners


def _logits(keys: DetrKeys, outputs: Outputs, columns: int) -> Array:
    logits = real(outputs, keys.logits, 3)
    if len(logits) != 1 or logits.shape[2] != columns:
        misfit(outputs, keys.logits, f"[1,N,{columns}]")
    if not np.isfinite(logits).all():
        raise ValueError(f"output {keys.logits!r} has a logit that is not finite")
    rows: Array = logits[0].astype(np.float64)
    return rows


def _sigmoid(keys: DetrKeys, outputs: Outputs, size: Size, classes: int) -> Decoded:
    """Decode logits [1,N,C], each of a class of its own."""
    score = sigmoid(_logits(keys, outputs, classes))
    return _box(keys, outputs, size, len(score)), score, None


def _softmax(keys: DetrKeys, outputs: Outputs, size: Size, classes: int) -> Decoded:
    """Decode logits [1,N,C+1], of which the last is that of no object."""
    logits = _logits(keys, outputs, classes + 1)
    weight = np.exp(logits - logits.max(axis=1, keepdims=True))
    score = weight[:, :-1] / weight.sum(axis=1, keepdims=True)
    return _box(keys, outputs, size, len(score)), score, None


def _fits(graph: Graph, *, spare: int) -> list[Fit]:
    """The pairs of boxes [1,N,4] and logits; `spare` of the columns stand for no object."""
    fits = []
    for boxes in graph.floats(3):
        for logits in graph.floats(3):
            if boxes is logits or boxes.shape[2] != 4 or logits.shape[:2] != boxes.shape[:2]:
                continue
            if logits.shape[2] == 4 and "box" not in boxes.name.lower():
                continue
            columns = int(logits.shape[2])
            values = graph.probe[logits.name]
            if columns <= spare or not (values < 0).any() or is_undecoded(graph, boxes.name):
                continue  # probabilities, or a head of anchors
            theirs = boxes.name == "dets" and logits.name == "labels"
            fits.append(
                Fit(
                    keys={"logits": logits.name, "boxes": boxes.name},
                    classes=columns - spare,
                    likely=_likely(graph, columns, spare, rf_detr=theirs),
                    why=f"output {boxes.name!r} is {written(boxes.shape)}, and {logits.name!r} "
                    f"{written(logits.shape)} has negative values: logits of {columns - spare} "
                    "classes" + (" and of no object" if spare else ""),
                    input=IMAGENET if spare or theirs else STRETCHED,
                )
            )
    return fits


def _likely(graph: Graph, columns: int, spare: int, *, rf_detr: bool) -> bool:
    """Whether `columns` logits have `spare` of no object.

    The number of names decides. Without names, it is decided by a usual number of classes, and by
    RF-DETR's names of outputs, which has a sigmoid; for other numbers, both fit.
    """
    if graph.names is not None:
        return columns - spare == len(graph.names)
    if rf_detr:
        return not spare
    usual = [n for n in (0, 1) if graph.usual(columns - n) or columns - n == _COCO]
    return spare in (usual or (0, 1))


class RowsKeys(Keys, frozen=True, kw_only=True):
    """The keys of `detr_rows`."""

    tensor: Name


def _rows(keys: RowsKeys, outputs: Outputs, size: Size, classes: int) -> Decoded:
    """Decode rows of centre, size and probabilities, the first two in parts."""
    rows = real(outputs, keys.tensor, 3)
    if len(rows) != 1 or rows.shape[2] != 4 + classes:
        misfit(outputs, keys.tensor, f"[1,N,{4 + classes}]")
    box = centred(rows[0, :, :4]) * np.array([*size, *size], rows.dtype)
    return box, rows[0, :, 4:], None


def _rows_fits(graph: Graph) -> list[Fit]:
    """Outputs [1,N,4+C] with names, whose values are all from 0 to 1."""
    fits = []
    for info in graph.floats(3):
        columns = int(info.shape[2])
        if graph.names is None or columns != 4 + len(graph.names):
            continue
        values = graph.probe[info.name]
        if values.size and (values >= 0).all() and (values <= 1).all():
            fits.append(
                Fit(
                    keys={"tensor": info.name},
                    classes=columns - 4,
                    why=f"output {info.name!r} is {written(info.shape)}: {columns} are 4 of the "
                    f"box, {columns - 4} classes, all from 0 to 1",
                    input=STRETCHED,
                    certain=graph.documented,
                )
            )
    return fits


DETR_ROWS = Layout(
    name="detr_rows",
    title="[1,N,4+C]: rows of centre, size in parts, class scores",
    models="RT-DETR of Ultralytics",
    found="4 + C columns by the names of the metadata, with all values from 0 to 1",
    keys=RowsKeys,
    scores="tensor",
    decode=_rows,
    fits=_rows_fits,
)
DETR_SIGMOID = Layout(
    name="detr_sigmoid",
    title="[1,N,C] logits, each with a sigmoid; [1,N,4] centre and size in parts",
    models="RT-DETR, D-FINE, DEIM, RF-DETR without post-processing; Deformable DETR",
    found="a pair [1,N,C] with negative values and [1,N,4], C by names, or 80 or 91",
    keys=DetrKeys,
    scores="logits",
    decode=_sigmoid,
    fits=lambda graph: _fits(graph, spare=0),
)
DETR_SOFTMAX = Layout(
    name="detr_softmax",
    title="[1,N,C+1] logits with a softmax, the last of no object; [1,N,4] as above",
    models="DETR, Conditional DETR, YOLOS",
    found="the same pair with C + 1 columns by names, or 81 or 92",
    keys=DetrKeys,
    scores="logits",
    decode=_softmax,
    fits=lambda graph: _fits(graph, spare=1),
)
