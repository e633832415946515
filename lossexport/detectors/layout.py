"""Layouts, which say how the output tensors of a detector become boxes."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta, Struct

from lossexport import arguments
from lossexport.boxes.boxset import MAX_SCORE, Float64, Int64, too_large
from lossexport.detectors.graph import Graph
from lossexport.detectors.tensors import (
    Array,
    Outputs,
    boxes_of,
    number,
    plain,
    shape_of,
    whole,
)

Name = Annotated[str, Meta(min_length=1, max_length=1000)]
"""A key that names an output of the graph, or is an expression over its tensors, see `attach`."""
Names = Annotated[list[Name], Meta(min_length=1, max_length=16)]
"""A key that names several."""
Size = tuple[int, int]
"""Width and height of the input tensor."""
Decoded = tuple[Array, Array, Array | None]
"""Boxes, scores and labels, see `Layout`."""


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of a description. Unknown keys are errors."""


@dataclass(frozen=True, slots=True)
class Found:
    """Boxes [n,4] x1, y1, x2, y2, or oriented ones [n,5] cx, cy, w, h, radians, scores [n] and
    labels [n], the positions of categories."""

    box: Float64
    score: Float64
    label: Int64

    def take(self, rows: Array) -> "Found":
        """The boxes at `rows`, which are positions or a mask."""
        return Found(self.box[rows], self.score[rows], self.label[rows])


class Keys(Section, frozen=True, kw_only=True):
    """The keys of `[output]` that every layout has, for outputs that `lossexport attach` adds.

    `indices` [K] picks rows, up to the first -1. `count` is the number of valid rows among these,
    or among all rows without `indices`. `new_scores` [K] and `new_boxes` [K,4] replace those of the
    picked rows.
    """

    indices: Name | None = None
    count: Name | None = None
    new_scores: Name | None = None
    new_boxes: Name | None = None

    def __post_init__(self) -> None:
        """Refuse new values without keys that say which rows they belong to."""
        if (self.new_scores or self.new_boxes) and not self.indices:
            raise ValueError("new_scores and new_boxes need indices")

    def names(self) -> list[str]:
        """The outputs to read: the values of all keys of the type Name or Names."""
        named: list[str] = []
        for field in msgspec.structs.fields(self):
            value = getattr(self, field.name)
            if value is not None and field.type in (Name, Name | None, Names, Names | None):
                named += [value] if isinstance(value, str) else value
        return named

    def corners(self, box: Array, size: Size) -> Array:
        """Convert boxes [N,4] of the output to x1, y1, x2, y2 in pixels of the input tensor."""
        return box

    def select(self, outputs: Outputs, decoded: Decoded) -> Decoded:
        """Select the results among boxes [N,4], scores [N,C] or [N] and labels [N].

        Without `indices`, a box with a score for each category is a result in each of them. With
        `indices`, only its best category counts, and all three have one row for each result.
        """
        box, score, label = decoded
        rows = self._rows(outputs, len(box))
        box, score = box[rows], score[rows]
        label = None if label is None else label[rows]
        if not self.indices:
            return box, score, label
        if score.ndim == 2:
            label, score = score.argmax(axis=1), score.max(axis=1)
        if self.new_boxes:
            box = boxes_of(outputs, self.new_boxes, len(rows))[: len(rows)]
        if self.new_scores:
            score = plain(outputs, self.new_scores, 1, len(rows))[: len(rows)]
        return box, score, label

    def _rows(self, outputs: Outputs, boxes: int) -> Int64:
        count = number(outputs, self.count) if self.count else None
        rows = np.arange(boxes)
        if self.indices:
            rows = whole(outputs, self.indices, 1)
            rows = rows[: np.argmax(np.append(rows, -1) < 0)]
        rows = rows[: None if count is None else max(count, 0)]
        if rows.max(initial=-1) >= boxes:
            raise ValueError(f"output {self.indices!r} has {rows.max()}, there are {boxes} boxes")
        return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """One way in which a layout fits the outputs of a graph.

    `keys` are the values of `[output]`, and `input` values of `[input]` that its detectors want.
    `classes` is the number of categories, None if only the labels would tell. `why` says what was
    found, as part of a sentence. A fit that is not `likely` is never taken without being asked for.
    `certain` tells whether `input` is known and not only usual. `nms_iou` is that of `[limits]`,
    None where the graph has an NMS or needs none.
    """

    keys: Mapping[str, Any]
    why: str
    classes: int | None = None
    likely: bool = True
    input: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    certain: bool = False
    nms_iou: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A layout of the outputs of a detector.

    `decode(keys, outputs, size, classes)` gets the keys of the description, the outputs by name,
    the width and height of the input tensor and the number of categories. It returns boxes [N,4] in
    the form that `keys.corners` takes (where the keys have `oriented` set, boxes [N,5] cx, cy, w,
    h, radians, in pixels), and either scores [N,classes] and None, or scores [N] and
    labels [N], before any threshold or NMS. It raises ValueError, naming the output, if one does
    not fit; the functions of `lossexport.detectors.tensors` do this.

    `fits(graph)`, if there is one, gives every way in which the layout fits a graph, so that
    `--detector auto` can find it.

    Raises LossexportError on a field of another kind.
    """

    name: str
    """The value of `kind` in a description."""
    title: str
    """One line about the tensors, for the documentation."""
    keys: type[Keys]
    """The type of the keys of `[output]`."""
    scores: str
    """The key that names the outputs with the scores; messages show it."""
    decode: Callable[[Any, Outputs, Size, int], Decoded]
    fits: Callable[[Graph], Sequence[Fit]] | None = None
    models: str = ""
    """The detectors that have this layout, for the documentation."""
    found: str = ""
    """What `fits` looks at, for the documentation."""

    def __post_init__(self) -> None:
        """Check the fields."""
        arguments.text("name", self.name)
        arguments.text("title", self.title)
        if not (isinstance(self.keys, type) and issubclass(self.keys, Keys)):
            raise arguments.refuse("keys", self.keys, "a subclass of lossexport.detectors.Keys")
        arguments.choice("scores", self.scores, self.keys.__struct_fields__)
        if not callable(self.decode):
            raise arguments.refuse("decode", self.decode, "a function")
        arguments.check_function("fits", self.fits)

    def find(self, keys: Keys, outputs: Outputs, size: Size, classes: int, least: float) -> Found:
        """The boxes whose score is at least `least`, in pixels of the input tensor.

        Raises ValueError on outputs that do not fit.
        """
        try:
            decoded = self.decode(keys, outputs, size, classes)
            self._check(decoded, classes, 5 if getattr(keys, "oriented", False) else 4)
        except ValueError:
            raise
        except Exception as error:  # `decode` may be the code of another package
            raise ValueError(
                f"layout {self.name!r} cannot decode: {type(error).__name__}: {error}"
            ) from error
        box, score, label = keys.select(outputs, decoded)
        named = keys.new_scores or getattr(keys, self.scores)
        _check_scores(score, named if isinstance(named, str) else ", ".join(named))
        row, *column = np.nonzero(score >= least)
        return Found(
            keys.corners(box, size)[row].astype(np.float64),
            score[row, *column].astype(np.float64),
            (column[0] if label is None else label[row]).astype(np.int64),
        )

    def _check(self, decoded: Decoded, classes: int, width: int) -> None:
        """Raise ValueError if the shapes are not those that `decode` must return."""
        if not (isinstance(decoded, tuple) and len(decoded) == 3):
            raise ValueError(f"layout {self.name!r} gives no tuple of boxes, scores and labels")
        box, score, label = decoded
        rows = len(box)
        columns = (classes,) if label is None else ()
        for what, array, shape in (
            ("boxes", box, (rows, width)),
            ("scores", score, (rows, *columns)),
            ("labels", label, (rows,)),
        ):
            if array is not None and array.shape != shape:
                raise ValueError(
                    f"layout {self.name!r} gives {what} {shape_of(array)}, expected is "
                    f"[{','.join(map(str, shape))}]"
                )
        if label is not None and label.dtype.kind not in "iu":
            raise ValueError(f"layout {self.name!r} gives labels of {label.dtype}, not integers")


def _check_scores(score: Array, name: str) -> None:
    if score.dtype.kind != "f":
        raise ValueError(f"output {name!r} gives scores of {score.dtype}: floats are expected")
    fine = np.abs(score) <= np.float64(MAX_SCORE)  # float16 cannot hold this limit
    if not fine.all():
        value = score[~fine][0]
        why = too_large(float(value), MAX_SCORE)
        raise ValueError(f"output {name!r} gives a score of {value}: {why}")
