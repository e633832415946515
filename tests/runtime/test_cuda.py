"""What the driver says, read from a stand-in for libcuda."""
# ruff: noqa: N802 (names of NVIDIA's)

import ctypes

import pytest

from lossexport.runtime.cuda import Driver, driver


class FakeCuda:
    """libcuda with `names`, each of compute capability 8.9."""

    def __init__(self, names, status=0):
        self.names = names
        self.status = status

    def cuDriverGetVersion(self, number):
        number._obj.value = 13010
        return 0

    def cuInit(self, flags):
        return self.status

    def cuDeviceGetCount(self, number):
        number._obj.value = len(self.names)
        return 0

    def cuDeviceGet(self, handle, index):
        handle._obj.value = index
        return 0

    def cuDeviceGetName(self, name, size, handle):
        name.value = self.names[handle.value]
        return 0

    def cuDeviceGetAttribute(self, number, attribute, handle):
        number._obj.value = {75: 8, 76: 9}[attribute]
        return 0


@pytest.mark.parametrize(
    ("cuda", "expected"),
    [
        (
            FakeCuda([b"NVIDIA L4", b"NVIDIA L40"]),
            Driver("13.1", ("NVIDIA L4 (8.9)", "NVIDIA L40 (8.9)"), None),
        ),
        (FakeCuda([]), Driver("13.1", (), "the CUDA driver sees no GPU")),
        (
            FakeCuda([b"NVIDIA L4"], status=804),
            Driver("13.1", (), "the CUDA driver does not start (error 804)"),
        ),
    ],
)
def test_the_driver_is_read(monkeypatch, cuda, expected):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: cuda)
    assert driver() == expected


def test_no_driver_is_a_reason(monkeypatch):
    def absent(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert driver().version is None
    assert "no CUDA driver" in driver().reason
