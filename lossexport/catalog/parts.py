"""The parts of a declaration: tensors, attributes, references, functions."""

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, cast

import numpy as np

from lossexport.catalog.domains import DOMAINS, Domain, DType, in_words
from lossexport.errors import LossexportError, shown

Arrays = dict[str, np.ndarray]
Dims = Mapping[str, int]
# A dimension is fixed (int), symbolic ("N"), or has the value of an attribute ("max_output").
Dim = int | str
# Draws the inputs of one verification case: (rng, dims, attributes) -> float64/int64 arrays.
Sampler = Callable[[np.random.Generator, Dims, Mapping[str, Any]], Arrays]
_OF_DOMAIN = cast(DType, "")
# The longest list of an attribute of any length.
_MOST_NUMBERS = 1024


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output.

    `domain` is the name of one of `DOMAINS`, which describes the values and has the defaults of the
    other fields, or a description in words. `dtype` is "float" (the chosen precision), "float32"
    (independent of the precision, for running counts), "int64" or "bool"; the default for words
    is "float". `low`, `high` and `whole` are checked by eager PyTorch. `high` may name a dimension
    whose size is the bound ("C"), or is one above it ("C-1"). `where` is the input of the same
    shape, a mask, that says which values count and have to be within these bounds.
    """

    name: str
    shape: tuple[Dim, ...]
    domain: str = "real"
    dtype: DType = _OF_DOMAIN
    low: float = -math.inf
    high: float | str = math.inf
    whole: bool = False
    where: str = ""

    def __post_init__(self) -> None:
        """Take fields that are not given from a named domain."""
        known = DOMAINS.get(self.domain) if isinstance(self.domain, str) else None
        if isinstance(self.dtype, str) and self.dtype == _OF_DOMAIN:
            self._set("dtype", known.dtype if known else "float")
        if known is not None:
            for field, nothing in (("low", -math.inf), ("high", math.inf), ("whole", False)):
                given = getattr(self, field)
                if isinstance(given, bool | int | float) and given == nothing:
                    self._set(field, getattr(known, field))

    def _set(self, field: str, value: object) -> None:
        object.__setattr__(self, field, value)

    @property
    def values(self) -> Domain:
        """The domain of the tensor, with its draws."""
        return DOMAINS.get(self.domain) or in_words(
            self.domain, self.dtype, self.whole, self.bounded
        )

    @property
    def text(self) -> str:
        """The description of the values."""
        return self.values.text

    @property
    def bounded(self) -> bool:
        """Whether its values have to be checked."""
        return self.whole or (self.low, self.high) != (-math.inf, math.inf)

    def upper(self, sizes: Mapping[str, int]) -> float:
        """`high` as a number; infinite if it names a dimension that the op does not have."""
        if not isinstance(self.high, str):
            return self.high
        dim, _, less = self.high.partition("-")
        return sizes[dim] - int(less or 0) if dim in sizes else math.inf


class _NotValidError(Exception):
    """What a value has to be and is not."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """A constant of the exported graph, with its bounds (inclusive, except for `below`).

    If `per_class`, it may also be a list with a number for every class. If `any_length`, a list of
    numbers need not have the length of the default. If `graph_only`, it is a capacity of a graph of
    fixed shapes, while eager PyTorch is not limited.
    """

    name: str
    default: float | int | bool | str | tuple[float, ...] | None
    doc: str = ""
    minimum: float = -math.inf
    maximum: float = math.inf
    below: float = math.inf
    choices: tuple[str, ...] = ()
    per_class: bool = False
    any_length: bool = False
    graph_only: bool = False

    def check(self, op: str, value: Any) -> Any:
        """`value` in the attribute's own type. Raises LossexportError when it is not valid."""
        try:
            return self._converted(value)
        except _NotValidError as wrong:
            raise LossexportError(f"{op}: {self.name}={shown(value)}: must be {wrong}") from None

    def _converted(self, value: Any) -> Any:
        if value is None and self.default is None:
            return None
        if self.choices:
            if not isinstance(value, str) or value not in self.choices:
                raise _NotValidError(f"one of {', '.join(self.choices)}")
            return value
        if isinstance(self.default, bool):
            if not isinstance(value, bool):
                raise _NotValidError("true or false")
            return value
        if isinstance(self.default, tuple):
            given = isinstance(value, tuple | list)
            if self.any_length and not (given and 1 <= len(value) <= _MOST_NUMBERS):
                raise _NotValidError(f"a list of 1 to {_MOST_NUMBERS} numbers")
            if not given or (not self.any_length and len(value) != len(self.default)):
                raise _NotValidError(f"{len(self.default)} numbers")
            return tuple(float(self._number(item)) for item in value)
        if self.per_class and isinstance(value, tuple | list) and value:
            return tuple(float(self._number(item)) for item in value)
        number = self._number(value)
        if isinstance(self.default, float):
            return float(number)
        if int(number) != number:
            raise _NotValidError("a whole number")
        return int(number)

    def _number(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _NotValidError("a number")
        if not abs(value) <= sys.float_info.max:  # math.isfinite raises for larger ints
            raise _NotValidError("finite")
        if not self.minimum <= value <= self.maximum or value >= self.below:
            raise _NotValidError(self.bounds)
        return value

    @property
    def bounds(self) -> str:
        """The valid range in words."""
        if self.below != math.inf:
            return f"in [{self.minimum:g}, {self.below:g})"
        if self.maximum != math.inf:
            return f"in [{self.minimum:g}, {self.maximum:g}]"
        return f"at least {self.minimum:g}" if self.minimum != -math.inf else "any finite number"


@dataclass(frozen=True, slots=True)
class Reference:
    """A paper or public code base: citation and arXiv id or address."""

    text: str
    link: str


@dataclass(frozen=True, slots=True)
class Deferred:
    """A function of a module that is imported on first use: declarations import no torch."""

    module: str
    name: str

    def resolve(self) -> Callable[..., Any]:
        """The function itself."""
        function: Callable[..., Any] = getattr(import_module(self.module), self.name)
        return function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.resolve()(*args, **kwargs)


def beside(declaration: str) -> Callable[[str], Deferred]:
    """A way to refer by name to functions of `functions.py` beside the module `declaration`."""
    return partial(Deferred, f"{declaration.rpartition('.')[0]}.functions")
