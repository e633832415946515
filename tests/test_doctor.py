"""`doctor` says of every component whether it works, and how to mend what does not."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata

import pytest

from lossexport import doctor
from lossexport.runtime import NAMES, Availability, ort_rtx
from lossexport.runtime.cuda import Driver

NO_GPU = Driver(None, (), "no CUDA driver")
GPU = Driver("13.0", ("NVIDIA L4 (8.9)",), None)
RTX = {ort_rtx.PACKAGE: "0.5.0"}


def by_component() -> dict[str, doctor.Check]:
    return {check.component: check for check in doctor.report()}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, doctor.Check]]:
    """Make `report` see other packages, backends and driver than this machine's."""

    def make(
        cuda: Driver = NO_GPU, versions: dict[str, str] | None = None, **backends: Availability
    ) -> dict[str, doctor.Check]:
        everything = {name: Availability(name, False, reason="no") for name in NAMES}
        monkeypatch.setattr(doctor, "driver", lambda: cuda)
        monkeypatch.setattr(doctor, "available", lambda: everything | backends)
        monkeypatch.setattr(doctor, "installed_version", lambda name: (versions or {}).get(name))
        return by_component()

    return make


def test_every_component_once_with_a_command_for_what_is_missing() -> None:
    checks = doctor.report()
    assert [check.component for check in checks] == [
        "python",
        "numpy",
        "pyarrow",
        "torch",
        "onnx",
        "onnxscript",
        "polygraphy",
        "onnxruntime",
        "onnxruntime CUDA provider",
        "onnxruntime TensorRT-RTX provider",
        "tensorrt",
        "tensorrt_rtx",
        "native kernels",
        "native kernels in onnxruntime",
        "CUDA driver",
        "NVRTC",
    ]
    for check in checks:
        assert (check.status == "ok") or check.detail
        assert check.fix or check.status == "ok"


def test_versions_are_those_installed() -> None:
    checks = by_component()
    assert checks["python"].version == ".".join(map(str, sys.version_info[:3]))
    assert checks["numpy"].version == metadata.version("numpy")
    assert checks["onnxruntime"].version == metadata.version("onnxruntime")


def test_a_report_is_plain_data() -> None:
    text = json.dumps([dataclasses.asdict(check) for check in doctor.report()])
    assert json.loads(text)[0]["component"] == "python"


def test_two_onnxruntimes_are_a_conflict(machine: Callable[..., dict[str, doctor.Check]]) -> None:
    ort = Availability("ort", True, "1.32.0", providers=("CPUExecutionProvider",))
    check = machine(versions={"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.0"}, ort=ort)[
        "onnxruntime"
    ]
    assert check.status == "not run here"
    assert check.detail == "onnxruntime 1.32.0 and onnxruntime-gpu 1.31.0 overwrite each other"
    assert check.fix is not None
    assert check.fix.startswith("pip uninstall -y onnxruntime onnxruntime-gpu && pip install")


def test_an_onnxruntime_that_does_not_import(
    machine: Callable[..., dict[str, doctor.Check]],
) -> None:
    ort = Availability("ort", False, reason="libfoo is missing", fix="pip install x")
    broken = machine(versions={"onnxruntime": "1.32.0"}, ort=ort)["onnxruntime"]
    assert (broken.status, broken.detail) == ("not run here", "libfoo is missing")
    assert machine(ort=ort)["onnxruntime"].status == "missing"


@pytest.mark.parametrize(
    ("cuda", "versions", "providers", "status"),
    [
        (NO_GPU, {}, (), "missing"),
        (NO_GPU, {"onnxruntime-gpu": "1.31.0"}, (), "not run here"),
        (GPU, {"onnxruntime-gpu": "1.31.0"}, ("CUDAExecutionProvider",), "ok"),
    ],
)
def test_the_cuda_provider(
    machine: Callable[..., dict[str, doctor.Check]],
    cuda: Driver,
    versions: dict[str, str],
    providers: tuple[str, ...],
    status: str,
) -> None:
    ort = Availability("ort", True, "1.31.0", providers=providers)
    assert machine(cuda, versions, ort=ort)["onnxruntime CUDA provider"].status == status


@pytest.mark.parametrize(
    ("cuda", "versions", "ort", "expected"),
    [
        (GPU, {}, Availability("ort", True), ("missing", f"needs {ort_rtx.PACKAGE}")),
        (NO_GPU, RTX, Availability("ort", False, reason="no ort"), ("not run here", "no ort")),
        (NO_GPU, RTX, Availability("ort", True), ("not run here", "as it says itself")),
        (
            *(GPU, RTX, Availability("ort", True, providers=(ort_rtx.NAME,))),
            ("ok", "NVIDIA L4 (8.9)"),
        ),
    ],
)
def test_the_provider_of_tensorrt_rtx(
    machine: Callable[..., dict[str, doctor.Check]],
    monkeypatch: pytest.MonkeyPatch,
    cuda: Driver,
    versions: dict[str, str],
    ort: Availability,
    expected: tuple[str, str],
) -> None:
    monkeypatch.setattr(ort_rtx, "absence", lambda: "as it says itself")
    check = machine(cuda, versions, ort=ort)["onnxruntime TensorRT-RTX provider"]
    assert (check.status, check.detail) == expected


def test_the_driver_and_engines(machine: Callable[..., dict[str, doctor.Check]]) -> None:
    rtx = Availability("rtx", True, "1.7.1", providers=GPU.devices)
    checks = machine(GPU, rtx=rtx)
    assert (checks["CUDA driver"].status, checks["CUDA driver"].version) == ("ok", "13.0")
    assert (checks["tensorrt_rtx"].status, checks["tensorrt_rtx"].detail) == (
        "ok",
        "NVIDIA L4 (8.9)",
    )
    stuck = machine(Driver("13.0", (), "the CUDA driver sees no GPU"))["CUDA driver"]
    assert (stuck.status, stuck.detail) == ("not run here", "the CUDA driver sees no GPU")
    assert machine(NO_GPU)["CUDA driver"].status == "missing"


def test_looking_imports_nothing_heavy() -> None:
    code = """
import sys
from lossexport.doctor import report
report()
heavy = "torch onnx onnxscript polygraphy pyarrow matplotlib tensorrt_rtx"
print(*(name for name in heavy.split() if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
