"""Every kernel on a GPU, as an engine would hold it: against eager PyTorch in float64."""

import ctypes
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lossexport.catalog import CATALOG
from lossexport.catalog.variant import Variant
from lossexport.kernels import declared, kernels, ptx
from lossexport.parity.cases import Case
from lossexport.runtime.cuda import driver as driver_state
from tests.kernels import emulation, launching
from tests.kernels.device import Device
from tests.kernels.test_emulated import parameters

LARGE = 100_000


@pytest.fixture(scope="module")
def device() -> Device:
    reason = driver_state().reason
    if reason is not None:
        pytest.skip(reason)
    from cuda.bindings import driver

    return Device(driver)


def large(variant: Variant) -> Iterator[Case]:
    """One dimension as large as the kernels serve, 100,000 at most, the others 1."""
    limits = [kernel.launch.largest for kernel in kernels(variant.op, variant.gradient)]
    for dim, size in variant.ranges.items():
        # Where the oracle needs N x N, no larger than the catalogue says.
        own = size.max if variant.op.work or dim == "C" else LARGE
        most = min(LARGE, own, *(limit.get(dim, LARGE) for limit in limits))
        sizes = dict.fromkeys(variant.ranges, 1) | {dim: most}
        for family in variant.op.samplers:
            yield Case(family, tuple(sizes.items()), 0)


@pytest.mark.gpu
@pytest.mark.parametrize("variant", parameters("fp32", "fp16", "bf16"))
def test_every_size(device: Device, variant: Variant) -> None:
    for case in (*launching.cases(variant), *large(variant)):
        launching.compare(variant, case, device)


class HostAsDevice:
    """CUDA's driver API on the CPU: the device's memory is memory, a launch is emulated."""

    CUresult = SimpleNamespace(CUDA_SUCCESS=0)
    CUdevice_attribute = SimpleNamespace(
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR=8,
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR=6,
    )

    def __init__(self, library: ctypes.CDLL) -> None:
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

    def cuMemFree(self, place: int) -> tuple[int]:
        del self.held[place]
        return (0,)

    def cuCtxSynchronize(self) -> tuple[int]:
        return (0,)

    def cuLaunchKernel(self, function: str, *arguments: Any) -> tuple[int]:
        extents, (shared_bytes, stream, parameters, extra) = arguments[:6], arguments[6:]
        assert (shared_bytes, stream, extra) == (0, 0, 0)
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


@pytest.mark.parametrize("op", ["pairwise_ciou", "variance_voting"])
def test_the_launcher_hands_over_what_the_kernel_takes(op: str) -> None:
    variant = Variant.make(CATALOG[op], precision="fp16")
    (kernel,) = kernels(variant.op, gradient=False)
    macros = ptx.definitions(kernel, variant.attributes, "fp16")
    fake = HostAsDevice(emulation.library(kernel.launch, macros))
    device = Device(fake)  # type: ignore[arg-type]
    assert device.capability == "8.6"
    case = Case("ordinary", tuple(dict.fromkeys(variant.ranges, 33).items()), 0)
    launching.compare(variant, case, device)
    assert not fake.held


@pytest.mark.parametrize("name", declared())
def test_the_parameters_of_the_ptx_are_those_of_the_declaration(name: str) -> None:
    kernel = declared()[name]
    attributes = {attribute.name: attribute.default for attribute in kernel.attributes}
    macros = ptx.definitions(kernel, attributes, "fp32")
    text = ptx.compile_ptx(kernel.launch, macros, "8.0")
    _, found = HostAsDevice(None).cuModuleGetFunction(text, kernel.launch.entry.encode())  # type: ignore[arg-type]
    bits = [int(size) for size in re.findall(r"\.param \.[a-z](\d+)", found)]
    known = dict.fromkeys("NMCKP", 1) | attributes
    sizes = len(kernel.launch.sizes(known))
    inputs, outputs = len(kernel.inputs), len(kernel.outputs)
    assert bits == [64] * inputs + [32] * sizes + [64] * outputs


def test_large_cases_stay_within_the_kernel() -> None:
    sizes = {
        variant.op.name: [dict(case.sizes) for case in large(variant)]
        for variant in launching.variants("fp32")
    }
    assert sizes["pairwise_iou"][0] == {"N": LARGE, "M": 1}
    assert sizes["pairwise_iou"][-1] == {"N": 1, "M": LARGE}
    assert sizes["nms"][0] == {"N": 32768}
    assert sizes["soft_nms"][0] == {"N": 16384}
    assert sizes["cluster_nms"][0] == {"N": 4096}
