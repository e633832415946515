"""From a declaration to the function that users call: argument checks, the precision policy."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from lossexport.catalog.checks import check_function
from lossexport.catalog.spec import Deferred, Op
from lossexport.catalog.spec import Tensor as Declared
from lossexport.catalog.variant import MAX_ELEMENTS
from lossexport.errors import LossexportError
from lossexport.ops import native, signature
from lossexport.ops.common import NARROW, is_concrete, physical
from lossexport.ops.shapes import Shapes


@functools.cache
def bind(spec: Op) -> Callable[..., Any]:
    """The torch function of an op as users call it.

    Arguments are checked against the entry (LossexportError, a ValueError for torch users, names
    argument and value); float16 and bfloat16 inputs are computed in float32, since a box of 256 x
    256 px already has an area that float16 cannot hold, and floating outputs return in the type
    that all of them have, where the entry does not say float32. autocast changes nothing of this.
    Where the op has a CPU kernel that may take the tensors, it runs in place of the function.
    """
    function = spec.function.resolve() if isinstance(spec.function, Deferred) else spec.function
    check_function(spec, function)
    names = [tensor.name for tensor in spec.inputs] + [item.name for item in spec.attributes]
    defaults = {item.name: item.default for item in spec.attributes}
    # Of what is room in a graph alone the function has a default of its own.
    fixed = {item.name: item.default for item in spec.attributes if not item.graph_only}
    room = {item.name: MAX_ELEMENTS for item in spec.attributes if item.graph_only}
    shapes = Shapes(spec)

    def computed(arguments: dict[str, Any]) -> tuple[Tensor, ...]:
        if not torch.compiler.is_compiling():
            found = native.attempt(spec, function, defaults | arguments | room)
            if found is not None:
                return found
        dtypes = set()
        wide = fixed | arguments
        for tensor in spec.inputs:
            value = arguments.get(tensor.name)
            if isinstance(value, Tensor):
                if tensor.dtype == "float":
                    dtypes.add(value.dtype)
                if value.dtype in NARROW:
                    wide[tensor.name] = value.float()
        with _own_types(arguments.get(names[0])):
            results = _several(function(**wide))
        narrow = dtypes.pop() if len(dtypes) == 1 else None
        if narrow not in NARROW:
            return results
        return tuple(
            item.to(narrow) if tensor.dtype == "float" else item
            for item, tensor in zip(results, spec.outputs, strict=True)
        )

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        arguments: dict[str, Any] = dict(zip(names, args, strict=False)) | kwargs
        if len(arguments) != len(args) + len(kwargs):  # too many, or one of them twice
            return function(*args, **kwargs)  # Python's own TypeError
        if not torch.compiler.is_compiling():
            _check(spec, shapes, arguments)
        shape = shapes.unusual(arguments)
        if shape is None:
            results = computed(arguments)
        else:
            results = shapes.restored(shape, computed(shapes.declared(arguments)))
        return results if len(results) > 1 else results[0]

    wrapper.__signature__ = signature.of_function(spec)  # type: ignore[attr-defined]
    wrapper.__doc__ = signature.function_doc(spec, function.__doc__)
    return wrapper


def _several(results: Any) -> tuple[Tensor, ...]:
    return tuple(results) if isinstance(results, tuple | list) else (results,)


def _own_types(value: Any) -> AbstractContextManager[Any]:
    """Keep autocast from computing in other types than the op does."""
    if isinstance(value, Tensor):
        kind = value.device.type
        if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
            return torch.autocast(kind, enabled=False)
    return nullcontext()


def _check(spec: Op, shapes: Shapes, arguments: dict[str, Any]) -> None:
    for attribute in spec.attributes:
        if attribute.name in arguments:
            attribute.check(spec.name, arguments[attribute.name])
    for tensor in spec.inputs:
        value = arguments.get(tensor.name)
        if not isinstance(value, Tensor):
            continue  # a missing argument is Python's own TypeError
        where = f"{spec.name}: {tensor.name}"
        if tensor.dtype in ("float", "float32") and not value.is_floating_point():
            raise LossexportError(f"{where} has dtype {value.dtype}, expected a floating dtype")
        if tensor.dtype == "int64" and value.dtype not in (torch.int64, torch.int32):
            raise LossexportError(f"{where} has dtype {value.dtype}, expected int64")
        if tensor.dtype == "bool" and value.dtype is not torch.bool:
            raise LossexportError(f"{where} has dtype {value.dtype}, expected bool")
    sizes = shapes.check(arguments)
    for tensor in spec.inputs:
        value = arguments.get(tensor.name)
        if tensor.bounded and isinstance(value, Tensor) and is_concrete(value):
            _check_values(f"{spec.name}: {tensor.name}", tensor, value, tensor.upper(sizes))


def _check_values(where: str, tensor: Declared, value: Tensor, high: float) -> None:
    # Numbers only: NaN and infinity come out as NaN, they are no error.
    value = physical(value)
    bad = (value < tensor.low) | (value > high)
    if tensor.whole and value.is_floating_point():
        bad = bad | (value != value.floor())
    if value.is_floating_point():
        bad = bad & value.isfinite()
    if bad.any():
        example = value[bad][0].item()
        raise LossexportError(f"{where} holds {example:g}, expected {tensor.text}")
