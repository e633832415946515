"""Engines: what is refused before the runtime sees the bytes, and the run against stand-ins.

The stand-ins for the runtime and for CUDA use host memory; a real engine is run only by the last
test, on a machine with a GPU.
"""
# ruff: noqa: N802, N815 (names of NVIDIA's)

import ctypes
import sys
from collections.abc import Callable
from enum import Enum, IntEnum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lossexport.errors import LossexportError, NotRunHereError
from lossexport.manifest import RangeRecord, TensorRecord
from lossexport.origin import install_command
from lossexport.runtime import load, trt
from lossexport.runtime.cuda import Driver, driver

VERSION = "1.7.1.116"
HEADER = b"vtrt" + bytes(12) + (64).to_bytes(8, "little") + bytes([1, 7, 1, 116]) + bytes(36)
BUILT = {"builder": "rtx", "builder_version": VERSION}
ONE = np.ones((3, 4), np.float32)


def refusal(path: Path, backend: str | None = None) -> str:
    with pytest.raises(LossexportError) as caught:
        load(path, backend)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


class FakeCuda(ModuleType):
    """cuda.bindings.runtime over host memory."""

    cudaError_t = IntEnum("cudaError_t", {"cudaSuccess": 0, "cudaErrorUnknown": 999})
    cudaMemcpyKind = Enum("cudaMemcpyKind", ["cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost"])

    def __init__(self) -> None:
        super().__init__("cuda.bindings.runtime")
        self.memory: dict[int, Any] = {}
        self.streams = 0
        self.broken = False

    def status(self) -> IntEnum:
        return self.cudaError_t(999 if self.broken else 0)

    def cudaGetErrorString(self, status: int) -> tuple[IntEnum, bytes]:
        return self.cudaError_t(0), b"unknown error"

    def cudaStreamCreate(self) -> tuple[IntEnum, int]:
        self.streams += 1
        return self.status(), 7

    def cudaStreamSynchronize(self, stream: int) -> tuple[IntEnum]:
        assert stream == 7
        return (self.status(),)

    def cudaStreamDestroy(self, stream: int) -> tuple[IntEnum]:
        self.streams -= 1
        return (self.status(),)

    def cudaMalloc(self, size: int) -> tuple[IntEnum, int]:
        block = ctypes.create_string_buffer(size)
        self.memory[ctypes.addressof(block)] = block
        return self.status(), ctypes.addressof(block)

    def cudaFree(self, address: int) -> tuple[IntEnum]:
        del self.memory[address]
        return (self.status(),)

    def cudaMemcpy(self, target: int, source: int, size: int, kind: object) -> tuple[IntEnum]:
        ctypes.memmove(target, source, size)
        return (self.status(),)


class FakeContext:
    """z = x + y in float32."""

    def __init__(self, runtime: Any) -> None:
        self.runtime = runtime
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        if self.runtime.refuses:
            self.runtime.logger.log(self.runtime.module.ILogger.ERROR, "shape\nnot in profile")
        return not self.runtime.refuses

    def infer_shapes(self) -> list[str]:
        return []

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, 4) if self.runtime.data_dependent else self.shapes["x"]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return address != 0

    def execute_async_v3(self, stream: int) -> bool:
        rows = self.shapes["x"][0]
        view = {
            name: np.ctypeslib.as_array((ctypes.c_float * (rows * 4)).from_address(address))
            for name, address in self.addresses.items()
        }
        view["z"][:] = view["x"] + view["y"]
        return True


class FakeRuntime:
    """What a test may change before loading: `module.settings`."""

    module: Any
    deserialises: bool

    def __init__(self, logger: Any) -> None:
        self.logger = logger
        vars(self).update(self.module.settings)

    def deserialize_cuda_engine(self, data: bytes) -> "FakeEngine | None":
        if self.deserialises:
            return FakeEngine(self)
        self.logger.log(self.module.ILogger.ERROR, self.module.settings["reason"])
        self.logger.log(self.module.ILogger.WARNING, "never mind")
        return None


class FakeEngine:
    num_io_tensors = 3

    def __init__(self, runtime: Any) -> None:
        self.runtime = runtime

    def get_tensor_name(self, index: int) -> str:
        return "xyz"[index]

    def get_tensor_dtype(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(name=self.runtime.dtype)

    def create_execution_context(self) -> FakeContext:
        return FakeContext(self.runtime)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The stand-ins in place of tensorrt_rtx, CUDA and the driver."""
    module: Any = ModuleType("tensorrt_rtx")
    module.__version__ = VERSION
    module.Runtime = type("Runtime", (FakeRuntime,), {"module": module})
    module.ILogger = type("ILogger", (), {"INTERNAL_ERROR": 0, "ERROR": 1, "WARNING": 2})
    module.settings = {
        "deserialises": True,
        "reason": "built for another GPU",
        "refuses": False,
        "data_dependent": False,
        "dtype": "FLOAT",
    }
    module.cuda = FakeCuda()
    bindings: Any = ModuleType("cuda.bindings")
    bindings.runtime = module.cuda
    for name, entry in {
        "tensorrt_rtx": module,
        "cuda": ModuleType("cuda"),
        "cuda.bindings": bindings,
        "cuda.bindings.runtime": module.cuda,
    }.items():
        monkeypatch.setitem(sys.modules, name, entry)
    monkeypatch.setattr(trt, "has_module", lambda name: True)
    monkeypatch.setattr(trt, "driver", lambda: Driver("13.0", ("Stand-in (8.9)",), None))
    return module


# Refusals


def test_an_engine_that_no_manifest_lists(tmp_path: Path, listed: Callable[..., Path]) -> None:
    path = tmp_path / "add.engine"
    path.write_bytes(HEADER)
    assert refusal(path).startswith("refused, no manifest.json beside it lists this engine")
    listed(tmp_path, "other.engine", HEADER, **BUILT)
    assert refusal(path).startswith("refused, no manifest.json beside it lists this engine")
    assert refusal(path, "rtx").startswith("refused, no manifest.json beside it lists this engine")


def test_an_engine_with_another_hash(
    tmp_path: Path, listed: Callable[..., Path], fake: Any
) -> None:
    fake.Runtime = None  # never reached
    path = listed(tmp_path, "add.engine", HEADER, **BUILT)
    path.write_bytes(HEADER[:-1] + b"\x01")
    assert refusal(path).startswith("sha256 ")


def test_an_engine_of_another_builder(tmp_path: Path, listed: Callable[..., Path]) -> None:
    path = listed(tmp_path, "add.engine", HEADER, **BUILT)
    assert refusal(path, "tensorrt") == "built by rtx, backend 'tensorrt' cannot run it"
    assert refusal(path, "ort") == "backend 'ort' runs .onnx files, not .engine"


def test_an_engine_of_another_release(
    tmp_path: Path, listed: Callable[..., Path], fake: Any
) -> None:
    fake.Runtime = None  # never reached
    data = HEADER[:24] + bytes([1, 6, 0, 9]) + HEADER[28:]
    path = listed(
        tmp_path,
        "add.engine",
        data,
        builder="rtx",
        builder_version="1.6.0.9",
        kind="gradient",
        precision="fp16",
        attributes={"weights": [1, 2.5], "method": "soft"},
        compute_capabilities=["8.6"],
    )
    assert refusal(path) == (
        f"built by rtx 1.6.0.9, installed is {VERSION}; rebuild it: lossexport export add "
        "--format engine --backend rtx --gradient --precision fp16 --set 'method=\"soft\"' "
        f"--set 'weights=[1, 2.5]' --shape N=1:16:64 --compute-capability 8.6 --out {tmp_path}"
    )


def test_a_header_that_denies_the_manifest_or_its_own_file(
    tmp_path: Path, listed: Callable[..., Path], fake: Any
) -> None:
    fake.Runtime = None  # never reached
    path = listed(tmp_path, "add.engine", HEADER, builder="rtx", builder_version="1.6.0.9")
    assert refusal(path) == f"built by rtx {VERSION}, manifest.json says 1.6.0.9"
    path = listed(tmp_path, "add.engine", HEADER + bytes(36), **BUILT)
    assert refusal(path) == "has 100 bytes, its header says 64"


@pytest.mark.parametrize("data", [b"", b"vtrt", b"ftrt" + HEADER[4:]])
def test_a_file_that_is_no_engine(
    tmp_path: Path, listed: Callable[..., Path], fake: Any, data: bytes
) -> None:
    path = listed(tmp_path, "add.engine", data, **BUILT)
    assert refusal(path) == f"header {data[:4]!r}, not b'vtrt' of TensorRT-RTX"


def test_standard_tensorrt_is_not_installed(
    tmp_path: Path, listed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    path = listed(tmp_path, "add.engine", b"ftrt", builder="tensorrt", builder_version="11.4.0")
    message = refusal(path)
    assert message.startswith("tensorrt cannot be imported (")
    assert message.endswith(f"; {install_command('tensorrt')}")


def test_no_driver(
    tmp_path: Path, listed: Callable[..., Path], fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.Runtime = None  # never reached
    monkeypatch.setattr(trt, "driver", lambda: Driver(None, (), "no CUDA driver"))
    path = listed(tmp_path, "add.engine", HEADER, **BUILT)
    assert refusal(path) == (
        "built, not run here: no CUDA driver; install NVIDIA's driver on a machine with a GPU"
    )


def test_an_engine_that_the_runtime_refuses(
    tmp_path: Path, listed: Callable[..., Path], fake: Any
) -> None:
    fake.settings["deserialises"] = False
    path = listed(tmp_path, "add.engine", HEADER, **BUILT)
    assert refusal(path) == "rtx: the engine is not accepted: built for another GPU"


def test_an_engine_for_another_gpu_is_sound_but_does_not_run_here(
    tmp_path: Path, listed: Callable[..., Path], fake: Any
) -> None:
    reason = "The engine cannot run on this GPU, which has compute capability 9.0."
    fake.settings |= {"deserialises": False, "reason": reason}
    with pytest.raises(NotRunHereError, match=r"compute capability 9\.0"):
        load(listed(tmp_path, "add.engine", HEADER, **BUILT))


def test_tensors_that_the_manifest_does_not_list(
    tmp_path: Path, listed: Callable[..., Path], fake: Any
) -> None:
    fake.settings["dtype"] = "HALF"
    path = listed(tmp_path, "add.engine", HEADER, **BUILT)
    assert refusal(path).startswith("tensors {'x': 'float16'")


# Runs against the stand-ins


def test_runs_with_buffers_that_grow(
    tmp_path: Path, listed: Callable[..., Path], fake: Any
) -> None:
    profile = {"N": RangeRecord(min=0, opt=16, max=64)}
    session = load(listed(tmp_path, "add.engine", HEADER, **BUILT, profile=profile))
    assert session.backend == "rtx"
    assert session.providers == ("Stand-in (8.9)",)
    for rows in (3, 1, 0, 64):
        x = np.arange(rows * 4, dtype=np.float32).reshape(rows, 4)
        assert session(x=x, y=x)["z"].tolist() == (2 * x).tolist()
    sizes = sorted(len(block) for block in fake.cuda.memory.values())
    assert sizes == [1024] * 3
    del session
    assert fake.cuda.memory == {}
    assert fake.cuda.streams == 0


def test_shapes_outside_the_profile(tmp_path: Path, listed: Callable[..., Path], fake: Any) -> None:
    session = load(listed(tmp_path, "add.engine", HEADER, **BUILT))
    big = np.zeros((65, 4), np.float32)
    with pytest.raises(LossexportError, match=r"shape \[65, 4\], .* where N is 1 to 64"):
        session(x=big, y=big)
    assert fake.cuda.memory == {}


def test_runtime_errors_are_one_line(
    tmp_path: Path, listed: Callable[..., Path], fake: Any
) -> None:
    path = listed(tmp_path, "add.engine", HEADER, **BUILT)
    fake.settings["refuses"] = True
    with pytest.raises(LossexportError, match=r"'x': shape \[3, 4\] .*: shape not in profile$"):
        load(path)(x=ONE, y=ONE)
    fake.settings |= {"refuses": False, "data_dependent": True}
    with pytest.raises(LossexportError, match=r"output 'z': shape .* depends on the data"):
        load(path)(x=ONE, y=ONE)
    fake.settings["data_dependent"] = False
    session = load(path)
    fake.cuda.broken = True
    with pytest.raises(LossexportError, match=f"^{path}: CUDA: unknown error$"):
        session(x=ONE, y=ONE)


def test_bfloat16_engines_have_the_manifests_dtype(
    tmp_path: Path, listed: Callable[..., Path], fake: Any
) -> None:
    fake.settings["dtype"] = "BF16"
    tensors = [TensorRecord(name=k, dtype="bfloat16", shape=["N", 4], domain="") for k in "xyz"]
    path = listed(tmp_path, "add.engine", HEADER, **BUILT, inputs=tensors[:2], outputs=tensors[2:])
    assert [info.dtype for info in load(path).inputs] == ["bfloat16", "bfloat16"]


# The real runtime


def test_an_engine_of_the_real_builder(
    tmp_path: Path, listed: Callable[..., Path], add_model: bytes
) -> None:
    """Built here, and run where there is a GPU that TensorRT-RTX supports."""
    rtx = pytest.importorskip("tensorrt_rtx")
    logger = rtx.Logger(rtx.Logger.ERROR)
    builder = rtx.Builder(logger)
    network = builder.create_network(0)
    assert rtx.OnnxParser(network, logger).parse(add_model)
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    for name in "xy":
        profile.set_shape(name, (1, 4), (16, 4), (64, 4))
    config.add_optimization_profile(profile)
    data = bytes(builder.build_serialized_network(network, config))
    path = listed(tmp_path, "add.engine", data, builder="rtx", builder_version=rtx.__version__)
    if driver().reason is None:
        assert load(path)(x=ONE, y=ONE)["z"].tolist() == (2 * ONE).tolist()
    else:
        assert refusal(path).startswith(f"built, not run here: {driver().reason}; ")
