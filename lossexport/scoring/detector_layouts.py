"""How the output tensors of detectors become boxes: the `[output]` of a detector's description.

A `decode` takes the outputs by name, the size of the input tensor, the count of categories and the
least score; it gives the boxes at or above it in pixels of the input tensor, before any NMS, and
raises ValueError with the name of the output whose shape or values do not fit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NoReturn

import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

from lossexport.scoring.boxset import Float32, Float64, Int64

Array = npt.NDArray[Any]
Name = Annotated[str, Meta(min_length=1, max_length=255)]
Names = Annotated[list[Name], Meta(min_length=1, max_length=16)]
Strides = Annotated[list[Annotated[int, Meta(ge=1, le=1024)]], Meta(min_length=1, max_length=16)]
Size = tuple[int, int]
"""Width and height of the input tensor."""


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of a description; a key that it does not know is an error."""


@dataclass(frozen=True, slots=True)
class Found:
    """Boxes [n,4] x1, y1, x2, y2, scores [n] and labels [n], the positions of categories."""

    box: Float64
    score: Float64
    label: Int64

    def take(self, rows: Array) -> "Found":
        """The boxes of `rows`, positions or a mask."""
        return Found(self.box[rows], self.score[rows], self.label[rows])


class Yolox(Section, frozen=True, tag_field="kind", tag="yolox"):
    """`tensor` [1,N,5+C]: dx, dy, log w, log h, objectness and C class scores, sigmoid done.

    One row a cell of each stride's grid, row by row: centre = (cell + d) x stride, size = exp(log)
    x stride, score = objectness x class.
    """

    tensor: Name
    strides: Strides

    def names(self) -> tuple[str, ...]:
        """The outputs that it reads."""
        return (self.tensor,)

    def decode(self, outputs: Mapping[str, Array], size: Size, classes: int, least: float) -> Found:
        """Boxes and scores, see the module."""
        grids = [_cells(size, stride) for stride in self.strides]
        cell = np.concatenate(grids)
        stride = np.repeat(self.strides, [len(grid) for grid in grids])[:, None]
        rows = _matrix(outputs, self.tensor, len(cell), 5 + classes)
        centre = (rows[:, :2] + cell) * stride
        with np.errstate(over="ignore"):  # a box of a low score may be of any size
            half = np.exp(rows[:, 2:4]) * stride / 2
        box = np.concatenate([centre - half, centre + half], axis=1)
        return _at_least(box, rows[:, 4:5] * rows[:, 5:], least, self.tensor)


class NanoDet(Section, frozen=True, tag_field="kind", tag="nanodet"):
    """For each stride `scores` [1,N,C], sigmoid done, and `distances` [1,N,4 x bins].

    Softmax over the bins, expectation of 0, 1, 2..., times the stride: how far left, top, right and
    bottom are from the centre (cell + 0.5) x stride - 0.5.
    """

    strides: Strides
    scores: Names
    distances: Names

    def __post_init__(self) -> None:
        """Refuse lists that do not name one tensor for each stride."""
        if not len(self.strides) == len(self.scores) == len(self.distances):
            raise ValueError("strides, scores and distances must have one length")

    def names(self) -> tuple[str, ...]:
        """The outputs that it reads."""
        return (*self.scores, *self.distances)

    def decode(self, outputs: Mapping[str, Array], size: Size, classes: int, least: float) -> Found:
        """Boxes and scores, see the module."""
        boxes, scores = [], []
        for level, stride in enumerate(self.strides):
            cell = _cells(size, stride)
            scores.append(_matrix(outputs, self.scores[level], len(cell), classes))
            raw = _matrix(outputs, self.distances[level], len(cell), None)
            if raw.shape[1] % 4 or not raw.shape[1]:
                _misfit(outputs, self.distances[level], f"[1,{len(cell)},4 x bins]")
            bins = raw.reshape(len(cell), 4, -1)
            weight = np.exp(bins - bins.max(axis=2, keepdims=True))
            away = weight @ np.arange(bins.shape[2], dtype=np.float32)
            away *= stride / weight.sum(axis=2)
            centre = (cell + np.float32(0.5)) * stride - np.float32(0.5)
            boxes.append(np.concatenate([centre - away[:, :2], centre + away[:, 2:]], axis=1))
        names = ", ".join(self.scores)
        return _at_least(np.concatenate(boxes), np.concatenate(scores), least, names)


class Boxes(Section, frozen=True, tag_field="kind", tag="boxes"):
    """Decoded tensors by name, as `lossexport attach` leaves them; each may have a batch of 1.

    `boxes` [N,4], and `scores` [N] with `labels` [N], or `scores` [N,C]. `indices` [K] picks rows,
    up to the first -1; `count` is how many of them (of the rows, without `indices`) are real.
    `new_scores` [K] and `new_boxes` [K,4] stand in place of what `indices` picks. Of picked rows
    without labels the best class counts, of others each class at or above the least score.
    """

    boxes: Name
    scores: Name
    labels: Name | None = None
    indices: Name | None = None
    count: Name | None = None
    new_scores: Name | None = None
    new_boxes: Name | None = None
    coordinates: Literal["xyxy", "xywh", "cxcywh"] = "xyxy"
    units: Literal["pixels", "parts"] = "pixels"

    def __post_init__(self) -> None:
        """Refuse new values where nothing says of which rows they are."""
        if (self.new_scores or self.new_boxes) and not self.indices:
            raise ValueError("new_scores and new_boxes need indices")

    def names(self) -> tuple[str, ...]:
        """The outputs that it reads."""
        optional = (self.labels, self.indices, self.count, self.new_scores, self.new_boxes)
        return (self.boxes, self.scores, *(name for name in optional if name))

    def decode(self, outputs: Mapping[str, Array], size: Size, classes: int, least: float) -> Found:
        """Boxes and scores, see the module."""
        stated = outputs[self.scores].ndim - outputs[self.boxes].ndim + 2
        box = self._four(outputs, self.boxes)
        score = _plain(outputs, self.scores, 1 if self.labels or stated < 2 else 2)
        if score.shape not in ((len(box),), (len(box), classes)):
            _misfit(outputs, self.scores, f"[{len(box)}] or [{len(box)},{classes}]")
        rows = self._rows(outputs, len(box))
        box, score = box[rows], score[rows]
        if self.new_boxes:
            box = self._four(outputs, self.new_boxes, len(rows))[: len(rows)]
        box = self._corners(box, size)
        if score.ndim == 2 and not self.indices:
            return _at_least(box, score, least, self.scores)
        label = np.zeros(len(rows), np.int64)
        if self.labels:
            label = _plain(outputs, self.labels, 1, rows.max(initial=-1) + 1)[rows].astype(np.int64)
        elif score.ndim == 2:
            label, score = score.argmax(axis=1), score.max(axis=1)
        if self.new_scores:
            score = _plain(outputs, self.new_scores, 1, len(rows))[: len(rows)]
        _check_numbers(score, self.new_scores or self.scores)
        found = Found(box, score.astype(np.float64), label)
        return found.take(found.score >= least)

    def _four(self, outputs: Mapping[str, Array], name: str, rows: int = 0) -> Float64:
        box = _plain(outputs, name, 2, rows).astype(np.float64)
        if box.shape[1] != 4:
            _misfit(outputs, name, "[N,4]")
        return box

    def _rows(self, outputs: Mapping[str, Array], boxes: int) -> Int64:
        """Which of the boxes are results."""
        count = int(_plain(outputs, self.count, 0)) if self.count else None
        rows = np.arange(boxes)
        if self.indices:
            rows = _plain(outputs, self.indices, 1).astype(np.int64)
            rows = rows[: np.argmax(np.append(rows, -1) < 0)]
        rows = rows[: None if count is None else max(count, 0)]
        if rows.max(initial=-1) >= boxes:
            raise ValueError(f"output {self.indices!r} has {rows.max()}, there are {boxes} boxes")
        return rows

    def _corners(self, box: Float64, size: Size) -> Float64:
        if self.coordinates == "cxcywh":
            box = np.concatenate([box[:, :2] - box[:, 2:] / 2, box[:, 2:]], axis=1)
        if self.coordinates != "xyxy":
            box = np.concatenate([box[:, :2], box[:, :2] + box[:, 2:]], axis=1)
        return box if self.units == "pixels" else box * np.array([*size, *size])


Output = Yolox | NanoDet | Boxes


def _cells(size: Size, stride: int) -> Float32:
    """Column and row of each cell [n,2] of a grid, row by row."""
    wide, high = (-(-side // stride) for side in size)
    row, column = np.divmod(np.arange(wide * high, dtype=np.int64), wide)
    return np.stack([column, row], axis=1).astype(np.float32)


def _plain(outputs: Mapping[str, Array], name: str, rank: int, rows: int = 0) -> Array:
    """An output of `rank` dimensions and at least `rows` rows, without a batch of 1 before them."""
    array = outputs[name]
    if array.ndim == rank + 1 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != rank:
        _misfit(outputs, name, f"a rank of {rank}, or a batch of 1 before it")
    if rows and len(array) < rows:
        _misfit(outputs, name, f"{rows} rows or more")
    return array


def _matrix(outputs: Mapping[str, Array], name: str, rows: int, columns: int | None) -> Float32:
    """An output [1,rows,columns] as a matrix of float32."""
    array = outputs[name]
    if array.ndim != 3 or array.shape[:2] != (1, rows) or columns not in (None, array.shape[2]):
        _misfit(outputs, name, f"[1,{rows},{'any' if columns is None else columns}]")
    matrix: Float32 = array[0].astype(np.float32)
    return matrix


def _misfit(outputs: Mapping[str, Array], name: str, wanted: str) -> NoReturn:
    shape = ",".join(map(str, outputs[name].shape))
    raise ValueError(f"output {name!r} has shape [{shape}], expected is {wanted}")


def _check_numbers(score: Array, name: str) -> None:
    if not np.isfinite(score).all():
        value = score[~np.isfinite(score)][0]
        raise ValueError(f"output {name!r} gives a score of {value}: must be a finite number")


def _at_least(box: Array, score: Array, least: float, name: str) -> Found:
    """Every box [N,4] and category whose score [N,C] is at least `least`."""
    _check_numbers(score, name)
    row, label = np.nonzero(score >= least)
    return Found(box[row].astype(np.float64), score[row, label].astype(np.float64), label)
