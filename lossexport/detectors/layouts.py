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

from lossexport.boxes.boxset import MAX_SCORE, Float32, Float64, Int64, too_large

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


class _Layout(Section, frozen=True, kw_only=True):
    """What every kind may have, as `lossexport attach` puts it behind a detector.

    `indices` [K] picks rows, up to the first -1; `count` is how many of them (of all rows, without
    `indices`) are real. `new_scores` [K] and `new_boxes` [K,4] stand in place of what is picked.
    """

    indices: Name | None = None
    count: Name | None = None
    new_scores: Name | None = None
    new_boxes: Name | None = None

    def __post_init__(self) -> None:
        """Refuse new values where nothing says of which rows they are."""
        if (self.new_scores or self.new_boxes) and not self.indices:
            raise ValueError("new_scores and new_boxes need indices")

    def names(self) -> list[str]:
        """The outputs that it reads."""
        optional = (self.indices, self.count, self.new_scores, self.new_boxes)
        return [name for name in optional if name]

    def select(
        self, outputs: Mapping[str, Array], box: Array, score: Array, label: Array | None
    ) -> tuple[Array, Array, Array | None]:
        """Of boxes [N,4], scores [N,C] or [N] and labels [N] those that are results.

        Without `indices`, a box with a score for each category is a result in each of them. With
        `indices` its best category counts, and all three have one row a result.
        """
        if len(box) != len(score):
            raise ValueError(f"{len(box)} boxes and {len(score)} scores do not go together")
        rows = self._rows(outputs, len(box))
        box, score = box[rows], score[rows]
        label = None if label is None else label[rows]
        if not self.indices:
            return box, score, label
        if score.ndim == 2:
            label, score = score.argmax(axis=1), score.max(axis=1)
        if self.new_boxes:
            box = _boxes(outputs, self.new_boxes, len(rows))[: len(rows)]
        if self.new_scores:
            score = _plain(outputs, self.new_scores, 1, len(rows))[: len(rows)]
        return box, score, label

    def _rows(self, outputs: Mapping[str, Array], boxes: int) -> Int64:
        count = int(_whole(outputs, self.count, 0)) if self.count else None
        rows = np.arange(boxes)
        if self.indices:
            rows = _whole(outputs, self.indices, 1)
            rows = rows[: np.argmax(np.append(rows, -1) < 0)]
        rows = rows[: None if count is None else max(count, 0)]
        if rows.max(initial=-1) >= boxes:
            raise ValueError(f"output {self.indices!r} has {rows.max()}, there are {boxes} boxes")
        return rows


class Yolox(_Layout, frozen=True, tag_field="kind", tag="yolox"):
    """`tensor` [1,N,5+C]: dx, dy, log w, log h, objectness and C class scores, sigmoid done.

    One row a cell of each stride's grid, row by row: centre = (cell + d) x stride, size = exp(log)
    x stride, score = objectness x class. `boxes` [N,4] takes the place of boxes decoded here.
    """

    tensor: Name
    strides: Strides
    boxes: Name | None = None

    def names(self) -> list[str]:
        """The outputs that it reads."""
        return [self.tensor, *([self.boxes] if self.boxes else []), *super().names()]

    def decode(self, outputs: Mapping[str, Array], size: Size, classes: int, least: float) -> Found:
        """Boxes and scores, see the module."""
        grids = [_cells(size, stride) for stride in self.strides]
        cell = np.concatenate(grids)
        rows = _matrix(outputs, self.tensor, len(cell), 5 + classes)
        if self.boxes:
            box = _boxes(outputs, self.boxes, len(cell))
        else:
            stride = np.repeat(self.strides, [len(grid) for grid in grids])[:, None]
            centre = (rows[:, :2] + cell) * stride
            with np.errstate(over="ignore"):  # a box of a low score may be of any size
                half = np.exp(rows[:, 2:4]) * stride / 2
            box = np.concatenate([centre - half, centre + half], axis=1)
        selected = self.select(outputs, box, rows[:, 4:5] * rows[:, 5:], None)
        return _found(*selected, least, self.new_scores or self.tensor)


class NanoDet(_Layout, frozen=True, tag_field="kind", tag="nanodet"):
    """For each stride `scores` [1,N,C], sigmoid done, and `distances` [1,N,4 x bins].

    Softmax over the bins, expectation of 0, 1, 2..., times the stride: how far left, top, right and
    bottom are from the centre (cell + 0.5) x stride - 0.5. `boxes` [N,4], of all strides one after
    the other, takes the place of boxes decoded here.
    """

    strides: Strides
    scores: Names
    distances: Names
    boxes: Name | None = None

    def __post_init__(self) -> None:
        """Refuse lists that do not name one tensor for each stride."""
        super().__post_init__()
        if not len(self.strides) == len(self.scores) == len(self.distances):
            raise ValueError("strides, scores and distances must have one length")

    def names(self) -> list[str]:
        """The outputs that it reads."""
        return [*self.scores, *([self.boxes] if self.boxes else self.distances), *super().names()]

    def decode(self, outputs: Mapping[str, Array], size: Size, classes: int, least: float) -> Found:
        """Boxes and scores, see the module."""
        cells = [_cells(size, stride) for stride in self.strides]
        score = np.concatenate(
            [
                _matrix(outputs, name, len(cell), classes)
                for name, cell in zip(self.scores, cells, strict=True)
            ]
        )
        if self.boxes:
            box = _boxes(outputs, self.boxes, len(score))
        else:
            box = np.concatenate(
                [
                    _around(outputs, name, cell, stride)
                    for name, cell, stride in zip(self.distances, cells, self.strides, strict=True)
                ]
            )
        selected = self.select(outputs, box, score, None)
        return _found(*selected, least, self.new_scores or ", ".join(self.scores))


class Boxes(_Layout, frozen=True, tag_field="kind", tag="boxes"):
    """Decoded `boxes` [N,4], with `scores` [N,C], or `scores` [N] and `labels` [N]."""

    boxes: Name
    scores: Name
    labels: Name | None = None
    coordinates: Literal["xyxy", "xywh", "cxcywh"] = "xyxy"
    units: Literal["pixels", "parts"] = "pixels"

    def names(self) -> list[str]:
        """The outputs that it reads."""
        labels = [self.labels] if self.labels else []
        return [self.boxes, self.scores, *labels, *super().names()]

    def decode(self, outputs: Mapping[str, Array], size: Size, classes: int, least: float) -> Found:
        """Boxes and scores, see the module."""
        # A batch of 1 stands before both or before neither.
        stated = outputs[self.scores].ndim - outputs[self.boxes].ndim + 2
        box = _boxes(outputs, self.boxes)
        single = self.labels is not None or stated < 2
        score = _plain(outputs, self.scores, 1 if single else 2)
        wanted = [len(box)] if single else [len(box), classes]
        if list(score.shape) != wanted:
            _misfit(outputs, self.scores, f"[{','.join(map(str, wanted))}]")
        label = None
        if self.labels:
            label = _whole(outputs, self.labels, 1, len(box))
        elif single:
            if classes > 1:
                raise ValueError(
                    f"output {self.scores!r} is of {classes} categories: labels is missing"
                )
            label = np.zeros(len(box), np.int64)
        box, score, label = self.select(outputs, box, score, label)
        name = self.new_scores or self.scores
        return _found(self._corners(box, size), score, label, least, name)

    def _corners(self, box: Array, size: Size) -> Array:
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


def _whole(outputs: Mapping[str, Array], name: str, rank: int, rows: int = 0) -> Int64:
    """An output of whole numbers, whatever its type."""
    array = _plain(outputs, name, rank, rows)
    fine = (np.abs(array) < np.float64(2**53)) & (array == np.floor(array))
    if not fine.all():
        raise ValueError(f"output {name!r} has {array[~fine][0]}: a whole number is expected")
    whole: Int64 = array.astype(np.int64)
    return whole


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


def _boxes(outputs: Mapping[str, Array], name: str, rows: int = 0) -> Float64:
    """An output of boxes [N,4], `rows` of them or more."""
    box = _plain(outputs, name, 2, rows).astype(np.float64)
    if box.shape[1] != 4:
        _misfit(outputs, name, "[N,4]")
    return box


def _around(outputs: Mapping[str, Array], name: str, cell: Float32, stride: int) -> Array:
    """Boxes around cells [n,2] from a distribution over the distance of each side."""
    raw = _matrix(outputs, name, len(cell), None)
    if raw.shape[1] % 4 or not raw.shape[1]:
        _misfit(outputs, name, f"[1,{len(cell)},4 x bins]")
    bins = raw.reshape(len(cell), 4, -1)
    weight = np.exp(bins - bins.max(axis=2, keepdims=True))
    away = weight @ np.arange(bins.shape[2], dtype=np.float32)
    away *= stride / weight.sum(axis=2)
    centre = (cell + np.float32(0.5)) * stride - np.float32(0.5)
    return np.concatenate([centre - away[:, :2], centre + away[:, 2:]], axis=1)


def _found(box: Array, score: Array, label: Array | None, least: float, name: str) -> Found:
    """The boxes whose score is at least `least`: [N] of `label`, or [N,C] one for each category."""
    if score.dtype.kind != "f":
        raise ValueError(f"output {name!r} gives scores of {score.dtype}: floats are expected")
    fine = np.abs(score) <= np.float64(MAX_SCORE)  # which is beyond float16
    if not fine.all():
        value = score[~fine][0]
        why = too_large(float(value), MAX_SCORE)
        raise ValueError(f"output {name!r} gives a score of {value}: {why}")
    row, *column = np.nonzero(score >= least)
    kept = column[0] if label is None else label[row]
    return Found(box[row].astype(np.float64), score[row, *column].astype(np.float64), kept)
