"""The error of an operator that has no rule: measured, not derived.

The assumption is that such an operator is computed exactly, but for inputs that differ by their own
errors and by a few roundings. The operator is run on inputs that are moved by this amount, in
several patterns of signs, and once in float32. The error of an element is the largest change seen.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from lossexport.catalog.spec import U
from lossexport.parity.rounding_rules import Error, Known, overflown, rounding

UNITS = 16.0
"""Roundings of its inputs that an operator is taken to make, besides the root of its terms."""
FACTOR = 3.0
"""Times what the operators that one is made of err by."""
_OWN = 4.0  # roundings of the result
_PATTERNS = 10
# Elements of each input that are moved one by one, to count the results that each one changes.
_PROBES = 4


def measured(known: Known, func: Any, out: Any, args: Any, kwargs: Any) -> tuple[list[Error], bool]:
    """The error of each result of `func`, and whether there was anything to measure.

    `out` is its result for these arguments: a tensor, several, or another value.
    """
    leaves, spec = tree_flatten((args, kwargs))
    places = [i for i, leaf in enumerate(leaves) if _is_float(leaf)]
    results = list(out) if isinstance(out, tuple | list) else [out]

    def call(moved: Sequence[Tensor]) -> list[np.ndarray]:
        given = list(leaves)
        for place, value in zip(places, moved, strict=True):
            given[place] = value
        positional, named = tree_unflatten(given, spec)
        found = func(*positional, **named)
        return [_array(x) for x in (found if isinstance(found, tuple | list) else [found])]

    values = [_array(x) for x in results]
    changes = [np.zeros(x.shape) for x in values]
    if inputs := [leaves[place].detach() for place in places]:
        units = UNITS + math.sqrt(_terms(call, inputs, values))
        steps = [_tensor(known.error(x), x) + units * U * x.abs() for x in inputs]
        generator = torch.Generator().manual_seed(0)
        for pattern in range(_PATTERNS):
            pairs = zip(inputs, steps, strict=True)
            moved = [x + step * _signs(pattern, x.shape, generator) for x, step in pairs]
            if pattern == _PATTERNS - 1:
                moved = [x.float() for x in inputs]
            with suppress(RuntimeError):  # the operator refuses inputs outside of its domain
                for change, now, then in zip(changes, call(moved), values, strict=True):
                    fits = now.shape == then.shape
                    np.fmax(change, np.abs(now - then) if fits else math.inf, out=change)
    found = zip(results, changes, strict=True)
    errors = [_error(x, change) if _is_tensor(x) else 0.0 for x, change in found]
    return errors, bool(inputs) or any(map(_is_float, results))


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _array(value: Any) -> np.ndarray:
    return np.asarray(value.detach().numpy() if _is_tensor(value) else 0.0, np.float64)


def _tensor(error: Error, like: Tensor) -> Tensor:
    return torch.from_numpy(np.broadcast_to(error, like.shape).astype(np.float64)).to(like.dtype)


def _signs(pattern: int, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Signs of a pattern: all up, all down, then random ones."""
    if pattern < 2:
        return torch.full(shape, 1.0 - 2.0 * pattern, dtype=torch.float64)
    return torch.randint(0, 2, shape, generator=generator, dtype=torch.float64) * 2 - 1


def _terms(
    call: Callable[[Sequence[Tensor]], list[np.ndarray]],
    inputs: Sequence[Tensor],
    results: Sequence[np.ndarray],
) -> float:
    """About how many elements of an input each element of the result depends on."""
    most = 1.0
    for place, given in enumerate(inputs):
        reached = 0
        for index in {int(i) for i in np.linspace(0, given.numel() - 1, _PROBES)} - {-1}:
            moved = [x.clone(memory_format=torch.contiguous_format) for x in inputs]
            moved[place].view(-1)[index] += 0.01 * (1 + moved[place].view(-1)[index].abs())
            with suppress(RuntimeError):
                for now, then in zip(call(moved), results, strict=True):
                    if now.shape != then.shape:
                        continue
                    same = (now == then) | (np.isnan(now) & np.isnan(then))
                    reached = max(reached, int((~same).sum()))
        elements = max((x.size for x in results), default=1)
        most = max(most, given.numel() * reached / max(elements, 1))
    return most


def _error(out: Tensor, change: np.ndarray) -> Error:
    """The change plus a few roundings of the result; truth values and indices are not rounded."""
    return overflown(out, rounding(out, change, _OWN))
