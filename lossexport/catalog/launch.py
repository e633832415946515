"""How the fused kernel of an op is launched: for TensorRT's plugins and for the tests."""

import functools
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lossexport.names import METRICS

# A size is an int or TensorRT's symbolic integer; both support + - * and //.
Sizes = Mapping[str, Any]
# The values that a macro may have.
Constant = int | float | tuple[float, ...]

# `enum Metric` of plugins/kernels/boxes.cuh.
METRIC_CODES = {name: place for place, name in enumerate((*METRICS, "eiou", "siou", "nwd"))}


def blocks(count: Any, block: int) -> Any:
    """The number of blocks of `block` elements that hold `count` elements."""
    return (count + (block - 1)) // block


@dataclass(frozen=True, slots=True)
class Launch:
    """A launch of a kernel in `plugins/kernels`, without a workspace.

    Its arguments are the node's inputs, `sizes` as 32-bit integers, and the node's outputs. `grid`
    returns the number of blocks, x first, of `block` threads each. `grid` and `sizes` are functions
    of dimensions and attributes. `macros` turns attributes into constants that are compiled into
    the kernel. `largest` bounds the dimensions that it supports.
    """

    source: str
    entry: str
    grid: Callable[[Sizes], tuple[Any, ...]]
    block: int
    sizes: Callable[[Sizes], tuple[Any, ...]]
    macros: Callable[[Mapping[str, Any]], Mapping[str, Constant]]
    largest: Mapping[str, int] = field(default_factory=dict)

    def serves(self, largest: Mapping[str, int]) -> bool:
        """Whether the kernel supports dimensions of these sizes."""
        return all(largest[name] <= limit for name, limit in self.largest.items())


def spread(block: int, *dims: str | int) -> Callable[[Sizes], tuple[Any, ...]]:
    """A grid with a thread for each element of `dims`, or with one block for a `reduction`."""

    def grid(sizes: Sizes) -> tuple[Any, ...]:
        if sizes.get("reduction", "none") != "none":
            return (1,)
        return (blocks(elements(sizes, *dims), block),)

    return grid


def elements(sizes: Sizes, *dims: str | int) -> Any:
    """The product of dimensions."""
    return functools.reduce(
        operator.mul, (sizes[dim] if isinstance(dim, str) else dim for dim in dims)
    )


def macros_of(*names: str) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Macros with the names and values of attributes."""
    return lambda attributes: {f"LX_{name.upper()}": attributes[name] for name in names}
