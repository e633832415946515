"""How far float32 may be from the float64 oracle: a running error analysis of every tensor.

While PyTorch computes an op in float64, each of its operators adds what it does to the error: what
its inputs' errors become, to first order or between the two ends of their interval, and its own
rounding. Whatever an op's attributes and inputs are, the bound is that of the terms that are there,
element by element, and 0 where float32 computes exactly.

The analysis sees the operators of autograd too, so that a gradient has a bound of its own. Errors
are kept by storage: a view of a tensor is a view of its errors.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from lossexport.catalog.spec import U
from lossexport.errors import LossexportError

aten: Any = torch.ops.aten

_TINY = float(torch.finfo(torch.float32).tiny)
_LARGEST = float(torch.finfo(torch.float32).max)

# An error is a tensor, or 0.0 where there is none. That of a truth value is 1 where rounding may
# turn it.
_Error = Tensor | float
_Rule = Callable[..., Any]
_rules: dict[Any, _Rule] = {}


def _rule(*operators: Any) -> Callable[[_Rule], _Rule]:
    def add(function: _Rule) -> _Rule:
        _rules.update(dict.fromkeys(operators, function))
        return function

    return add


class Roundings(TorchDispatchMode):
    """Keeps, while it is active, the error of every tensor that PyTorch computes in float64."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._errors: dict[int, tuple[StorageWeakRef, Tensor]] = {}
        self._sweep = 256

    def error(self, value: Any) -> _Error:
        """The bound on the error of a tensor, or of a number that float32 has to round."""
        if isinstance(value, Tensor):
            found = self._errors.get(value.untyped_storage()._cdata)
            if found is None:
                return 0.0
            return found[1].as_strided(value.shape, value.stride(), value.storage_offset())
        if isinstance(value, float) and abs(value) <= _LARGEST:
            return abs(value - torch.tensor(value, dtype=torch.float32).item())
        return 0.0

    def _store(self, out: Tensor, error: _Error) -> None:
        """Remember the error of a tensor whose storage is its own, or write into that of a view."""
        storage = out.untyped_storage()
        known = self._errors.get(storage._cdata)
        if known is None:
            if not (error.any() if isinstance(error, Tensor) else error):
                return
            flat = torch.zeros(storage.nbytes() // out.element_size(), dtype=torch.float64)
            known = (StorageWeakRef(storage), flat)  # type: ignore[no-untyped-call]
            self._errors[storage._cdata] = known
        known[1].as_strided(out.shape, out.stride(), out.storage_offset()).copy_(_tensor(error))
        if len(self._errors) > self._sweep:
            gone = [key for key, (storage, _) in self._errors.items() if _expired(storage)]
            for key in gone:
                del self._errors[key]
            self._sweep = 256 + 2 * len(self._errors)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        packet = func.overloadpacket
        if packet is aten.copy_:
            self._store(args[0], self.error(args[1]))
            return func(*args, **kwargs)
        if func._schema.is_mutable:
            plain = getattr(getattr(aten, packet.__name__.removesuffix("_")), func._overloadname)
            with self:
                return args[0].copy_(plain(*args, **kwargs))
        if func.is_view:
            return func(*args, **kwargs)
        rule = _rules.get(packet)
        if rule is None:
            simpler = torch._decomp.decomposition_table.get(func)
            if simpler is None:
                raise LossexportError(f"{func}: the error analysis has no rule for it")
            with self:
                return simpler(*args, **kwargs)
        out = func(*args, **kwargs)
        if isinstance(out, Tensor):
            self._store(out, rule(self, func, out, *args, **kwargs))
        elif isinstance(out, tuple):
            for item, error in zip(out, rule(self, func, out, *args, **kwargs), strict=True):
                self._store(item, error)
        return out


def _expired(storage: StorageWeakRef) -> bool:
    return bool(storage.expired())  # type: ignore[no-untyped-call]


def _is(error: _Error) -> bool:
    return isinstance(error, Tensor) or error != 0


def _tensor(x: Any) -> Tensor:
    return x if isinstance(x, Tensor) else torch.tensor(x, dtype=torch.float64)


def _number(error: _Error) -> _Error:
    """`error` without the NaN that 0 times infinity leaves: of what is 0, nothing is left."""
    return torch.nan_to_num(error, 0.0, math.inf) if isinstance(error, Tensor) else error


def _rounding(out: Tensor, error: _Error, ulps: float = 1.0) -> _Error:
    """`error` and `ulps` roundings of `out`, which may be flushed to 0 below the normal range."""
    if not out.is_floating_point():
        return error
    size = out.abs()
    return error + torch.maximum(size * (ulps * U), size.clamp(max=_TINY))


def _rounding_of_digits(out: Tensor, error: _Error) -> _Error:
    """Likewise, of a sum or a product: exact where no input errs and float32 holds the result."""
    if not out.is_floating_point():
        return error
    held = out.float().double() == out
    return torch.where(held & (_tensor(error) == 0), 0.0, _rounding(out, error))


def _overflown(out: Tensor, error: _Error) -> _Error:
    """`error`, without a bound where `out` is infinite in float32 and not in float64."""
    if not out.is_floating_point():
        return error
    over = (out.abs() > _LARGEST) & (out.abs() < math.inf)
    return torch.where(over, math.inf, error) if over.any() else error


def _between(run: Roundings, out: Tensor, function: Callable[[Any], Tensor], value: Any) -> _Error:
    """The larger step from `out` to the function at either end of the interval of `value`."""
    error = run.error(value)
    if not _is(error):
        return 0.0
    high, low = function(value + error), function(value - error)
    return _number(torch.fmax((high - out).abs(), (out - low).abs()))


@_rule(
    aten.zeros, aten.ones, aten.empty, aten.arange, aten.zeros_like, aten.ones_like,
    aten.empty_like, aten.new_zeros, aten.new_ones, aten.new_empty, aten.eq, aten.ne,
    aten.isnan, aten.isfinite, aten.isinf, aten._local_scalar_dense, aten.argmax, aten.any,
    aten.all, aten.is_nonzero, aten.new_empty_strided, aten.empty_strided,
)  # fmt: skip
def _exact(run: Roundings, func: Any, out: Any, *args: Any, **kwargs: Any) -> _Error:
    """Whole numbers; and what is equal was found to be so: a place, not a decision."""
    return 0.0


@_rule(aten.sign, aten.sgn, aten.floor, aten.ceil, aten.round, aten.trunc)
def _step(run: Roundings, func: Any, out: Tensor, a: Tensor) -> _Error:
    return _between(run, out, func, a)


@_rule(aten.lift_fresh, aten.scalar_tensor, aten.full, aten.full_like, aten.new_full)
def _constant(run: Roundings, func: Any, out: Tensor, *args: Any, **kwargs: Any) -> _Error:
    if not out.is_floating_point():
        return 0.0
    error = (out - out.float().double()).abs()
    return torch.where(out.abs() <= _LARGEST, error, 0.0)


@_rule(
    aten.cat, aten.stack, aten.clone, aten._unsafe_view, aten.index_select, aten.gather, aten.flip,
    aten.repeat, aten.select_backward, aten.slice_backward, aten.constant_pad_nd, aten.scatter,
    aten.index, aten.roll, aten._to_copy, aten.neg, aten.abs, aten.index_put, aten.select_scatter,
    aten.slice_scatter, aten.bitwise_not, aten.logical_not, aten.diagonal_backward,
)  # fmt: skip
def _moved(run: Roundings, func: Any, out: Tensor, *args: Any, **kwargs: Any) -> _Error:
    if func.overloadpacket in (aten.neg, aten.abs, aten._to_copy, aten.bitwise_not):
        return run.error(args[0])
    seen = False

    def errors(value: Any) -> Any:
        nonlocal seen
        if isinstance(value, list | tuple):
            return type(value)(errors(item) for item in value)
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        error = run.error(value)
        seen = seen or _is(error)
        return error if isinstance(error, Tensor) else torch.zeros_like(value)

    moved = [errors(item) for item in args]
    return func(*moved, **kwargs) if seen else 0.0


@_rule(aten.add, aten.sub, aten.rsub)
def _added(run: Roundings, func: Any, out: Tensor, a: Any, b: Any, alpha: float = 1) -> _Error:
    ea, eb = run.error(a), run.error(b)
    error = ea + eb * abs(alpha)
    if not out.is_floating_point():
        return error
    # Nothing is rounded where nothing is added.
    free = (_tensor(a) == 0) | (_tensor(b) == 0)
    return torch.where(free, _tensor(error), _rounding_of_digits(out, error))


def _power_of_two(x: Any, error: _Error) -> bool:
    """Whether `x` is a number whose products are exact."""
    if _is(error) or (isinstance(x, Tensor) and x.numel() != 1):
        return False
    number = float(x.detach() if isinstance(x, Tensor) else x)
    return math.isfinite(number) and math.frexp(number)[0] in (0.5, -0.5, 0.0)


@_rule(aten.mul)
def _product(run: Roundings, func: Any, out: Tensor, a: Any, b: Any) -> _Error:
    ea, eb = run.error(a), run.error(b)
    error = _number(_size(b) * ea + _size(a) * eb + ea * eb) if _is(ea) or _is(eb) else 0.0
    if _power_of_two(a, ea) or _power_of_two(b, eb):
        return _overflown(out, error)
    return _overflown(out, _rounding_of_digits(out, error))


def _size(x: Any) -> Any:
    if not isinstance(x, Tensor):
        return abs(x)
    return x.double() if x.dtype == torch.bool else x.abs()


@_rule(aten.div)
def _quotient(run: Roundings, func: Any, out: Tensor, a: Any, b: Any) -> _Error:
    ea, eb = run.error(a), run.error(b)
    size = _tensor(b).abs()
    # A divisor with less than a digit to it leaves the first order, which still tells its size.
    error: _Error = ea / torch.maximum(size - eb, size / 2)
    if _is(eb):
        eb = _tensor(eb)
        share = torch.where(eb == math.inf, 1.0, eb / torch.maximum(size - eb, size / 2))
        error = error + out.abs() * share
    error = _number(error)
    return _overflown(out, error if _power_of_two(b, eb) else _rounding(out, error))


@_rule(aten.reciprocal)
def _reciprocal(run: Roundings, func: Any, out: Tensor, a: Tensor) -> _Error:
    error: _Error = _quotient(run, func, out, 1.0, a)
    return error


# Units of u that a function errs by where its argument is exact.
_FUNCTIONS = {
    aten.exp: 2.0, aten.log: 2.0, aten.sqrt: 2.0, aten.log1p: 5.0, aten.sigmoid: 4.0,
    aten.atan: 4.0, aten.rsqrt: 3.0, aten.expm1: 4.0, aten.tanh: 4.0, aten.erf: 4.0,
    aten.sin: 4.0, aten.cos: 4.0, aten.log2: 4.0, aten.exp2: 4.0, aten.asin: 4.0, aten.acos: 4.0,
}  # fmt: skip


@_rule(*_FUNCTIONS)
def _function(run: Roundings, func: Any, out: Tensor, a: Tensor) -> _Error:
    error = _rounding(out, _between(run, out, func, a), _FUNCTIONS[func.overloadpacket])
    return _overflown(out, error)


@_rule(aten.pow)
def _power(run: Roundings, func: Any, out: Tensor, a: Any, b: Any) -> _Error:
    base = _tensor(a)
    error = _between(run, out, lambda x: func(x, b), a) if isinstance(a, Tensor) else 0.0
    eb = run.error(b)
    if _is(eb):
        error = error + _number((out * base.log()).abs() * eb)
    return _rounding(out, error, 2.0)


@_rule(aten.clamp, aten.clamp_min, aten.clamp_max, aten.relu)
def _clamped(run: Roundings, func: Any, out: Tensor, a: Tensor, *bounds: Any, **kw: Any) -> _Error:
    error = _between(run, out, lambda x: func(x, *bounds, **kw), a)
    for bound in (*bounds, *kw.values()):
        if bound is not None and _is(own := run.error(bound)):
            error = torch.where(out == bound, torch.maximum(_tensor(error), _tensor(own)), error)
    return error


@_rule(aten.maximum, aten.minimum, aten.fmax, aten.fmin)
def _larger(run: Roundings, func: Any, out: Tensor, a: Tensor, b: Tensor) -> _Error:
    ea, eb = run.error(a), run.error(b)
    if not (_is(ea) or _is(eb)):
        return 0.0
    return _number(torch.fmax(func(a + ea, b + eb) - out, out - func(a - ea, b - eb)))


@_rule(aten.amax, aten.amin)
def _largest(run: Roundings, func: Any, out: Tensor, a: Tensor, *rest: Any) -> _Error:
    return _between(run, out, lambda x: func(x, *rest), a) if a.is_floating_point() else 0.0


@_rule(aten.topk, aten.sort, aten.max, aten.min)
def _sorted(run: Roundings, func: Any, out: Any, a: Tensor, *rest: Any, **kw: Any) -> Any:
    error = run.error(a)
    if isinstance(out, Tensor):
        return _between(run, out, func, a)
    if not isinstance(error, Tensor):
        return [0.0, 0.0]
    dim = rest[1] if func.overloadpacket is aten.topk and len(rest) > 1 else -1
    return [error.gather(dim, out[1]), 0.0]


@_rule(aten.lt, aten.le, aten.gt, aten.ge)
def _decision(run: Roundings, func: Any, out: Tensor, a: Any, b: Any) -> _Error:
    error = run.error(a) + run.error(b)
    if not _is(error):
        return 0.0
    return ((_tensor(a) - _tensor(b)).abs() <= error).double() * (_tensor(error) > 0)


@_rule(aten.bitwise_and, aten.bitwise_or, aten.bitwise_xor, aten.logical_and, aten.logical_or)
def _either(run: Roundings, func: Any, out: Tensor, a: Any, b: Any) -> _Error:
    ea, eb = run.error(a), run.error(b)
    return torch.maximum(_tensor(ea), _tensor(eb)) if _is(ea) or _is(eb) else 0.0


@_rule(aten.where)
def _chosen(run: Roundings, func: Any, out: Tensor, c: Tensor, a: Any, b: Any) -> _Error:
    ea, eb, turned = run.error(a), run.error(b), run.error(c)
    error: _Error = torch.where(c, ea, eb) if _is(ea) or _is(eb) else 0.0
    if _is(turned):
        step = (_tensor(a) - _tensor(b)).abs() + torch.maximum(_tensor(ea), _tensor(eb))
        error = torch.where(_tensor(turned) > 0, step, error)
    return error


@_rule(aten.masked_fill)
def _filled(run: Roundings, func: Any, out: Tensor, a: Tensor, mask: Tensor, value: Any) -> _Error:
    error: _Error = _chosen(run, func, out, mask, value, a)
    return error


def _depth(count: Tensor) -> Tensor:
    """Roundings that a sum of so many terms adds up to: each of them, or those of a tree."""
    return torch.minimum(count - 1, 4 + count.clamp(min=1).log2()).clamp(min=0)


@_rule(aten.sum)
def _sum(run: Roundings, func: Any, out: Tensor, a: Tensor, *rest: Any, **kw: Any) -> _Error:
    error = run.error(a)
    total: _Error = func(error, *rest, **kw) if isinstance(error, Tensor) else 0.0
    if not out.is_floating_point() or not a.is_floating_point():
        return total
    size = func(a.abs(), *rest)
    terms = func((a != 0).double(), *rest)
    rounding: Tensor = size * U * _depth(terms)
    if not _is(error):
        whole = (a == a.floor()).all() & (size < 1 / U)
        rounding = torch.where(whole, 0.0, rounding)
    return total + rounding


@_rule(aten.mm, aten.bmm)
def _matrix(run: Roundings, func: Any, out: Tensor, a: Tensor, b: Tensor) -> _Error:
    ea, eb = (_tensor(run.error(x)).expand(x.shape) for x in (a, b))
    error = func(a.abs(), eb) + func(ea, b.abs()) + func(ea, eb)
    whole = (a == a.floor()).all() & (b == b.floor()).all() & (error == 0).all()
    size: Tensor = func(a.abs(), b.abs())
    return _tensor(error if whole else error + size * U * _depth(_tensor(a.shape[-1])))


@_rule(aten._softmax)
def _softmax(run: Roundings, func: Any, out: Tensor, a: Tensor, dim: int, half: bool) -> _Error:
    below = a - a.amax(dim, keepdim=True)
    error = run.error(a)
    # Every exponent errs, and the sum of the exponentials like their mean.
    error = 2 * error + below.abs() * U + 2 * U
    depth = _depth(_tensor(a.shape[dim]))
    return out * (error + (out * error).sum(dim, keepdim=True) + (depth + 1) * U)


def bounded(
    function: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor]
) -> tuple[Sequence[Tensor], list[Tensor]]:
    """The results of `function` on float64 tensors, and how far float32 may be from each."""
    run = Roundings()
    with run:
        results = function(*inputs)
    return results, [
        torch.as_tensor(run.error(x), dtype=torch.float64).expand(x.shape).clone() for x in results
    ]
