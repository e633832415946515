"""Checks detections in columns, a mapping of arrays or sequences, and makes a `Side` of them.

| name | shape | content |
| --- | --- | --- |
| `image_id`, `category_id` | [n] | whole numbers or texts |
| `bbox` or `box` | [n,4] | x, y, width, height; or x1, y1, x2, y2 |
| `rbox` or `obb` | [n,5] | oriented boxes: cx, cy, w, h, radians; `bbox` is not read beside it |
| `score` | [n] | predictions only, required |
| `log_variance` | [n,4] | predictions only, optional: of x1, y1, x2, y2; NaN for a row without |
| `iscrowd` | [n] | references only, optional: 0 or 1 |
| `area` | [n] | references only, optional: NaN stands for width x height |
| `images` | | optional: id to file name, or to (file name, width, height) |
| `categories` | | optional: id to name |
| `notes` | | optional: sentences for the summary |

Columns for the other side are not read. Arrays of float64 are not copied.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np
import numpy.typing as npt

from lossexport import arguments
from lossexport.boxes.boxset import (
    MAX_CATEGORIES,
    MAX_COORDINATE,
    MAX_IMAGES,
    Bool,
    Float32,
    Float64,
    Int32,
    check_areas,
    check_boxes,
    check_count,
    check_log_variance,
    check_rows,
    check_scores,
    fail,
)
from lossexport.boxes.columns import ID, RawId
from lossexport.boxes.oriented import FIELDS, areas, check_oriented, refuse_variances, rows_of
from lossexport.boxes.side import Entry, Side, Size, Table
from lossexport.errors import LossexportError, shown, within

Columns = Mapping[str, Any]
Array = npt.NDArray[Any]

NAMES = (
    *("image_id", "category_id", "bbox", "box", *FIELDS),
    *("score", "log_variance", "iscrowd", "area"),
    *("images", "categories", "notes"),
)
_WIDTHS = dict.fromkeys(FIELDS, 5)
_CORNERS = ("x1", "y1", "x2 - x1", "y2 - y1")
_SIZED = "a file name, or file name, width and height,"
_NO_TEXT = "has half of a surrogate pair"


def side_of(path: Path, columns: object, scored: bool) -> Side:
    """The predictions (`scored`) or references in `columns`; messages name `path`.

    Raises LossexportError, naming the column and the row, on a column that is missing or unknown,
    or whose shape, type, length or values are not those in the table above.
    """
    side = Side(path)
    add(side, path, columns, scored)
    return side


def add(side: Side, path: Path, columns: object, scored: bool, first: int = 0) -> None:
    """Add the rows in `columns` to `side`; messages count rows from `first` on.

    Raises LossexportError as `side_of` does.
    """
    with within(path):
        given = _given(columns)
        notes = arguments.several("notes", given.get("notes", ()))
    side.notes += [f"{path.name}: {note}" for note in notes]
    rows = _Rows(path, given, scored, first)
    if side.boxes.count and rows.name != side.box_field:
        raise LossexportError(
            f"{path}: the boxes are {rows.name}, and {side.box_field} before: either all rows are "
            "oriented boxes or none"
        )
    side.box_field = rows.name
    image = rows.ids("image", side.images, MAX_IMAGES)
    category = rows.ids("category", side.categories, MAX_CATEGORIES)
    if scored:
        side.boxes.add(
            image, category, rows.box, score=rows.score(), log_variance=rows.log_variance()
        )
    else:
        side.boxes.add(image, category, rows.box, area=rows.area(), ignored=rows.crowds())


def _given(columns: object) -> Columns:
    """The columns that are not None. Raises LossexportError on an unknown name."""
    if not isinstance(columns, Mapping):
        raise arguments.refuse("columns", columns, "a mapping of names to arrays")
    given = {name: value for name, value in columns.items() if value is not None}
    for name in given:
        arguments.choice("column", name, NAMES)
    if not given.keys().isdisjoint(FIELDS):
        return {name: value for name, value in given.items() if name not in ("bbox", "box")}
    if ("bbox" in given) == ("box" in given):
        raise LossexportError(
            f"{'both' if 'box' in given else 'neither'} of the columns bbox (x, y, width, height) "
            "and box (x1, y1, x2, y2): one of them is expected"
        )
    return given


class _Rows:
    """The columns of a side. All have as many rows as the boxes: x, y, w, h or oriented."""

    def __init__(self, path: Path, given: Columns, scored: bool, first: int) -> None:
        self._path = path
        self._given = given
        self._first = first
        name = next(name for name in (*FIELDS, "bbox", "box") if name in given)
        values = self._numbers(name, rank=2)
        self.name, self.count = name, len(values)
        check_rows(path, self.count, scored)
        if name in FIELDS:
            check_oriented(path, values, lambda r, c: f"{self._at(name, r)}[{c}]", inverted=scored)
            self.box = rows_of(values)
            return
        corners = name == "box"
        check_boxes(
            path, values, lambda r, c: f"{self._at(name, r)}[{c}]", inverted=scored or corners
        )
        if corners:
            values = np.concatenate([values[:, :2], values[:, 2:] - values[:, :2]], axis=1)
            check_boxes(
                path, values, lambda r, c: f"{self._at(name, r)}: {_CORNERS[c]}", inverted=scored
            )
        self.box = values

    def ids(self, kind: str, table: Table, limit: int) -> Int32:
        """Positions [n] in `table`, to which the ids and their names are added."""
        many = {"image": "images", "category": "categories"}[kind]
        if many in self._given:
            self._fill(many, self._given[many], table, limit)
        name = f"{kind}_id"
        value = self._required(name)
        # A list may mix numbers and texts; as objects they keep their types.
        array = self._array(name, value, object if isinstance(value, list | tuple) else None)
        if array.ndim != 1 or array.dtype.kind not in "iufUTO":
            self._misfit(name, array, "[n] of ids")
        self._check_length(name, array)
        if array.dtype.kind in "iuf":
            distinct, place = np.unique(array, return_inverse=True)
            codes = table.ids.codes(distinct.tolist())[place]
        else:
            raws = array.tolist()
            plain = set(map(type, raws)) <= {str, int, float}
            codes = table.ids.codes(raws if plain else list(map(_raw, raws)))
        strange = next((i for i, value in enumerate(table.ids.ids) if not _is_text(value)), -2)
        for bad, why in ((codes < 0, ID), (codes == strange, _NO_TEXT)):
            if bad.any():
                row = int(np.argmax(bad))
                fail(self._path, self._at(name, row), array[row], why)
        check_count(self._path, f"different {kind} ids", len(table.ids.ids), limit)
        return codes

    def score(self) -> Float64:
        """[n]"""
        score = self._numbers("score")
        check_scores(self._path, score, lambda r: self._at("score", r))
        return score

    def log_variance(self) -> Float32 | None:
        """[n,4], NaN in rows without; None if no row has any."""
        if "log_variance" not in self._given:
            return None
        values = self._numbers("log_variance", rank=2)
        if self.name in FIELDS:
            refuse_variances(self._path, "log_variance")
        rows = np.flatnonzero(~np.isnan(values).all(axis=1))
        check_log_variance(
            self._path, values[rows], lambda r, c: f"{self._at('log_variance', int(rows[r]))}[{c}]"
        )
        return values.astype(np.float32) if len(rows) else None

    def area(self) -> Float64:
        """[n]"""
        area = areas(self.box)
        if "area" in self._given:
            stated = self._numbers("area")
            check_areas(self._path, stated, lambda r: self._at("area", r))
            area = np.where(np.isnan(stated), area, stated)
        return area

    def crowds(self) -> Bool:
        """[n]"""
        if "iscrowd" not in self._given:
            return np.zeros(self.count, np.bool_)
        values = self._numbers("iscrowd", kinds="biuf")
        strange = (values != 0) & (values != 1)
        if strange.any():
            row = int(np.argmax(strange))
            fail(self._path, self._at("iscrowd", row), float(values[row]), "must be 0 or 1")
        ignored: Bool = values == 1
        return ignored

    def _at(self, name: str, row: int) -> str:
        return f"{name}[{self._first + row}]"

    def _required(self, name: str) -> Any:
        if name not in self._given:
            there = ", ".join(self._given)
            raise LossexportError(f"{self._path}: column {name} is missing, there are {there}")
        return self._given[name]

    def _array(self, name: str, value: Any, kind: type | None = None) -> Array:
        return arguments.array(f"{self._path}: {name}", value, kind)

    def _numbers(self, name: str, rank: int = 1, kinds: str = "iuf") -> Float64:
        """The column [n], or [n,4] or [n,5] for `rank` 2, of a dtype whose kind is in `kinds`."""
        value = self._required(name)
        width = _WIDTHS.get(name, 4)
        try:
            array = self._array(name, value)
        except LossexportError:
            self._blame(name, value, rank)
            raise
        if array.shape == (0,) and rank == 2:
            array = array.reshape(0, width)
        fits = array.ndim == rank and (rank == 1 or array.shape[1] == width)
        if not fits or array.dtype.kind not in kinds:
            self._blame(name, value, rank)
            self._misfit(name, array, f"{f'[n,{width}]' if rank == 2 else '[n]'} of numbers")
        if name not in ("bbox", "box", *FIELDS):
            self._check_length(name, array)
        return array.astype(np.float64, copy=False)

    def _check_length(self, name: str, array: Array) -> None:
        if len(array) != self.count:
            raise LossexportError(
                f"{self._path}: {name} has {len(array)} rows, the boxes have {self.count}"
            )

    def _misfit(self, name: str, array: Array, wanted: str) -> NoReturn:
        shape = ",".join(map(str, array.shape))
        raise LossexportError(
            f"{self._path}: {name} is {array.dtype} [{shape}]: {wanted} is expected"
        )

    def _blame(self, name: str, value: Any, rank: int) -> None:
        """Raise LossexportError on the first row that is not a number, or not enough of them."""
        if not isinstance(value, list | tuple):
            return
        for row, found in enumerate(value):
            plain = found.tolist() if isinstance(found, np.ndarray) else found
            items = plain if rank == 2 else [plain]
            width = _WIDTHS.get(name, 4) if rank == 2 else 1
            if not isinstance(items, list | tuple) or len(items) != width:
                items = [None]
            if not all(map(_is_number, items)):
                many = {1: "a number is", 4: "four numbers are", 5: "five numbers are"}[width]
                wanted = f"{many} expected"
                fail(self._path, self._at(name, row), found, wanted)

    def _fill(self, name: str, rows: Any, table: Table, limit: int) -> None:
        """Add a mapping of ids to names."""
        if not isinstance(rows, Mapping):
            fail(self._path, name, rows, "a mapping of ids to names is expected")
        check_count(self._path, name, len(rows), limit)
        table.start()
        for raw, value in rows.items():
            where = f"{name}[{shown(raw)}]"
            entry = self._entry(where, value, sized=name == "images")
            why = table.add(_raw(raw), entry) if _is_text(raw) else _NO_TEXT
            if why:
                fail(self._path, f"an id of {name}", raw, why)

    def _entry(self, where: str, value: Any, *, sized: bool) -> Entry:
        name, *size = value if sized and isinstance(value, list | tuple) and value else (value,)
        if not isinstance(name, str | None) or len(size) not in (0, 2):
            fail(self._path, where, value, f"{_SIZED if sized else 'a name'} is expected")
        if not _is_text(name):
            fail(self._path, where, value, _NO_TEXT)
        if not all(_is_number(side) and 0 < side < MAX_COORDINATE for side in size):
            wanted = f"width and height above 0 and below {MAX_COORDINATE:g}"
            fail(self._path, where, value, f"{wanted} are expected")
        return Entry(name, cast(Size, tuple(map(float, size))) if size else None)


def _raw(value: Any) -> RawId:
    """An id as it was given; NaN, which is no valid id, if it is neither text nor number."""
    plain = value.item() if isinstance(value, np.generic) else value
    return plain if isinstance(plain, RawId) and not isinstance(plain, bool) else float("nan")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _is_text(value: object) -> bool:
    """Whether `value` is a str that can be encoded, that is, without half a surrogate pair."""
    try:
        return not isinstance(value, str) or value.encode() is not None
    except UnicodeEncodeError:
        return False
