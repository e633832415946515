"""What a tensor holds: an expression for its elements, with its bounds and how it was computed."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lossexport.ranges.interval import Interval, Kind

NAN, PLUS, MINUS = "nan", "inf", "-inf"
Form = dict["Expression", float]


@dataclass(eq=False, slots=True)
class Expression:
    """An element of a tensor: its bounds, and the operator and the expressions that give it.

    `bounds` are those of its finite values, and `odd` its other values, such as an infinity that
    masks an element. `raw` are the bounds before they are cut off at the largest number of the
    type. Two expressions of elements that meet in an operator are equal numbers if they are the
    same object. `form` is a sum that an input equals exactly: a corner is another plus a side. Its
    finite values are multiples of 2^`grid`, and those that are not 0 are at least `least` in size.
    """

    operator: str
    arguments: tuple["Expression", ...]
    bounds: Interval
    raw: Interval
    kind: Kind
    odd: frozenset[str] = frozenset()
    key: Hashable = None
    form: Form = field(default_factory=dict)
    grid: float = -math.inf
    least: float = 0.0
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def step(self) -> float:
        """The smallest number above 0 that it may be."""
        step = math.ldexp(1.0, int(self.grid)) if -1074 <= self.grid < 1024 else 0.0
        return max(step, self.least)

    @property
    def known(self) -> float | None:
        """The number, if it is always the same."""
        low, high = self.bounds
        return low if low == high and not self.odd else None


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor: the expression of any element, and those of the places in its last axis.

    The expressions in `parts` are of tensors without that axis. `whole` has the numbers of a small
    constant, such as the axes of an operator.
    """

    every: Expression
    parts: tuple[Expression, ...] | None = None
    whole: tuple[int, ...] | None = None
