"""Variants: an op with everything else that decides the bytes of its graph."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lossexport.catalog.spec import Dim, Op, Tensor
from lossexport.errors import LossexportError, shown
from lossexport.names import Precision

# TensorRT counts the elements of a tensor in 31 bits.
MAX_ELEMENTS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Range:
    """Sizes of a dynamic dimension: smallest, the one to tune for, largest."""

    min: int
    opt: int
    max: int

    @classmethod
    def parse(cls, name: str, given: str | int) -> "Range":
        """Read "MIN:OPT:MAX" or one fixed size. Raises LossexportError on anything else."""
        text = given if isinstance(given, str) else shown(given)
        # At most 20 digits, because int() raises on thousands of them.
        if re.fullmatch(r"\d{1,20}(:\d{1,20}:\d{1,20})?", text, re.ASCII) is None:
            raise LossexportError(f"shape {name}={shown(given)}: expected SIZE or MIN:OPT:MAX")
        parts = [int(part) for part in text.split(":")]
        sizes = parts if len(parts) == 3 else parts * 3
        if not 0 <= sizes[0] <= sizes[1] <= sizes[2] or sizes[2] < 1:
            raise LossexportError(
                f"shape {name}={shown(given)}: needs 0 <= MIN <= OPT <= MAX, MAX >= 1"
            )
        if sizes[2] > MAX_ELEMENTS:
            raise LossexportError(f"shape {name}={shown(given)}: MAX is at most {MAX_ELEMENTS}")
        return cls(*sizes)


@dataclass(frozen=True, slots=True)
class Variant:
    """A graph to export: op, attributes, precision, value only or value and gradient, sizes."""

    op: Op
    attributes: Mapping[str, Any]
    precision: Precision
    gradient: bool
    ranges: Mapping[str, Range]

    @classmethod
    def make(
        cls,
        op: Op,
        attributes: Mapping[str, Any] | None = None,
        precision: Precision = "fp32",
        gradient: bool = False,
        ranges: Mapping[str, Range] | None = None,
    ) -> "Variant":
        """Check the arguments and fill in defaults.

        Raises LossexportError on an unknown attribute, size or gradient.
        """
        if gradient and not op.gradient:
            raise LossexportError(f"{op.name}: has no gradient graph; it is a {op.kind}")
        resolved = op.resolve(attributes or {})
        sizes = {name: Range(*sizes) for name, sizes in op.dims.items()} | dict(ranges or {})
        for name in sizes:
            if name not in op.dims:
                names = ", ".join(op.dims)
                raise LossexportError(
                    f"{op.name}: unknown dimension {shown(name)}; it has: {names}"
                )
        for item in op.attributes:
            if item.per_class and isinstance(resolved[item.name], tuple):
                count = len(resolved[item.name])
                fixed = Range(count, count, count)
                if "C" in (ranges or {}) and sizes["C"] != fixed:
                    raise LossexportError(
                        f"{op.name}: {item.name} has {count} numbers, C may be {sizes['C'].max}"
                    )
                sizes["C"] = fixed
        variant = cls(op, resolved, precision, gradient, sizes)
        temporary = Tensor("a temporary", op.work, "")
        for tensor in (*op.inputs, *variant.outputs, temporary):
            count = 1
            for own, dim in zip(tensor.shape, variant.shape(tensor), strict=True):
                if isinstance(dim, int) and dim < 0:
                    raise LossexportError(
                        f"{op.name}: {own}={dim}: is a dimension of {tensor.name}: at least 0"
                    )
                count *= sizes[dim].max if isinstance(dim, str) else dim
            if count > MAX_ELEMENTS:
                raise LossexportError(
                    f"{op.name}: {tensor.name} would have {count} elements at the largest shape, "
                    f"more than {MAX_ELEMENTS}"
                )
        return variant

    @property
    def stem(self) -> str:
        """File name without extension: `ciou_loss.grad.fp16`."""
        parts = [self.op.name]
        if self.gradient:
            parts.append("grad")
        if self.precision != "fp32":
            parts.append(self.precision)
        return ".".join(parts)

    @property
    def node_type(self) -> str:
        """Type of the ONNX node, and name of the plugin that may replace it."""
        return self.op.class_name + ("WithGrad" if self.gradient else "")

    @property
    def pluggable(self) -> bool:
        """Whether there is a plugin for every size; the size of a kernel may be limited."""
        kernel = self.op.kernel
        return kernel is None or kernel.serves({n: size.max for n, size in self.ranges.items()})

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """Outputs of the graph."""
        return self.op.output_tensors(self.attributes, self.gradient)

    def shape(self, tensor: Tensor) -> tuple[Dim, ...]:
        """Shape of a tensor, with attributes and fixed sizes filled in."""
        return tuple(self._size(dim) for dim in tensor.shape)

    def _size(self, dim: Dim) -> Dim:
        if isinstance(dim, int):
            return dim
        if dim in self.attributes:
            return int(self.attributes[dim])
        size = self.ranges[dim]
        return size.min if size.min == size.max else dim

    @property
    def dynamic(self) -> dict[str, Range]:
        """The dimensions that stay symbolic."""
        return {name: size for name, size in self.ranges.items() if size.min != size.max}

    def numpy_dtype(self, tensor: Tensor) -> str:
        """Element type of a tensor at the boundary: "float32", "float16", "bfloat16", "int64"..."""
        if tensor.dtype != "float":
            return tensor.dtype
        return {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}[self.precision]
