"""The plugin layer of TensorRT, without a GPU: that of the lean runtime, driven as TensorRT would.

The lean runtime cannot build, but carries the same plugin layer, which imports `tensorrt`. A module
of that name forwards to it. Two names that it lacks are supplied, and those whose objects the
builder, written in C++, makes and hands to a plugin: here they record what the plugin does.
"""

import enum
import functools
import importlib
import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lossexport.kernels import Kernel

Sizes = Mapping[str, int]


class TensorFormat(enum.Enum):
    """Missing in the lean runtime."""

    LINEAR = 0


class ITensor:
    """Missing in the lean runtime."""


_OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "SUM": operator.add,
    "PROD": operator.mul,
    "SUB": operator.sub,
    "MAX": max,
    "FLOOR_DIV": operator.floordiv,
}


class Expression:
    """A symbolic integer: what it is for given sizes."""

    def __init__(self, value: Callable[[Sizes], int], constant: bool = False) -> None:
        self.value, self.constant = value, constant

    def is_constant(self) -> bool:
        return self.constant

    def get_constant_value(self) -> int:
        return self.value({})


class Builder:
    """What TensorRT computes symbolic integers with."""

    def constant(self, value: int) -> Expression:
        return Expression(lambda sizes: value, constant=True)

    def operation(self, op: Any, first: Expression, second: Expression) -> Expression:
        compute = _OPERATIONS[op.name]
        constant = first.is_constant() and second.is_constant()
        return Expression(lambda sizes: compute(first.value(sizes), second.value(sizes)), constant)


class DimsExprs(list[Any]):
    """Shape of an output, filled in by the plugin."""

    def __init__(self, rank: int) -> None:
        super().__init__([None] * rank)


class ISymExpr:
    """An argument: kind, type and expression, set by the plugin layer."""


@dataclass
class PluginTensorDesc:
    """Shape, type and layout of a tensor at build time."""

    dims: tuple[int, ...] = ()
    type: Any = None
    format: Any = TensorFormat.LINEAR
    scale: float = 1.0


@dataclass
class DynamicPluginTensorDesc:
    """The same with the bounds of its dimensions."""

    desc: PluginTensorDesc = field(default_factory=PluginTensorDesc)


@functools.cache
def modules() -> tuple[ModuleType, ModuleType]:
    """The stand-in for `tensorrt` and the real plugin layer on top of it."""
    lean = pytest.importorskip("tensorrt_lean", reason="tensorrt-lean-cu13 is not installed")
    stand_in = ModuleType("tensorrt")
    stand_in.__dict__.update({k: v for k, v in vars(lean).items() if not k.startswith("__")})
    for name in (
        *(TensorFormat, ITensor, DimsExprs, ISymExpr),
        *(PluginTensorDesc, DynamicPluginTensorDesc),
    ):
        setattr(stand_in, name.__name__, name)
    setattr(stand_in, "IDimensionExpr", Expression)  # noqa: B010  mypy knows the module's names
    before = sys.modules.get("tensorrt")
    sys.modules["tensorrt"] = stand_in
    try:
        return stand_in, importlib.import_module("tensorrt_lean_bindings.plugin")
    finally:  # the other tests are to see what is really installed
        if before is None:
            del sys.modules["tensorrt"]
        else:
            sys.modules["tensorrt"] = before


@dataclass
class Built:
    """What an engine would hold of a plugin."""

    shapes: list[list[Expression]]
    grid: list[Expression]
    block: list[Expression]
    shared: Expression
    arguments: list[Any]
    entry: str
    ptx: str


def buffer(value: Any) -> Any:
    """The value of an attribute as the ONNX parser hands it over: float32, int32, characters."""
    if isinstance(value, str):
        return value.encode() + b"\0"
    return np.array(np.atleast_1d(value), np.int32 if isinstance(value, int) else np.float32)


def plugin_of(kernel: Kernel, attributes: Mapping[str, Any]) -> Any:
    """The plugin that TensorRT's creator makes of a node with the attribute `aot`."""
    tensorrt, _ = modules()
    creator = tensorrt.get_plugin_registry().get_creator(kernel.name, "1", "lossexport")
    assert creator is not None
    kinds = tensorrt.PluginFieldType
    # A field points to its buffer and does not keep it.
    buffers = {name: buffer(value) for name, value in attributes.items()}
    fields = [
        tensorrt.PluginField(
            name,
            value,
            kinds.CHAR
            if isinstance(value, bytes)
            else {"i": kinds.INT32, "f": kinds.FLOAT32}[value.dtype.kind],
        )
        for name, value in buffers.items()
    ]
    return creator.create_plugin(
        kernel.name,
        "lossexport",
        tensorrt.PluginFieldCollection(fields),
        tensorrt.TensorRTPhase.BUILD,
        tensorrt.QuickPluginCreationRequest.STRICT_AOT,
    )


def build(kernel: Kernel, attributes: Mapping[str, Any], float_type: str) -> Built:
    """Ask a plugin for all that goes into an engine, in TensorRT's order.

    `float_type` is TensorRT's name of the type of float tensors: FLOAT, HALF or BF16.
    """
    tensorrt, _ = modules()
    types = tensorrt.DataType
    names = {"float": float_type, "float32": "FLOAT", "int64": "INT64", "bool": "BOOL"}
    plugin, builder = plugin_of(kernel, attributes), Builder()

    def type_of(tensor: Any) -> Any:
        return getattr(types, names[tensor.dtype])

    inputs = [type_of(tensor) for tensor in kernel.inputs]
    written = kernel.written(attributes)
    outputs = [type_of(tensor) for tensor in written]
    ranks = [len(tensor.shape) for tensor in kernel.inputs]
    assert plugin.get_num_outputs() == len(outputs)
    assert list(plugin.get_output_data_types(inputs, ranks)) == outputs
    symbols = [[_symbol(builder, dim) for dim in tensor.shape] for tensor in kernel.inputs]
    shapes = plugin.get_output_shapes(symbols, [], builder)
    in_out = [
        DynamicPluginTensorDesc(PluginTensorDesc((-1,) * len(tensor.shape), type_of(tensor)))
        for tensor in (*kernel.inputs, *written)
    ]
    offered = plugin.get_supported_format_combinations(in_out, len(inputs))
    assert _chosen(offered, len(in_out), [item.desc.type for item in in_out])
    plugin.configure_plugin(in_out[: len(inputs)], in_out[len(inputs) :])
    assert plugin.get_valid_tactics() == []
    plugin.set_tactic(0)
    launch, extra = SimpleNamespace(), _Arguments()
    plugin.get_launch_params(symbols, in_out, len(inputs), launch, extra, builder)
    descs = [item.desc for item in in_out]
    entry, ptx = plugin.get_kernel(descs[: len(inputs)], descs[len(inputs) :])
    return Built(
        shapes,
        [launch.grid_x.expr, launch.grid_y.expr, launch.grid_z.expr],
        [launch.block_x.expr, launch.block_y.expr, launch.block_z.expr],
        launch.shared_mem.expr,
        [extra[index] for index in range(extra.nbSymExprs)],
        entry,
        ptx.decode(),
    )


class _Arguments(dict[int, Any]):
    """The extra arguments of the kernel, by place."""

    nbSymExprs = 0  # noqa: N815


def _symbol(builder: Builder, dim: int | str) -> Expression:
    if isinstance(dim, int):
        return builder.constant(dim)
    return Expression(lambda sizes: sizes[dim])


def _chosen(offered: Sequence[Any], count: int, wanted: list[Any]) -> bool:
    """Whether one of the combinations, laid out one after another, has the wanted types."""
    rows = [offered[start : start + count] for start in range(0, len(offered), count)]
    linear = all(item.format is TensorFormat.LINEAR for item in offered)
    return linear and wanted in [[item.type for item in row] for row in rows]
