"""Declarations of ops. Everything else in the package is derived from them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from lossexport.catalog import checks, defaults
from lossexport.catalog.drawing import samplers
from lossexport.catalog.launch import Launch
from lossexport.catalog.parts import (
    Arrays,
    Attribute,
    Deferred,
    Dim,
    Dims,
    Reference,
    Sampler,
    Tensor,
    beside,
)
from lossexport.errors import LossexportError, shown
from lossexport.names import Precision

__all__ = [
    "EXACT", "ROUNDINGS", "Arrays", "Attribute", "Deferred", "Dim", "Dims", "Op", "Reference",
    "Sampler", "Stage", "Tensor", "Tolerance", "U", "beside",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tolerance:
    """An element passes within `ulp` units in the last place or `abs * scale`, and one rounding.

    `scale` is the number of roundings in the element, each weighted by its effect, as counted by
    `lossexport.parity.roundings`. `why` explains both numbers.
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
class Stage:
    """One of several kernels that together compute an op: a node in the op's function.

    Inputs and outputs are, by name, tensors of the op or results of other stages. `function` is the
    stage's torch function. In a gradient graph, the stage also returns the gradients of its inputs
    `gradient`; if it is `gradient_only`, it is in no other graph. `parts` bounds the dimension P of
    its inputs, which is the number of partial results of an earlier stage: one from its body,
    several from its kernel.
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


Kind = Literal["metric", "loss", "transform", "suppression"]
_OF_OUTPUTS = cast(Kind, "")


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """The declaration of an op. Only name, function, inputs and outputs are required.

    `function` takes the inputs in order, then the attributes. Raises LossexportError, naming the
    field and its value, if a declaration is not valid.
    """

    name: str
    function: Callable[..., Any]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    attributes: tuple[Attribute, ...] = ()
    # Inputs with respect to which the gradient of the summed first output is exported.
    gradient: tuple[str, ...] = ()
    # Default: the first line of the function's docstring, or the name in words.
    summary: str = ""
    formula: str = ""
    # Default: a loss if there is a gradient or an output named `loss`, else a metric.
    kind: Kind = _OF_OUTPUTS
    references: tuple[Reference, ...] = ()
    notes: tuple[str, ...] = ()
    # The smallest size of every symbolic dimension, the one to tune for, and the largest.
    dims: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    # The cases that it is verified with, by family. Default: from the domains of the inputs.
    samplers: Mapping[str, Sampler] = field(default_factory=dict)
    # CamelCase name: the module in `lossexport.nn` and the ONNX node.
    class_name: str = ""
    # Whether the first input, and those declared like it, may have any common shape in Python,
    # because elements are treated separately, or all of them together.
    any_shape: bool = False
    # Shape of the largest temporary, if it is larger than all inputs and outputs.
    work: tuple[Dim, ...] = ()
    # Input -> output that is this input in the next call; a module keeps it as a buffer.
    state: Mapping[str, str] = field(default_factory=dict)
    # The fused kernel of the value graph, or the kernels of both graphs.
    kernel: Launch | None = None
    stages: tuple[Stage, ...] = ()

    def __post_init__(self) -> None:
        """Check the given fields and fill in the others."""
        for name in ("inputs", "outputs", "attributes", "gradient", "references", "notes"):
            if isinstance(value := getattr(self, name), list):
                self._set(name, tuple(value))
        checks.check(self)
        trains = self.gradient or any(tensor.name == "loss" for tensor in self.outputs)
        shapes = [*(tensor.shape for tensor in (*self.inputs, *self.outputs)), self.work]
        self._set("summary", self.summary or defaults.summary(self.name, self.function))
        self._set("kind", self.kind or ("loss" if trains else "metric"))
        self._set("class_name", self.class_name or defaults.class_name(self.name))
        self._set("dims", defaults.sizes(shapes, self.attributes, self.dims))
        self._set("samplers", self.samplers or samplers(self.inputs))

    def _set(self, field: str, value: object) -> None:
        object.__setattr__(self, field, value)

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    @property
    def aligned(self) -> bool:
        """Whether Python accepts no dimension, or several, in place of the first.

        This needs a first dimension N in all inputs and outputs except scalars and state.
        """
        if self.any_shape:
            return True
        inputs = [tensor.shape for tensor in self.inputs if tensor.name not in self.state]
        outputs = [o.shape for o in self.outputs if o.shape and o.name not in self.state.values()]
        return all(s[:1] == ("N",) and "N" not in s[1:] for s in (*inputs, *outputs))

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All attributes: `given` or the default. Raises LossexportError on a bad value."""
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
        """Tolerance of an output. The rule is the same for all; each element has its own scale."""
        dtypes = {tensor.name: tensor.dtype for tensor in self.outputs}
        dtype = dtypes.get(output, "float")
        if dtype in ("int64", "bool"):
            return EXACT
        if precision == "fp32" or dtype != "float":
            return ROUNDINGS
        return Tolerance(0.0, U, f"{ROUNDINGS.why}; and one rounding to {precision} at the end")
