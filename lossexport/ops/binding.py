"""Makes the function that users call from a declaration: argument checks, precision policy."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossexport.catalog.checks import check_function
from lossexport.catalog.spec import Deferred, Op
from lossexport.catalog.spec import Tensor as Declared
from lossexport.catalog.variant import MAX_ELEMENTS
from lossexport.errors import LossexportError
from lossexport.ops import native, signature
from lossexport.ops.common import NARROW, PLAIN, is_concrete, physical
from lossexport.ops.shapes import Shape, Shapes


@functools.cache
def bind(spec: Op) -> Callable[..., Any]:
    """The torch function of an op as users call it.

    Arguments are checked against the declaration; LossexportError, which is a ValueError, names
    argument and value. float16 and bfloat16 inputs are computed in float32, because float16 cannot
    even hold the area of a box of 256 x 256 px. Floating outputs are converted to the common type
    of the inputs, unless they are declared as float32. autocast has no effect on this. If the op
    has a CPU kernel that supports the tensors, it runs in place of the function.
    """
    function = spec.function.resolve() if isinstance(spec.function, Deferred) else spec.function
    check_function(spec, function)
    names = [tensor.name for tensor in spec.inputs] + [item.name for item in spec.attributes]
    defaults = {item.name: item.default for item in spec.attributes}
    # For a capacity that only graphs have, the function has its own default.
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
        if len(arguments) != len(args) + len(kwargs):  # too many, or one is given twice
            return function(*args, **kwargs)  # raises Python's own TypeError
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
    """Keep autocast from changing the types in which the op computes."""
    if isinstance(value, Tensor):
        kind = value.device.type
        if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
            return torch.autocast(kind, enabled=False)
    return nullcontext()


def _check(spec: Op, shapes: Shapes, arguments: dict[str, Any]) -> None:
    for attribute in spec.attributes:
        if attribute.name in arguments:
            attribute.check(spec.name, arguments[attribute.name])
    values = [arguments.get(tensor.name) for tensor in spec.inputs]
    kinds = tuple((x.dtype, x.shape) if isinstance(x, Tensor) else None for x in values)
    plain = all(type(value) in PLAIN for value in values)  # otherwise, a size may be a symbol
    known = tuple(map(arguments.get, shapes.known))
    sizes = (_sizes if plain else _sizes.__wrapped__)(shapes, kinds, known)
    for tensor, value in zip(spec.inputs, values, strict=True):
        if tensor.bounded and isinstance(value, Tensor) and is_concrete(value):
            if tensor.where:
                value = _counted(value, arguments.get(tensor.where))
            _check_values(f"{spec.name}: {tensor.name}", tensor, value, tensor.upper(sizes))


@functools.lru_cache(1024)
def _sizes(
    shapes: Shapes, kinds: tuple[tuple[torch.dtype, Shape] | None, ...], known: tuple[Any, ...]
) -> dict[str, int]:
    """The sizes of the dimensions. Raises LossexportError on dtypes and shapes that do not fit."""
    given: dict[str, Shape] = {}
    for tensor, kind in zip(shapes.spec.inputs, kinds, strict=True):
        if kind is None:
            continue  # Python raises its own TypeError for a missing argument
        dtype, given[tensor.name] = kind
        where = f"{shapes.spec.name}: {tensor.name}"
        if tensor.dtype in ("float", "float32") and not dtype.is_floating_point:
            raise LossexportError(f"{where} has dtype {dtype}, expected a floating dtype")
        if tensor.dtype == "int64" and dtype not in (torch.int64, torch.int32):
            raise LossexportError(f"{where} has dtype {dtype}, expected int64")
        if tensor.dtype == "bool" and dtype is not torch.bool:
            raise LossexportError(f"{where} has dtype {dtype}, expected bool")
    return shapes.check(given, dict(zip(shapes.known, known, strict=True)))


def _counted(value: Tensor, mask: object) -> Tensor:
    """The values that a mask lets count; all if it cannot say, as a mask of only a part of vmap."""
    if not isinstance(mask, Tensor) or not is_concrete(mask):
        return value
    value, mask = physical(value), physical(mask)
    return value[mask] if value.shape == mask.shape else value


def _within(value: Tensor, low: float, high: float) -> bool:
    """Whether all numbers are from `low` to `high` and none is NaN; -0 may count as below 0."""
    if value.dtype == torch.float32 and value.is_cpu and low == 0 <= high:
        # The bits of numbers from 0 are in the same order, and all others have larger ones.
        bits = value.resolve_neg().numpy().view(np.uint32)
        return bool(bits.max() <= np.float32(high).view(np.uint32))
    least, most = float(value.amin()), float(value.amax())
    return low <= least and most <= high


def _check_values(where: str, tensor: Declared, value: Tensor, high: float) -> None:
    value = physical(value)
    whole = not tensor.whole or not value.is_floating_point()
    if not value.numel() or (whole and _within(value.detach(), tensor.low, high)):
        return
    # NaN and infinity are no error: they give NaN.
    bad = (value < tensor.low) | (value > high)
    if tensor.whole and value.is_floating_point():
        bad = bad | (value != value.floor())
    if value.is_floating_point():
        bad = bad & value.isfinite()
    if bad.any():
        example = value[bad][0].item()
        raise LossexportError(f"{where} holds {example:g}, expected {tensor.text}")
