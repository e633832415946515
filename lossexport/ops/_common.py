"""What every op shares: argument checks, the precision policy, reductions."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ParamSpec, TypeVar, cast

import torch
from torch import Tensor

from lossexport.catalog import CATALOG
from lossexport.catalog.spec import Op
from lossexport.catalog.spec import Tensor as Declared
from lossexport.catalog.variant import MAX_ELEMENTS
from lossexport.errors import LossexportError
from lossexport.ops import _native
from lossexport.ops._shapes import Shapes

P = ParamSpec("P")
R = TypeVar("R")

NARROW = (torch.float16, torch.bfloat16)


def op(function: Callable[P, R]) -> Callable[P, R]:
    """Bind a torch function to its catalogue entry of the same name.

    Arguments are checked against the entry (LossexportError, a ValueError for torch users, names
    argument and value); float16 and bfloat16 inputs are computed in float32, since a box of 256 x
    256 px already has an area that float16 cannot hold, and floating outputs return in the type
    that all of them have, where the entry does not say float32. autocast changes nothing of this.
    Where the op has a CPU kernel that may take the tensors, it runs in place of the function.
    """
    spec = CATALOG[function.__name__]
    names = [tensor.name for tensor in spec.inputs] + [item.name for item in spec.attributes]
    room = {item.name: MAX_ELEMENTS for item in spec.attributes if item.graph_only}
    shapes = Shapes(spec)

    def computed(arguments: dict[str, Any]) -> tuple[Tensor, ...]:
        if not torch.compiler.is_compiling() and _native.runs(spec, arguments):
            complete = {item.name: item.default for item in spec.attributes} | arguments
            return _several(_native.call(spec, complete | room))
        dtypes = set()
        wide = dict(arguments)
        for tensor in spec.inputs:
            value = arguments.get(tensor.name)
            if isinstance(value, Tensor):
                if tensor.dtype == "float":
                    dtypes.add(value.dtype)
                if value.dtype in NARROW:
                    wide[tensor.name] = value.float()
        with _own_types(arguments.get(names[0])):
            results = _several(cast(Any, function)(**wide))
        narrow = dtypes.pop() if len(dtypes) == 1 else None
        if narrow not in NARROW:
            return results
        return tuple(
            item.to(narrow) if tensor.dtype == "float" else item
            for item, tensor in zip(results, spec.outputs, strict=True)
        )

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
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
        return cast(R, results if len(results) > 1 else results[0])

    return wrapper


def _several(results: Any) -> tuple[Tensor, ...]:
    return results if isinstance(results, tuple) else (results,)


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
    sizes = shapes.check(arguments)
    for tensor in spec.inputs:
        value = arguments.get(tensor.name)
        if tensor.bounded and isinstance(value, Tensor) and is_concrete(value):
            _check_values(f"{spec.name}: {tensor.name}", tensor, value, tensor.upper(sizes))


def _check_values(where: str, tensor: Declared, value: Tensor, high: float) -> None:
    # Numbers only: NaN and infinity come out as NaN, they are no error.
    value = physical(value)
    bad = (value < tensor.low) | (value > high)
    if tensor.whole:
        bad = bad | (value != value.floor())
    if value.is_floating_point():
        bad = bad & value.isfinite()
    if bad.any():
        example = value[bad][0].item()
        raise LossexportError(f"{where} holds {example:g}, expected {tensor.domain}")


def is_concrete(value: Tensor) -> bool:
    """Whether `value` holds numbers that may be looked at: not while a graph is traced.

    Those of a batch, under vmap, through `physical`.
    """
    plain = type(value) in (Tensor, torch.nn.Parameter) and not value.is_meta
    return plain and not torch.compiler.is_compiling()


def physical(value: Tensor) -> Tensor:
    """The tensor inside of the wrappers of torch.func: under vmap all of the batch."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(value):
        value = functorch.get_unwrapped(value)
    return value


def tiny(x: Tensor) -> float:
    """Smallest positive normal number of the dtype of `x`."""
    return torch.finfo(x.dtype).tiny


def poison(*rows: Tensor) -> Tensor:
    """Zero for every row of finite numbers and NaN for the others, summed over the last axis.

    Added to a result it makes NaN and infinity come out as NaN, where a minimum, a clamp or a
    quotient would silently turn them into a plausible number. Constant for autograd.
    """
    return functools.reduce(torch.add, [row.detach().sum(-1) * 0 for row in rows])


def finite(x: Tensor, *others: Tensor) -> Tensor:
    """`x`, NaN where it or one of the others is infinite or NaN: `poison` element by element."""
    return functools.reduce(lambda total, y: total + y.detach() * 0, (x, *others), x)


def reduce(loss: Tensor, reduction: str) -> Tensor:
    """Apply `reduction` ("none", "sum", "mean"); the mean of an empty loss is 0."""
    if reduction == "none":
        return loss
    total = loss.sum()
    if reduction == "sum":
        return total
    # A tensor, because of a symbolic number the exporter would assume that it is at least 2.
    count = torch.full((), loss.numel(), dtype=loss.dtype, device=loss.device)
    return total / count.clamp(min=1)
