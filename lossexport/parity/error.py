"""Error of an output against the float64 oracle: absolute, relative and in ULP."""

from dataclasses import dataclass, field

import numpy as np

from lossexport.catalog.spec import Tolerance

_BREACH = float(np.nextafter(1.0, 2.0))
_MOST_ULP = 1e30  # larger errors are clipped to this, so that they can be stored as float32
# Digits of the significand, smallest normal exponent and largest finite value of a float type.
_FORMATS = {
    "float32": (24, -126, float(np.finfo(np.float32).max)),
    "float16": (11, -14, 65504.0),
    "bfloat16": (8, -126, (2 - 2**-7) * 2.0**127),
}


def round_to(values: np.ndarray, dtype: str) -> np.ndarray:
    """`values` (float64) rounded to the nearest number of `dtype`, still in float64."""
    if dtype == "bfloat16":  # numpy has no such type
        step = spacing(values, dtype)
        rounded = np.where(np.isfinite(values), np.round(values / step) * step, values)
        over = np.abs(rounded) > _FORMATS[dtype][2]
        return np.asarray(np.where(over, np.copysign(np.inf, values), rounded))
    with np.errstate(over="ignore"):
        return np.asarray(values.astype(dtype), np.float64)


def spacing(values: np.ndarray, dtype: str) -> np.ndarray:
    """Distance between neighbouring numbers of `dtype` at the size of `values`."""
    digits, smallest, _ = _FORMATS[dtype]
    _, exponent = np.frexp(values)
    exponent = np.where((values == 0) | ~np.isfinite(values), smallest, exponent - 1)
    return np.asarray(np.ldexp(1.0, np.maximum(exponent, smallest) - (digits - 1)))


@dataclass(slots=True)
class Worst:
    """The element that comes closest to its tolerance or exceeds it most.

    `used` is its error divided by the tolerance, `index` its position in the output of `case`.
    """

    used: float
    case: str
    index: tuple[int, ...]
    expected: float
    actual: float


@dataclass(slots=True)
class Errors:
    """The errors of one output in all cases that have been added."""

    tolerance: Tolerance
    dtype: str
    max_abs: float = 0.0
    max_rel: float = 0.0
    max_ulp: float = 0.0
    elements: int = 0
    breaches: int = 0
    worst: Worst | None = None
    _ulps: list[np.ndarray] = field(default_factory=list)

    def add(
        self, case: str, actual: np.ndarray, expected: np.ndarray, scale: np.ndarray | float
    ) -> None:
        """Count the errors of one case. `expected` is float64, of the shape of `actual`.

        An element passes if some value within the tolerance rounds to it. At a tie both neighbours
        therefore pass, and so does infinity if the tolerance reaches beyond the largest number.
        `scale` is the number of roundings of each element.
        """
        if self.dtype in ("int64", "bool"):
            used = np.where(actual == expected, 0.0, np.inf)
            self._count(case, used, actual, expected)
            return
        got = actual.astype(np.float64)
        with np.errstate(all="ignore"):
            nearest = round_to(expected, self.dtype)
            allowed = np.fmax(
                self.tolerance.ulp * spacing(nearest, self.dtype),
                self.tolerance.abs * np.broadcast_to(scale, expected.shape),
            )
            low = round_to(expected - allowed, self.dtype)
            high = round_to(expected + allowed, self.dtype)
            same = (got == nearest) | (np.isnan(got) & np.isnan(expected))
            passes = same | ((low <= got) & (got <= high))
            # An infinity that passes has an error of 0; one that does not has an infinite error.
            finite = np.isfinite(got) & np.isfinite(expected)
            absolute = np.abs(np.where(finite, got - expected, np.where(passes, 0.0, np.inf)))
            absolute = np.where(got == expected, 0.0, absolute)
            reach = np.maximum(allowed, np.where(got < expected, expected - low, high - expected))
            used = np.where(absolute == 0, 0.0, absolute / reach)
            # There is no relative error if 0 is expected.
            relative = np.where(expected == 0, 0.0, absolute / np.abs(expected))
            ulp = absolute / spacing(np.where(np.isfinite(nearest), nearest, 1.0), self.dtype)
        used = np.where(passes, np.fmin(np.nan_to_num(used), 1.0), np.fmax(used, _BREACH))
        relative = np.where(absolute == 0, 0.0, relative)
        if absolute.size:
            self.max_abs = max(self.max_abs, float(absolute.max()))
            self.max_rel = max(self.max_rel, float(np.nan_to_num(relative, posinf=np.inf).max()))
            self.max_ulp = max(self.max_ulp, float(ulp.max()))
        self._ulps.append(np.minimum(ulp.ravel(), _MOST_ULP).astype(np.float32))
        self._count(case, used, got, expected)

    def _count(self, case: str, used: np.ndarray, actual: np.ndarray, expected: np.ndarray) -> None:
        self.elements += used.size
        self.breaches += int((used > 1).sum())
        if used.size == 0:
            return
        at = tuple(int(i) for i in np.unravel_index(int(used.argmax()), used.shape))
        if self.worst is None or used[at] > self.worst.used:
            self.worst = Worst(float(used[at]), case, at, float(expected[at]), float(actual[at]))

    @property
    def p999_ulp(self) -> float:
        """99.9th percentile of the ULP errors."""
        ulps = np.concatenate(self._ulps) if self._ulps else np.zeros(0)
        return float(np.quantile(ulps, 0.999, method="higher")) if ulps.size else 0.0
