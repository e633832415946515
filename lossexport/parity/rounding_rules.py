"""Rules for the error of each operator of PyTorch: the one from its inputs and its own rounding.

A rule takes the analysis, which knows the errors of the inputs, then the operator, its result and
its arguments. It returns the error of the result, in memory that no other error shares. The rules
use numpy, which takes less time than PyTorch on small tensors. They call the operator itself where
the order of a sum or the library behind a function matters.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from lossexport.catalog.spec import U

aten: Any = torch.ops.aten

_TINY = float(np.finfo(np.float32).tiny)
LARGEST = float(np.finfo(np.float32).max)

# An error is an array, or the float 0.0 if there is none. The error of a truth value is 1 if
# rounding may flip it.
Error = Any


class Known(Protocol):
    """The errors of the tensors that have been computed."""

    def error(self, value: Any) -> Error:
        """The bound on the error of a tensor, or of a number that float32 has to round."""


_Rule = Callable[..., Any]
RULES: dict[Any, _Rule] = {}


def _rule(*operators: Any) -> Callable[[_Rule], _Rule]:
    def add(function: _Rule) -> _Rule:
        RULES.update(dict.fromkeys(operators, function))
        return function

    return add


def _is(error: Error) -> bool:
    # A NumPy scalar is the error of a tensor without dimensions.
    return type(error) is not float or error != 0


def _array(x: Any) -> Any:
    """The memory of a tensor; a number is returned unchanged."""
    if not isinstance(x, Tensor):
        return x
    return (x.detach() if x.requires_grad else x).numpy()


def _tensor(x: Any) -> Tensor:
    return torch.from_numpy(np.asarray(x, np.float64))


def _number(error: Error) -> Error:
    """`error` with 0 in place of NaN, which is 0 times infinity: a factor of 0 leaves no error."""
    absent = np.isnan(error)
    return np.where(absent, 0.0, error) if absent.any() else error


def rounding(out: Tensor, error: Error, ulps: float = 1.0) -> Error:
    """`error` and `ulps` roundings of `out`, which may be flushed to 0 below the normal range."""
    if not out.is_floating_point():
        return error
    size = np.abs(_array(out), out=np.empty(out.shape))
    flushed = np.minimum(size, _TINY, out=np.empty(out.shape))
    size *= ulps * U
    rounding = np.maximum(size, flushed, out=size)
    return error + rounding if _is(error) else rounding


def _rounding_of_digits(out: Tensor, error: Error) -> Error:
    """As `rounding`, for a sum or a product: 0 if no input errs and float32 can hold the result."""
    if not out.is_floating_point():
        return error
    values = _array(out)
    held = values.astype(np.float32) == values
    if _is(error):
        held &= error == 0
    elif held.all():
        return 0.0
    rounded = rounding(out, error)
    return np.where(held, 0.0, rounded) if held.any() else rounded


def overflown(out: Tensor, error: Error) -> Error:
    """`error`, but infinite where `out` is finite in float64 and overflows float32."""
    if not out.is_floating_point():
        return error
    size = np.abs(_array(out))
    over = size > LARGEST
    return np.where(over & (size < math.inf), math.inf, error) if over.any() else error


def _between(known: Known, out: Tensor, function: Callable[[Any], Tensor], value: Tensor) -> Error:
    """The larger distance from `out` to the results at the two ends of the interval of `value`."""
    error = known.error(value)
    if not _is(error):
        return 0.0
    middle, found = _array(value), _array(out)
    high, low = (_array(function(_tensor(end))) for end in (middle + error, middle - error))
    return _number(np.fmax(np.abs(high - found), np.abs(found - low)))


@_rule(
    aten.zeros, aten.ones, aten.empty, aten.arange, aten.zeros_like, aten.ones_like,
    aten.empty_like, aten.new_zeros, aten.new_ones, aten.new_empty, aten.eq, aten.ne,
    aten.isnan, aten.isfinite, aten.isinf, aten._local_scalar_dense, aten.argmax, aten.argmin,
    aten.any, aten.all, aten.is_nonzero, aten.new_empty_strided, aten.empty_strided,
)  # fmt: skip
def _exact(known: Known, func: Any, out: Any, *args: Any, **kwargs: Any) -> Error:
    """No error: results that are constants, whole numbers, or indices and comparisons for equality.

    The last two are taken as the oracle finds them, even if rounding could change them.
    """
    return 0.0


@_rule(aten.sign, aten.sgn, aten.floor, aten.ceil, aten.round, aten.trunc)
def _step(known: Known, func: Any, out: Tensor, a: Tensor) -> Error:
    return _between(known, out, func, a)


@_rule(aten.lift_fresh, aten.scalar_tensor, aten.full, aten.full_like, aten.new_full)
def _constant(known: Known, func: Any, out: Tensor, *args: Any, **kwargs: Any) -> Error:
    if not out.is_floating_point():
        return 0.0
    if out.numel() == 1:
        return known.error(out.item())
    values = _array(out)
    error = np.abs(values - values.astype(np.float32))
    return np.where(np.abs(values) <= LARGEST, error, 0.0) if error.any() else 0.0


@_rule(aten.neg, aten.abs, aten._to_copy, aten.bitwise_not)
def _kept(known: Known, func: Any, out: Tensor, a: Tensor, *args: Any, **kwargs: Any) -> Error:
    error = known.error(a)
    return error.copy() if _is(error) else 0.0


@_rule(
    aten.cat, aten.stack, aten.clone, aten._unsafe_view, aten.index_select, aten.gather, aten.flip,
    aten.repeat, aten.select_backward, aten.slice_backward, aten.constant_pad_nd, aten.scatter,
    aten.index, aten.roll, aten.index_put, aten.select_scatter, aten.slice_scatter,
    aten.logical_not, aten.diagonal_backward,
)  # fmt: skip
def _moved(known: Known, func: Any, out: Tensor, *args: Any, **kwargs: Any) -> Error:
    seen = False

    def errors(value: Any) -> Any:
        nonlocal seen
        if isinstance(value, list | tuple):
            return type(value)(errors(item) for item in value)
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        if not _is(error := known.error(value)):
            return torch.zeros_like(value)
        seen = True
        return _tensor(error)

    moved = [errors(item) for item in args]
    return _array(func(*moved, **kwargs)) if seen else 0.0


@_rule(aten.add, aten.sub, aten.rsub)
def _added(known: Known, func: Any, out: Tensor, a: Any, b: Any, alpha: float = 1) -> Error:
    error = known.error(a) + known.error(b) * abs(alpha)
    if not out.is_floating_point():
        return error
    rounded = _rounding_of_digits(out, error)
    if not _is(rounded):
        return 0.0
    # Adding 0 rounds nothing.
    free = np.equal(_array(a), 0) | np.equal(_array(b), 0)
    return np.where(free, error, rounded) if free.any() else rounded


def _power_of_two(x: Any, error: Error) -> bool:
    """Whether `x` is a number, without an error, whose products are exact."""
    if _is(error) or (isinstance(x, Tensor) and x.numel() != 1):
        return False
    number = float(_array(x).item() if isinstance(x, Tensor) else x)
    return math.isfinite(number) and math.frexp(number)[0] in (0.5, -0.5, 0.0)


@_rule(aten.mul)
def _product(known: Known, func: Any, out: Tensor, a: Any, b: Any) -> Error:
    ea, eb = known.error(a), known.error(b)
    error: Error = 0.0
    if _is(ea) or _is(eb):
        # Each by itself: in a sum, the NaN of one would hide that another is infinite.
        error = _number(_size(b) * ea) + _number(_size(a) * eb) + _number(ea * eb)
    if _power_of_two(a, ea) or _power_of_two(b, eb):
        return overflown(out, error)
    return overflown(out, _rounding_of_digits(out, error))


def _size(x: Any) -> Any:
    values = _array(x)
    return values if getattr(values, "dtype", None) == np.bool_ else abs(values)


@_rule(aten.div)
def _quotient(known: Known, func: Any, out: Tensor, a: Any, b: Any) -> Error:
    ea, eb = known.error(a), known.error(b)
    error: Error = 0.0
    if _is(ea) or _is(eb):
        size = np.abs(np.asarray(_array(b), np.float64))
        # If the divisor's error is more than half of it, dividing by half of it still gives an
        # error of the right size.
        least = np.maximum(size - eb, size / 2)
        error = _number(ea / least)
        if _is(eb):
            share = np.where(np.equal(eb, math.inf), 1.0, eb / least)
            error = error + _number(np.abs(_array(out)) * share)
    return overflown(out, error if _power_of_two(b, eb) else rounding(out, error))


@_rule(aten.reciprocal)
def _reciprocal(known: Known, func: Any, out: Tensor, a: Tensor) -> Error:
    return _quotient(known, func, out, 1.0, a)


# Error of each function for an exact argument, in units of u.
_FUNCTIONS = {
    aten.exp: 2.0, aten.log: 2.0, aten.sqrt: 2.0, aten.log1p: 5.0, aten.sigmoid: 4.0,
    aten.atan: 4.0, aten.rsqrt: 3.0, aten.expm1: 4.0, aten.tanh: 4.0, aten.erf: 4.0,
    aten.sin: 4.0, aten.cos: 4.0, aten.log2: 4.0, aten.exp2: 4.0, aten.asin: 4.0, aten.acos: 4.0,
}  # fmt: skip


@_rule(*_FUNCTIONS)
def _function(known: Known, func: Any, out: Tensor, a: Tensor) -> Error:
    error = rounding(out, _between(known, out, func, a), _FUNCTIONS[func.overloadpacket])
    return overflown(out, error)


@_rule(aten.pow)
def _power(known: Known, func: Any, out: Tensor, a: Any, b: Any) -> Error:
    error = _between(known, out, lambda x: func(x, b), a) if isinstance(a, Tensor) else 0.0
    eb = known.error(b)
    if _is(eb):
        logarithm = _array((a if isinstance(a, Tensor) else _tensor(a)).log())
        error = error + _number(np.abs(_array(out) * logarithm) * eb)
    return rounding(out, error, 2.0)


@_rule(aten.clamp, aten.clamp_min, aten.clamp_max, aten.relu)
def _clamped(known: Known, func: Any, out: Tensor, a: Tensor, *bounds: Any, **kw: Any) -> Error:
    error = _between(known, out, lambda x: func(x, *bounds, **kw), a)
    for bound in (*bounds, *kw.values()):
        if bound is not None and _is(own := known.error(bound)):
            error = np.where(_array(out) == _array(bound), np.maximum(error, own), error)
    return error


@_rule(aten.maximum, aten.minimum, aten.fmax, aten.fmin)
def _larger(known: Known, func: Any, out: Tensor, a: Tensor, b: Tensor) -> Error:
    ea, eb = known.error(a), known.error(b)
    if not (_is(ea) or _is(eb)):
        return 0.0
    first, second, found = _array(a), _array(b), _array(out)
    high = _array(func(_tensor(first + ea), _tensor(second + eb)))
    low = _array(func(_tensor(first - ea), _tensor(second - eb)))
    return _number(np.fmax(high - found, found - low))


@_rule(aten.amax, aten.amin)
def _largest(known: Known, func: Any, out: Tensor, a: Tensor, *rest: Any) -> Error:
    return _between(known, out, lambda x: func(x, *rest), a) if a.is_floating_point() else 0.0


@_rule(aten.topk, aten.sort, aten.max, aten.min)
def _sorted(known: Known, func: Any, out: Any, a: Tensor, *rest: Any, **kw: Any) -> Any:
    if isinstance(out, Tensor):
        return _between(known, out, func, a)
    if not _is(error := known.error(a)):
        return [0.0, 0.0]
    if func.overloadpacket is aten.topk:
        dim = rest[1] if len(rest) > 1 else -1
        return [_array(_tensor(error).gather(dim, out[1])), 0.0]
    return [_between(known, out[0], lambda x: func(x, *rest, **kw)[0], a), 0.0]


@_rule(aten.lt, aten.le, aten.gt, aten.ge)
def _decision(known: Known, func: Any, out: Tensor, a: Any, b: Any) -> Error:
    error = known.error(a) + known.error(b)
    if not _is(error):
        return 0.0
    return (np.abs(_array(a) - _array(b)) <= error) & np.greater(error, 0)


@_rule(aten.bitwise_and, aten.bitwise_or, aten.bitwise_xor, aten.logical_and, aten.logical_or)
def _either(known: Known, func: Any, out: Tensor, a: Any, b: Any) -> Error:
    ea, eb = known.error(a), known.error(b)
    if not (_is(ea) or _is(eb)):
        return 0.0
    error = np.maximum(ea, eb)
    if func.overloadpacket is aten.bitwise_xor or not _truths(a, b):
        return error
    # One operand that is certain may decide the result: True that of `or`, False that of `and`.
    deciding = func.overloadpacket in (aten.bitwise_or, aten.logical_or)
    decided = [np.equal(_array(x), deciding) & np.equal(own, 0) for x, own in ((a, ea), (b, eb))]
    return np.where(decided[0] | decided[1], 0.0, error)


def _truths(*values: Any) -> bool:
    return all(isinstance(x, Tensor) and x.dtype == torch.bool for x in values)


@_rule(aten.where)
def _chosen(known: Known, func: Any, out: Tensor, c: Tensor, a: Any, b: Any) -> Error:
    ea, eb, turned = known.error(a), known.error(b), known.error(c)
    error: Error = np.where(_array(c), ea, eb) if _is(ea) or _is(eb) else 0.0
    if _is(turned):
        step = np.abs(_array(a) - _array(b)) + np.maximum(ea, eb)
        error = np.where(np.greater(turned, 0), step, error)
    return error


@_rule(aten.masked_fill)
def _filled(known: Known, func: Any, out: Tensor, a: Tensor, mask: Tensor, value: Any) -> Error:
    return _chosen(known, func, out, mask, value, a)


def _depth(count: Tensor) -> Tensor:
    """Roundings in a sum of `count` terms: one for each addition, or those of a tree if fewer."""
    return torch.minimum(count - 1, 4 + count.clamp(min=1).log2()).clamp(min=0)


@functools.lru_cache(1024)
def _depth_of(count: int) -> float:
    return _depth(torch.tensor(count, dtype=torch.float64)).item()


@_rule(aten.sum)
def _sum(known: Known, func: Any, out: Tensor, a: Tensor, *rest: Any, **kw: Any) -> Error:
    error = known.error(a)
    total: Error = _array(func(_tensor(error), *rest, **kw)) if _is(error) else 0.0
    if not out.is_floating_point() or not a.is_floating_point():
        return total
    values = _array(a)
    size = _array(func(_tensor(np.abs(values)), *rest))
    terms = func(_tensor(values != 0), *rest)
    depth = _depth_of(int(terms)) if terms.numel() == 1 else _array(_depth(terms))
    rounding = size * U * depth
    if not _is(error) and (values == np.floor(values)).all():
        rounding = np.where(size < 1 / U, 0.0, rounding)
    return total + rounding


@_rule(aten.mm, aten.bmm)
def _matrix(known: Known, func: Any, out: Tensor, a: Tensor, b: Tensor) -> Error:
    ea, eb = (_tensor(known.error(x)).expand(x.shape) for x in (a, b))
    error = func(a.abs(), eb) + func(ea, b.abs()) + func(ea, eb)
    whole = (a == a.floor()).all() & (b == b.floor()).all() & (error == 0).all()
    size: Tensor = func(a.abs(), b.abs())
    return _array(error if whole else error + size * U * _depth_of(a.shape[-1]))


@_rule(aten._softmax)
def _softmax(known: Known, func: Any, out: Tensor, a: Tensor, dim: int, half: bool) -> Error:
    below = a - a.amax(dim, keepdim=True)
    error = _tensor(known.error(a))
    # Every exponential has an error; the error of their sum is their weighted mean.
    error = 2 * error + below.abs() * U + 2 * U
    depth = _depth_of(a.shape[dim])
    return _array(out * (error + (out * error).sum(dim, keepdim=True) + (depth + 1) * U))
