"""The assignment of least total cost, by the library of kernels or, without one, in NumPy."""

import ctypes
import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from lossexport.errors import LossexportError, shown
from lossexport.runtime import binding

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

_ASSIGN = "lossexport_assign"
_MOST = 2**31 - 1
# As in plugins/host/assign.cpp.
_LARGE, _SMALLER = 2.0**960, 2.0**-64


@functools.cache
def available() -> bool:
    """Whether there is a library, and whether it has this function."""
    return binding.has([_ASSIGN])


def assign(cost: npt.ArrayLike) -> Int64:
    """The column of every row in the assignment of least total cost; -1 for a row without one.

    `cost` [N,M] are real numbers, as from `detr_cost`. Every row and every column is used at most
    once. A cost that is NaN or infinite is that of no pair: of the assignments with the most pairs,
    the result [N] is one of the least total cost. It is always the same one: the rows, or the
    columns if they are fewer, join in their order, each by the cheapest chain of changes, and of
    equal ones by that to a free partner, then to the one of the lowest index.

    Raises LossexportError if `cost` is no matrix of real numbers or has 2^31 elements or more.

    Source: Jonker and Volgenant, Computing 38, 1987; Crouse, IEEE TAES 52(4), 2016.
    """
    try:
        given = np.asarray(cost)
    except ValueError:
        raise LossexportError("assign: cost has rows of different lengths") from None
    if given.ndim != 2:
        raise LossexportError(f"assign: cost has shape {list(given.shape)}, expected [N, M]")
    if given.dtype.kind not in "fiub":
        raise LossexportError(f"assign: cost has type {shown(str(given.dtype))}: numbers expected")
    if given.size > _MOST:
        raise LossexportError(f"assign: cost has {given.size} elements, at most {_MOST} fit")
    matrix = np.ascontiguousarray(given, np.float64)
    return _by_library(matrix) if available() else _by_numpy(matrix)


def _by_library(cost: Float64) -> Int64:
    held = binding.Pointers()
    column = np.empty(len(cost), np.int64)
    binding.call(
        _ASSIGN,
        held.pointer(cost, np.float64),
        *map(ctypes.c_int64, cost.shape),
        ctypes.c_void_p(column.ctypes.data),
    )
    return column


def _by_numpy(cost: Float64) -> Int64:
    """The same result with the same arithmetic."""
    finite = np.isfinite(cost)
    most = np.abs(cost[finite]).max(initial=0)
    known = np.where(finite, cost, 0) * (_SMALLER if most > _LARGE else 1.0)
    # A total is how many pairs in it are not allowed, then the cost of the others.
    totals = np.stack((~finite, known))
    tall = cost.shape[0] > cost.shape[1]
    found = _solve(totals.swapaxes(1, 2) if tall else totals)
    row, column = (found, np.arange(len(found))) if tall else (np.arange(len(found)), found)
    result = np.full(len(cost), -1)
    pairs = finite[row, column]
    result[row[pairs]] = column[pairs]
    return result


def _solve(cost: Float64) -> Int64:
    """The column of every row of `cost` [2,n,m], n <= m."""
    _, n, m = cost.shape
    u, v = np.zeros((2, n)), np.zeros((2, m))
    column_of, row_of = np.full(n, -1), np.full(m, -1)
    for start in range(n):
        shortest, path = np.full((2, m), np.inf), np.full(m, -1)
        left = np.ones(m, bool)
        reached: list[int] = []
        least, i, sink = np.zeros((2, 1)), start, -1
        while sink < 0:
            here = ((least + cost[:, i]) - u[:, i, None]) - v
            nearer = left & _below(here, shortest)
            shortest[:, nearer], path[nearer] = here[:, nearer], i
            j = _lowest(shortest, left, row_of < 0)
            least = shortest[:, j, None]
            reached.append(j)
            left[j] = False
            if row_of[j] < 0:
                sink = j
            else:
                i = int(row_of[j])
        u[:, start] += least[:, 0]
        gap = least - shortest[:, reached]
        held = row_of[reached]
        u[:, held[held >= 0]] += gap[:, held >= 0]
        v[:, reached] -= gap
        while sink >= 0:
            i = int(path[sink])
            row_of[sink] = i
            column_of[i], sink = sink, int(column_of[i])
    return column_of


def _below(a: Any, b: Any) -> Any:
    return (a[0] < b[0]) | ((a[0] == b[0]) & (a[1] < b[1]))


def _lowest(totals: Float64, left: npt.NDArray[np.bool_], free: npt.NDArray[np.bool_]) -> int:
    """The place of the lowest total of those `left`, of equal ones a free one, then the first."""
    at = np.flatnonzero(left)
    at = at[totals[0, at] == totals[0, at].min()]
    at = at[totals[1, at] == totals[1, at].min()]
    return int((at[free[at]] if free[at].any() else at)[0])
