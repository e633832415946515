"""The CPU kernels in PyTorch, if their library is installed.

The functions of `lossexport.ops` call them for float32, float16 and bfloat16 tensors on the CPU: as
custom ops, `torch.ops.lossexport.OP`, if no gradient is needed, and as autograd functions if the
kernel of a loss computes the gradient. The torch code runs in all other cases: for float64, which
is the oracle for everything else, second derivatives, other gradients and devices, and graphs that
are traced or compiled.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from lossexport.catalog import BUILTIN
from lossexport.catalog.spec import Attribute, Op
from lossexport.catalog.variant import MAX_ELEMENTS
from lossexport.ops.common import NARROW
from lossexport.runtime import native
from lossexport.runtime.session import Array, packed

_FLOATS = (torch.float32, torch.float16, torch.bfloat16)
_TYPES = {"float32": torch.float32, "int64": torch.int64}
_LARGE = 1 << 22  # bytes from which numpy asks for large pages
_Shapes = list[tuple[list[Any], torch.dtype]]
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
    if isinstance(item.default, tuple):
        return f"float[{len(item.default)}] {item.name}={list(item.default)}"
    return f"{type(item.default).__name__} {item.name}={item.default}"


def attempt(
    spec: Op, function: Callable[..., Any], arguments: Mapping[str, Any]
) -> tuple[Tensor, ...] | None:
    """The results of a kernel; None if no kernel supports these tensors.

    `arguments` are all tensors and attributes. `function` is the torch code of the op, for
    derivatives that the kernel does not compute.
    """
    if spec.name not in native.kernels() or _observed():
        return None
    slopes = _needed(spec, arguments)
    if slopes and not (slopes <= set(spec.gradient) and _differentiates(spec)):
        return None
    if not _fits(spec, arguments):
        return None
    outputs = _outputs(spec, arguments, bool(slopes))
    if any(math.prod(shape) > MAX_ELEMENTS for shape, _ in outputs):
        return None
    if not slopes:
        return tuple(_computed(spec, arguments, outputs))
    # In float32, because a gradient in a narrow type would be rounded before it is multiplied by
    # the incoming one, which may be large.
    wide = [arguments[tensor.name] for tensor in spec.inputs]
    wide = [value.float() if value.dtype in NARROW else value for value in wide]
    apply: Callable[..., tuple[Tensor, ...]] = _Loss.apply
    results = apply(spec, function, dict(arguments), *wide)
    narrow = (dtype for _, dtype in outputs)
    return tuple(x.to(dtype) for x, dtype in zip(results, narrow, strict=False))


def _needed(spec: Op, arguments: Mapping[str, Any]) -> set[str]:
    """The inputs whose gradients may be needed."""
    if not torch.is_grad_enabled():
        return set()
    tensors = ((tensor.name, arguments.get(tensor.name)) for tensor in spec.inputs)
    return {name for name, value in tensors if isinstance(value, Tensor) and value.requires_grad}


def _differentiates(spec: Op) -> bool:
    return spec.kind == "loss" and native.kernel_name(spec.name, True) in native.kernels()


def _fits(spec: Op, arguments: Mapping[str, Any]) -> bool:
    """Whether the kernel supports the tensors. The function reports wrong names."""
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
        for size, dim in zip(value.shape, tensor.shape, strict=True):
            if isinstance(dim, int) and size != dim:  # possible in an op of any shape
                return False
    return True


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


def _outputs(spec: Op, arguments: Mapping[str, Any], gradient: bool = False) -> _Shapes:
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
        for tensor in spec.output_tensors(attributes, gradient)
    ]


def _computed(
    spec: Op, arguments: Mapping[str, Any], shapes: _Shapes, gradient: bool = False
) -> list[Tensor]:
    """Shapes and types of the outputs of the kernel of the value, or of value and gradient."""
    outputs = [_memory(shape, dtype) for shape, dtype in shapes]
    native.run(
        native.kernel_name(spec.name, gradient),
        {item.name: arguments[item.name] for item in spec.attributes},
        [packed(_array(arguments[tensor.name].detach())) for tensor in spec.inputs],
        [_array(output) for output in outputs],
        torch.get_num_threads(),
    )
    return outputs


def _memory(shape: list[Any], dtype: torch.dtype) -> Tensor:
    """A tensor of unset numbers.

    The memory of a large one is numpy's, which asks the system for large pages: with torch's, more
    time goes into the faults of small pages than into most kernels.
    """
    size = math.prod(shape) * dtype.itemsize
    if size < _LARGE:
        return torch.empty(shape, dtype=dtype, device="cpu")
    return torch.from_numpy(np.empty(size, np.uint8)).view(dtype).view(shape)


class _Loss(Function):
    """A loss whose kernel computes its gradient in the same run.

    Each element of the loss depends on its own row of an input, so that the gradient of their sum,
    multiplied row by row, is the gradient of any weighted sum.
    """

    @staticmethod
    def forward(
        ctx: Any, spec: Op, function: Callable[..., Any], arguments: dict[str, Any], *inputs: Tensor
    ) -> tuple[Tensor, ...]:
        names = [tensor.name for tensor in spec.inputs]
        arguments.update(zip(names, inputs, strict=True))
        outputs = _computed(spec, arguments, _outputs(spec, arguments, True), True)
        values = len(outputs) - len(spec.gradient)
        ctx.spec, ctx.function = spec, function
        ctx.attributes = {item.name: arguments[item.name] for item in spec.attributes}
        # The state of a loss may be updated in place before the gradient is asked for.
        kept = (x.clone() if n in spec.state else x for n, x in zip(names, inputs, strict=True))
        ctx.save_for_backward(*kept, *outputs[values:])
        ctx.mark_non_differentiable(*outputs[1:values])
        return tuple(outputs[:values])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        spec: Op = ctx.spec
        names = [tensor.name for tensor in spec.inputs]
        inputs = dict(zip(names, ctx.saved_tensors, strict=False))
        if torch.is_grad_enabled():  # the gradient may be differentiated again
            found = _by_torch(ctx, inputs, grads[0])
        else:
            slopes = ctx.saved_tensors[len(names) :]
            found = {
                name: _scaled(slope, grads[0])
                for name, slope in zip(spec.gradient, slopes, strict=True)
            }
        return (None, None, None, *map(found.get, names))


def _scaled(slope: Tensor, grad: Tensor) -> Tensor:
    if grad.dim() == 0 and grad.item() == 1:
        return slope
    return slope * grad.reshape(grad.shape + (1,) * (slope.dim() - grad.dim()))


def _by_torch(ctx: Any, inputs: dict[str, Tensor], grad: Tensor) -> dict[str, Tensor]:
    """The gradients computed by the torch function, which can be differentiated again."""
    names = [name for name in ctx.spec.gradient if inputs[name].requires_grad]
    results = ctx.function(**inputs, **ctx.attributes)
    loss = results[0] if isinstance(results, tuple) else results
    found = torch.autograd.grad(loss, [inputs[name] for name in names], grad, create_graph=True)
    return dict(zip(names, found, strict=True))


def _implementation(spec: Op, compute: bool) -> Callable[..., Any]:
    names = [tensor.name for tensor in spec.inputs] + [item.name for item in spec.attributes]

    def run(*given: Any, **keywords: Any) -> Any:
        arguments: dict[str, Any] = {item.name: item.default for item in spec.attributes}
        arguments |= dict(zip(names, given, strict=False)) | keywords
        shapes = _outputs(spec, arguments)
        if compute:
            outputs = _computed(spec, arguments, shapes)
        else:
            like = arguments[names[0]]
            outputs = [like.new_empty(shape, dtype=dtype) for shape, dtype in shapes]
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
