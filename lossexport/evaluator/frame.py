"""Checks the boxes of one image and makes a `Chunk` of them, in a few dozen microseconds."""

from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from lossexport import arguments
from lossexport.boxes.boxset import (
    MAX_COORDINATE,
    MAX_SCORE,
    Float32,
    Float64,
    Id,
    Int32,
    Predictions,
    References,
    check_areas,
    check_boxes,
    check_log_variance,
    check_scores,
    fail,
)
from lossexport.boxes.columns import ID, PLAIN_WIDTH, IdTable, plain_id
from lossexport.boxes.oriented import are_oriented, areas, check_oriented, refuse_variances, rows_of
from lossexport.errors import LossexportError, one_line
from lossexport.evaluator.chunk import Chunk, encodes, xywh

NOT_LISTED = "is not one of the categories of this evaluator"

OWN_WIDTH = 5
"""Numbers of an oriented box: cx, cy, w, h and the angle."""


class Frame:
    """The columns of an image `image_id`; messages name it, the column and the row."""

    def __init__(
        self,
        image_id: Id,
        table: IdTable,
        *,
        closed: bool,
        not_listed: str = NOT_LISTED,
        oriented: bool = False,
    ) -> None:
        """`closed` tells whether all categories are in `table`; `not_listed` refuses others.

        `oriented` tells whether the boxes may be oriented.
        """
        self._widths = (PLAIN_WIDTH, OWN_WIDTH) if oriented else (PLAIN_WIDTH,)
        self._image = image_id
        self._table = table
        self._closed = closed
        self._not_listed = not_listed
        self._new: dict[Id, int] = {}

    @property
    def _path(self) -> Path:
        """The name in messages."""
        return Path(f"image {self._image!r}")

    def chunk(
        self,
        columns: tuple[Any, Any, Any, Any, Any],
        ref_iscrowd: Any,
        ref_area: Any,
        log_variance: Any,
    ) -> Chunk:
        """Check `boxes`, `scores`, `labels`, `ref_boxes`, `ref_labels` and the optional columns."""
        boxes, scores, labels, ref_boxes, ref_labels = columns
        box = self._box("boxes", boxes, inverted=True)
        score = self._numbers("scores", scores, len(box))
        # Here and for boxes, one pass decides; the words are for the rare bad frame.
        if not np.abs(score).max(initial=0.0) <= MAX_SCORE:
            check_scores(self._path, score, lambda r: f"scores[{r}]")
        variance = self._log_variance(log_variance, len(box))
        ref_box = self._box("ref_boxes", ref_boxes, inverted=False)
        box, ref_box = self._alike(box, ref_box)
        if variance is not None and are_oriented(box):
            refuse_variances(self._path, "log_variance")
        area = self._area(ref_area, ref_box)
        ignored = np.zeros(len(ref_box), np.bool_)
        if ref_iscrowd is not None:
            crowd = self._numbers("ref_iscrowd", ref_iscrowd, len(ref_box), kinds="biuf")
            strange = (crowd != 0) & (crowd != 1)
            if strange.any():
                row = int(np.argmax(strange))
                fail(self._path, f"ref_iscrowd[{row}]", float(crowd[row]), "must be 0 or 1")
            ignored = crowd == 1
        category = self._codes("labels", labels, len(box))
        ref_category = self._codes("ref_labels", ref_labels, len(ref_box))
        return Chunk(
            (self._image,),
            Predictions(np.zeros(len(box), np.int32), category, box, score, variance),
            References(
                np.zeros(len(ref_box), np.int32),
                ref_category,
                ref_box,
                area,
                ignored,
                np.zeros(len(ref_box), np.bool_),
            ),
            list(self._new),
            len(box) * len(ref_box),
        )

    def _box(self, name: str, value: Any, *, inverted: bool) -> Float64:
        """Boxes x1, y1, x2, y2 [n,4] as x, y, width, height; oriented ones [n,5] as rows [n,11]."""
        corners = self._numbers(name, value, None)
        if corners.shape[1] == OWN_WIDTH:
            check_oriented(self._path, corners, lambda r, c: f"{name}[{r}][{c}]", inverted=inverted)
            return rows_of(corners)
        with np.errstate(invalid="ignore", over="ignore"):  # infinite ones are refused below
            box = xywh(corners)
        fine = np.abs(box).max(initial=0.0) <= MAX_COORDINATE
        if not fine or not (inverted or box[:, 2:].min(initial=0.0) >= 0):
            sides = "x1", "y1", "x2 - x1", "y2 - y1"
            check_boxes(self._path, corners, lambda r, c: f"{name}[{r}][{c}]", inverted=True)
            check_boxes(self._path, box, lambda r, c: f"{name}[{r}]: {sides[c]}", inverted=inverted)
        return box

    def _alike(self, box: Float64, ref_box: Float64) -> tuple[Float64, Float64]:
        """Both, of which one without a box takes the kind of the other."""
        if box.shape[1] == ref_box.shape[1]:
            return box, ref_box
        if len(box) and len(ref_box):
            first, second = (OWN_WIDTH if are_oriented(b) else PLAIN_WIDTH for b in (box, ref_box))
            raise LossexportError(
                f"{self._path}: boxes are [n,{first}], and ref_boxes are [m,{second}]: give both "
                "as x1, y1, x2, y2, or both as cx, cy, w, h, angle"
            )
        width = (box if len(box) else ref_box).shape[1]
        return box.reshape(len(box), width), ref_box.reshape(len(ref_box), width)

    def _area(self, value: Any, box: Float64) -> Float64:
        area = areas(box)
        if value is None:
            return area
        stated = self._numbers("ref_area", value, len(box))
        check_areas(self._path, stated, lambda r: f"ref_area[{r}]")
        return np.where(np.isnan(stated), area, stated)

    def _log_variance(self, value: Any, count: int) -> Float32 | None:
        if value is None:
            return None
        rows = self._numbers("log_variance", value, None)
        self._check_length("log_variance", len(rows), count)
        known = np.flatnonzero(~np.isnan(rows).all(axis=1))
        check_log_variance(self._path, rows[known], lambda r, c: f"log_variance[{known[r]}][{c}]")
        return rows.astype(np.float32)

    def _numbers(self, name: str, value: Any, count: int | None, kinds: str = "iuf") -> Float64:
        """A copy of a column: of `count` rows, or of any number of rows of four or, if they are
        boxes, of five."""
        array = self._array(name, value)
        if count is None and array.shape == (0,):
            array = array.reshape(0, 4)
        widths = (PLAIN_WIDTH,) if name == "log_variance" else self._widths
        fits = (
            array.ndim == 1 if count is not None else array.ndim == 2 and array.shape[1] in widths
        )
        if not fits or array.dtype.kind not in kinds:
            several = " or ".join(f"[n,{width}]" for width in widths)
            self._misfit(name, array, f"{several if count is None else '[n]'} of numbers")
        if count is not None:
            self._check_length(name, len(array), count)
        return array.astype(np.float64)

    def _array(self, name: str, value: Any) -> npt.NDArray[Any]:
        if type(value) is np.ndarray:
            return value
        try:
            if getattr(value, "requires_grad", False):
                value = value.detach()
            if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
                return np.from_dlpack(value)
        except Exception as error:  # the value's own code
            raise LossexportError(f"{self._path}: {name} is no array: {one_line(error)}") from error
        return arguments.array(f"{self._path}: {name}", value)

    def _codes(self, name: str, value: Any, count: int) -> Int32:
        """Codes [n] of categories; new ones are noted, not yet added to the table."""
        listed = isinstance(value, list | tuple)
        array = np.asarray(value, object) if listed else self._array(name, value)
        if array.ndim != 1 or array.dtype.kind not in "iufUTO":
            self._misfit(name, array, "[n] of ids")
        self._check_length(name, len(array), count)
        raws = array.tolist()
        if array.dtype.kind != "O":
            found = list(map(self._table.get, raws))
            if None not in found:
                return np.array(found, np.int32)
        return np.array([self._code(name, i, raw) for i, raw in enumerate(raws)], np.int32)

    def _code(self, name: str, row: int, raw: Any) -> int:
        raw = raw.item() if isinstance(raw, np.generic) else raw
        plain = isinstance(raw, int | float | str) and not isinstance(raw, bool)
        value = plain_id(raw) if plain else None
        if value is None:
            fail(self._path, f"{name}[{row}]", raw, ID)
        code = self._table.get(value)
        if code is None and self._closed:
            fail(self._path, f"{name}[{row}]", raw, self._not_listed)
        if code is not None:
            return code
        if isinstance(value, str) and not encodes(value):
            fail(self._path, f"{name}[{row}]", raw, "has half of a surrogate pair")
        return self._new.setdefault(value, len(self._table.ids) + len(self._new))

    def _check_length(self, name: str, found: int, wanted: int) -> None:
        if found != wanted:
            boxes = "ref_boxes" if name.startswith("ref_") else "boxes"
            raise LossexportError(f"{self._path}: {name} has {found} rows, {boxes} have {wanted}")

    def _misfit(self, name: str, array: npt.NDArray[Any], wanted: str) -> NoReturn:
        shape = ",".join(map(str, array.shape))
        raise LossexportError(
            f"{self._path}: {name} is {array.dtype} [{shape}]: {wanted} is expected"
        )
