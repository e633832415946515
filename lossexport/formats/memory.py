"""Detections in memory: arrays, Arrow tables and COCO rows as a `Side`.

Columns are those of `lossexport.formats.columns`, and `id` of references, of which only an id of 0
matters. No array is copied that need not be: tensors and Arrow columns are viewed where they are.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeGuard

import numpy as np

from lossexport import arguments
from lossexport.boxes.boxset import Input, Int64, fail
from lossexport.boxes.columns import plain_id
from lossexport.boxes.oriented import FIELDS
from lossexport.boxes.side import Side, Table
from lossexport.errors import LossexportError, one_line
from lossexport.formats.arrow import KNOWN, OPTIONAL, to_numpy
from lossexport.formats.columns import side_of


class ArrowStream(Protocol):
    """A table of Arrow's: of pyarrow, polars, pandas and others."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Export the table."""


class ArrowArray(Protocol):
    """A record batch of Arrow's."""

    def __arrow_c_array__(self, requested_schema: object = None) -> Any:
        """Export the batch."""


Detections = Mapping[str, Any] | Sequence[Mapping[str, Any]] | ArrowStream | ArrowArray
"""Columns by name, rows of COCO, or a table."""
PathLike = str | os.PathLike[str]

_WANTED = "a mapping of columns, an Arrow table or a list of COCO rows"


def is_in_memory(value: object) -> TypeGuard[Detections]:
    """Whether `value` is detections and not the path of a file."""
    return isinstance(value, Mapping | list | tuple) or _is_arrow(value)


def given(name: str, value: PathLike | Detections) -> Path | Detections:
    """A path, or detections as they are. Raises LossexportError on anything else."""
    return value if is_in_memory(value) else arguments.path(name, value)


def side_in_memory(name: str, value: object, scored: bool) -> Side:
    """Predictions (`scored`) or references; `name` stands in messages where files have a path.

    Raises LossexportError, naming the column and the row, on anything that `side_of` refuses, on a
    row of COCO without a field that it needs, and on arrays that are not in the memory of the CPU.
    """
    columns = _columns(name, value, scored)
    ids = columns.pop("id", None)
    side = side_of(Path(name), columns, scored)
    side.input = Input(name, "")
    if not scored:
        for kind, table in (("image", side.images), ("category", side.categories)):
            table.text = _sorted_as_texts(table, columns[f"{kind}_id"])
        if ids is not None:
            side.annotation_ids = _annotation_ids(name, ids, side.boxes.count)
    return side


def _columns(name: str, value: object, scored: bool) -> dict[str, Any]:
    if isinstance(value, Mapping):
        if "annotations" in value:
            raise LossexportError(
                f"{name}: is a COCO dictionary: give the list of its annotations, or its file"
            )
        columns = {column: _array(name, column, data) for column, data in value.items()}
        return {column: data for column, data in columns.items() if data is not None}
    if _is_arrow(value):
        return _table(name, value)
    if isinstance(value, list | tuple):
        return _of_rows(name, value, scored)
    raise arguments.refuse(name, value, _WANTED)


def _is_arrow(value: object) -> TypeGuard[ArrowStream | ArrowArray]:
    return hasattr(value, "__arrow_c_stream__") or hasattr(value, "__arrow_c_array__")


def _array(name: str, column: str, value: Any) -> Any:
    """A column that NumPy can read: of PyTorch without its gradient, of Arrow, by DLPack."""
    if isinstance(value, np.ndarray | list | tuple | None):
        return value
    if _is_arrow(value):
        import pyarrow as pa

        with _readable(name, column):
            return to_numpy(name, column, pa.chunked_array(_chunks(value)))
    if getattr(value, "requires_grad", False):
        return value.detach()
    if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
        with _readable(name, column):
            return np.from_dlpack(value)
    return value


@contextmanager
def _readable(name: str, column: str) -> Iterator[None]:
    """Turn what another package raises on reading a column into a LossexportError."""
    try:
        yield
    except LossexportError:
        raise
    except Exception as error:
        raise LossexportError(f"{name}: {column} is no array: {one_line(error)}") from error


def _chunks(value: ArrowStream | ArrowArray) -> Any:
    import pyarrow as pa

    if isinstance(value, pa.ChunkedArray) or not hasattr(value, "__arrow_c_array__"):
        return value
    return [pa.array(value)]


def _table(name: str, value: ArrowStream | ArrowArray) -> dict[str, Any]:
    """The columns of a table that are known; other columns are not read."""
    import pyarrow as pa

    with _readable(name, "the table"):
        table = pa.table(value)
    names = [column for column in table.column_names if column in KNOWN]
    columns = {}
    for column in names:
        with _readable(name, column):
            columns[column] = to_numpy(name, column, table.column(column))
    return columns


def _of_rows(name: str, rows: Sequence[Any], scored: bool) -> dict[str, Any]:
    """The columns of a list of COCO rows, whose other fields are not read."""
    for i, row in enumerate(rows):
        if not isinstance(row, Mapping):
            fail(Path(name), f"[{i}]", row, "a row of COCO, a dict, is expected")
    box = "box" if rows and "box" in rows[0] else "bbox"
    box = next((f for f in FIELDS if any(row.get(f) is not None for row in rows)), box)
    needed = ["image_id", "category_id", box, *(["score"] if scored else [])]
    columns: dict[str, Any] = {}
    for field in needed:
        try:
            columns[field] = [row[field] for row in rows]
        except KeyError:
            _refuse_missing(name, rows, field)
    for field in ("log_variance",) if scored else ("area", "iscrowd"):
        values = [row.get(field) for row in rows]
        if any(value is not None for value in values):
            nothing = OPTIONAL[field]
            columns[field] = [nothing if value is None else value for value in values]
    if not scored and any("id" in row for row in rows):
        columns["id"] = [row.get("id", 1) for row in rows]
    return columns


def _refuse_missing(name: str, rows: Sequence[Mapping[str, Any]], field: str) -> NoReturn:
    row = next(i for i, row in enumerate(rows) if field not in row)
    raise LossexportError(f"{name}: [{row}].{field} is missing")


def _sorted_as_texts(table: Table, ids: Any) -> bool:
    """Whether every id is written as text: as it is listed or, if it is not, in its column."""
    rows = table.rows or {}
    if not rows:
        return all_texts(ids)
    if len(table.ids.ids) > len(rows):
        raws = ids if isinstance(ids, list | tuple) else np.asarray(ids).tolist()
        return table.text and all_texts([raw for raw in raws if plain_id(raw) not in rows])
    return table.text


def all_texts(ids: Any) -> bool:
    """Whether there are ids and all are text."""
    if isinstance(ids, list | tuple):
        return bool(ids) and all(isinstance(value, str) for value in ids)
    array = np.asarray(ids)
    if array.dtype.kind == "O":
        return bool(array.size) and all(isinstance(value, str) for value in array.tolist())
    return bool(array.size) and array.dtype.kind in "UT"


def _annotation_ids(name: str, ids: Any, count: int) -> Int64:
    """0 for each id of 0, otherwise 1: more of them does not matter."""
    array = arguments.array(f"{name}: id", ids, object if isinstance(ids, list | tuple) else None)
    if array.shape != (count,):
        shape = ",".join(map(str, array.shape))
        raise LossexportError(f"{name}: id is [{shape}]: [{count}] of ids is expected")
    if array.dtype.kind in "iu":
        found: Int64 = (array != 0).astype(np.int64)
        return found
    plain = [plain_id(value) if isinstance(value, int | str | float) else None for value in array]
    return np.array([int(value != 0) for value in plain], np.int64)
