"""Runs a detector before and after an op is attached: its own outputs must not change.

Both run in onnxruntime without its optimisations, so that equal nodes compute the same. Every
element of every output is compared, on inputs of several ranges and, if sizes are open, of several
sizes. A detector is refused if nothing can be compared.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx

from lossexport.errors import LossexportError
from lossexport.runtime.ort import open_session
from lossexport.runtime.session import Array, Session, Source
from lossexport.wiring.feeds import Feed, fitting

# How far an element of a converted detector may change, as a part of itself and of the largest
# element. Some kernels round differently from one opset to the next (AveragePool from 19 on).
_ROUNDING = {
    "float16": (1e-2, 2e-3),
    "bfloat16": (5e-2, 1e-2),
    "float32": (1e-4, 1e-5),
    "float64": (1e-4, 1e-5),
}
_AT_ONCE = 64  # inner tensors that one run reads


class Original:
    """A detector before the op is attached, and the inputs to run it on.

    `converted` is the opset that it is converted to, None if it keeps its own.
    """

    def __init__(self, path: Path, data: bytes, converted: int | None) -> None:
        """Raises LossexportError if onnxruntime cannot run it here."""
        self.path, self.data = path, data
        self._converted = converted
        try:
            self._session = _load(path, data)
            self._feeds = fitting(self._session)
        except LossexportError as error:
            raise LossexportError(
                f"{error}; attach runs a detector to see that its outputs stay the same: export it "
                "with operators, types and sizes that onnxruntime runs on the CPU"
            ) from error

    def check_same(self, out: Path, after: bytes, step: Callable[[str], None]) -> None:
        """Compare with `after`, the bytes that `out` is to hold. Raises LossexportError."""
        names = [info.name for info in self._session.outputs]
        session = _load(out, after)
        seen: set[str] = set()
        for number, feed in enumerate(self._feeds, 1):
            step(f"comparing, input {number} of {len(self._feeds)}")
            seen |= self._compare(self._session, session, feed, names)
        if unseen := [name for name in names if name not in seen]:
            self._check_inner(out, after, unseen, step)

    def _compare(
        self, before: Session, after: Session, feed: Feed, names: Iterable[str]
    ) -> set[str]:
        """Compare the outputs `names`. Returns those with values that could be compared."""
        arrays = feed.arrays(before)
        old, new = before(**arrays), after(**arrays)
        types = {info.name: info.dtype for info in before.outputs}
        for name in names:
            rounding = _ROUNDING.get(types[name]) if self._converted else None
            if (found := _difference(old[name], new[name], rounding)) is None:
                continue
            if _difference(old[name], before(**arrays)[name], None) is not None:
                raise LossexportError(
                    f"{self.path}: {name} differs from run to run on the same input, so that it "
                    "cannot be compared: export the detector without random operators"
                )
            cause = f" on conversion to opset {self._converted}" if self._converted else ""
            remedy = (
                f"; export the detector with opset {self._converted} or newer"
                if self._converted
                else ""
            )
            raise LossexportError(
                f"{self.path}: output {name} changes{cause}: {found} on {feed}{remedy}"
            )
        return {name for name in names if _is_seen(old[name])}

    def _check_inner(
        self, out: Path, after: bytes, unseen: list[str], step: Callable[[str], None]
    ) -> None:
        """Compare tensors inside the detector, for outputs that are empty or never finite."""
        old, new = onnx.load_from_string(self.data), onnx.load_from_string(after)
        kept = {name for node in old.graph.node for name in node.output}
        typed = {value.name for value in new.graph.value_info if _is_numeric(value)}
        inner = [n for node in new.graph.node for n in node.output if n in kept & typed]
        seen: set[str] = set()
        for start in range(0, len(inner), _AT_ONCE):
            step(f"comparing, tensor {start + 1} of {len(inner)}")
            names = inner[start : start + _AT_ONCE]
            before = _load(self.path, _with_outputs(old, names))
            now = _load(out, _with_outputs(new, names))
            seen |= self._compare(before, now, self._feeds[0], names)
        if not seen:
            raise LossexportError(
                f"{self.path}: output {unseen[0]} is empty or not finite on every random input, so "
                "that it cannot be compared: export the detector without what empties it"
            )


def _load(path: Path, data: bytes) -> Session:
    return open_session(Source(path, data, None), "ort", "cpu", optimise=False)


def _with_outputs(model: onnx.ModelProto, names: list[str]) -> bytes:
    """The model with the named tensors as its only outputs."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    data: bytes = copy.SerializeToString()
    return data


def _is_numeric(value: onnx.ValueInfoProto) -> bool:
    """Whether it is a tensor that numpy has a type for."""
    numeric = onnx.helper.get_all_tensor_dtypes() - {onnx.TensorProto.STRING}
    return value.type.tensor_type.elem_type in numeric


def _is_seen(array: Array) -> bool:
    """Whether an output has any values that can be compared."""
    if array.dtype.kind in "iub":
        return array.size > 0
    return bool(np.isfinite(array).any())


def _difference(old: Array, new: Array, rounding: tuple[float, float] | None) -> str | None:
    """The element that differs most, or the shapes; None if they are the same.

    `rounding` is the difference allowed: a part of the element and a part of the largest.
    """
    if old.shape != new.shape or old.dtype != new.dtype:
        return f"{new.dtype}{list(new.shape)} instead of {old.dtype}{list(old.shape)}"
    if old.dtype.kind in "iub":
        wrong, apart = old != new, old != new
    else:
        old, new = (array.astype(np.float64) for array in (old, new))
        finite = np.isfinite(old)
        own, largest = rounding or (0.0, 0.0)
        size = np.abs(np.where(finite, old, 0))
        reach = own * size + largest * size.max(initial=0)
        with np.errstate(invalid="ignore"):  # infinity minus infinity
            apart = np.abs(new - old)
            same = (old == new) | (np.isnan(old) & np.isnan(new)) | (finite & (apart <= reach))
        wrong = ~same
    if not wrong.any():
        return None
    apart = np.where(wrong, np.nan_to_num(apart.astype(float), nan=np.inf), -1)
    index = np.unravel_index(int(apart.argmax()), apart.shape)
    place = [int(at) for at in index]
    return f"element {place} is {new[index].item()} instead of {old[index].item()}"
