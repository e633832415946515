"""CUDA's driver API on the CPU, and the device that it makes: the kernels are emulated."""

import ctypes
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from lossexport.catalog.launch import Launch
from tests.kernels import emulation
from tests.kernels.device import Device
from tests.kernels.launching import Arguments


class HostAsDevice:
    """CUDA's driver API on the CPU: the device's memory is memory, a launch is emulated."""

    CUresult = SimpleNamespace(CUDA_SUCCESS=0)
    CUdevice_attribute = SimpleNamespace(
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR=8,
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR=6,
    )

    def __init__(self, library: ctypes.CDLL | None = None) -> None:
        """`library` has the kernel that is launched, compiled for the CPU."""
        self.library, self.held = library, dict[int, np.ndarray]()

    def cuInit(self, flags: int) -> tuple[int]:
        return (0,)

    def cuDeviceGet(self, index: int) -> tuple[int, int]:
        return 0, index

    def cuDevicePrimaryCtxRetain(self, device: int) -> tuple[int, str]:
        return 0, "context"

    def cuCtxSetCurrent(self, context: str) -> tuple[int]:
        return (0,)

    def cuDeviceGetAttribute(self, attribute: int, device: int) -> tuple[int, int]:
        return 0, attribute

    def cuModuleLoadData(self, image: bytes) -> tuple[int, str]:
        assert image.endswith(b"\0")
        return 0, image.decode()

    def cuModuleGetFunction(self, module: str, name: bytes) -> tuple[int, str]:
        # The parameters as the PTX has them: pointers of 64 bits, sizes of 32.
        found = re.search(rf"\.entry {name.decode()}\((.*?)\)", module, re.DOTALL)
        assert found is not None
        return 0, found[1]

    def cuMemAlloc(self, size: int) -> tuple[int, int]:
        memory = np.zeros(size, np.uint8)
        self.held[memory.ctypes.data] = memory
        return 0, memory.ctypes.data

    def cuMemcpyHtoD(self, target: int, source: int, size: int) -> tuple[int]:
        ctypes.memmove(target, source, size)
        return (0,)

    cuMemcpyDtoH = cuMemcpyHtoD

    def cuMemcpyDtoDAsync(self, target: int, source: int, size: int, stream: int) -> tuple[int]:
        return self.cuMemcpyHtoD(target, source, size)

    def cuEventCreate(self, flags: int) -> tuple[int, list[float]]:
        return 0, []

    def cuEventRecord(self, event: list[float], stream: int) -> tuple[int]:
        event[:] = [1e3 * time.perf_counter()]
        return (0,)

    def cuEventSynchronize(self, event: list[float]) -> tuple[int]:
        return (0,)

    def cuEventElapsedTime(self, first: list[float], last: list[float]) -> tuple[int, float]:
        return 0, last[0] - first[0]

    cuEventDestroy = cuEventSynchronize

    def cuMemFree(self, place: int) -> tuple[int]:
        del self.held[place]
        return (0,)

    def cuCtxSynchronize(self) -> tuple[int]:
        return (0,)

    def cuLaunchKernel(self, function: str, *arguments: Any) -> tuple[int]:
        extents, (shared_bytes, stream, parameters, extra) = arguments[:6], arguments[6:]
        assert (shared_bytes, stream, extra) == (0, 0, 0)
        assert self.library is not None
        message = ctypes.create_string_buffer(256)
        failed = self.library.emulated_launch(
            (ctypes.c_uint * 3)(*extents[:3]),
            (ctypes.c_uint * 3)(*extents[3:]),
            ctypes.c_void_p(parameters),
            message,
            ctypes.c_size_t(len(message)),
        )
        assert not failed, message.value
        return (0,)


class Emulated(Device):
    """A device whose memory is the host's and whose kernels g++ compiles."""

    def __init__(self) -> None:
        self.host = HostAsDevice()
        super().__init__(cast(Any, self.host))

    @contextmanager
    def placed(
        self, launch: Launch, macros: Mapping[str, str], grid: tuple[int, ...], given: Arguments
    ) -> Iterator[Callable[[], None]]:
        """As on a GPU."""
        self.host.library = emulation.library(launch, macros)
        with super().placed(launch, macros, grid, given) as start:
            yield start
