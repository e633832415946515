"""Results of an NMS in the graph: rows of named columns, and quadruples."""

from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta

from lossexport.detectors.graph import Graph, written
from lossexport.detectors.layout import Decoded, Fit, Keys, Layout, Name, Size
from lossexport.detectors.layouts.common import IMAGENET, STRETCHED, ULTRALYTICS, rounded
from lossexport.detectors.tensors import Array, Outputs, boxes_of, misfit, number, plain, real
from lossexport.runtime.session import TensorInfo

Column = Literal["image", "x1", "y1", "x2", "y2", "score", "label", "other"]
Units = Literal["pixels", "parts"]
_CORNERS: tuple[Column, ...] = ("x1", "y1", "x2", "y2")
_YOLOV7: tuple[Column, ...] = ("image", *_CORNERS, "label", "score")
_SSD: tuple[Column, ...] = ("image", "label", "score", *_CORNERS)
_PADDLE: tuple[Column, ...] = ("label", "score", *_CORNERS)
_EFFICIENTDET: tuple[Column, ...] = ("image", "y1", "x1", "y2", "x2", "score", "label")
_WORDS = {"label": ("class", "label", "cls", "cat"), "score": ("score", "conf", "prob")}


class RowsKeys(Keys, frozen=True, kw_only=True):
    """The keys of `table`.

    `columns` names each column of `tensor`: the corners, `score` and, unless there is an output
    `labels` [K], `label`; `image` is the position in the batch, and a row whose image is not 0 is
    left out; `other` is not read.
    """

    tensor: Name
    columns: Annotated[list[Column], Meta(min_length=5, max_length=64)]
    labels: Name | None = None
    units: Units = "pixels"
    first_label: Annotated[int, Meta(ge=0, le=1)] = 0

    def __post_init__(self) -> None:
        """Refuse columns that are missing or named twice."""
        super().__post_init__()
        named = [column for column in self.columns if column != "other"]
        wanted = {*_CORNERS, "score"} | (set() if self.labels else {"label"})
        if len(named) != len(set(named)) or not wanted <= set(named):
            raise ValueError(f"columns must name each of {', '.join(sorted(wanted))} once")

    def corners(self, box: Array, size: Size) -> Array:
        """Convert boxes from `units` to pixels."""
        return box if self.units == "pixels" else box * np.array([*size, *size])


def _table(keys: RowsKeys, outputs: Outputs, size: Size, classes: int) -> Decoded:
    """Decode rows [K,columns], with batches of 1 before them."""
    rows = outputs[keys.tensor]
    if rows.ndim < 2 or rows.shape[-1] != len(keys.columns) or any(n != 1 for n in rows.shape[:-2]):
        misfit(outputs, keys.tensor, f"[K,{len(keys.columns)}], or batches of 1 before it")
    rows = real({keys.tensor: rows.reshape(rows.shape[-2:])}, keys.tensor, 2)
    at = {column: i for i, column in enumerate(keys.columns)}
    names = plain(outputs, keys.labels, 1, len(rows)) if keys.labels else rows[:, at["label"]]
    label = rounded(keys.labels or keys.tensor, names[: len(rows)])
    score = rows[:, at["score"]]
    if "image" in at:  # 0 for this image, -1 for rows that are not used
        mine = rows[:, at["image"]] == 0
        rows, label, score = rows[mine], label[mine], score[mine]
    return rows[:, [at[corner] for corner in _CORNERS]], score, label - keys.first_label


class QuadrupleKeys(Keys, frozen=True, kw_only=True):
    """The keys of `quadruple`: boxes [K,4], scores and labels [K], and `count`.

    `order` is that of the corners. `first_label` is the label of the first category.
    """

    boxes: Name
    scores: Name
    labels: Name
    order: Literal["xyxy", "yxyx"] = "xyxy"
    units: Units = "pixels"
    first_label: Annotated[int, Meta(ge=0, le=1)] = 0

    def __post_init__(self) -> None:
        """Refuse a quadruple without a count."""
        super().__post_init__()
        if not self.count:
            raise ValueError("Object missing required field `count`")

    def corners(self, box: Array, size: Size) -> Array:
        """Convert boxes from the `order` and `units` to corners in pixels."""
        if self.order == "yxyx":
            box = box[:, [1, 0, 3, 2]]
        return box if self.units == "pixels" else box * np.array([*size, *size])


def _quadruple(keys: QuadrupleKeys, outputs: Outputs, size: Size, classes: int) -> Decoded:
    box = boxes_of(outputs, keys.boxes)
    rows = min(max(number(outputs, str(keys.count)), 0), len(box))  # the rest is not set
    score = plain(outputs, keys.scores, 1, len(box))[:rows]
    label = rounded(keys.labels, plain(outputs, keys.labels, 1, len(box))[:rows])
    return box[:rows], score, label - keys.first_label


def triples(graph: Graph) -> list[tuple[TensorInfo, TensorInfo, TensorInfo]]:
    """Boxes [..,K,4] with scores and labels [..,K], which types or names tell from each other."""
    found = []
    for boxes in graph.floats(3) + graph.floats(2):
        if boxes.shape[-1] != 4:
            continue
        flat = [info for info in graph.outputs if info.shape == boxes.shape[:-1]]
        labels = [i for i in flat if i.dtype in ("int32", "int64") or _named(i, "label")]
        scores = [i for i in flat if i not in labels and i.dtype.startswith("float")]
        scores = [i for i in scores if _named(i, "score")] or scores
        if len(labels) == 1 and len(scores) == 1:
            found.append((boxes, scores[0], labels[0]))
    return found


def _named(info: TensorInfo, what: str) -> bool:
    """Whether the name of an output says that it holds labels or scores."""
    return any(word in info.name.lower() for word in _WORDS[what])


def counts(graph: Graph, batch: int | str) -> list[TensorInfo]:
    """The outputs [B] or [B,1] that can be a count."""
    return [
        info
        for info in graph.outputs
        if info.shape in ((batch,), (batch, 1), ()) and info.dtype in ("int32", "int64", "float32")
    ]


def _quadruple_fits(graph: Graph) -> list[Fit]:
    fits = []
    for boxes, scores, labels in triples(graph):
        batch = boxes.shape[0] if len(boxes.shape) == 3 else 1
        for count in counts(graph, batch):
            if count in (scores, labels):
                continue
            keys = {
                f: i.name
                for f, i in zip(
                    ("boxes", "scores", "labels", "count"),
                    (boxes, scores, labels, count),
                    strict=True,
                )
            }
            # TensorFlow's models give the count as a float, and EfficientNMS as int32.
            theirs = count.dtype == "float32"
            order = {"order": "yxyx", "units": "parts", "first_label": 1}
            why = "a float as TensorFlow's" if theirs else "a whole number as EfficientNMS's"
            fits.append(
                Fit(
                    keys=keys | (order if theirs else {}),
                    why=f"output {boxes.name!r} {written(boxes.shape)} has scores, labels and a "
                    f"count, which is {why}",
                    classes=len(graph.names) if graph.names else None,
                    input=STRETCHED | {"std": [1.0] * 3} if theirs else ULTRALYTICS,
                )
            )
    return fits


def _table_fits(graph: Graph) -> list[Fit]:
    fits = []
    for rank in (2, 3, 4):
        for info in graph.floats(rank):
            for keys, words, likely, fed in _tables(graph, info):
                fits.append(
                    Fit(
                        keys={"tensor": info.name, **keys},
                        why=f"output {info.name!r} is {written(info.shape)}{words}: rows of "
                        f"{', '.join(keys['columns'])}",
                        classes=len(graph.names) if graph.names else None,
                        likely=likely,
                        input=fed,
                    )
                )
    return fits


def _tables(
    graph: Graph, info: TensorInfo
) -> list[tuple[dict[str, Any], str, bool, dict[str, Any]]]:
    """The keys, why, whether likely, and the usual input of an output that may be a table."""
    columns, rank = info.shape[-1], len(info.shape)
    if columns == 7 and rank == 2:
        return [({"columns": [*_YOLOV7]}, ", as YOLOv7's", True, ULTRALYTICS)]
    if columns == 7 and rank == 4 and info.shape[1] == 1:
        return [({"columns": [*_SSD], "units": "parts"}, ", as SSD's DetectionOutput", True,
                 STRETCHED)]  # fmt: skip
    if columns == 7 and rank == 3 and graph.task != "obb":
        if "detections" in info.name.lower():
            return [({"columns": [*_EFFICIENTDET]}, ", as EfficientDet's", True, STRETCHED)]
        return [
            ({"columns": [*order]}, f", as {whose}'s", _has_order(graph, info, order), fed)
            for order, whose, fed in (
                (_EFFICIENTDET, "EfficientDet", STRETCHED),
                (_YOLOV7, "YOLOv7", ULTRALYTICS),
            )
        ]
    if columns == 6 and rank == 2:
        found = [i for i in counts(graph, 1) if i.dtype.startswith("int")]
        if len(found) == 1:
            keys = {"columns": [*_PADDLE], "count": found[0].name}
            return [(keys, " with a count, as Paddle's", True, IMAGENET)]
    if columns == 5 and rank in (2, 3):
        flat = [
            i for i in graph.outputs if i.shape == info.shape[:-1] and i.dtype.startswith("int")
        ]
        if len(flat) == 1:
            keys = {"columns": [*_CORNERS, "score"], "labels": flat[0].name}
            return [(keys, f" with {flat[0].name!r}, as MMDeploy's", True, IMAGENET)]
    return []


def _has_order(graph: Graph, info: TensorInfo, order: tuple[Column, ...]) -> bool:
    """Whether the values on a grey image are images, labels and scores in this order."""
    rows = graph.probe[info.name].reshape(-1, len(order))
    image, label, score = (rows[:, order.index(c)] for c in ("image", "label", "score"))
    whole = np.isin(image, (0, -1)).all() and (label == np.rint(label)).all()
    return bool(whole and (label >= -1).all() and (score >= 0).all() and (score <= 1).all())


QUADRUPLE = Layout(
    name="quadruple",
    title="count; [K,4]; [K]; [K]",
    models="TensorFlow's detection API; EfficientNMS of TensorRT",
    found="boxes, scores and labels with a count: a float is TensorFlow's (y1, x1, y2, x2 in "
    "parts, labels from 1), a whole number EfficientNMS's (x1, y1, x2, y2 in pixels)",
    keys=QuadrupleKeys,
    scores="scores",
    decode=_quadruple,
    fits=_quadruple_fits,
)
TABLE = Layout(
    name="table",
    title="[K,7] or other rows of named columns",
    models="YOLOv7 with NMS, SSD's DetectionOutput, EfficientDet, PaddleDetection, MMDeploy",
    found="[N,7] is YOLOv7's, [1,1,N,7] SSD's, [B,K,7] EfficientDet's or YOLOv7's by its "
    "values or its name, [N,6] with a count Paddle's, [B,K,5] with whole labels MMDeploy's",
    keys=RowsKeys,
    scores="tensor",
    decode=_table,
    fits=_table_fits,
)
