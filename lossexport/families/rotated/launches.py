"""The fused kernels of rotated boxes."""

from collections.abc import Callable, Mapping
from typing import Any

from lossexport.catalog.launch import Constant, Launch, blocks, spread

# ROTATED_THREADS and ROTATED_ROWS. CUDA bounds the y of a grid.
_THREADS, _ROWS, _MOST_Y = 128, 16, 65535
# `enum Measure` of gaussians.cuh.
_MEASURES = ("rotated_iou", "probiou", "kld", "gwd", "kfiou")
# Attributes with their values where an op does not have them; choices in the order of their codes.
_NUMBERS: Mapping[str, Constant] = {"eps": 0.0, "floor": 0.0, "tau": 1.0, "sqrt": 1, "normalize": 1}
_CHOICES = {
    "direction": ("kld", "jd", "symmax", "symmin"),
    "post": ("log1p", "sqrt", "none"),
    "form": ("linear", "ln", "exp"),
}


def _macros(measure: str) -> Callable[[Mapping[str, Any]], Mapping[str, Constant]]:
    def macros(given: Mapping[str, Any]) -> Mapping[str, Constant]:
        values = {name: given.get(name, default) for name, default in _NUMBERS.items()}
        values |= {
            name: choices.index(given[name]) if name in given else 0
            for name, choices in _CHOICES.items()
        }
        # A truth value is a whole number in C.
        constants = {f"LX_{name.upper()}": value for name, value in values.items()}
        constants |= {k: int(v) for k, v in constants.items() if isinstance(v, bool)}
        return {"LX_MEASURE": _MEASURES.index(measure), **constants}

    return macros


def aligned(measure: str) -> Launch:
    """The score of the boxes of each row."""
    return Launch(
        source="rotated_boxes.cuh",
        entry="rotated_boxes",
        grid=lambda sizes: (blocks(sizes["N"], _THREADS),),
        block=_THREADS,
        sizes=lambda sizes: (sizes["N"],),
        macros=_macros(measure),
    )


def pairwise(measure: str) -> Launch:
    """The matrix of a score."""
    return Launch(
        source="rotated_pairwise.cuh",
        entry="rotated_pairwise",
        grid=lambda sizes: (blocks(sizes["M"], _THREADS), blocks(sizes["N"], _ROWS)),
        block=_THREADS,
        sizes=lambda sizes: (sizes["N"], sizes["M"]),
        macros=_macros(measure),
        largest={"N": _MOST_Y * _ROWS},
    )


def loss(measure: str) -> Launch:
    """A loss of the boxes of each row."""
    return Launch(
        source="rotated_boxes.cuh",
        entry="rotated_boxes",
        grid=spread(_THREADS, "N"),
        block=_THREADS,
        sizes=lambda sizes: (sizes["N"],),
        macros=_macros(measure),
    )
