"""Shapes that Python accepts in addition to the declared ones, which artifacts have.

An aligned op may have no dimension, or several, in place of the first, as in torchvision: boxes
[4], [N,4] or [B,N,4]. The inputs of an op of any shape may have any common shape. The function of
the op always gets the declared number of dimensions.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lossexport.catalog.spec import Op
from lossexport.catalog.spec import Tensor as Declared
from lossexport.errors import LossexportError

Shape = tuple[int, ...]
Dims = tuple[int | str, ...]


class Shapes:
    """The shapes of the inputs and outputs of an op in Python."""

    def __init__(self, spec: Op) -> None:
        self.spec = spec
        self.first = spec.inputs[0]
        self.aligned = {
            tensor.name: len(tensor.shape)
            for tensor in (*spec.inputs, *spec.outputs)
            if spec.aligned and tensor.shape[:1] == self.first.shape[:1]
        }
        self.known = {
            item.name: item.default
            for item in spec.attributes
            if isinstance(item.default, int) and not isinstance(item.default, bool)
        }

    def check(self, shapes: Mapping[str, Shape], known: Mapping[str, Any]) -> dict[str, int]:
        """The sizes of the dimensions. Raises LossexportError on shapes that do not fit.

        `shapes` are those of the inputs that are given, `known` the attributes of `self.known`,
        None where one is not given.
        """
        sizes = {
            name: default if known[name] is None else known[name]
            for name, default in self.known.items()
        }
        rows: Shape | None = None
        for tensor in self.spec.inputs:
            if tensor.name not in shapes:
                continue
            shape = tuple(shapes[tensor.name])
            wanted: Dims = tensor.shape
            if tensor.name in self.aligned:
                if rows is None:
                    rows = shape if self.spec.any_shape else self._rows(shape)
                if self.spec.any_shape:
                    wanted = rows
                elif len(rows) != 1:  # otherwise the error names the dimension
                    wanted = (*rows, *tensor.shape[1:])
            self._compare(tensor, shape, wanted, sizes)
        return sizes

    def _rows(self, shape: Shape) -> Shape:
        """The dimensions that a shape of the first input has in place of its first one."""
        return shape[: max(len(shape) - len(self.first.shape) + 1, 0)]

    def _compare(self, tensor: Declared, shape: Shape, wanted: Dims, sizes: dict[str, int]) -> None:
        if len(shape) != len(wanted):
            raise self._wrong(tensor, shape, wanted)
        for size, dim in zip(shape, wanted, strict=True):
            number = sizes.setdefault(dim, size) if isinstance(dim, str) else dim
            if size != number:
                reason = f" with {dim}={number}" if isinstance(dim, str) else ""
                raise self._wrong(tensor, shape, wanted, reason)
            if dim == "C" and size == 0:
                raise self._wrong(tensor, shape, wanted, " with C of at least 1")

    def _wrong(
        self, tensor: Declared, shape: Shape, wanted: Dims, reason: str = ""
    ) -> LossexportError:
        expected = f"[{', '.join(map(str, wanted))}]{reason}"
        return LossexportError(
            f"{self.spec.name}: {tensor.name} has shape {list(shape)}, expected {expected}"
        )

    def unusual(self, arguments: Mapping[str, Any]) -> Shape | None:
        """The shape of the first input if its number of dimensions is not the declared one."""
        value = arguments.get(self.first.name)
        if not self.aligned or not isinstance(value, Tensor):
            return None
        return tuple(value.shape) if value.dim() != len(self.first.shape) else None

    def declared(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments with the declared number of dimensions."""
        changed = dict(arguments)
        for name, dims in self.aligned.items():
            value = changed.get(name)
            if isinstance(value, Tensor):
                for _ in range(dims - value.dim()):
                    value = value.unsqueeze(0)
                changed[name] = value.flatten(0, value.dim() - dims)
        return changed

    def restored(self, shape: Shape, results: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The outputs in the shapes for a first input of `shape`."""
        return tuple(
            self._restored(shape, result)
            if self.aligned.get(tensor.name) == result.dim()  # otherwise it is reduced
            else result
            for tensor, result in zip(self.spec.outputs, results, strict=True)
        )

    def _restored(self, shape: Shape, result: Tensor) -> Tensor:
        if self.spec.any_shape:
            return result.reshape(shape)
        return result.reshape(self._rows(shape) + result.shape[1:])
