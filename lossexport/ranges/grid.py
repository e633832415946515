"""The grid of a result: a power of 2 that all its values are multiples of.

Numbers on a grid cannot come close to 0 without being 0, which bounds what is divided by them.
Rounding keeps the grid: the numbers of a type that lie further apart are multiples of it too.
"""

import math
from collections.abc import Sequence

import numpy as np

from lossexport.ranges.expression import Expression
from lossexport.ranges.interval import Kind

_COARSEST = {"Floor": 0.0, "Ceil": 0.0, "Round": 0.0, "Sign": 0.0}
_KEPT = frozenset(("Identity", "Neg", "Abs", "Relu", "view", "most", "fewest", "sum", "Add", "Sub",
                   "Min", "Max", "any"))  # fmt: skip


def of_numbers(numbers: Sequence[float] | np.ndarray) -> float:
    """The exponent of the coarsest grid with all finite numbers; infinite for zeros."""
    mantissa, exponent = np.frexp(np.asarray(numbers, np.float64))
    whole = np.abs(np.where(np.isfinite(mantissa), mantissa, 0.0) * 2.0**53).astype(np.int64)
    kept = whole != 0
    if not kept.any():
        return math.inf
    lowest = whole[kept] & -whole[kept]
    return float((np.log2(lowest.astype(np.float64)) + exponent[kept] - 53).min())


def of_result(operator: str, arguments: Sequence[Expression], kind: Kind) -> float:
    """The exponent of the grid of a result."""
    finest = float(kind.least) if kind.digits else 0.0
    grids = [one.grid for one in arguments]
    if operator in _COARSEST:
        grid = _COARSEST[operator]
    elif operator in _KEPT:
        grid = min(grids)
    elif operator == "Cast":
        grid = grids[0]
    elif operator == "Where":
        grid = min(grids[1:])
    elif operator == "Mul":
        grid = grids[0] + grids[1]
    else:
        return finest
    return max(grid, finest)


def least_of(operator: str, arguments: Sequence[Expression], kind: Kind) -> float:
    """What the size of a result is at least, where it is not 0, if it is known beyond the grid."""
    if operator == "Log" and arguments[0].kind is kind:
        return kind.unit / 2  # of the number below 1, which is one unit from it
    if operator in ("Identity", "Neg", "Abs", "view", "most", "fewest"):
        return arguments[0].step
    if operator == "Where":
        return min(one.step or abs(one.known or 0.0) for one in arguments[1:])
    return 0.0
