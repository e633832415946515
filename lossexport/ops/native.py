"""The CPU kernels as torch custom ops, `torch.ops.lossexport.OP`, if their library is installed.

The functions of `lossexport.ops` call them for float32, float16 and bfloat16 tensors on the CPU
that need no gradient. The torch code runs in all other cases: for float64, which is the oracle for
everything else, gradients, other devices, and graphs that are traced or compiled.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from lossexport.catalog import BUILTIN
from lossexport.catalog.spec import Attribute, Op
from lossexport.catalog.variant import MAX_ELEMENTS
from lossexport.runtime import native
from lossexport.runtime.session import Array

_FLOATS = (torch.float32, torch.float16, torch.bfloat16)
_TYPES = {"float32": torch.float32, "int64": torch.int64}
_LIBRARY = torch.library.Library("lossexport", "FRAGMENT")


def schema(spec: Op) -> str:
    """The signature of an op as torch reads it."""
    tensors = [f"Tensor {tensor.name}" for tensor in spec.inputs]
    attributes = [_attribute(item) for item in spec.attributes]
    outputs = [f"Tensor {tensor.name}" for tensor in spec.outputs]
    result = f"({', '.join(outputs)})" if len(outputs) > 1 else "Tensor"
    return f"{spec.name}({', '.join((*tensors, *attributes))}) -> {result}"


def _attribute(item: Attribute) -> str:
    if isinstance(item.default, str):
        return f'str {item.name}="{item.default}"'
    return f"{type(item.default).__name__} {item.name}={item.default}"


def call(spec: Op, arguments: Mapping[str, Any]) -> Any:
    """The result of the op's kernel on tensors and attributes for which `runs` holds."""
    tensors = [arguments[tensor.name] for tensor in spec.inputs]
    attributes = [arguments[item.name] for item in spec.attributes]
    return getattr(torch.ops.lossexport, spec.name)(*tensors, *attributes)


def runs(spec: Op, arguments: Mapping[str, Any]) -> bool:
    """Whether the kernel supports these tensors. The torch function reports wrong names."""
    if spec.name not in native.kernels() or _observed():
        return False
    inputs = {tensor.name for tensor in spec.inputs}
    if not inputs <= arguments.keys() <= inputs | {item.name for item in spec.attributes}:
        return False
    floating = {arguments[tensor.name].dtype for tensor in spec.inputs if tensor.dtype == "float"}
    if len(floating) != 1 or not floating <= set(_FLOATS):
        return False
    for tensor in spec.inputs:
        value = arguments[tensor.name]
        if type(value) not in (Tensor, torch.nn.Parameter) or value.device.type != "cpu":
            return False
        if tensor.dtype != "float" and value.dtype != _TYPES[tensor.dtype]:
            return False
        if value.requires_grad and torch.is_grad_enabled():
            return False
        for size, dim in zip(value.shape, tensor.shape, strict=True):
            if isinstance(dim, int) and size != dim:  # possible in an op of any shape
                return False
    return all(math.prod(shape) <= MAX_ELEMENTS for shape, _ in _outputs(spec, arguments))


def _observed() -> bool:
    """Whether operations are being recorded, transformed or differentiated forwards."""
    try:
        return (
            torch.compiler.is_compiling()
            or torch._C._get_tracing_state() is not None
            or torch._C._len_torch_dispatch_stack() > 0
            or torch._C._functorch.peek_interpreter_stack() is not None
            or forward_ad._current_level >= 0
        )
    except AttributeError:  # this release of torch does not tell: better slow than wrong
        return True


def _outputs(spec: Op, arguments: Mapping[str, Any]) -> list[tuple[list[Any], torch.dtype]]:
    """Shape and type of every output."""
    attributes = {item.name: arguments.get(item.name, item.default) for item in spec.attributes}
    sizes: dict[Any, Any] = dict(attributes)
    for tensor in spec.inputs:
        sizes.update(zip(tensor.shape, arguments[tensor.name].shape, strict=False))
    narrow = arguments[spec.inputs[0].name].dtype
    return [
        (
            [dim if isinstance(dim, int) else sizes[dim] for dim in tensor.shape],
            _TYPES.get(tensor.dtype, narrow),
        )
        for tensor in spec.output_tensors(attributes, gradient=False)
    ]


def _empty(spec: Op, arguments: Mapping[str, Any]) -> list[Tensor]:
    like = arguments[spec.inputs[0].name]
    return [like.new_empty(shape, dtype=dtype) for shape, dtype in _outputs(spec, arguments)]


def _implementation(spec: Op, compute: bool) -> Callable[..., Any]:
    names = [tensor.name for tensor in spec.inputs] + [item.name for item in spec.attributes]
    inputs = [tensor.name for tensor in spec.inputs]

    def run(*given: Any, **keywords: Any) -> Any:
        arguments: dict[str, Any] = {item.name: item.default for item in spec.attributes}
        arguments |= dict(zip(names, given, strict=False)) | keywords
        outputs = _empty(spec, arguments)
        if compute:
            arrays = [np.require(_array(arguments[name]), None, ("C", "A")) for name in inputs]
            numbers = native.numbers(spec, arguments)
            written = [_array(output) for output in outputs]
            native.run(spec.name, numbers, arrays, written, torch.get_num_threads())
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    return run


def _array(tensor: Tensor) -> Array:
    """The memory of a tensor as a numpy array; bfloat16 as its bits."""
    if tensor.dtype != torch.bfloat16:
        return tensor.numpy()
    return tensor.view(torch.int16).numpy().view(np.uint16)


def _register(spec: Op) -> None:
    _LIBRARY.define(schema(spec))
    kernel = _implementation(spec, compute=True)
    _LIBRARY.impl(spec.name, kernel, "CPU")
    torch.library.register_fake(
        f"lossexport::{spec.name}", _implementation(spec, compute=False), lib=_LIBRARY
    )


for _spec in BUILTIN.values():
    if _spec.name in native.kernels():
        _register(_spec)
