"""TensorRT-RTX as a provider of onnxruntime: found, refused with the reason, and asked to run."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from lossexport.catalog import CATALOG
from lossexport.catalog.variant import Variant
from lossexport.errors import LossexportError
from lossexport.parity.artifact import Target
from lossexport.runtime import available, load, ort_rtx
from lossexport.runtime.backends import has_module
from lossexport.runtime.cuda import Driver, driver
from tests.packages import install

ONE = np.ones((3, 4), np.float32)
PACKAGE = 'def get_library_path() -> str:\n    return "/of/the/provider.so"\n'
REGISTERED = [(ort_rtx.NAME, "/of/the/provider.so")]


SESSION = onnxruntime.InferenceSession
OPTIONS: Any = onnxruntime.SessionOptions


class Options(OPTIONS):  # type: ignore[misc]
    """Options that take devices which are none of onnxruntime's own."""

    def add_provider_for_devices(self, devices: Any, given: dict[str, str]) -> None:
        self.added = (tuple(devices), given)


class Machine:
    """A machine with a GPU and the package, as far as onnxruntime's functions tell."""

    def __init__(self, *names: str) -> None:
        self.registered: list[tuple[str, str]] = []
        self.devices = [SimpleNamespace(ep_name=name) for name in names]
        self.sessions: list[tuple[Any, ...]] = []
        self.fallen = False

    def register(self, name: str, library: str) -> None:
        self.registered.append((name, library))

    def session(self, data: bytes, options: Any, providers: list[str], enable_fallback: int) -> Any:
        strict = options.get_session_config_entry("session.disable_cpu_ep_fallback")
        self.sessions.append((options.added, strict, providers, enable_fallback))
        # The CPU does its work, as such a session would not allow.
        real = SESSION(data, providers=["CPUExecutionProvider"])
        ran_on = "CPUExecutionProvider" if self.fallen else ort_rtx.NAME
        names = ("get_inputs", "get_outputs", "get_modelmeta", "run")
        return SimpleNamespace(
            get_providers=lambda: [ran_on], **{name: getattr(real, name) for name in names}
        )


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """The devices are remembered for as long as a process lives."""
    remembered = ort_rtx.devices
    yield
    remembered.cache_clear()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    made = Machine("CPUExecutionProvider", ort_rtx.NAME, ort_rtx.NAME)
    install(monkeypatch, tmp_path / "packages", ort_rtx.MODULE, PACKAGE)
    ort_rtx.devices.cache_clear()
    monkeypatch.setattr(ort_rtx, "driver", lambda: Driver("13.0", ("NVIDIA L4 (8.9)",), None))
    monkeypatch.setattr(onnxruntime, "register_execution_provider_library", made.register)
    monkeypatch.setattr(onnxruntime, "get_ep_devices", lambda: made.devices)
    monkeypatch.setattr(onnxruntime, "SessionOptions", Options)
    monkeypatch.setattr(onnxruntime, "InferenceSession", made.session)
    return made


def refusal(path: Path) -> str:
    with pytest.raises(LossexportError) as caught:
        load(path, "ort", provider="rtx")
    return str(caught.value)


def test_a_device_runs_the_file_alone_or_not_at_all(machine: Machine, add_file: Path) -> None:
    session = load(add_file, "ort", provider="rtx")
    assert session(x=ONE, y=ONE)["z"].tolist() == (2 * ONE).tolist()
    assert session.providers == (ort_rtx.NAME,)
    # The first device of the provider, without options, the CPU excluded and no other provider.
    ((added, *rest),) = machine.sessions
    assert added == ((machine.devices[1],), {})
    assert rest == ["1", [], 0]
    assert available()["ort"].providers == (ort_rtx.NAME, "CPUExecutionProvider")
    assert machine.registered == REGISTERED  # once, for onnxruntime takes it once


def test_a_silent_fallback_is_an_error(machine: Machine, add_file: Path) -> None:
    machine.fallen = True
    expected = f"{add_file}: onnxruntime fell back from {ort_rtx.NAME} to CPUExecutionProvider"
    assert refusal(add_file) == expected


def test_without_a_device_the_reason_is_named(machine: Machine, add_file: Path) -> None:
    del machine.devices[1:]
    reason = "onnxruntime finds no device for TensorRT-RTX"
    version = onnxruntime.__version__
    assert refusal(add_file) == (
        f"{add_file}: onnxruntime {version} cannot run {ort_rtx.NAME} here: {reason}; "
        "lossexport doctor says more"
    )
    target = Target("ort", "rtx")
    assert target.label == "ort-rtx"
    assert target.absence(Variant.make(CATALOG["box_iou"])) == reason
    assert machine.registered == REGISTERED


def test_a_library_that_does_not_load_is_the_reason(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str, library: str) -> None:
        raise RuntimeError("Failed to load library\nlibnvidia-ml.so.1")

    monkeypatch.setattr(onnxruntime, "register_execution_provider_library", refuse)
    assert ort_rtx.absence() == "Failed to load library libnvidia-ml.so.1"


def test_without_a_driver_nothing_is_registered(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort_rtx, "driver", lambda: Driver(None, (), "no CUDA driver"))
    assert ort_rtx.absence() == "no CUDA driver"
    assert machine.registered == []


def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort_rtx, "has_module", lambda name: name != ort_rtx.MODULE)
    assert ort_rtx.absence() == f"{ort_rtx.PACKAGE} is not installed"


@pytest.mark.skipif(not has_module(ort_rtx.MODULE), reason=f"{ort_rtx.PACKAGE} is not installed")
@pytest.mark.skipif(driver().reason is None, reason="this machine has a GPU")
def test_the_package_itself_without_a_gpu(add_file: Path) -> None:
    assert ort_rtx.absence() == driver().reason
    assert f"cannot run {ort_rtx.NAME} here: {driver().reason}; " in refusal(add_file)
    with pytest.raises(Exception, match=r"Failed to load library .*: cannot open shared object"):
        ort_rtx.devices()


@pytest.mark.gpu
@pytest.mark.skipif(not has_module(ort_rtx.MODULE), reason=f"{ort_rtx.PACKAGE} is not installed")
def test_the_package_itself_on_a_gpu(add_file: Path) -> None:
    if (reason := driver().reason) is not None:
        pytest.skip(reason)
    assert ort_rtx.absence() is None
    session = load(add_file, "ort", provider="rtx")
    assert session(x=ONE, y=ONE)["z"].tolist() == (2 * ONE).tolist()
