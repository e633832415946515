"""How far float32 may be from the float64 oracle: a running error analysis of every tensor.

While PyTorch computes an op in float64, each of its operators adds what it does to the error: what
its inputs' errors become, to first order or between the two ends of their interval, and its own
rounding. Whatever an op's attributes and inputs are, the bound is that of the terms that are there,
element by element, and 0 where float32 computes exactly.

The analysis sees the operators of autograd too, so that a gradient has a bound of its own. Errors
are kept by storage: a view of a tensor is a view of its errors.
"""

import functools
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from lossexport.errors import LossexportError
from lossexport.parity.rounding_measured import FACTOR, measured
from lossexport.parity.rounding_rules import LARGEST, RULES, Error, aten

# Their decompositions take a matrix of all pairs.
_QUADRATIC = (aten.cumsum, aten.cumprod)


class Roundings(TorchDispatchMode):
    """Keeps, while it is active, the error of every tensor that PyTorch computes in float64."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._errors: dict[int, tuple[StorageWeakRef, np.ndarray]] = {}
        # The operators without a rule that were met.
        self.measured: set[str] = set()
        self._sweep = 256

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled while this is active: no operator needs to be kept from that."""
        return False

    def error(self, value: Any) -> Error:
        """The bound on the error of a tensor, or of a number that float32 has to round."""
        if isinstance(value, Tensor):
            found = self._errors.get(value.untyped_storage()._cdata)
            if found is None:
                return 0.0
            whole = found[1]
            if value.shape == whole.shape and value.is_contiguous():
                return whole
            return _view(whole, value)
        if isinstance(value, float) and abs(value) <= LARGEST:
            return abs(value - float(np.float32(value)))
        return 0.0

    def _store(self, out: Tensor, error: Error) -> None:
        """Remember the error of a tensor whose storage is its own, or write into that of a view."""
        storage = out.untyped_storage()
        known = self._errors.get(storage._cdata)
        if known is None:
            if not (error.any() if isinstance(error, np.ndarray) else error):
                return
            elements = storage.nbytes() // out.element_size()
            if out.is_contiguous() and out.numel() == elements:
                errors = _own(error, out.shape)
            else:
                errors = np.zeros(elements)
                _view(errors, out)[...] = error
            weak = StorageWeakRef(storage)
            self._errors[storage._cdata] = weak, errors
        else:
            _view(known[1], out)[...] = error
        if len(self._errors) > self._sweep:
            gone = [key for key, (storage, _) in self._errors.items() if _expired(storage)]
            for key in gone:
                del self._errors[key]
            self._sweep = 256 + 2 * len(self._errors)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket is aten.copy_:
            self._store(args[0], self.error(args[1]))
            return func(*args, **kwargs)
        plain, is_view, rule = _plan(func)
        if plain is not None:
            with self:
                return args[0].copy_(plain(*args, **kwargs))
        if is_view:
            return func(*args, **kwargs)
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise LossexportError(f"{func} is random: nothing can be compared with it")
        out = func(*args, **kwargs)
        results = out if isinstance(out, tuple | list) else (out,)
        found = self._errors_of(rule, func, out, args, kwargs)
        for item, error in zip(results, found, strict=True):
            if isinstance(item, Tensor):
                self._store(item, error)
        return out

    def _errors_of(self, rule: Any, func: Any, out: Any, args: Any, kwargs: Any) -> Sequence[Error]:
        """By the rule, or measured where there is none, or none for such arguments."""
        if rule is not None:
            with suppress(TypeError, ValueError, IndexError, RuntimeError):
                error = rule(self, func, out, *args, **kwargs)
                return error if isinstance(out, tuple | list) else [error]
        found, moved = measured(self, func, out, args, kwargs)
        if not moved:
            return found
        parts = self._of_parts(func, args, kwargs)
        self.measured.add(str(func.overloadpacket))
        return [np.maximum(*pair) for pair in zip(found, parts or found, strict=True)]

    def _of_parts(self, func: Any, args: Any, kwargs: Any) -> list[Error] | None:
        """The errors of an operator as the simpler ones that it is made of give them."""
        simpler = torch._decomp.decomposition_table.get(func)
        if simpler is None or func.overloadpacket in _QUADRATIC:
            return None
        before, self.measured = self.measured, set()
        try:
            with self:
                out = simpler(*args, **kwargs)
            factor = 1.0 if self.measured else FACTOR  # a measured one has it already
        except (TypeError, ValueError, RuntimeError, NotImplementedError):
            return None  # the decomposition does not take such arguments
        finally:
            self.measured = before
        if out is NotImplemented:
            return None
        return [factor * self.error(x) for x in (out if isinstance(out, tuple | list) else (out,))]


@functools.cache
def _plan(func: Any) -> tuple[Any, bool, Any]:
    """The operator that an operator in place stands for; whether it makes views; its rule."""
    packet = func.overloadpacket
    plain = None
    if func._schema.is_mutable:
        same = getattr(aten, packet.__name__.removesuffix("_"), None)
        plain = getattr(same, func._overloadname, None)
        if plain is None:
            raise LossexportError(
                f"{func} writes into its input: only a form that does not can be compared"
            )
    return plain, func.is_view, RULES.get(packet)


def _own(error: Error, shape: tuple[int, ...]) -> np.ndarray:
    """The error in memory of its own: what a rule computed, unless it has another shape or type."""
    if (
        type(error) is np.ndarray
        and error.base is None
        and error.shape == shape
        and error.dtype == np.float64
        and error.flags.c_contiguous
    ):
        return error
    errors = np.empty(shape)
    errors[...] = error
    return errors


def _view(errors: np.ndarray, of: Tensor) -> np.ndarray:
    """The part of a storage's errors that belongs to a tensor: of its shape and strides."""
    if of.numel() == 0:
        return np.zeros(of.shape)
    strides = [8 * step for step in of.stride()]
    return np.ndarray(tuple(of.shape), np.float64, errors, 8 * of.storage_offset(), strides)


def _expired(storage: StorageWeakRef) -> bool:
    return bool(storage.expired())


def bounded(
    function: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor]
) -> tuple[Sequence[Tensor], list[Tensor]]:
    """The results of `function` on float64 tensors, and how far float32 may be from each."""
    run = Roundings()
    with run, np.errstate(all="ignore"):
        results = function(*inputs)
    return results, [
        torch.from_numpy(np.broadcast_to(run.error(x), x.shape).astype(np.float64)) for x in results
    ]
