"""Calls of the C ABI, right ones to begin with, which a test then spoils."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lossexport.catalog import CATALOG
from lossexport.catalog.spec import Attribute, Dim, Op, Tensor
from lossexport.runtime import native
from lossexport.runtime.native import CAttribute, CTensor

KERNELS = sorted(native.kernels())
OK, UNKNOWN_OP, BAD_ARGUMENT, BAD_TENSOR, TOO_LARGE = range(5)
BOOL = 5  # the type of lossexport.h
SENTINEL = 12344  # a float16 too
SIZES: dict[Dim, int] = {"N": 5, "M": 3, "C": 4, "K": 9, "D": 4, "B": 2, "A": 7, "T": 3}

# A list of numbers or tensors, or None.
Pointer = Any


@dataclass
class Call:
    """Arguments of `lossexport_run`, as Python has them; a pointer that is None is null."""

    kernel: str | None
    attributes: Pointer
    inputs: Pointer
    outputs: Pointer
    counts: tuple[int, ...]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    written: dict[str, np.ndarray] = field(default_factory=dict)
    threads: int = 0

    def run(self) -> tuple[int, str]:
        """The code, and the message that this thread gets."""
        library = native.library()
        code = library.lossexport_run(
            None if self.kernel is None else self.kernel.encode(),
            *(_attributes(self.attributes), self.counts[0]),
            *(_pointer(self.inputs), self.counts[1]),
            *(_pointer(self.outputs), self.counts[2]),
            self.threads,
        )
        return code, library.lossexport_message().decode()

    def refused(self) -> tuple[int, str]:
        """The same, after checking that the outputs are as they were."""
        before = {name: array.tobytes() for name, array in self.written.items()}
        code, message = self.run()
        assert code != OK
        assert message
        assert "\n" not in message
        assert {name: array.tobytes() for name, array in self.written.items()} == before
        return code, message

    def with_tensor(self, kind: str, index: int, **fields: Any) -> "Call":
        """A copy in which fields of one tensor differ."""
        tensors = [CTensor.from_buffer_copy(tensor) for tensor in getattr(self, kind)]
        for name, value in fields.items():
            if name in ("shape", "strides"):
                getattr(tensors[index], name)[:] = value
            else:
                setattr(tensors[index], name, value)
        changes: dict[str, Any] = {kind: tensors}
        return replace(self, **changes)


def _attributes(given: list[Any] | None) -> Any:
    """By position where they are numbers, else as they are."""
    if given is None:
        return None
    items = [item if isinstance(item, CAttribute) else CAttribute(None, item) for item in given]
    return (CAttribute * len(items))(*items)


def number(item: Attribute, value: Any) -> Any:
    """The value of an attribute as C has it: a choice as its place, several numbers by name."""
    if item.choices:
        return float(item.choices.index(value))
    return CAttribute.of(item.name, value) if isinstance(value, tuple) else float(value)


def _pointer(tensors: list[CTensor] | None) -> Any:
    return None if tensors is None else (CTensor * len(tensors))(*tensors)


def op_of(kernel: str) -> Op:
    return CATALOG[kernel.removesuffix(".grad")]


def declared(kernel: str, values: dict[str, Any] | None = None) -> dict[str, tuple[Tensor, ...]]:
    """The catalogue's inputs and outputs of a kernel, for these attributes."""
    op = op_of(kernel)
    outputs = op.output_tensors(values or op.resolve({}), kernel.endswith(".grad"))
    return {"inputs": op.inputs, "outputs": outputs}


def call(
    kernel: str,
    sizes: Mapping[Any, int] | None = None,
    attributes: dict[str, Any] | None = None,
    dtype: str = "float32",
    arrays: dict[str, np.ndarray] | None = None,
) -> Call:
    """A right call on the op's own ordinary inputs, or on `arrays`; outputs hold SENTINEL.

    `sizes` may also replace a number in the catalogue's shapes, or an attribute there, which makes
    the call a wrong one.
    """
    op = op_of(kernel)
    values = op.resolve({"max_output": 6} | (attributes or {}) if _picks(op) else attributes or {})
    whole: dict[Dim, int] = {
        name: value for name, value in values.items() if isinstance(value, int)
    }
    known = SIZES | whole | dict(sizes or {})
    dims = {name: known[name] for name in op.dims}
    if arrays is None:
        rng = np.random.default_rng(3)
        drawn = next(iter(op.samplers.values()))(
            rng, {k: max(v, 1) for k, v in dims.items()}, values
        )
        arrays = {
            t.name: np.resize(drawn[t.name], _shape(t, known)).astype(_numpy(t.dtype, dtype))
            for t in op.inputs
        }
    outputs = declared(kernel, values)["outputs"]
    written = {t.name: np.full(_shape(t, known), SENTINEL, _numpy(t.dtype, dtype)) for t in outputs}
    return Call(
        kernel,
        [number(item, values[item.name]) for item in op.attributes],
        [CTensor.of(array) for array in arrays.values()],
        [CTensor.of(array) for array in written.values()],
        (len(op.attributes), len(arrays), len(written)),
        arrays,
        written,
    )


def _picks(op: Op) -> bool:
    return any(item.name == "max_output" for item in op.attributes)


def _shape(tensor: Tensor, sizes: dict[Dim, int]) -> list[int]:
    return [sizes[dim] if isinstance(dim, str) else sizes.get(dim, dim) for dim in tensor.shape]


def _numpy(declared: str, dtype: str) -> str:
    return dtype if declared == "float" else declared
