"""Intervals of computed numbers: exact endpoints, then rounded outward to the type."""

import math
from dataclasses import dataclass
from typing import NamedTuple


class Interval(NamedTuple):
    """All finite numbers from `low` to `high`."""

    low: float
    high: float

    @property
    def size(self) -> float:
        """The largest absolute value."""
        return max(abs(self.low), abs(self.high))

    def hull(self, other: "Interval") -> "Interval":
        """The least interval with both."""
        return Interval(min(self.low, other.low), max(self.high, other.high))

    def within(self, other: "Interval") -> "Interval":
        """The part in `other`; `self` if rounding has moved them apart."""
        low, high = max(self.low, other.low), min(self.high, other.high)
        return Interval(low, high) if low <= high else self


EVERYTHING = Interval(-math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Kind:
    """A type that nodes compute in; `digits` is 0 for whole numbers and booleans.

    `least` is the exponent of the smallest positive number.
    """

    name: str
    high: float
    digits: int = 0
    least: int = 0

    @property
    def unit(self) -> float:
        """The largest relative error of one rounding."""
        return math.ldexp(1.0, -self.digits) if self.digits else 0.0

    def rounded(self, bounds: Interval, units: float = 0.0) -> Interval:
        """The numbers of the type that computed values within `bounds` round to.

        Rounding is monotonic, so that a bound that the type can hold stays as it is. `units` is the
        additional error of a function that is not rounded correctly, in roundings.
        """
        if not self.digits:
            return bounds
        spread = units * self.unit
        return Interval(
            self._down(_less(bounds.low, spread)),
            -self._down(_less(-bounds.high, spread)),
        )

    def _down(self, value: float) -> float:
        if not math.isfinite(value) or value == 0.0:
            return value
        exponent = math.frexp(value)[1] - self.digits
        step = max(exponent, self.least)
        # Results below the normal numbers may also be flushed to 0.
        if 0.0 < value < math.ldexp(1.0, self.least + self.digits - 1):
            return 0.0
        try:
            return math.ldexp(float(math.floor(math.ldexp(value, -step))), step)
        except OverflowError:
            return math.copysign(math.inf, value)


def _less(value: float, spread: float) -> float:
    return value - abs(value) * spread if math.isfinite(value) else value


KINDS = {
    1: Kind("float32", 3.4028234663852886e38, 24, -149),
    10: Kind("float16", 65504.0, 11, -24),
    11: Kind("float64", 1.7976931348623157e308, 53, -1074),
    16: Kind("bfloat16", 3.3895313892515355e38, 8, -133),
}
"""By their number in ONNX."""
WHOLE = Kind("a whole number", math.inf)
TRUTH = Kind("bool", 1.0)


def kind_of(number: int) -> Kind:
    """The kind of an ONNX element type."""
    return KINDS.get(number) or (TRUTH if number == 9 else WHOLE)
