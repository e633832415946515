"""Columns of detections in Arrow's memory, as NumPy arrays."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lossexport.boxes.boxset import fail
from lossexport.boxes.oriented import FIELDS
from lossexport.errors import LossexportError
from lossexport.formats.columns import NAMES

if TYPE_CHECKING:
    import pyarrow as pa

KNOWN = (*NAMES[:10], "id")
LISTS = {"bbox": 4, "box": 4, "log_variance": 4, **dict.fromkeys(FIELDS, 5)}
"""Columns of lists, and the length of those."""
OPTIONAL: Mapping[str, Any] = {"log_variance": [float("nan")] * 4, "area": float("nan")} | {
    "iscrowd": 0
}
"""What stands for a value that is not given, in columns where one may be missing."""


def to_numpy(name: str, column: str, data: "pa.ChunkedArray", first: int = 0) -> npt.NDArray[Any]:
    """A column of detections as NumPy has it, without a copy where its type allows that.

    Raises LossexportError, naming the column and the row, counted from `first`, on a null where a
    value is needed and on a list that is not as many numbers as the column has.
    """
    import pyarrow as pa
    from pyarrow import compute

    array = data.chunk(0) if data.num_chunks == 1 else data.combine_chunks()
    if array.null_count and column not in OPTIONAL:
        row = int(np.argmax(compute.is_null(array).to_numpy(zero_copy_only=False)))
        raise LossexportError(f"{name}: {column}[{first + row}] is null: a value is expected")
    if column not in LISTS:
        if array.null_count and column == "iscrowd":
            array = array.fill_null(pa.scalar(0, pa.int8()).cast(array.type))
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        found: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
        return found
    width = LISTS[column]
    why = f"{'five' if width == 5 else 'four'} numbers are expected"
    length = compute.list_value_length(array)
    wrong = compute.fill_null(compute.not_equal(length, width), False)
    if compute.any(wrong, min_count=0).as_py():
        row = int(np.argmax(wrong.to_numpy(zero_copy_only=False)))
        fail(Path(name), f"{column}[{first + row}]", array[row].as_py(), why)
    flat = array.flatten()
    if flat.null_count:
        row = int(np.argmax(compute.is_null(flat).to_numpy(zero_copy_only=False))) // width
        fail(Path(name), f"{column}[{first + row}]", array[row].as_py(), why)
    rows: npt.NDArray[Any] = flat.to_numpy(zero_copy_only=False).reshape(-1, width)
    if not array.null_count:
        return rows
    whole = np.full((len(array), width), np.nan)
    whole[compute.is_valid(array).to_numpy(zero_copy_only=False)] = rows
    return whole
