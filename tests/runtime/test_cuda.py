"""What the driver says, read from a stand-in for libcuda."""
# ruff: noqa: N802 (names of NVIDIA's)

import ctypes
from typing import Any

import pytest

from lossexport.errors import LossexportError
from lossexport.runtime.cuda import Driver, capability, driver


class FakeCuda:
    """libcuda with `names`, the first of compute capability 8.9."""

    def __init__(self, names: list[bytes], status: int = 0, current: int | None = None) -> None:
        self.names = names
        self.status = status
        self.current = current

    def cuDriverGetVersion(self, number: Any) -> int:
        number._obj.value = 13010
        return 0

    def cuInit(self, flags: int) -> int:
        return self.status

    def cuDeviceGetCount(self, number: Any) -> int:
        number._obj.value = len(self.names)
        return 0

    def cuDeviceGet(self, handle: Any, index: int) -> int:
        handle._obj.value = index
        return 0

    def cuDeviceGetName(self, name: Any, size: int, handle: Any) -> int:
        name.value = self.names[handle.value]
        return 0

    def cuDeviceGetAttribute(self, number: Any, attribute: int, handle: Any) -> int:
        # The second device is of compute capability 8.10.
        number._obj.value = {75: 8, 76: 9 + handle.value}[attribute]
        return 0

    def cuCtxGetDevice(self, handle: Any) -> int:
        if self.current is None:
            return 201  # no context
        handle._obj.value = self.current
        return 0


@pytest.mark.parametrize(
    ("cuda", "expected"),
    [
        (
            FakeCuda([b"NVIDIA L4", b"NVIDIA L40"]),
            Driver("13.1", ("NVIDIA L4 (8.9)", "NVIDIA L40 (8.10)"), None),
        ),
        (FakeCuda([]), Driver("13.1", (), "the CUDA driver sees no GPU")),
        (
            FakeCuda([b"NVIDIA L4"], status=804),
            Driver("13.1", (), "the CUDA driver does not start (error 804)"),
        ),
    ],
)
def test_the_driver_is_read(
    monkeypatch: pytest.MonkeyPatch, cuda: FakeCuda, expected: Driver
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: cuda)
    assert driver() == expected


def test_no_driver_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert driver().version is None
    assert "no CUDA driver" in (driver().reason or "")


@pytest.mark.parametrize(("current", "expected"), [(None, "8.9"), (0, "8.9"), (1, "8.10")])
def test_the_capability_of_the_current_device(
    monkeypatch: pytest.MonkeyPatch, current: int | None, expected: str
) -> None:
    cuda = FakeCuda([b"NVIDIA L4", b"another"], current=current)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: cuda)
    assert capability() == expected


def test_without_a_device_there_is_no_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: FakeCuda([]))
    with pytest.raises(LossexportError, match="sees no GPU: install NVIDIA's driver"):
        capability()
