"""The CPU kernels as a backend, which runs exported `.onnx` files.

It does not run their graph but the op that their metadata names, with the attributes and the
precision given there.
"""

import math
import os
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np

import lossexport
from lossexport.catalog.variant import Variant
from lossexport.errors import LossexportError, one_line
from lossexport.runtime.binding import (
    ABI,
    ENVIRONMENT,
    FOLDER,
    LEVEL,
    LEVELS,
    PACKAGE,
    THREADS,
    Attributes,
    CAttribute,
    CTensor,
    Tensors,
    check_environment,
    described,
    kernels,
    library,
    most_threads,
    path,
    run,
)
from lossexport.runtime.identity import identify
from lossexport.runtime.onnx_guard import CLAIM, check_model, claim
from lossexport.runtime.session import Array, Availability, Session, Source, TensorInfo

__all__ = [
    "ABI",
    "ENVIRONMENT",
    "FOLDER",
    "LEVEL",
    "LEVELS",
    "SUFFIX",
    "THREADS",
    "Attributes",
    "CAttribute",
    "CTensor",
    "NativeSession",
    "Tensors",
    "availability",
    "described",
    "fix",
    "kernel",
    "kernel_name",
    "kernels",
    "library",
    "most_threads",
    "open_session",
    "path",
    "run",
    "runs",
]

SUFFIX = ".onnx"

_SCRIPT = Path("plugins", "host", "build.py")
_COMPILER = "xcode-select --install" if sys.platform == "darwin" else "apt-get install g++"


def availability(backend: str = "native") -> Availability:
    """Whether there is a library, and the level of the processor that it uses.

    Raises LossexportError on a wrong THREADS or LEVEL, which is not a missing library.
    """
    check_environment()
    try:
        level = library().lossexport_level().decode()
    except LossexportError as error:
        return Availability(backend, runs=False, reason=str(error), fix=fix())
    return Availability(backend, runs=True, version=lossexport.__version__, providers=(level,))


def fix() -> str:
    """The command that builds the library in its place."""
    if os.environ.get(ENVIRONMENT):
        return f"unset {ENVIRONMENT}"
    script = PACKAGE / _SCRIPT
    if not script.is_file():  # a checkout
        script = PACKAGE.parent / _SCRIPT
    command = f"python {shlex.quote(str(script))}"
    if any(map(shutil.which, ("g++", "c++", "clang++"))) or os.environ.get("CXX"):
        return command
    return f"{_COMPILER} && {command}"


def kernel(variant: Variant) -> str:
    """The library's name for the computation of a variant."""
    return kernel_name(variant.op.name, variant.gradient)


def kernel_name(op: str, gradient: bool) -> str:
    """What the library calls the value of an op, or its value and gradient."""
    return op + (".grad" if gradient else "")


def runs(source: Source) -> bool:
    """Whether a file that its manifest vouches for can run here."""
    artifact = source.artifact
    if artifact is None:
        return False
    return kernel_name(artifact.op, artifact.kind == "gradient") in kernels()


def open_session(source: Source, backend: str, provider: str) -> Session:
    """Guard the model, identify its op, and bind it to its kernel."""
    if provider != "cpu":
        raise LossexportError(f"provider {provider!r}: backend {backend!r} runs on the cpu alone")
    here = availability(backend)
    if not here.runs:
        raise LossexportError(f"{source.path}: not run here: {here.reason}; {here.fix}")
    model = check_model(source.data, str(source.path))
    variant = identify(model, str(source.path))
    if (name := kernel(variant)) not in kernels():
        raise LossexportError(f"{source.path}: no native kernel of {name}")
    for kind, found, tensors in (
        ("inputs", model.inputs, variant.op.inputs),
        ("outputs", model.outputs, variant.outputs),
    ):
        if list(found) != [tensor.name for tensor in tensors]:
            names = ", ".join(tensor.name for tensor in tensors)
            raise LossexportError(
                f"{source.path}: {kind} are {', '.join(found)}, those of {name} are {names}"
            )
    if model.metadata.get(CLAIM) != claim(source.data, model.metadata):
        raise LossexportError(
            f"{source.path}: the graph is not what its metadata say; backend 'ort' runs it as it is"
        )
    return NativeSession(source, backend, here.providers, variant)


class NativeSession(Session):
    """An op of the catalogue with its attributes, bound to its kernel.

    The memory of an output that the caller has released is used for the next one, because mapping
    new memory takes longer than filling it.
    """

    def __init__(
        self, source: Source, backend: str, providers: tuple[str, ...], variant: Variant
    ) -> None:
        inputs, outputs = (
            tuple(TensorInfo(t.name, variant.numpy_dtype(t), variant.shape(t)) for t in tensors)
            for tensors in (variant.op.inputs, variant.outputs)
        )
        super().__init__(source.path, backend, providers, inputs, outputs)
        self._kernel = kernel(variant)
        self._attributes = described(variant.attributes)
        self._spare: dict[str, Array] = {}  # output -> memory that nobody uses

    def _run(self, arrays: dict[str, Array]) -> dict[str, Array]:
        given = [arrays[info.name] for info in self.inputs]
        sizes: dict[str | int, int] = {}
        for info, array in zip(self.inputs, given, strict=True):
            sizes.update(zip(info.shape, array.shape, strict=True))
        found = {}
        for info in self.outputs:
            shape = tuple(dim if isinstance(dim, int) else sizes[dim] for dim in info.shape)
            found[info.name] = self._output(info, shape)
        try:
            run(self._kernel, self._attributes, given, list(found.values()))
        except LossexportError as error:
            self._refuse(f"native: {error}")
        return found

    def _output(self, info: TensorInfo, shape: tuple[int, ...]) -> Array:
        memory = self._spare.pop(info.name, None)
        if memory is None or memory.shape != shape:
            try:
                memory = _empty(shape, "uint16" if info.dtype == "bfloat16" else info.dtype)
            except (MemoryError, ValueError) as error:
                self._refuse(f"output {info.name!r}: shape {list(shape)}: {one_line(error)}")
        return np.asarray(_Lease(memory, info.name, self._spare))


def _empty(shape: tuple[int, ...], dtype: str) -> Array:
    """Memory that begins on a cache line, so that a matrix is written in whole lines."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.empty(size + 63, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


class _Lease:
    """The owner of an output's memory for numpy; every view of the output keeps it alive."""

    def __init__(self, memory: Array, name: str, spare: dict[str, Array]) -> None:
        self.memory, self.name, self.spare = memory, name, spare
        self.__array_interface__ = memory.__array_interface__

    def __del__(self) -> None:
        self.spare[self.name] = self.memory
