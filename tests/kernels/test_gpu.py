"""Every kernel on a GPU, as an engine would hold it: against eager PyTorch in float64."""

import re

import pytest

from lossexport.catalog import CATALOG
from lossexport.catalog.variant import Variant
from lossexport.kernels import declared, ptx
from lossexport.parity.cases import Case
from lossexport.runtime.cuda import driver as driver_state
from tests.kernels import launching
from tests.kernels.device import Device
from tests.kernels.standin import Emulated, HostAsDevice
from tests.kernels.test_emulated import parameters


@pytest.fixture(scope="module")
def device() -> Device:
    reason = driver_state().reason
    if reason is not None:
        pytest.skip(reason)
    from cuda.bindings import driver

    return Device(driver)


@pytest.mark.gpu
@pytest.mark.parametrize("variant", parameters("fp32", "fp16", "bf16"))
def test_every_size(device: Device, variant: Variant) -> None:
    for case in (*launching.cases(variant), *launching.large(variant)):
        launching.compare(variant, case, device)


@pytest.mark.parametrize("op", ["pairwise_ciou", "variance_voting"])
def test_the_launcher_hands_over_what_the_kernel_takes(op: str) -> None:
    variant = Variant.make(CATALOG[op], precision="fp16")
    device = Emulated()
    assert device.capability == "8.6"
    case = Case("ordinary", tuple(dict.fromkeys(variant.ranges, 33).items()), 0)
    launching.compare(variant, case, device)
    assert not device.host.held


def test_the_time_of_a_launch_is_the_mean_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    device, launched = Emulated(), list[int]()
    monkeypatch.setattr(device.host, "cuEventElapsedTime", lambda *_: (0, 6.0 * len(launched)))
    assert device.milliseconds(lambda: launched.append(1), 4) == 6.0
    assert len(launched) == 4


def test_memory_is_copied_within_the_device() -> None:
    device = Emulated()
    places = [device.allocate(16), device.allocate(0)]
    assert [len(device.host.held[place]) for place in places] == [16, 1]
    device.host.held[places[0]][:] = 7
    device.copy(places[1], places[0], 1)
    assert device.host.held[places[1]][0] == 7
    for place in places:
        device.free(place)
    assert not device.host.held


@pytest.mark.parametrize("name", declared())
def test_the_parameters_of_the_ptx_are_those_of_the_declaration(name: str) -> None:
    kernel = declared()[name]
    attributes = {attribute.name: attribute.default for attribute in kernel.attributes}
    macros = ptx.definitions(kernel, attributes, "fp32")
    text = ptx.compile_ptx(kernel.launch, macros, "8.0")
    _, found = HostAsDevice().cuModuleGetFunction(text, kernel.launch.entry.encode())
    bits = [int(size) for size in re.findall(r"\.param \.[a-z](\d+)", found)]
    dims = {dim for tensor in kernel.inputs for dim in tensor.shape if isinstance(dim, str)}
    known = dict.fromkeys(dims | {"P"}, 1) | attributes
    sizes = len(kernel.launch.sizes(known))
    inputs, outputs = len(kernel.inputs), len(kernel.outputs)
    assert bits == [64] * inputs + [32] * sizes + [64] * outputs


def test_large_cases_stay_within_the_kernel() -> None:
    sizes = {
        variant.op.name: [dict(case.sizes) for case in launching.large(variant)]
        for variant in launching.variants("fp32")
    }
    assert sizes["pairwise_iou"][0] == {"N": launching.LARGE, "M": 1}
    assert sizes["pairwise_iou"][-1] == {"N": 1, "M": launching.LARGE}
    assert sizes["nms"][0] == {"N": 32768}
    assert sizes["soft_nms"][0] == {"N": 16384}
    assert sizes["cluster_nms"][0] == {"N": 4096}
