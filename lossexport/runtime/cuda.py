"""What the CUDA driver of this machine says, asked without any CUDA package."""

import ctypes
import sys
from dataclasses import dataclass

from lossexport.errors import LossexportError

DRIVER_FIX = "install NVIDIA's driver on a machine with a GPU"

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_COMPUTE_CAPABILITY = (75, 76)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR


@dataclass(frozen=True, slots=True)
class Driver:
    """The newest CUDA version that the driver runs, its devices, and why none can be used."""

    version: str | None
    devices: tuple[str, ...]
    reason: str | None


def driver() -> Driver:
    """Ask the driver; never raises. A device reads as `NVIDIA L4 (8.9)`."""
    try:
        cuda = ctypes.CDLL(_LIBRARY)
    except OSError:
        return Driver(None, (), f"no CUDA driver ({_LIBRARY} cannot be loaded)")
    number = ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(number))
    version = f"{number.value // 1000}.{number.value % 1000 // 10}"
    if status := cuda.cuInit(0):
        return Driver(version, (), f"the CUDA driver does not start (error {status})")
    cuda.cuDeviceGetCount(ctypes.byref(number))
    devices = tuple(_device(cuda, index) for index in range(number.value))
    return Driver(version, devices, None if devices else "the CUDA driver sees no GPU")


def capability() -> str:
    """Compute capability ("8.9") of the current device, or of the first if none is chosen.

    Raises LossexportError if there is no device.
    """
    found = driver()
    if found.reason is not None:
        raise LossexportError(f"{found.reason}: {DRIVER_FIX}")
    cuda, handle = ctypes.CDLL(_LIBRARY), ctypes.c_int()
    if cuda.cuCtxGetDevice(ctypes.byref(handle)):
        cuda.cuDeviceGet(ctypes.byref(handle), 0)
    return _capability(cuda, handle)


def _device(cuda: ctypes.CDLL, index: int) -> str:
    handle, name = ctypes.c_int(), ctypes.create_string_buffer(128)
    cuda.cuDeviceGet(ctypes.byref(handle), index)
    cuda.cuDeviceGetName(name, len(name), handle)
    return f"{name.value.decode(errors='replace')} ({_capability(cuda, handle)})"


def _capability(cuda: ctypes.CDLL, handle: ctypes.c_int) -> str:
    number, parts = ctypes.c_int(), []
    for attribute in _COMPUTE_CAPABILITY:
        cuda.cuDeviceGetAttribute(ctypes.byref(number), attribute, handle)
        parts.append(str(number.value))
    return ".".join(parts)
