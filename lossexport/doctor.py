"""Reports what is installed, what can run here, what is missing and how to install it."""

import platform
from dataclasses import dataclass
from typing import Literal

from lossexport.errors import one_line
from lossexport.kernels.ptx import NVRTC_FIX
from lossexport.origin import install_command
from lossexport.runtime import ort_rtx
from lossexport.runtime.backends import available, has_module, installed_version
from lossexport.runtime.cuda import DRIVER_FIX, Driver, driver
from lossexport.runtime.session import Availability

Status = Literal["ok", "missing", "not run here"]


@dataclass(frozen=True, slots=True)
class Check:
    """The state of a component. `fix` is the command that repairs or installs it, if any."""

    component: str
    status: Status
    version: str | None = None
    detail: str | None = None
    fix: str | None = None


_PACKAGES = (
    ("numpy", "arrays", ""),
    ("pyarrow", "Parquet files, boxes.parquet", "parquet"),
    ("torch", "ops, modules and export", "toolchain"),
    ("onnx", "export and attach", "toolchain"),
    ("onnxscript", "export", "toolchain"),
    ("polygraphy", "comparing engines by hand", "toolchain"),
)
"""Packages that are only looked up, not imported: name, use, extra ("": the base install)."""

_ENGINES = {"tensorrt": "tensorrt", "rtx": "tensorrt_rtx"}


def report() -> list[Check]:
    """Examine this machine; never raises.

    Imports onnxruntime and NVRTC's bindings, and with a GPU the provider of TensorRT-RTX.
    """
    backends, cuda = available(), driver()
    return [
        Check("python", "ok", platform.python_version(), platform.platform()),
        *(_package(*entry) for entry in _PACKAGES),
        _onnxruntime(backends["ort"]),
        _cuda_provider(backends["ort"], cuda),
        _rtx_provider(backends["ort"], cuda),
        *(_engines(backends[name], module) for name, module in _ENGINES.items()),
        _kernels("native kernels", backends["native"]),
        _kernels("native kernels in onnxruntime", backends["ort-kernels"]),
        _driver(cuda),
        _nvrtc(),
    ]


def _package(name: str, use: str, extra: str) -> Check:
    version = installed_version(name)
    if version is None:
        detail = f"needed for {use}"
        return Check(name, "missing", detail=detail, fix=install_command(extra))
    return Check(name, "ok", version, use)


def _onnxruntime(ort: Availability) -> Check:
    cpu, gpu = installed_version("onnxruntime"), installed_version("onnxruntime-gpu")
    if cpu and gpu:
        detail = f"onnxruntime {cpu} and onnxruntime-gpu {gpu} overwrite each other"
        remove = "pip uninstall -y onnxruntime onnxruntime-gpu"
        fix = f"{remove} && {install_command('cpu')}  # or the extra gpu"
        return Check("onnxruntime", "not run here", ort.version, detail, fix)
    if ort.runs:
        return Check("onnxruntime", "ok", ort.version, ", ".join(ort.providers))
    status: Status = "not run here" if cpu or gpu else "missing"
    return Check("onnxruntime", status, cpu or gpu, ort.reason, ort.fix)


def _cuda_provider(ort: Availability, cuda: Driver) -> Check:
    component = "onnxruntime CUDA provider"
    if "CUDAExecutionProvider" in ort.providers:
        return Check(component, "ok", ort.version, ", ".join(cuda.devices))
    if (version := installed_version("onnxruntime-gpu")) is None:
        fix = f"pip uninstall -y onnxruntime && {install_command('gpu')}"
        return Check(component, "missing", detail="needs onnxruntime-gpu", fix=fix)
    return Check(component, "not run here", version, cuda.reason, DRIVER_FIX)


def _rtx_provider(ort: Availability, cuda: Driver) -> Check:
    component = "onnxruntime TensorRT-RTX provider"
    if (version := installed_version(ort_rtx.PACKAGE)) is None:
        fix = install_command("ort-rtx")
        return Check(component, "missing", detail=f"needs {ort_rtx.PACKAGE}", fix=fix)
    if ort_rtx.NAME in ort.providers:
        return Check(component, "ok", version, ", ".join(cuda.devices))
    if not ort.runs:
        return Check(component, "not run here", version, ort.reason, ort.fix)
    fix = DRIVER_FIX if cuda.reason else install_command("ort-rtx")
    return Check(component, "not run here", version, ort_rtx.absence(), fix)


def _engines(backend: Availability, module: str) -> Check:
    if backend.runs:
        return Check(module, "ok", backend.version, ", ".join(backend.providers))
    if not has_module(module):
        return Check(module, "missing", detail=backend.reason, fix=backend.fix)
    detail = f"engines are built, not run here: {backend.reason}"
    return Check(module, "not run here", backend.version, detail, backend.fix)


def _kernels(component: str, backend: Availability) -> Check:
    if backend.runs:
        return Check(component, "ok", backend.version, ", ".join(backend.providers))
    return Check(component, "missing", None, backend.reason, backend.fix)


def _driver(cuda: Driver) -> Check:
    if cuda.reason is None:
        return Check("CUDA driver", "ok", cuda.version, ", ".join(cuda.devices))
    status: Status = "missing" if cuda.version is None else "not run here"
    return Check("CUDA driver", status, cuda.version, cuda.reason, DRIVER_FIX)


def _nvrtc() -> Check:
    """NVRTC compiles the kernels of the plugins, with or without a GPU."""
    if not has_module("cuda.bindings"):
        return Check("NVRTC", "missing", detail="cuda-bindings is not installed", fix=NVRTC_FIX)
    try:
        from cuda.bindings import nvrtc

        _, major, minor = nvrtc.nvrtcVersion()
    except Exception as error:  # cuda reports a missing library with its own exception class
        return Check("NVRTC", "not run here", detail=one_line(error), fix=NVRTC_FIX)
    return Check("NVRTC", "ok", f"{major}.{minor}", "compiles the plugins' kernels")
