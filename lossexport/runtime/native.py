"""The CPU kernels: a shared library behind a C ABI (plugins/host/lossexport.h), called by ctypes.

As a backend it runs exported `.onnx` files. It does not run their graph but the op that their
metadata names, with the attributes and the precision given there.
"""

import ctypes
import functools
import math
import os
import re
import shlex
import shutil
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import lossexport
from lossexport.catalog.variant import Variant
from lossexport.errors import LossexportError, one_line
from lossexport.runtime.identity import identify
from lossexport.runtime.onnx_guard import CLAIM, check_model, claim
from lossexport.runtime.session import Array, Availability, Session, Source, TensorInfo

SUFFIX = ".onnx"
ABI = 3
ENVIRONMENT = "LOSSEXPORT_NATIVE"
"""Variable that names a library to load in place of the package's own."""
THREADS = "LOSSEXPORT_THREADS"
"""Variable with the number of threads that a call may use; 0: as many as the process may."""
LEVEL = "LOSSEXPORT_LEVEL"
"""Variable that names the highest level of an x86-64 processor that is used."""
LEVELS = ("x86-64-v4", "x86-64-v3", "x86-64")

_PACKAGE = Path(__file__).resolve().parent.parent
FOLDER = _PACKAGE / "native"
"""Where the library is built, with the files that programs are built with."""
_NAME = "liblossexport" + {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
_SCRIPT = Path("plugins", "host", "build.py")
_COMPILER = "xcode-select --install" if sys.platform == "darwin" else "apt-get install g++"
# bfloat16 is its bits in uint16.
_TYPES = {np.dtype(name): place for place, name in enumerate(("f4", "f2", "u2", "i8"), start=1)}
_RANK = 3
_NONE = (0,) * _RANK
_RECORD = struct.Struct(f"PQii{_RANK}q{_RANK}q")


class CTensor(ctypes.Structure):
    """`lossexport_tensor`."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("bytes", ctypes.c_uint64),
        ("type", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("shape", ctypes.c_int64 * _RANK),
        ("strides", ctypes.c_int64 * _RANK),
    )

    @classmethod
    def of(cls, array: Array) -> "CTensor":
        """Describe an array, which has to outlive the call."""
        return cls.from_buffer_copy(_record(array))

    @classmethod
    def without_data(cls, dtype: str, shape: Sequence[int]) -> "CTensor":
        """Describe a tensor in row-major order whose memory is yet to come; bfloat16 as uint16."""
        strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
        return cls.from_buffer_copy(_packed(0, np.dtype(dtype), tuple(shape), strides))


def _record(array: Array) -> bytes:
    """The bytes of a CTensor: to make them takes a fraction of the time of the object."""
    unit = array.itemsize
    strides = tuple([step // unit for step in array.strides])
    return _packed(array.__array_interface__["data"][0], array.dtype, array.shape, strides)


def _packed(
    data: int, dtype: np.dtype[Any], shape: tuple[int, ...], strides: tuple[int, ...]
) -> bytes:
    size = dtype.itemsize * math.prod(shape)
    places = (*(shape + _NONE)[:_RANK], *(strides + _NONE)[:_RANK])
    return _RECORD.pack(data, size, _TYPES[dtype], len(shape), *places)


def _records(arrays: Sequence[Array]) -> bytes:
    return b"".join(map(_record, arrays))


class CAttribute(ctypes.Structure):
    """`lossexport_attribute`."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("number", ctypes.c_double),
        ("text", ctypes.c_char_p),
        ("list", ctypes.POINTER(ctypes.c_double)),
        ("count", ctypes.c_int64),
    )

    @classmethod
    def of(cls, name: str, value: Any) -> "CAttribute":
        """Describe a number, the name of a choice, or several numbers."""
        if isinstance(value, str):
            return cls(name.encode(), 0.0, value.encode())
        if isinstance(value, tuple | list):
            several = (ctypes.c_double * len(value))(*value)
            return cls(name.encode(), 0.0, None, several, len(value))
        return cls(name.encode(), value)


Attributes = ctypes.Array[CAttribute]
Tensors = ctypes.Array[CTensor]


def path() -> Path:
    """The library that is loaded on first use."""
    return Path(os.environ.get(ENVIRONMENT) or FOLDER / _NAME)


@functools.cache
def library() -> ctypes.CDLL:
    """The library, loaded once. Raises LossexportError if there is none that fits."""
    file = path()
    if not file.is_file():
        raise LossexportError(f"no library of native kernels at {file}")
    try:
        found = ctypes.CDLL(str(file.absolute()))
        abi, _ = found.lossexport_abi(), found.lossexport_run_on
    except (OSError, AttributeError) as error:
        raise LossexportError(f"{file}: cannot be loaded: {one_line(error)}") from error
    if abi != ABI:
        raise LossexportError(f"{file}: ABI {abi}, this release needs {ABI}")
    found.lossexport_level.restype = found.lossexport_message.restype = ctypes.c_char_p
    found.lossexport_op.restype = ctypes.c_char_p
    found.lossexport_op.argtypes = (ctypes.c_int32,)
    tensors = (ctypes.c_void_p, ctypes.c_int32)
    attributes = (ctypes.POINTER(CAttribute), ctypes.c_int32)
    found.lossexport_run_on.argtypes = (
        ctypes.c_void_p,
        ctypes.c_char_p,
        *attributes,
        *tensors,
        *tensors,
        ctypes.c_int32,
    )
    found.lossexport_run.argtypes = found.lossexport_run_on.argtypes[1:]
    return found


def has(functions: Sequence[str]) -> bool:
    """Whether there is a library, and whether it has these functions."""
    try:
        found = library()
    except LossexportError:
        return False
    return all(hasattr(found, name) for name in functions)


class Pointers:
    """Pointers to arrays in row-major order, which it keeps until the call is done."""

    def __init__(self) -> None:
        self._kept: list[Array] = []

    def pointer(self, array: Array, dtype: type[np.generic]) -> ctypes.c_void_p:
        """The address of the array, or of a copy that has the type and the order."""
        held = np.ascontiguousarray(array, dtype)
        self._kept.append(held)
        return ctypes.c_void_p(held.ctypes.data)


def call(name: str, *arguments: Any) -> None:
    """Call a function of the library. Raises LossexportError with its reason if it refuses."""
    found = library()
    if getattr(found, name)(*arguments):
        raise LossexportError(found.lossexport_message().decode(errors="replace"))


@functools.cache
def most_threads() -> int:
    """Threads that a call may use, 0 for all. Raises LossexportError on a wrong THREADS."""
    threads = os.environ.get(THREADS, "0")
    if re.fullmatch(r"[0-9]{1,4}", threads) is None:
        raise LossexportError(f"{THREADS}={threads!r}: must be a number of threads")
    return int(threads)


@functools.cache
def kernels() -> frozenset[str]:
    """The ops and gradients ("OP.grad") that the library computes; empty without a library."""
    try:
        name = library().lossexport_op
    except LossexportError:
        return frozenset()
    found: list[str] = []
    while (entry := name(len(found))) is not None:
        found.append(entry.decode())
    return frozenset(found)


def described(attributes: Mapping[str, Any]) -> Attributes:
    """Attributes by name, for `run`; one that is None gets the library's default."""
    return _described(
        tuple(
            (name, tuple(value) if isinstance(value, list) else value)
            for name, value in attributes.items()
            if value is not None
        )
    )


@functools.lru_cache(maxsize=256)
def _described(items: tuple[tuple[str, Any], ...]) -> Attributes:
    given = [CAttribute.of(*item) for item in items]
    return (CAttribute * len(given))(*given)


def run(
    kernel: str,
    attributes: Mapping[str, Any] | Attributes,
    inputs: Sequence[Array] | Tensors,
    outputs: Sequence[Array] | Tensors,
    threads: int = 0,
    team: int | None = None,
) -> None:
    """Compute `kernel`, writing to `outputs`: arrays in row-major order, bfloat16 as uint16.

    `attributes` are values by name, or what `described` makes of them; tensors may be described
    already likewise.

    On at most `threads` threads, where that is not 0, and never more than THREADS allows. They are
    new ones, or those of `team`, the address of a `lossexport_team`.

    Raises LossexportError, with the library's reason, on arguments that do not fit the kernel.
    """
    if not isinstance(attributes, ctypes.Array):
        attributes = described(attributes)
    native, most = library(), most_threads()
    code = native.lossexport_run_on(
        team,
        kernel.encode(),
        attributes,
        len(attributes),
        inputs if isinstance(inputs, ctypes.Array) else _records(inputs),
        len(inputs),
        outputs if isinstance(outputs, ctypes.Array) else _records(outputs),
        len(outputs),
        min(threads, most) if threads and most else threads or most,
    )
    if code:
        raise LossexportError(native.lossexport_message().decode(errors="replace"))


def availability(backend: str = "native") -> Availability:
    """Whether there is a library, and the level of the processor that it uses.

    Raises LossexportError on a wrong THREADS or LEVEL, which is not a missing library.
    """
    most_threads()
    if (os.environ.get(LEVEL) or LEVELS[0]) not in LEVELS:
        raise LossexportError(f"{LEVEL}={os.environ[LEVEL]!r}: must be {', '.join(LEVELS)}")
    try:
        level = library().lossexport_level().decode()
    except LossexportError as error:
        return Availability(backend, runs=False, reason=str(error), fix=fix())
    return Availability(backend, runs=True, version=lossexport.__version__, providers=(level,))


def fix() -> str:
    """The command that builds the library in its place."""
    if os.environ.get(ENVIRONMENT):
        return f"unset {ENVIRONMENT}"
    script = _PACKAGE / _SCRIPT
    if not script.is_file():  # a checkout
        script = _PACKAGE.parent / _SCRIPT
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
