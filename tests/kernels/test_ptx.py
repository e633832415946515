"""Every kernel compiles to PTX, for every architecture that engines are built for."""

import hashlib
from typing import Any

import pytest

from lossexport.errors import LossexportError
from lossexport.kernels import declared, ptx
from lossexport.names import PRECISIONS, Precision

KERNELS = declared()
CAPABILITIES = ("7.5", "8.0", "8.6", "8.7", "8.9", "9.0", "10.0", "12.0")


def compiled(name: str, precision: Precision, capability: str) -> str:
    kernel = KERNELS[name]
    attributes = {attribute.name: attribute.default for attribute in kernel.attributes}
    macros = ptx.definitions(kernel, attributes, precision)
    return ptx.compile_ptx(kernel.launch, macros, capability)


def check(name: str, text: str, capability: str) -> None:
    # PTX 9.0 is that of CUDA 13.0: every driver that runs CUDA 13 takes it.
    assert ".version 9.0\n" in text
    assert f".target sm_{capability.replace('.', '')}\n" in text
    assert f".visible .entry {KERNELS[name].launch.entry}(" in text
    # One rounding an operation: the bits of the CPU.
    assert "fma.rn" not in text


def _pairs() -> list[Any]:
    """Every kernel for the oldest architecture and for one of the others; all before a release."""
    oldest, *others = CAPABILITIES
    return [
        pytest.param(name, capability, marks=() if now else pytest.mark.exhaustive)
        for place, name in enumerate(KERNELS)
        for capability in CAPABILITIES
        for now in [capability in (oldest, others[place % len(others)])]
    ]


@pytest.mark.parametrize(("name", "capability"), _pairs())
def test_every_architecture(name: str, capability: str) -> None:
    check(name, compiled(name, "fp32", capability), capability)


@pytest.mark.parametrize("name", KERNELS)
def test_every_precision(name: str) -> None:
    texts = [compiled(name, precision, "8.0") for precision in PRECISIONS]
    for text in texts:
        check(name, text, "8.0")
    # What stands between the stages is float32.
    narrow = any(tensor.dtype == "float" for tensor in KERNELS[name].inputs)
    assert len(set(texts)) == (len(PRECISIONS) if narrow else 1)


def test_the_same_bytes_every_time() -> None:
    first = compiled("PairwiseCIoU", "fp16", "8.6")
    ptx._compiled.cache_clear()
    again = compiled("PairwiseCIoU", "fp16", "8.6")
    assert hashlib.sha256(first.encode()).digest() == hashlib.sha256(again.encode()).digest()
    assert first is not again


def test_the_capability_of_a_newer_device() -> None:
    assert ptx.nearest("8.6") == "8.6"
    assert ptx.nearest("9.5") == "9.0"
    assert ptx.nearest("99.0") == ptx.capabilities()[-1]
    with pytest.raises(LossexportError, match=r"compute capability 6\.1: the oldest is 7\.5"):
        ptx.nearest("6.1")


@pytest.mark.parametrize(
    ("changed", "capability", "message"),
    [
        ({}, "8.5", r"compute capability '8\.5': must be one of 7\.5, 8\.0, "),
        ({"LX_EPS": "none"}, "8.0", r'pairwise\.cuh\(\d+\): error: identifier "none" is undefined'),
    ],
)
def test_refused(changed: dict[str, str], capability: str, message: str) -> None:
    kernel = KERNELS["PairwiseIoU"]
    macros = ptx.definitions(kernel, {"eps": 1e-7}, "fp32") | changed
    with pytest.raises(LossexportError, match=message) as caught:
        ptx.compile_ptx(kernel.launch, macros, capability)
    assert "\n" not in str(caught.value)


def test_constants_are_the_numbers_that_the_graph_has() -> None:
    kernel = KERNELS["DIoUNMS"]
    attributes = {"iou_threshold": 0.5, "score_threshold": 0.1, "beta": 1e-3, "max_output": 100}
    assert ptx.definitions(kernel, attributes, "bf16") == {
        "LX_T": "lossexport::BFloat16",
        "LX_METRIC": "2",
        "LX_IOU_THRESHOLD": "0.5f",
        "LX_SCORE_THRESHOLD": "0.1f",
        "LX_BETA": "0.001f",
        "LX_MAX_OUTPUT": "100",
    }
    edges = ptx.definitions(KERNELS["GHMCLossCounts"], {"bins": 4}, "fp32")["LX_EDGES"]
    # Up to the next float32: -1.0986122886681098 lies between -1.0986123 and -1.0986122.
    assert edges == "{-3.4028235e+38f,-1.0986122f,0.0f,1.0986123f}"
    with pytest.raises(LossexportError, match=r"LX_SCORE_THRESHOLD=1e\+39: a kernel computes in"):
        ptx.definitions(kernel, attributes | {"score_threshold": 1e39}, "fp32")
