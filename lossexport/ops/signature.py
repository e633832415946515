"""Parameters, types and documentation of an op in Python, derived from its declaration.

Functions and modules have them at runtime; docs/generate.py writes them into the stubs.
"""

import inspect
import textwrap
from collections.abc import Iterable, Sequence
from inspect import Parameter, Signature
from types import GenericAlias
from typing import Any, Literal

from torch import Tensor

from lossexport.catalog.spec import Attribute, Op
from lossexport.catalog.spec import Tensor as Declared

_SELF = Parameter("self", Parameter.POSITIONAL_OR_KEYWORD)
_WIDTH = 88  # leaves space for the indentation of a method in a line of 100


def of_function(op: Op) -> Signature:
    """The signature of the function, which takes the inputs, then the attributes."""
    attributes = _attributes(op, Parameter.POSITIONAL_OR_KEYWORD)
    return Signature([*_inputs(op.inputs), *attributes], return_annotation=_result(op.outputs))


def of_constructor(op: Op) -> Signature:
    """The signature of the module's constructor, which takes the attributes by keyword."""
    return Signature([_SELF, *_attributes(op, Parameter.KEYWORD_ONLY)], return_annotation=None)


def of_forward(op: Op) -> Signature:
    """The signature of the module's `forward`: inputs and outputs without the op's state."""
    inputs, outputs = without_state(op)
    return Signature([_SELF, *_inputs(inputs)], return_annotation=_result(outputs))


def without_state(op: Op) -> tuple[list[Declared], list[Declared]]:
    """The inputs and outputs of an op that are not state."""
    inputs = [tensor for tensor in op.inputs if tensor.name not in op.state]
    return inputs, [tensor for tensor in op.outputs if tensor.name not in op.state.values()]


def function_doc(op: Op, text: str | None) -> str:
    """The docstring of the function; `text` is its author's docstring."""
    arguments = [*map(_tensor, op.inputs), *map(_attribute, op.attributes)]
    return _doc(inspect.cleandoc(text or op.summary), arguments)


def class_doc(op: Op) -> str:
    """The docstring of the module."""
    return _doc(op.summary, map(_attribute, op.attributes))


def forward_doc(op: Op) -> str:
    """The docstring of the module's `forward`."""
    inputs, outputs = without_state(op)
    return _doc("Call the op.", map(_tensor, inputs), map(_tensor, outputs))


def _inputs(tensors: Iterable[Declared]) -> list[Parameter]:
    kind = Parameter.POSITIONAL_OR_KEYWORD
    return [Parameter(tensor.name, kind, annotation=Tensor) for tensor in tensors]


def _attributes(op: Op, kind: Any) -> list[Parameter]:
    return [
        Parameter(item.name, kind, default=item.default, annotation=_type(item))
        for item in op.attributes
    ]


def _type(attribute: Attribute) -> Any:
    """The type of the values that an attribute may have."""
    default = attribute.default
    if default is None:
        return int | None
    if attribute.choices:
        return Literal[attribute.choices]
    if isinstance(default, tuple):
        return _tuple(float, len(default))
    return type(default) | Sequence[float] if attribute.per_class else type(default)


def _result(outputs: Sequence[Declared]) -> Any:
    return Tensor if len(outputs) == 1 else _tuple(Tensor, len(outputs))


def _tuple(item: type, size: int) -> Any:
    return GenericAlias(tuple, (item,) * size)


def _tensor(tensor: Declared) -> tuple[str, str]:
    shape = ",".join(map(str, tensor.shape))
    return tensor.name, f"[{shape}] {tensor.dtype}" + (tensor.text and f", {tensor.text}")


def _attribute(attribute: Attribute) -> tuple[str, str]:
    limits = "" if attribute.choices else f"({attribute.bounds})"
    return attribute.name, f"{attribute.doc} {limits}".strip()


def _doc(
    text: str, arguments: Iterable[tuple[str, str]], results: Iterable[tuple[str, str]] = ()
) -> str:
    sections = [text]
    for title, items in (("Args", arguments), ("Returns", results)):
        lines = [_wrapped(f"{name}: {meaning}") for name, meaning in items]
        if lines:
            sections.append("\n".join((f"{title}:", *lines)))
    return "\n\n".join(sections)


def _wrapped(text: str) -> str:
    inner, outer = " " * 8, " " * 4
    return textwrap.fill(
        text, _WIDTH, initial_indent=outer, subsequent_indent=inner, break_on_hyphens=False
    )
