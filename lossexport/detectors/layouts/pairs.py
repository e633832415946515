"""Boxes with scores, decoded in the graph: as they are, or with a background as of SSD."""

from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta

from lossexport.detectors.graph import Graph, written
from lossexport.detectors.layout import Decoded, Fit, Keys, Layout, Name, Size
from lossexport.detectors.layouts.common import NMS_IOU, STRETCHED, centred, is_undecoded, sigmoid
from lossexport.detectors.layouts.suppressed import counts, triples
from lossexport.detectors.tensors import Array, Outputs, boxes_of, misfit, plain, real, whole
from lossexport.names import BoxFormat
from lossexport.runtime.session import TensorInfo


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


class SsdKeys(BoxesKeys, frozen=True, kw_only=True):
    """The keys of `ssd`; the first column of its scores is that of the background."""


def _ssd(keys: SsdKeys, outputs: Outputs, size: Size, classes: int) -> Decoded:
    """Decode boxes [1,N,4] and probabilities [1,N,1+C]."""
    box = boxes_of(outputs, keys.boxes)
    score = real(outputs, keys.scores, 3)
    if score.shape != (1, len(box), 1 + classes):
        misfit(outputs, keys.scores, f"[1,{len(box)},{1 + classes}]")
    return box, score[0, :, 1:], None


Variance = Annotated[float, Meta(gt=0, le=1)]


class DeltaKeys(Keys, frozen=True, kw_only=True):
    """The keys of `ssd_deltas`.

    `priors` [N,4] are centres and sizes in `units`: an output, or a constant as '@priors.npy'.
    `variances` multiply the deltas. With the `activation` softmax or none, the first column of the
    scores is that of the background; with sigmoid there is no such column.
    """

    boxes: Name
    scores: Name
    priors: Name | None = None
    variances: tuple[Variance, Variance, Variance, Variance] = (0.1, 0.1, 0.2, 0.2)
    units: Literal["pixels", "parts"] = "parts"
    activation: Literal["none", "softmax", "sigmoid"] = "none"

    def __post_init__(self) -> None:
        """Refuse deltas without the boxes that they start from."""
        super().__post_init__()
        if self.priors is None:
            raise ValueError(
                "the boxes are deltas: priors names the boxes that they start from, centres and "
                'sizes [N,4], as an output or as priors = "@priors.npy"'
            )

    def corners(self, box: Array, size: Size) -> Array:
        """Convert boxes from `units` to pixels."""
        return box if self.units == "pixels" else box * np.array([*size, *size])


def _deltas(keys: DeltaKeys, outputs: Outputs, size: Size, classes: int) -> Decoded:
    """Decode dx, dy in parts of the prior's size, and log w, log h, each times its variance."""
    delta = boxes_of(outputs, keys.boxes)
    prior = boxes_of(outputs, str(keys.priors))
    if prior.shape != delta.shape:
        misfit(outputs, str(keys.priors), f"[{len(delta)},4]")
    delta = delta * np.array(keys.variances)
    centre = prior[:, :2] + delta[:, :2] * prior[:, 2:]
    with np.errstate(over="ignore"):  # a box with a low score may have any size
        box = np.concatenate([centre, prior[:, 2:] * np.exp(delta[:, 2:])], axis=1)
    spare = 0 if keys.activation == "sigmoid" else 1
    score = real(outputs, keys.scores, 3)
    if score.shape != (1, len(box), spare + classes):
        misfit(outputs, keys.scores, f"[1,{len(box)},{spare + classes}]")
    score = score[0].astype(np.float64)
    if keys.activation == "softmax":
        score = np.exp(score - score.max(axis=1, keepdims=True))
        score /= score.sum(axis=1, keepdims=True)
    elif keys.activation == "sigmoid":
        score = sigmoid(score)
    return centred(box), score[:, spare:], None


def _delta_fits(graph: Graph) -> list[Fit]:
    """Pairs whose boxes are neither corners nor sizes."""
    fits = []
    for boxes, scores in _pairs(graph):
        if not is_undecoded(graph, boxes.name):
            continue
        kinds = ["softmax", "sigmoid"]
        if _probable(graph, scores):
            kinds = ["none"] if _background(graph, scores) else []
        for kind in kinds:
            classes = int(scores.shape[2]) - (kind != "sigmoid")
            fits.append(
                Fit(
                    keys={"boxes": boxes.name, "scores": scores.name, "activation": kind},
                    classes=classes,
                    likely=classes > 0 and (graph.names is None or classes == len(graph.names)),
                    why=f"output {boxes.name!r} {written(boxes.shape)} has neither corners nor "
                    f"sizes, so deltas, and {scores.name!r} {written(scores.shape)} are "
                    + ("probabilities" if kind == "none" else f"logits for a {kind}"),
                    input=STRETCHED,
                    nms_iou=NMS_IOU,
                )
            )
    return fits


def _pairs(graph: Graph) -> list[tuple[TensorInfo, TensorInfo]]:
    """Boxes [1,N,4] and scores [1,N,C].

    Graphs that end in results, boxes with scores and labels, may give such pairs beside them.
    """
    found: list[tuple[TensorInfo, TensorInfo]] = []
    if triples(graph):
        return found
    for boxes in graph.floats(3):
        for scores in graph.floats(3):
            if boxes is scores or boxes.shape[2] != 4 or scores.shape[:2] != boxes.shape[:2]:
                continue
            if scores.shape[2] == 4 and "box" not in boxes.name.lower():
                continue
            found.append((boxes, scores))
    return found


def _decoded(graph: Graph) -> list[tuple[TensorInfo, TensorInfo]]:
    """Pairs whose boxes are decoded and whose scores are probabilities."""
    return [
        (boxes, scores)
        for boxes, scores in _pairs(graph)
        if _probable(graph, scores) and not is_undecoded(graph, boxes.name)
    ]


def _probable(graph: Graph, scores: TensorInfo) -> bool:
    values = graph.probe[scores.name]
    return bool((values >= 0).all() and (values <= 1).all())


def _units(graph: Graph, boxes: TensorInfo) -> str:
    """Parts if no coordinate on a grey image is far above 1."""
    largest = np.nanmax(np.abs(graph.probe[boxes.name].astype(np.float64)), initial=0)
    return "parts" if largest <= 2 else "pixels"


def _background(graph: Graph, scores: TensorInfo) -> bool:
    """Whether rows of probabilities sum to 1, so that one of them is that of the background."""
    total = graph.probe[scores.name].astype(np.float64).sum(axis=2)
    return bool(np.abs(total - 1).max(initial=0) < 1e-2)


def _boxes_fits(graph: Graph) -> list[Fit]:
    fits = []
    for boxes, scores, labels in triples(graph):
        if counts(graph, boxes.shape[0] if len(boxes.shape) == 3 else 1):
            continue
        keys: dict[str, Any] = {f: i.name for f, i in zip(
            ("boxes", "scores", "labels"), (boxes, scores, labels), strict=True)}  # fmt: skip
        fits.append(
            Fit(
                keys=keys,
                why=f"output {boxes.name!r} {written(boxes.shape)} has scores and labels",
                classes=len(graph.names) if graph.names else None,
                input=STRETCHED,
            )
        )
    for boxes, scores in _decoded(graph):
        if not _background(graph, scores):
            fits.append(_pair(graph, boxes, scores, 0))
    return fits


def _ssd_fits(graph: Graph) -> list[Fit]:
    return [
        _pair(graph, boxes, scores, 1)
        for boxes, scores in _decoded(graph)
        if scores.shape[2] > 1 and _background(graph, scores)  # type: ignore[operator]
    ]


def _pair(graph: Graph, boxes: TensorInfo, scores: TensorInfo, spare: int) -> Fit:
    classes, units = int(scores.shape[2]) - spare, _units(graph, boxes)
    return Fit(
        keys={"boxes": boxes.name, "scores": scores.name, "units": units},
        why=f"output {boxes.name!r} {written(boxes.shape)} in {units} has {scores.name!r} "
        f"{written(scores.shape)} from 0 to 1"
        + (", which sum to 1: the first is the background" if spare else ""),
        classes=classes,
        likely=graph.names is None or classes == len(graph.names),
        input=STRETCHED,
        nms_iou=NMS_IOU,
    )


BOXES = Layout(
    name="boxes",
    title="[N,4]; [N] and [N], or [N,C]",
    models="RT-DETR, D-FINE, DEIM with post-processing; torchvision; YOLOv4 in PyTorch",
    found="boxes [B,K,4] with scores and labels [B,K]; or with [B,N,C] from 0 to 1",
    keys=BoxesKeys,
    scores="scores",
    decode=_boxes,
    fits=_boxes_fits,
)
SSD = Layout(
    name="ssd",
    title="[1,N,4]; [1,N,1+C], the first of the background",
    models="SSD and RetinaFace-like pairs, decoded, before NMS",
    found="boxes [1,N,4] with [1,N,1+C] whose rows sum to 1",
    keys=SsdKeys,
    scores="scores",
    decode=_ssd,
    fits=_ssd_fits,
)
SSD_DELTAS = Layout(
    name="ssd_deltas",
    title="[1,N,4] deltas to priors; [1,N,1+C] or [1,N,C]",
    models="SSD, RetinaNet before decoding; `priors` is needed",
    found="a pair [1,N,4] with neither corners nor sizes and [1,N,1+C]; a description has priors",
    keys=DeltaKeys,
    scores="scores",
    decode=_deltas,
    fits=_delta_fits,
)
