"""A launcher that runs the PTX of the plugins on a GPU, through CUDA's driver API."""

import ctypes
import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from lossexport.catalog.launch import Launch
from lossexport.kernels import ptx
from tests.kernels.launching import Arguments, Memory, addresses, pack


class Device:
    """The first device, by way of `cuda.bindings.driver`."""

    def __init__(self, driver: ModuleType) -> None:
        self._driver = driver
        self._call("cuInit", 0)
        device = self._call("cuDeviceGet", 0)
        self._call("cuCtxSetCurrent", self._call("cuDevicePrimaryCtxRetain", device))
        kinds = driver.CUdevice_attribute
        major, minor = (
            self._call("cuDeviceGetAttribute", kind, device)
            for kind in (
                kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            )
        )
        self.capability = ptx.nearest(f"{major}.{minor}")
        self._function = functools.cache(self._load)

    def __call__(
        self, launch: Launch, macros: Mapping[str, str], grid: tuple[int, ...], given: Arguments
    ) -> None:
        """Copy the memory to the device, launch, and copy it back."""
        with self.placed(launch, macros, grid, given) as start:
            start()

    @contextmanager
    def placed(
        self, launch: Launch, macros: Mapping[str, str], grid: tuple[int, ...], given: Arguments
    ) -> Iterator[Callable[[], None]]:
        """The memory on the device, copied back at the end; what it gives launches once more."""
        function = self._function(ptx.compile_ptx(launch, macros, self.capability), launch.entry)
        memories = [item for item in given if isinstance(item, Memory)]
        places = {id(item): self.allocate(item.raw.nbytes) for item in memories}
        values = pack(given, lambda memory: int(places[id(memory)]))
        parameters = addresses(values)
        extents = (*grid, *[1] * (3 - len(grid)), launch.block, 1, 1)
        shared_bytes, stream, extra = 0, 0, 0

        def start() -> None:
            self._call(
                *("cuLaunchKernel", function, *extents, shared_bytes, stream),
                *(ctypes.addressof(parameters), extra),
            )

        try:
            for item in memories:
                self._call("cuMemcpyHtoD", places[id(item)], item.raw.ctypes.data, item.raw.nbytes)
            yield start
            self._call("cuCtxSynchronize")
            for item in memories:
                self._call("cuMemcpyDtoH", item.raw.ctypes.data, places[id(item)], item.raw.nbytes)
        finally:
            for place in places.values():
                self.free(place)

    def allocate(self, size: int) -> Any:
        """Device memory of at least `size` bytes; there is none of 0."""
        return self._call("cuMemAlloc", max(size, 1))

    def free(self, place: Any) -> None:
        """Give back what `allocate` gave."""
        self._call("cuMemFree", place)

    def milliseconds(self, start: Callable[[], None], times: int) -> float:
        """How long one `start` takes on the device, as the mean of `times` in a row."""
        first, last = (self._call("cuEventCreate", 0) for _ in range(2))
        self._call("cuEventRecord", first, 0)
        for _ in range(times):
            start()
        self._call("cuEventRecord", last, 0)
        self._call("cuEventSynchronize", last)
        taken = float(self._call("cuEventElapsedTime", first, last))
        for event in (first, last):
            self._call("cuEventDestroy", event)
        return taken / times

    def copy(self, target: Any, source: Any, size: int) -> None:
        """Start to copy `size` bytes within the device."""
        self._call("cuMemcpyDtoDAsync", target, source, size, 0)

    def _load(self, text: str, entry: str) -> Any:
        module = self._call("cuModuleLoadData", text.encode() + b"\0")
        return self._call("cuModuleGetFunction", module, entry.encode())

    def _call(self, name: str, *arguments: Any) -> Any:
        status, *results = getattr(self._driver, name)(*arguments)
        assert status == self._driver.CUresult.CUDA_SUCCESS, f"{name}: {status.name}"
        return results[0] if results else None
