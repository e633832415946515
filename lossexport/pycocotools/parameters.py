"""Checks of the parameters of an evaluation."""

from typing import Any

import numpy as np

from lossexport.errors import LossexportError, shown


def check(p: Any) -> None:
    """Raise LossexportError on a parameter of another shape or type, or with NaN, naming it."""
    _check(p, "iouThrs", 1, "a list of numbers is")
    _check(p, "recThrs", 1, "a list of numbers is", least=0)
    _check(p, "areaRng", 2, "pairs of a least and a largest area are")
    whole = "a list of whole numbers is"
    _check(p, "maxDets", 1, whole)
    if not all(isinstance(most, int | np.integer) for most in p.maxDets):
        raise _refusal(p, "maxDets", whole)


def check_flags(p: Any) -> None:
    """Raise LossexportError on a flag that is neither true nor false, such as an array of two."""
    for name in ("useCats", "useSegm"):
        if not is_flag(getattr(p, name)):
            raise _refusal(p, name, "0 or 1 is")


def is_flag(value: Any) -> bool:
    """Whether a value is true or false, as each is but arrays of none or several numbers."""
    try:
        bool(value)
    except (TypeError, ValueError):
        return False
    return True


def _check(p: Any, name: str, dimensions: int, expected: str, least: int = 1) -> None:
    value = getattr(p, name)
    try:
        if np.asarray(value).dtype.kind not in "biuf":
            raise _refusal(p, name, expected)
        found = np.asarray(value, np.float64)
    except LossexportError:
        raise
    except (TypeError, ValueError, OverflowError):
        raise _refusal(p, name, expected) from None
    sound = found.ndim == dimensions and len(found) >= least and not np.isnan(found).any()
    if not sound or (dimensions == 2 and found.shape[1] != 2):
        raise _refusal(p, name, expected)


def _refusal(p: Any, name: str, expected: str) -> LossexportError:
    return LossexportError(f"params.{name} is {shown(getattr(p, name))}: {expected} expected")
