"""How the fused kernel of an op is launched: for TensorRT's plugins and for the tests."""

import functools
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lossexport.names import METRICS

# A size is an int, or TensorRT's symbolic integer: both have + - * and //.
Sizes = Mapping[str, Any]
# What a macro may hold.
Constant = int | float | tuple[float, ...]

# `enum Metric` of plugins/kernels/boxes.cuh.
METRIC_CODES = {name: place for place, name in enumerate(METRICS)}


def blocks(count: Any, block: int) -> Any:
    """How many blocks of `block` hold `count` elements."""
    return (count + (block - 1)) // block


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel in `plugins/kernels`, one launch without a workspace.

    Its arguments are the node's inputs, `sizes` as 32-bit integers, and the node's outputs. `grid`
    gives the number of blocks, x first, of `block` threads each; both are functions of dimensions
    and attributes. `macros` turns attributes into the constants that are
    compiled into it. `largest` bounds the dimensions that it serves.
    """

    source: str
    entry: str
    grid: Callable[[Sizes], tuple[Any, ...]]
    block: int
    sizes: Callable[[Sizes], tuple[Any, ...]]
    macros: Callable[[Mapping[str, Any]], Mapping[str, Constant]]
    largest: Mapping[str, int] = field(default_factory=dict)

    def serves(self, largest: Mapping[str, int]) -> bool:
        """Whether the kernel takes dimensions of these sizes."""
        return all(largest[name] <= limit for name, limit in self.largest.items())


def spread(block: int, *dims: str | int) -> Callable[[Sizes], tuple[Any, ...]]:
    """A grid of a thread for each element of `dims`, or of one block where `reduction` adds up."""

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
    """Macros named as the attributes that they hold."""
    return lambda attributes: {f"LX_{name.upper()}": attributes[name] for name in names}
