"""Files and functions of any origin, called with the names of an op's inputs and outputs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from lossexport.catalog.variant import Variant
from lossexport.errors import CheckFailedError
from lossexport.runtime import Session

Function = Callable[..., Any]


class Renamed:
    """A session whose inputs and outputs are called as those of a variant."""

    def __init__(
        self, session: Session, variant: Variant, inputs: Sequence[str], outputs: Sequence[str]
    ) -> None:
        self.path = session.path
        self._session = session
        self._inputs = inputs
        self._outputs = dict(zip((t.name for t in variant.outputs), outputs, strict=True))

    def __call__(self, /, **arrays: Any) -> Mapping[str, np.ndarray]:
        """The outputs under the variant's names."""
        found = self._session(**dict(zip(self._inputs, arrays.values(), strict=True)))
        return {name: found[its_name] for name, its_name in self._outputs.items()}


def name_of(function: Function) -> str:
    """The name of a function, or the class of a module."""
    return str(getattr(function, "__qualname__", type(function).__qualname__))


class Eager:
    """A function of tensors, run in PyTorch on the CPU. Its own exceptions pass through.

    Raises CheckFailedError if its results are not those of the variant.
    """

    def __init__(self, function: Function, variant: Variant) -> None:
        self.path = name_of(function)
        self._function = function
        self._outputs = variant.outputs
        self._types = [getattr(torch, variant.numpy_dtype(tensor)) for tensor in variant.outputs]
        self._gradient = variant.op.gradient if variant.gradient else ()

    def __call__(self, /, **arrays: Any) -> Mapping[str, np.ndarray]:
        """The results, and the gradients of the first result's sum, in the types of the variant."""
        given = {name: _tensor(array) for name, array in arrays.items()}
        leaves = [given[name].requires_grad_() for name in self._gradient]
        results = self._function(*given.values())
        results = tuple(results) if isinstance(results, tuple | list) else (results,)
        names = [tensor.name for tensor in self._outputs]
        names = names[: len(names) - len(leaves)]
        if len(results) != len(names) or not all(isinstance(x, torch.Tensor) for x in results):
            kinds = ", ".join(type(value).__name__ for value in results)
            raise CheckFailedError(f"it returns {kinds}, not tensors: {', '.join(names)}")
        if leaves:
            results += torch.autograd.grad(results[0].sum(), leaves)
        return {
            tensor.name: _array(value, dtype)
            for tensor, value, dtype in zip(self._outputs, results, self._types, strict=True)
        }


def _tensor(array: np.ndarray) -> torch.Tensor:
    if array.dtype.name == "bfloat16":  # torch does not accept numpy's bfloat16
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _array(value: torch.Tensor, dtype: torch.dtype) -> np.ndarray:
    """A result as an array; a float result is converted to the type of the op."""
    value = value.detach()
    return (value.to(dtype).double() if value.is_floating_point() else value).numpy()
