"""Checks of a graph's outputs. A ValueError names the one whose shape or values do not fit."""

from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from lossexport.boxes.boxset import Float32, Float64, Int64

Array = npt.NDArray[Any]
Outputs = Mapping[str, Array]


def plain(outputs: Outputs, name: str, rank: int, rows: int = 0) -> Array:
    """An output of `rank` dimensions, after removing a batch of 1, with at least `rows` rows."""
    array = outputs[name]
    if array.ndim == rank + 1 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != rank:
        misfit(outputs, name, f"a rank of {rank}, or a batch of 1 before it")
    if rows and len(array) < rows:
        misfit(outputs, name, f"{rows} rows or more")
    return array


def whole(outputs: Outputs, name: str, rank: int, rows: int = 0) -> Int64:
    """An output of whole numbers of any type, as int64."""
    array = plain(outputs, name, rank, rows)
    fine = (np.abs(array) < np.float64(2**53)) & (array == np.floor(array))
    if not fine.all():
        raise ValueError(f"output {name!r} has {array[~fine][0]}: a whole number is expected")
    numbers: Int64 = array.astype(np.int64)
    return numbers


def number(outputs: Outputs, name: str) -> int:
    """An output of a single whole number, whatever its rank."""
    if outputs[name].size != 1:
        misfit(outputs, name, "a single number")
    return int(whole({name: outputs[name].reshape(())}, name, 0))


def real(outputs: Outputs, name: str, rank: int) -> Array:
    """An output of floats of `rank` dimensions; float16 becomes float32."""
    array = outputs[name]
    if array.ndim != rank:
        misfit(outputs, name, f"a rank of {rank}")
    if array.dtype.kind != "f":
        raise ValueError(f"output {name!r} is of {array.dtype}: floats are expected")
    return array.astype(np.float32) if array.dtype == np.float16 else array


def matrix(outputs: Outputs, name: str, rows: int, columns: int | None) -> Float32:
    """An output [1,rows,columns] as a float32 matrix. If `columns` is None, any number fits."""
    array = outputs[name]
    if array.ndim != 3 or array.shape[:2] != (1, rows) or columns not in (None, array.shape[2]):
        misfit(outputs, name, f"[1,{rows},{'any' if columns is None else columns}]")
    values: Float32 = array[0].astype(np.float32)
    return values


def boxes_of(outputs: Outputs, name: str, rows: int = 0) -> Float64:
    """An output of boxes [N,4] with at least `rows` rows."""
    box = plain(outputs, name, 2, rows).astype(np.float64)
    if box.shape[1] != 4:
        misfit(outputs, name, "[N,4]")
    return box


def misfit(outputs: Outputs, name: str, wanted: str) -> NoReturn:
    """Raise ValueError because the shape of an output is not `wanted`."""
    raise ValueError(f"output {name!r} has shape {shape_of(outputs[name])}, expected is {wanted}")


def shape_of(array: Array) -> str:
    """The shape for messages, such as [3,4]."""
    return f"[{','.join(map(str, array.shape))}]"
