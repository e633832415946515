"""The TensorRT and TensorRT-RTX backends: one interface, two modules."""

import json
import shlex
import threading
import weakref
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from lossexport.errors import LossexportError, NotRunHereError, one_line
from lossexport.origin import install_command
from lossexport.runtime.backends import has_module, installed_version
from lossexport.runtime.cuda import DRIVER_FIX, driver
from lossexport.runtime.session import Array, Availability, Session, Source, TensorInfo

if TYPE_CHECKING:
    from lossexport.manifest import Artifact

SUFFIX = ".engine"
_OTHER_GPU = "cannot run on this GPU"  # in the message of TensorRT-RTX 1.7


@dataclass(frozen=True, slots=True)
class _Flavour:
    """One of the two runtimes: its module and the packages that bring it."""

    module: str
    packages: tuple[str, ...]


# By backend, which is also the extra that brings it.
_FLAVOURS = {
    "tensorrt": _Flavour("tensorrt", ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")),
    "rtx": _Flavour("tensorrt_rtx", ("tensorrt-rtx", "tensorrt-rtx-cu13", "tensorrt-rtx-cu12")),
}
_RTX_MAGIC, _RTX_SIZE, _RTX_VERSION = b"vtrt", slice(16, 24), slice(24, 28)
_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "bfloat16",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
    "UINT8": "uint8",
}


def availability(backend: str) -> Availability:
    """Whether the runtime, cuda-bindings and a GPU are all here; imports none of them."""
    flavour = _FLAVOURS[backend]
    version = installed_version(*flavour.packages)
    if not has_module(flavour.module):
        reason, fix = f"{flavour.module} is not installed", install_command(backend)
    elif (cuda := driver()).reason is not None:
        reason, fix = cuda.reason, DRIVER_FIX
    elif not has_module("cuda.bindings"):
        reason, fix = "cuda-bindings is not installed", install_command(backend)
    else:
        return Availability(backend, runs=True, version=version, providers=cuda.devices)
    return Availability(backend, runs=False, version=version, reason=reason, fix=fix)


def open_session(source: Source, backend: str, provider: str) -> Session:
    """Deserialise an engine whose hash `load` has checked, on the GPU; `provider` is unused."""
    artifact = source.artifact
    if artifact is None:
        raise LossexportError(f"{source.path}: refused, an engine that no manifest lists")
    if artifact.builder != backend:
        raise LossexportError(
            f"{source.path}: built by {artifact.builder}, backend {backend!r} cannot run it"
        )
    flavour = _FLAVOURS[backend]
    try:
        trt = import_module(flavour.module)
    except ImportError as error:
        raise LossexportError(
            f"{source.path}: {flavour.module} cannot be imported ({one_line(error)}); "
            f"{install_command(backend)}"
        ) from error
    check_version(source, artifact, backend, trt.__version__)
    here = availability(backend)
    if not here.runs:
        raise LossexportError(f"{source.path}: built, not run here: {here.reason}; {here.fix}")
    return EngineSession(source, artifact, backend, here.providers, trt)


def check_version(source: Source, artifact: "Artifact", backend: str, installed: str) -> None:
    """Refuse an engine of another release than `installed`, before it is deserialised."""
    check_header(source, artifact)
    if artifact.builder_version != installed:
        raise LossexportError(
            f"{source.path}: built by {backend} {artifact.builder_version}, installed is "
            f"{installed}; rebuild it: {rebuild_command(artifact, str(source.path.parent))}"
        )


def check_header(source: Source, artifact: "Artifact") -> None:
    """Refuse an engine whose first bytes contradict the manifest; needs no runtime.

    That of TensorRT-RTX states its own size and release, that of TensorRT nothing we can read.
    """
    header, size = source.data[: _RTX_VERSION.stop], len(source.data)
    if artifact.builder != "rtx":
        return
    if not header.startswith(_RTX_MAGIC) or len(header) < _RTX_VERSION.stop:
        raise LossexportError(
            f"{source.path}: header {header[:4]!r}, not {_RTX_MAGIC!r} of TensorRT-RTX"
        )
    if (stated := int.from_bytes(header[_RTX_SIZE], "little")) != size:
        raise LossexportError(f"{source.path}: has {size} bytes, its header says {stated}")
    version = ".".join(map(str, header[_RTX_VERSION]))
    if version != artifact.builder_version:
        raise LossexportError(
            f"{source.path}: built by rtx {version}, manifest.json says {artifact.builder_version}"
        )


def rebuild_command(artifact: "Artifact", folder: str) -> str:
    """The command line that builds the engine of `artifact` anew."""
    words = ["lossexport", "export", artifact.op, "--format", "engine"]
    words += ["--backend", artifact.builder or "rtx"]
    if artifact.kind == "gradient":
        words.append("--gradient")
    if artifact.precision != "fp32":
        words += ["--precision", artifact.precision]
    for name, value in sorted(artifact.attributes.items()):
        words += ["--set", f"{name}={json.dumps(value)}"]
    for name, size in sorted(artifact.profile.items()):
        words += ["--shape", f"{name}={size.min}:{size.opt}:{size.max}"]
    for capability in artifact.compute_capabilities:
        words += ["--compute-capability", capability]
    return shlex.join([*words, "--out", folder])


class EngineSession(Session):
    """An engine with one execution context, one stream and device buffers that grow.

    Calls from several threads take turns.
    """

    def __init__(
        self,
        source: Source,
        artifact: "Artifact",
        backend: str,
        providers: tuple[str, ...],
        trt: Any,
    ) -> None:
        """Raises LossexportError if the runtime `trt` refuses the engine."""
        super().__init__(
            source.path,
            backend,
            providers,
            tuple(TensorInfo(t.name, t.dtype, tuple(t.shape)) for t in artifact.inputs),
            tuple(TensorInfo(t.name, t.dtype, tuple(t.shape)) for t in artifact.outputs),
            {name: (size.min, size.max) for name, size in artifact.profile.items()},
        )
        self._log = logger(trt)
        self._runtime = trt.Runtime(self._log)
        self._engine = self._runtime.deserialize_cuda_engine(source.data)
        if self._engine is None:
            # A GPU that the engine was not built for, or that the runtime does not know at all.
            kind = NotRunHereError if _OTHER_GPU in self._log.last else LossexportError
            self._fail("the engine is not accepted", kind)
        self._check_tensors()
        self._context = self._engine.create_execution_context()
        if self._context is None:
            self._fail("no execution context")
        self._device = _Device(str(source.path))
        self._lock = threading.Lock()

    def _check_tensors(self) -> None:
        """The engine's tensors must be those that the manifest lists."""
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        found = {name: _DTYPES.get(self._engine.get_tensor_dtype(name).name) for name in names}
        listed = {info.name: info.dtype for info in (*self.inputs, *self.outputs)}
        if found != listed:
            self._refuse(f"tensors {found}, manifest.json lists {listed}")

    def _run(self, arrays: dict[str, Array]) -> dict[str, Array]:
        with self._lock:
            context, device = self._context, self._device
            for name, array in arrays.items():
                if not context.set_input_shape(name, array.shape):
                    self._fail(f"input {name!r}: shape {list(array.shape)} is not accepted")
            if unknown := context.infer_shapes():
                self._fail(f"shapes of {', '.join(unknown)} are not known")
            found = {info.name: self._output(info) for info in self.outputs}
            for name, array in (arrays | found).items():
                if not context.set_tensor_address(name, device.buffer(name, array.nbytes)):
                    self._fail(f"tensor {name!r}: its memory is not accepted")
            for name, array in arrays.items():
                device.upload(name, array)
            if not context.execute_async_v3(device.stream):
                self._fail("the engine did not run")
            device.synchronize()
            for name, array in found.items():
                device.download(name, array)
            return found

    def _output(self, info: TensorInfo) -> Array:
        """An array for an output, of the shape that the inputs' shapes give it."""
        shape = tuple(self._context.get_tensor_shape(info.name))
        if min(shape, default=0) < 0:
            self._fail(f"output {info.name!r}: shape {list(shape)} depends on the data")
        return np.empty(shape, np.uint16 if info.dtype == "bfloat16" else info.dtype)

    def _fail(self, message: str, kind: type[LossexportError] = LossexportError) -> NoReturn:
        self._refuse(f"{self.backend}: {message}: {one_line(self._log.last)}", kind)


class _Device:
    """A CUDA stream, and device memory by tensor name; both are freed with this object."""

    def __init__(self, source: str) -> None:
        from cuda.bindings import runtime

        self._cuda = runtime
        self._source = source
        self._buffers: dict[str, tuple[int, int]] = {}
        (stream,) = self._do(runtime.cudaStreamCreate())
        self.stream = int(stream)
        weakref.finalize(self, _free, runtime, stream, self._buffers)

    def buffer(self, name: str, size: int) -> int:
        """Address of at least `size` bytes (never null: an empty tensor needs an address too)."""
        address, capacity = self._buffers.get(name, (0, 0))
        if capacity < max(size, 1):
            if address:
                del self._buffers[name]
                self._do(self._cuda.cudaFree(address))
            (address,) = self._do(self._cuda.cudaMalloc(max(size, 1)))
            self._buffers[name] = (int(address), max(size, 1))
        return self._buffers[name][0]

    def upload(self, name: str, array: Array) -> None:
        """Copy `array` to the buffer `name`."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        address, _ = self._buffers[name]
        self._do(self._cuda.cudaMemcpy(address, array.ctypes.data, array.nbytes, kind))

    def download(self, name: str, array: Array) -> None:
        """Copy the buffer `name` to `array`."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        address, _ = self._buffers[name]
        self._do(self._cuda.cudaMemcpy(array.ctypes.data, address, array.nbytes, kind))

    def synchronize(self) -> None:
        """Wait for the stream; an error of the engine's kernels is raised here."""
        self._do(self._cuda.cudaStreamSynchronize(self.stream))

    def _do(self, result: tuple[Any, ...]) -> tuple[Any, ...]:
        status, *values = result
        if status != self._cuda.cudaError_t.cudaSuccess:
            _, text = self._cuda.cudaGetErrorString(status)
            raise LossexportError(f"{self._source}: CUDA: {text.decode()}")
        return tuple(values)


def _free(cuda: Any, stream: Any, buffers: dict[str, tuple[int, int]]) -> None:
    for address, _ in buffers.values():
        cuda.cudaFree(address)
    cuda.cudaStreamDestroy(stream)


def logger(trt: Any) -> Any:
    """A logger that keeps the last error instead of writing to stderr."""

    class Log(trt.ILogger):  # type: ignore[misc]
        last = "no reason given"

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.last = msg

    return Log()
