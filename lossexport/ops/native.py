"""The CPU kernels in PyTorch, if their library is installed.

The functions of `lossexport.ops` call them for float32, float16 and bfloat16 tensors on the CPU: as
custom ops, `torch.ops.lossexport.OP`, if no gradient is needed, and as autograd functions if the
kernel of a loss computes the gradient. The torch code runs in all other cases: for float64, which
is the oracle for everything else, second derivatives, other gradients and devices, and graphs that
are traced or compiled.
"""

import ctypes
import functools
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from lossexport.catalog import BUILTIN
from lossexport.catalog.spec import Attribute, Op
from lossexport.catalog.variant import MAX_ELEMENTS
from lossexport.ops.common import NARROW, PLAIN
from lossexport.runtime import native

_FLOATS = (torch.float32, torch.float16, torch.bfloat16)
_TYPES = {"float32": torch.float32, "int64": torch.int64, "bool": torch.bool}
_NAMES = {dtype: str(dtype).removeprefix("torch.") for dtype in (*_FLOATS, torch.int64, torch.bool)}
_NAMES[torch.bfloat16] = "uint16"  # its bits
_LARGE = 1 << 22  # bytes from which numpy asks for large pages
_Kinds = Sequence[tuple[torch.dtype, Sequence[int]]]
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
        count = "" if item.any_length else len(item.default)
        return f"float[{count}] {item.name}={list(item.default)}"
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
    inputs = _inputs(spec, arguments)
    if inputs is None:
        return None
    slopes = _needed(spec, inputs)
    if not slopes:
        plan = _planned(spec, False, arguments, inputs)
        return None if plan is None else tuple(_computed(plan, inputs))
    if not (slopes <= set(spec.gradient) and _differentiates(spec)):
        return None
    # In float32, because a gradient in a narrow type would be rounded before it is multiplied by
    # the incoming one, which may be large.
    wide = [value.float() if value.dtype in NARROW else value for value in inputs]
    plan = _planned(spec, True, arguments, wide)
    if plan is None:
        return None
    apply: Callable[..., tuple[Tensor, ...]] = _Loss.apply
    results = apply(spec, function, plan, *wide)
    narrow = inputs[0].dtype
    return tuple(
        value.to(narrow) if tensor.dtype == "float" else value
        for value, tensor in zip(results, spec.outputs, strict=True)
    )


def _inputs(spec: Op, arguments: Mapping[str, Any]) -> list[Tensor] | None:
    """The inputs in order; None if the kernels cannot read them.

    The function reports wrong names.
    """
    if len(arguments) != len(spec.inputs) + len(spec.attributes):
        return None
    inputs: list[Any] = [arguments.get(tensor.name) for tensor in spec.inputs]
    for value in inputs:
        if type(value) not in PLAIN or not value.is_cpu or value.layout is not torch.strided:
            return None
    return inputs


def _needed(spec: Op, inputs: Sequence[Tensor]) -> set[str]:
    """The inputs whose gradients may be needed."""
    if not torch.is_grad_enabled():
        return set()
    both = zip(spec.inputs, inputs, strict=True)
    return {tensor.name for tensor, value in both if value.requires_grad}


def _differentiates(spec: Op) -> bool:
    return spec.kind == "loss" and native.kernel_name(spec.name, True) in native.kernels()


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


@dataclass(frozen=True, slots=True)
class _Plan:
    """A call of a kernel on tensors of known types and shapes; the tensors are without data."""

    kernel: str
    values: Mapping[str, Any]  # of the attributes
    attributes: native.Attributes
    inputs: native.Tensors
    outputs: native.Tensors
    shapes: _Shapes  # of the outputs


def _planned(
    spec: Op, gradient: bool, arguments: Mapping[str, Any], inputs: Sequence[Tensor]
) -> _Plan | None:
    """The plan of a call; None if the kernel does not support the types or the shapes."""
    given = (arguments[item.name] for item in spec.attributes)
    values = tuple(tuple(value) if isinstance(value, list) else value for value in given)
    return _plan(spec, gradient, values, tuple((value.dtype, value.shape) for value in inputs))


@functools.lru_cache(1024)
def _plan(spec: Op, gradient: bool, values: tuple[Any, ...], kinds: _Kinds) -> _Plan | None:
    floating = {kind[0] for kind, t in zip(kinds, spec.inputs, strict=True) if t.dtype == "float"}
    if len(floating) != 1 or not floating <= set(_FLOATS):
        return None
    for (dtype, shape), tensor in zip(kinds, spec.inputs, strict=True):
        if tensor.dtype != "float" and dtype != _TYPES[tensor.dtype]:
            return None
        for size, dim in zip(shape, tensor.shape, strict=True):
            if isinstance(dim, int) and size != dim:  # possible in an op of any shape
                return None
    named = {item.name: value for item, value in zip(spec.attributes, values, strict=True)}
    plan = _bound(spec, gradient, named, kinds)
    too_large = any(math.prod(shape) > MAX_ELEMENTS for shape, _ in plan.shapes)
    return None if too_large else plan


def _bound(spec: Op, gradient: bool, values: Mapping[str, Any], kinds: _Kinds) -> _Plan:
    shapes = _outputs(spec, gradient, values, kinds)
    return _Plan(
        native.kernel_name(spec.name, gradient),
        values,
        native.described(values),
        _described(kinds),
        _described([(dtype, shape) for shape, dtype in shapes]),
        shapes,
    )


def _described(kinds: Sequence[tuple[torch.dtype, Sequence[int]]]) -> native.Tensors:
    described = [native.CTensor.without_data(_NAMES[dtype], shape) for dtype, shape in kinds]
    return (native.CTensor * len(described))(*described)


def _outputs(spec: Op, gradient: bool, values: Mapping[str, Any], kinds: _Kinds) -> _Shapes:
    """Shape and type of every output."""
    sizes: dict[Any, Any] = dict(values)
    for tensor, (_, shape) in zip(spec.inputs, kinds, strict=True):
        sizes.update(zip(tensor.shape, shape, strict=False))
    narrow = kinds[0][0]
    return [
        (
            [dim if isinstance(dim, int) else sizes[dim] for dim in tensor.shape],
            _TYPES.get(tensor.dtype, narrow),
        )
        for tensor in spec.output_tensors(values, gradient)
    ]


def _computed(plan: _Plan, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The outputs of the kernel of the value, or of value and gradient."""
    outputs = [_memory(shape, dtype) for shape, dtype in plan.shapes]
    given = [_row_major(value) for value in inputs]
    native.run(
        plan.kernel,
        plan.attributes,
        _with_data(plan.inputs, given),
        _with_data(plan.outputs, outputs),
        torch.get_num_threads(),
        _team,
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


def _row_major(value: Tensor) -> Tensor:
    """The tensor, or a copy that the kernels can read."""
    if value.is_contiguous() and not value.is_neg() and not value.data_ptr() % value.itemsize:
        return value
    return value.detach().resolve_neg().clone(memory_format=torch.contiguous_format)


def _with_data(described: native.Tensors, tensors: Sequence[Tensor]) -> native.Tensors:
    copy = type(described).from_buffer_copy(described)
    for place, tensor in enumerate(tensors):
        copy[place].data = tensor.data_ptr()
    return copy


def _find_team() -> int | None:
    """The function of torch's OpenMP that runs work on its threads.

    New threads would have to wait for a core until those of torch, which spin, give up.
    """
    if sys.platform != "linux":
        return None
    try:
        found = ctypes.CDLL(str(Path(torch.__file__).with_name("lib") / "libtorch_cpu.so"))
        return ctypes.cast(found.GOMP_parallel, ctypes.c_void_p).value
    except (OSError, AttributeError):  # torch was built without OpenMP, or linked in another way
        return None


def _leave_team() -> None:
    """OpenMP has no threads in a process that was forked, and would wait for them forever."""
    global _team
    _team = None


_team = _find_team()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_team)


class _Loss(Function):
    """A loss whose kernel computes its gradient in the same run.

    Each element of the loss depends on its own row of an input, so that the gradient of their sum,
    multiplied row by row, is the gradient of any weighted sum.
    """

    @staticmethod
    def forward(
        ctx: Any, spec: Op, function: Callable[..., Any], plan: _Plan, *inputs: Tensor
    ) -> tuple[Tensor, ...]:
        outputs = _computed(plan, inputs)
        values = len(outputs) - len(spec.gradient)
        ctx.spec, ctx.function, ctx.attributes = spec, function, plan.values
        # The state of a loss may be updated in place before the gradient is asked for.
        names = (tensor.name for tensor in spec.inputs)
        kept = (x.clone() if n in spec.state else x for n, x in zip(names, inputs, strict=True))
        ctx.save_for_backward(*kept, *outputs[values:])
        if spec.state:  # which the other values are
            ctx.mark_non_differentiable(*outputs[1:values])
        ctx.set_materialize_grads(False)
        return tuple(outputs[:values])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        spec: Op = ctx.spec
        names = [tensor.name for tensor in spec.inputs]
        saved = ctx.saved_tensors
        # The gradient may be differentiated again, or that of parts of the loss is wanted.
        if torch.is_grad_enabled() or grads[0] is None or any(g is not None for g in grads[1:]):
            found = _by_torch(ctx, dict(zip(names, saved, strict=False)), grads)
        else:
            found = {
                name: _scaled(slope, grads[0])
                for name, slope in zip(spec.gradient, saved[len(names) :], strict=True)
            }
        return (None, None, None, *map(found.get, names))


def _scaled(slope: Tensor, grad: Tensor) -> Tensor:
    if grad.dim() and grad.numel() and not any(grad.stride()):  # one number, as from a sum
        grad = grad.as_strided((), ())
    if not grad.dim() and grad.item() == 1:
        return slope
    return slope * grad.reshape(grad.shape + (1,) * (slope.dim() - grad.dim()))


def _by_torch(
    ctx: Any, inputs: dict[str, Tensor], grads: Sequence[Tensor | None]
) -> dict[str, Tensor]:
    """The gradients computed by the torch function, which can be differentiated again."""
    again = torch.is_grad_enabled()
    names = [name for name in ctx.spec.gradient if inputs[name].requires_grad]
    with torch.enable_grad():
        results = ctx.function(**inputs, **ctx.attributes)
        values = results if isinstance(results, tuple) else (results,)
        wanted = [(v, g) for v, g in zip(values, grads, strict=False) if g is not None]
        found = torch.autograd.grad(
            [value for value, _ in wanted],
            [inputs[name] for name in names],
            [grad for _, grad in wanted],
            create_graph=again,
        )
    return dict(zip(names, found, strict=True))


def _implementation(spec: Op, compute: bool) -> Callable[..., Any]:
    names = [tensor.name for tensor in spec.inputs] + [item.name for item in spec.attributes]
    count = len(spec.inputs)

    def run(*given: Any, **keywords: Any) -> Any:
        arguments: dict[str, Any] = {item.name: item.default for item in spec.attributes}
        arguments |= dict(zip(names, given, strict=False)) | keywords
        inputs = [arguments[name] for name in names[:count]]
        values = {name: arguments[name] for name in names[count:]}
        kinds = tuple((value.dtype, value.shape) for value in inputs)
        if compute:
            outputs = _computed(_bound(spec, False, values, kinds), inputs)
        else:
            shapes = _outputs(spec, False, values, kinds)
            outputs = [inputs[0].new_empty(shape, dtype=dtype) for shape, dtype in shapes]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    return run


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
