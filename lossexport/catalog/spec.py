"""What a catalogue entry says about an op. Everything else in the package derives from it."""

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any, Literal

import numpy as np

from lossexport.catalog.launch import Launch
from lossexport.errors import LossexportError, shown
from lossexport.names import METRICS, Precision

Arrays = dict[str, np.ndarray]
Dims = Mapping[str, int]
# A dimension is fixed (int), symbolic ("N") or the value of an attribute ("max_output").
Dim = int | str

# Words of op names that CamelCase spells in its own way (`ciou_loss` -> `CIoULoss`).
_CAMEL = {
    **{word: word[:-3].upper() + "IoU" for word in METRICS},
    **{word: word.upper() for word in ("l1", "kl", "ghm", "c", "r", "ap", "dr", "sce", "nms")},
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output.

    `dtype` is "float" (the chosen precision), "float32" (whatever the precision: running counts),
    "int64" or "bool"; `domain` states the values for which the op is defined, in words, and `low`,
    `high` and `whole` those of them that eager PyTorch checks. `high` may name a dimension whose
    size is the bound ("C"), or one below it ("C-1").
    """

    name: str
    shape: tuple[Dim, ...]
    domain: str
    dtype: Literal["float", "float32", "int64", "bool"] = "float"
    low: float = -math.inf
    high: float | str = math.inf
    whole: bool = False

    @property
    def bounded(self) -> bool:
        """Whether there is anything to check in its values."""
        return self.whole or (self.low, self.high) != (-math.inf, math.inf)

    def upper(self, sizes: Mapping[str, int]) -> float:
        """`high` as a number."""
        if not isinstance(self.high, str):
            return self.high
        dim, _, less = self.high.partition("-")
        return sizes[dim] - int(less or 0)


@dataclass(frozen=True, slots=True)
class Attribute:
    """A constant baked into the exported graph, with its bounds (both inclusive unless strict).

    A `per_class` one may also be a list with a number for every class; a `graph_only` one is room
    in a graph of fixed shapes, where eager PyTorch has room for any number.
    """

    name: str
    default: float | int | str | tuple[float, ...] | None
    doc: str
    minimum: float = -math.inf
    maximum: float = math.inf
    below: float = math.inf
    choices: tuple[str, ...] = ()
    per_class: bool = False
    graph_only: bool = False

    def check(self, op: str, value: Any) -> Any:
        """`value` in the attribute's own type. Raises LossexportError when it is not valid."""
        where = f"{op}: {self.name}={shown(value)}"
        if value is None and self.default is None:
            return None
        if self.choices:
            if not isinstance(value, str) or value not in self.choices:
                raise LossexportError(f"{where}: must be one of {', '.join(self.choices)}")
            return value
        if isinstance(self.default, tuple):
            if not isinstance(value, tuple | list) or len(value) != len(self.default):
                raise LossexportError(f"{where}: must be {len(self.default)} numbers")
            return tuple(float(self._number(where, item)) for item in value)
        if self.per_class and isinstance(value, tuple | list) and value:
            return tuple(float(self._number(where, item)) for item in value)
        number = self._number(where, value)
        if isinstance(self.default, float):
            return float(number)
        if int(number) != number:
            raise LossexportError(f"{where}: must be a whole number")
        return int(number)

    def _number(self, where: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise LossexportError(f"{where}: must be a number")
        if not abs(value) <= sys.float_info.max:  # isfinite raises on a larger int
            raise LossexportError(f"{where}: must be finite")
        if not self.minimum <= value <= self.maximum or value >= self.below:
            raise LossexportError(f"{where}: must be {self.bounds}")
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
class Tolerance:
    """An element passes within `ulp` units in the last place or `abs * scale`, and one rounding.

    `scale` is how many roundings the element holds, each weighed by what it does to it, as
    `lossexport.parity.roundings` counts them; `why` says where both numbers come from.
    """

    ulp: float
    abs: float
    why: str


U = 2.0**-24
"""The largest relative error of one float32 rounding."""
EXACT = Tolerance(0.0, 0.0, "whole numbers and decisions are exact")
ROUNDINGS = Tolerance(
    0.0,
    U,
    "u = 2^-24 for every rounding of the float32 computation, weighed by what it does to the "
    "element: a running error analysis of the float64 oracle, 0 where float32 is exact",
)


@dataclass(frozen=True, slots=True)
class Reference:
    """A paper or public code base: citation and arXiv id or address."""

    text: str
    link: str


@dataclass(frozen=True, slots=True)
class Deferred:
    """A function of a module that is imported with the first use: declarations import no torch."""

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
    """The functions of `functions.py` beside the module `declaration`, by their names."""
    return partial(Deferred, f"{declaration.rpartition('.')[0]}.functions")


# Draws the inputs of one verification case: (rng, dims, attributes) -> float64/int64 arrays.
Sampler = Callable[[np.random.Generator, Dims, Mapping[str, Any]], Arrays]


@dataclass(frozen=True, slots=True)
class Stage:
    """One of the kernels that together compute an op: a node in the op's function.

    Inputs and outputs are tensors of the op's, or what other stages pass on, by name. `function` is
    its torch function. In a gradient graph it gives the gradients of its inputs `gradient` too, and
    it is in no other graph where it is `gradient_only`. `parts` bounds the dimension P of its
    inputs: how many partial results a stage before it gives, one from the body and several from a
    kernel.
    """

    name: str
    function: Callable[..., Any]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    attributes: tuple[str, ...]
    launch: Launch
    gradient: tuple[str, ...] = ()
    gradient_only: bool = False
    parts: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """One op, declared once. `function` takes the inputs in order, then the attributes."""

    name: str
    function: Callable[..., Any]
    summary: str
    formula: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    attributes: tuple[Attribute, ...]
    samplers: Mapping[str, Sampler]
    references: tuple[Reference, ...]
    kind: Literal["metric", "loss", "transform", "suppression"]
    gradient: tuple[str, ...] = ()
    dims: Mapping[str, tuple[int, int, int]] = field(default_factory=lambda: {"N": (1, 256, 65536)})
    # Whether the first input, and those declared like it, may have any one shape in Python: each
    # element is judged on its own, or all of them together.
    any_shape: bool = False
    # Shape of the largest temporary, where no input or output is as large.
    work: tuple[Dim, ...] = ()
    # Input -> output that is the same input of the next call: a module keeps it as a buffer.
    state: Mapping[str, str] = field(default_factory=dict)
    # The fused kernel of the value graph, or the several of both graphs.
    kernel: Launch | None = None
    stages: tuple[Stage, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def class_name(self) -> str:
        """CamelCase name: the module in `lossexport.nn` and the ONNX node."""
        words = (_CAMEL.get(word, word.capitalize()) for word in self.name.split("_"))
        return "".join(words)

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    @property
    def aligned(self) -> bool:
        """Whether Python takes none or several dimensions in place of the first.

        That of rows [N] which all inputs share, and the outputs that are not one number; state
        apart.
        """
        if self.any_shape:
            return True
        inputs = [tensor.shape for tensor in self.inputs if tensor.name not in self.state]
        outputs = [o.shape for o in self.outputs if o.shape and o.name not in self.state.values()]
        return all(s[:1] == ("N",) and "N" not in s[1:] for s in (*inputs, *outputs))

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All attributes: defaults overlaid with `given`. Raises LossexportError on a bad one."""
        known = {attribute.name: attribute for attribute in self.attributes}
        for name in given:
            if name not in known:
                names = ", ".join(known) or "none"
                raise LossexportError(
                    f"{self.name}: unknown attribute {shown(name)}; it has: {names}"
                )
        return {
            name: attribute.check(self.name, given[name]) if name in given else attribute.default
            for name, attribute in known.items()
        }

    def output_tensors(self, attributes: Mapping[str, Any], gradient: bool) -> tuple[Tensor, ...]:
        """Outputs of the value graph, or of the value-and-gradient graph, for these attributes."""
        outputs = self.outputs
        if attributes.get("reduction", "none") != "none":
            outputs = tuple(Tensor(o.name, (), o.domain, o.dtype) for o in outputs)
        if not gradient:
            return outputs
        by_name = {tensor.name: tensor for tensor in self.inputs}
        return outputs + tuple(
            Tensor(f"grad_{name}", by_name[name].shape, f"gradient of the summed {outputs[0].name}")
            for name in self.gradient
        )

    def output_tolerance(self, output: str, precision: Precision) -> Tolerance:
        """Tolerance of one output: one rule for all, whose scale is the element's own."""
        dtypes = {tensor.name: tensor.dtype for tensor in self.outputs}
        dtype = dtypes.get(output, "float")
        if dtype in ("int64", "bool"):
            return EXACT
        if precision == "fp32" or dtype != "float":
            return ROUNDINGS
        return Tolerance(0.0, U, f"{ROUNDINGS.why}; and one rounding to {precision} at the end")
