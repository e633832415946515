"""The kernels as quickly deployable plugins of TensorRT, compiled ahead of time.

TensorRT asks a plugin for the shapes of its outputs, for the types that it accepts and, after its
choice of types, for a kernel. The PTX of the kernel is stored in the engine, which then needs
neither Python nor a library. Everything is derived from the catalogue. TensorRT reads the
signatures of the three functions, so each plugin has its own functions.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, Signature
from types import GenericAlias, ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from lossexport.catalog.spec import Attribute
from lossexport.kernels import Kernel, declared, ptx
from lossexport.names import Precision
from lossexport.runtime.cuda import capability as capability_at_hand

NAMESPACE = "lossexport"
# The plugin layer supports no other version.
VERSION = "1"

_PRECISIONS: dict[str, Precision] = {"FLOAT": "fp32", "HALF": "fp16", "BF16": "bf16"}
_OFFERED = {"float": "FP32|FP16|BF16", "float32": "FP32", "int64": "INT64", "bool": "BOOL"}


@functools.cache
def register(tensorrt: ModuleType, plugin: ModuleType, capability: str | None = None) -> None:
    """Register a plugin for every kernel with TensorRT, once in a process.

    `plugin` is the module `tensorrt.plugin`. Engines are for the device at hand, or for one of
    `capability` ("8.6"). Raises LossexportError if there is no NVRTC to compile with.
    """
    ptx.nvrtc()
    for kernel in declared().values():
        _Plugin(kernel, tensorrt, plugin, capability).register()


@dataclass(frozen=True, slots=True)
class _Plugin:
    """The answers of one plugin to TensorRT."""

    kernel: Kernel
    tensorrt: ModuleType
    plugin: ModuleType
    capability: str | None

    def register(self) -> None:
        name = f"{NAMESPACE}::{self.kernel.name}"
        layer, desc = self.plugin, self.plugin.TensorDesc
        inputs = [_parameter(tensor.name, desc) for tensor in self.kernel.inputs]
        attributes = [_parameter(a.name, _annotation(a)) for a in self.kernel.attributes]
        descs = GenericAlias(tuple, (desc,) * len(self.kernel.outputs))
        outputs = _parameter("outputs", descs)
        tactic = _parameter("tactic", int)
        offers = GenericAlias(list, (layer.AutoTuneCombination,))
        kernel = GenericAlias(tuple, (str, str, layer.KernelLaunchParams, layer.SymIntExprs))
        given = [*inputs, *attributes]
        for decorate, function, parameters, result in (
            (layer.register, self._describe, given, descs),
            (layer.autotune, self._types, [*given, outputs], offers),
            (layer.aot_impl, self._implement, [*given, outputs, tactic], kernel),
        ):
            decorate(name)(_signed(function, parameters, result))

    def _describe(self, *inputs: Any, **attributes: Any) -> tuple[Any, ...]:
        """Shapes and types of the outputs."""
        given = self._as_declared(attributes)
        sizes = self._sizes(inputs) | given
        types = self.tensorrt.DataType
        fixed = {
            "float32": types.FLOAT,
            "int64": types.INT64,
            "bool": types.BOOL,
            "float": self._boundary(inputs),
        }
        return tuple(
            self.plugin.from_shape_expr(
                tuple(dim if isinstance(dim, int) else sizes[dim] for dim in tensor.shape),
                fixed[tensor.dtype],
            )
            for tensor in self.kernel.written(given)
        )

    def _types(self, *_: Any) -> list[Any]:
        """One type for all floats, the declared ones for the others; row-major without gaps."""
        tensors = (*self.kernel.inputs, *self.kernel.outputs)
        types = ", ".join(_OFFERED[tensor.dtype] for tensor in tensors)
        return [self.plugin.AutoTuneCombination(types, "LINEAR")]

    def _implement(self, *arguments: Any) -> tuple[str, str, Any, Any]:
        """Name and PTX of the kernel; grid and arguments as expressions of symbolic shapes."""
        launch, layer = self.kernel.launch, self.plugin
        count = len(self.kernel.inputs)
        inputs, values = arguments[:count], arguments[count:-2]
        names = (attribute.name for attribute in self.kernel.attributes)
        attributes = self._as_declared(dict(zip(names, values, strict=True)))
        sizes = self._sizes(inputs) | attributes
        params = layer.KernelLaunchParams(block_x=launch.block)
        for axis, extent in zip("xyz", launch.grid(sizes), strict=False):
            # CUDA refuses an empty grid, and a block without elements does nothing.
            least = extent if isinstance(extent, int) else layer.max(extent, 1)
            setattr(params, f"grid_{axis}", least)
        passed = launch.sizes(sizes)
        extra = layer.SymIntExprs(len(passed))
        for index, size in enumerate(passed):
            extra[index] = layer.SymInt32(size)
        macros = ptx.definitions(self.kernel, attributes, _PRECISIONS[self._boundary(inputs).name])
        capability = ptx.nearest(self.capability or capability_at_hand())
        return launch.entry, ptx.compile_ptx(launch, macros, capability), params, extra

    def _as_declared(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {item.name: _meant(item, given[item.name]) for item in self.kernel.attributes}

    def _sizes(self, inputs: Sequence[Any]) -> dict[str, Any]:
        """Symbolic size of every named dimension of the inputs."""
        sizes: dict[str, Any] = {}
        for tensor, desc in zip(self.kernel.inputs, inputs, strict=True):
            for axis, dim in enumerate(tensor.shape):
                if isinstance(dim, str):
                    sizes.setdefault(dim, desc.shape_expr[axis])
        return sizes

    def _boundary(self, inputs: Sequence[Any]) -> Any:
        """TensorRT's type for the tensors in the chosen precision; float32 if there are none."""
        for tensor, desc in zip(self.kernel.inputs, inputs, strict=True):
            if tensor.dtype == "float":
                return desc.dtype
        return self.tensorrt.DataType.FLOAT


def _meant(item: Attribute, value: Any) -> Any:
    """Convert the value of an attribute back to the one in the catalogue.

    The parser may keep the 0 that ends a string in C. In ONNX, a truth value is 0 or 1 and a float
    a float32; the intended value is the shortest number that rounds to it, 0.02 and not
    0.019999999552965164.
    """
    if isinstance(value, np.ndarray):
        several = tuple(float(str(number)) for number in value.astype(np.float32))
        return several[0] if item.per_class and len(several) == 1 else several
    if isinstance(value, float):
        return float(str(np.float32(value)))
    if isinstance(item.default, bool):
        return bool(value)
    return value.rstrip("\0") if isinstance(value, str) else value


def _annotation(item: Attribute) -> Any:
    if item.per_class or isinstance(item.default, tuple):
        return npt.NDArray[np.float32]
    if isinstance(item.default, bool):
        return int
    return str if item.choices else type(item.default)


def _parameter(name: str, annotation: Any) -> Parameter:
    return Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation)


def _signed(function: Callable[..., Any], parameters: list[Parameter], result: Any) -> Any:
    """`function` with the signature that TensorRT reads."""

    def signed(*arguments: Any, **named: Any) -> Any:
        return function(*arguments, **named)

    signed.__signature__ = Signature(parameters, return_annotation=result)  # type: ignore[attr-defined]
    return signed
