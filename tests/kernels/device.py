"""A launcher that runs the PTX of the plugins on a GPU, through CUDA's driver API."""

import ctypes
import functools
from collections.abc import Mapping
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
        function = self._function(ptx.compile_ptx(launch, macros, self.capability), launch.entry)
        memories = [item for item in given if isinstance(item, Memory)]
        places = {id(item): self._call("cuMemAlloc", item.raw.nbytes) for item in memories}
        try:
            for item in memories:
                self._call("cuMemcpyHtoD", places[id(item)], item.raw.ctypes.data, item.raw.nbytes)
            values = pack(given, lambda memory: int(places[id(memory)]))
            parameters = addresses(values)
            extents = (*grid, *[1] * (3 - len(grid)), launch.block, 1, 1)
            shared_bytes, stream, extra = 0, 0, 0
            self._call(
                *("cuLaunchKernel", function, *extents, shared_bytes, stream),
                *(ctypes.addressof(parameters), extra),
            )
            self._call("cuCtxSynchronize")
            for item in memories:
                self._call("cuMemcpyDtoH", item.raw.ctypes.data, places[id(item)], item.raw.nbytes)
        finally:
            for place in places.values():
                self._call("cuMemFree", place)

    def _load(self, text: str, entry: str) -> Any:
        module = self._call("cuModuleLoadData", text.encode() + b"\0")
        return self._call("cuModuleGetFunction", module, entry.encode())

    def _call(self, name: str, *arguments: Any) -> Any:
        status, *results = getattr(self._driver, name)(*arguments)
        assert status == self._driver.CUresult.CUDA_SUCCESS, f"{name}: {status.name}"
        return results[0] if results else None
