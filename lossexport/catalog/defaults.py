"""Defaults for fields that an op's declaration does not give."""

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lossexport.catalog.parts import Attribute, Deferred, Dim

Sizes = tuple[int, int, int]
# Smallest, tuned for, largest.
_SIZES: Mapping[str, Sizes] = {"N": (1, 256, 65536), "M": (1, 256, 16384), "C": (1, 80, 512)}
_OTHER: Sizes = (1, 16, 1024)
# The most elements of a tensor: 16384 x 16384.
_MOST = 2**28
# Words of op names with a special spelling in CamelCase (`ciou_loss` -> `CIoULoss`).
_CAPITALS = ("l1", "kl", "ghm", "c", "r", "ap", "dr", "sce", "nms", "bce", "nwd")


def class_name(name: str) -> str:
    """The name in CamelCase: the module in `lossexport.nn` and the ONNX node."""
    return "".join(_camel(word) for word in name.split("_"))


def _camel(word: str) -> str:
    if found := re.fullmatch(r"([a-z]*)iou", word):  # MPDIoU, AlphaIoU
        kind = found[1]
        return (kind.upper() if len(kind) <= 3 else kind.capitalize()) + "IoU"
    return word.upper() if word in _CAPITALS else word.capitalize()


def summary(name: str, function: Callable[..., Any]) -> str:
    """The first line of the function's docstring, or the name in words."""
    text = None if isinstance(function, Deferred) else inspect.getdoc(function)
    if text and inspect.isroutine(function):  # a callable object has its class's docstring
        return text.strip().splitlines()[0].strip()
    return f"{name.replace('_', ' ').capitalize()}."


def sizes(
    shapes: Sequence[tuple[Dim, ...]],
    attributes: Sequence[Attribute],
    given: Mapping[str, Sizes],
) -> dict[str, Sizes]:
    """A range for every symbolic dimension of the shapes, in the order in which they occur.

    Ranges that are not `given` end where the largest tensor, with all dimensions at their largest,
    still has an allowed size.
    """
    fixed = {item.name: item.default for item in attributes}
    names = [dim for shape in shapes for dim in shape if isinstance(dim, str) and dim not in fixed]
    found = {name: given.get(name, _SIZES.get(name, _OTHER)) for name in dict.fromkeys(names)}
    for shape in shapes:
        free = [dim for dim in shape if dim in found and dim not in given]
        while free and _elements(shape, found, fixed) > _MOST:
            widest = max(free, key=lambda name: found[name][2])
            low, best, high = found[widest]
            if high == 1:
                break
            found[widest] = (low, min(best, high // 2), high // 2)
    return found


def _elements(shape: tuple[Dim, ...], found: Mapping[str, Sizes], fixed: Mapping[str, Any]) -> int:
    largest = (
        dim if isinstance(dim, int) else found[dim][2] if dim in found else fixed[dim]
        for dim in shape
    )
    return math.prod(largest)
