"""Checks of arguments from Python; their errors are one line, like those about files."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat, cast

from lossexport.errors import LossexportError, one_line, shown

if TYPE_CHECKING:
    import numpy.typing as npt


def refuse(name: str, value: object, wanted: str) -> LossexportError:
    """The error for an argument `name` whose `value` is not what is `wanted`."""
    return LossexportError(f"{name} is {shown(value)}: {wanted} is expected")


def array(name: str, value: object, kind: type | None = None) -> "npt.NDArray[Any]":
    """`value` as NumPy has it, without a copy where that is possible.

    Raises LossexportError on what is no array, and on one whose values are masked.
    """
    import numpy as np

    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise LossexportError(f"{name} has masked values: fill them, or leave their rows out")
    try:
        return np.asarray(value, kind)
    except Exception as error:  # rows differ in length, or the value's own code raises
        raise LossexportError(f"{name} is no array: {one_line(error)}") from error


def path(name: str, value: object) -> Path:
    """`value` as a path. Raises LossexportError on anything but a str or a path of text."""
    given = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(given, str) or not given or "\0" in given:
        raise refuse(name, value, "the path of a file or folder, a str or pathlib.Path,")
    return Path(given)


def optional_path(name: str, value: object) -> Path | None:
    """The same, or None."""
    return None if value is None else path(name, value)


def number(name: str, value: object) -> float:
    """`value` as a float, infinite for a whole number that no float can hold.

    Raises LossexportError on text, bools and anything else that is not a number.
    """
    import numpy as np

    plain = not isinstance(value, bool | np.bool_ | str | bytes) and hasattr(value, "__float__")
    if type(value) is int and value.bit_length() > 1024:
        return math.inf if value > 0 else -math.inf
    # Arrays and tensors of several numbers have the method too.
    with suppress(TypeError, ValueError, OverflowError, RuntimeError):
        if plain:
            return float(cast(SupportsFloat, value))
    raise refuse(name, value, "a number")


def finite(name: str, value: object) -> float:
    """The same, but for infinity and NaN."""
    found = number(name, value)
    if not math.isfinite(found):
        raise refuse(name, found, "a finite number")
    return found


def whole(name: str, value: object, least: int, most: int) -> int:
    """`value` as an int, if it is a whole number from `least` to `most`; 2.0 is one."""
    found = number(name, value)
    if not least <= found <= most or found != int(found):
        raise refuse(name, value, f"a whole number from {least} to {most}")
    return int(found)


def mapping(name: str, value: object) -> Mapping[str, Any]:
    """`value`, or {} for None. Raises LossexportError on anything but a mapping of names."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise refuse(name, value, "a mapping of names, as a dict,")
    return value


def text(name: str, value: object) -> str:
    """`value`. Raises LossexportError on anything but a str."""
    if not isinstance(value, str):
        raise refuse(name, value, "a str")
    return value


def check_function(name: str, value: object) -> None:
    """Raise LossexportError if `value` is neither None nor a function."""
    if value is not None and not callable(value):
        raise refuse(name, value, "a function")


def several(name: str, value: object) -> list[Any]:
    """A single str or path, or a sequence, as a list. Raises LossexportError on anything else."""
    if isinstance(value, str | os.PathLike):
        return [value]
    if isinstance(value, bytes | Mapping) or not isinstance(value, Iterable):
        raise refuse(name, value, "one or a list of them")
    return list(value)


def choice(name: str, value: object, known: Sequence[str]) -> None:
    """Raise LossexportError unless `value` is one of `known`."""
    if not isinstance(value, str) or value not in known:
        raise LossexportError(
            f"{name} {shown(value)} is not one of {', '.join(known)}{did_you_mean(value, known)}"
        )


def did_you_mean(word: object, known: Sequence[str]) -> str:
    """The question at the end of a message if a word of `known` is similar, else nothing."""
    near = nearest(word, known)
    return f"; did you mean {near}?" if near else ""


def nearest(word: object, known: Sequence[str]) -> str | None:
    """The word of `known` that is most similar, if any is."""
    from difflib import get_close_matches

    folded = {other.casefold(): other for other in reversed(known)}
    near = get_close_matches(word.casefold(), folded, 1, 0.6) if isinstance(word, str) else []
    return folded[near[0]] if near else None
