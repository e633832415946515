"""Compiles the kernels' sources to PTX with NVRTC, which needs neither a GPU nor a driver.

The same versions give the same PTX. It runs on the architecture that it is compiled for and on all
later ones; a driver takes the PTX of every CUDA that is no newer than itself.
"""

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from lossexport.catalog.launch import Constant, Launch
from lossexport.errors import LossexportError, one_line
from lossexport.files import shipped
from lossexport.kernels import Kernel
from lossexport.names import Precision

NVRTC_FIX = "pip install 'cuda-bindings>=13,<14' 'nvidia-cuda-nvrtc>=13.0,<13.1'"
_TYPES: dict[Precision, str] = {
    "fp32": "float",
    "fp16": "lossexport::Half",
    "bf16": "lossexport::BFloat16",
}
# Without a multiply-add that rounds once, a kernel gives the bits that it gives on a CPU.
_OPTIONS = ("--std=c++17", "--fmad=false")


def nvrtc() -> ModuleType:
    """The bindings of NVRTC. Raises LossexportError, with the remedy, where it cannot be loaded."""
    try:
        from cuda.bindings import nvrtc as module

        module.nvrtcVersion()
    except Exception as error:  # a missing library is reported by a class of cuda's own
        raise LossexportError(f"NVRTC cannot be loaded: {one_line(error)}: {NVRTC_FIX}") from error
    return module  # type: ignore[no-any-return]


def folder() -> Path:
    """The folder of the kernels' sources."""
    return shipped("plugins") / "kernels"


def definitions(
    kernel: Kernel, attributes: Mapping[str, Any], precision: Precision
) -> dict[str, str]:
    """The macros of a kernel: its element type and the values of attributes, as C++ literals.

    The element type of a kernel without an input of the chosen precision is float. LX_GRADIENT is
    defined where a kernel gives gradients, LX_REDUCTION (0 to 2) where an op has a reduction.
    Raises LossexportError on a number that float32 cannot hold.
    """
    boundary = any(tensor.dtype == "float" for tensor in kernel.inputs)
    constants = dict(kernel.launch.macros(attributes))
    if kernel.gradient:
        constants["LX_GRADIENT"] = 1
    for item in kernel.attributes:
        if item.name == "reduction":
            constants["LX_REDUCTION"] = item.choices.index(attributes[item.name])
    return {"LX_T": _TYPES[precision if boundary else "fp32"]} | {
        n: _literal(n, value) for n, value in constants.items()
    }


def _literal(name: str, value: Constant) -> str:
    if isinstance(value, tuple):
        return f"{{{','.join(_literal(name, item) for item in value)}}}"
    if isinstance(value, int):
        return str(value)
    with np.errstate(over="ignore"):
        number = np.float32(value)
    if not math.isfinite(number):
        raise LossexportError(f"{name}={value!r}: a kernel computes in float32")
    return f"{number!s}f"


def capabilities() -> list[str]:
    """The compute capabilities ("8.6") that this NVRTC compiles for, in rising order."""
    (numbers,) = _call(nvrtc(), "nvrtcGetSupportedArchs")
    return [f"{number // 10}.{number % 10}" for number in numbers]


def nearest(capability: str) -> str:
    """The newest capability that NVRTC compiles for and whose PTX runs on `capability`.

    Raises LossexportError for a device older than them all.
    """
    known = capabilities()
    fitting = [item for item in known if _number(item) <= _number(capability)]
    if not fitting:
        raise LossexportError(f"compute capability {capability}: the oldest is {known[0]}")
    return fitting[-1]


def compile_ptx(launch: Launch, macros: Mapping[str, str], capability: str) -> str:
    """PTX of a kernel with these macros for `capability` ("8.6") and later.

    Raises LossexportError where NVRTC is missing, does not know the capability or finds an error,
    with the first of its messages.
    """
    return _compiled(launch.source, tuple(macros.items()), capability)


@functools.cache
def _compiled(source: str, macros: tuple[tuple[str, str], ...], capability: str) -> str:
    known = capabilities()
    if capability not in known:
        raise LossexportError(
            f"compute capability {capability!r}: must be one of {', '.join(known)}"
        )
    module = nvrtc()
    files = sorted(folder().glob("*.cuh"))
    (program,) = _call(
        module,
        "nvrtcCreateProgram",
        f'#include "{source}"\n'.encode(),
        b"kernel.cu",
        len(files),
        [path.read_bytes() for path in files],
        [path.name.encode() for path in files],
    )
    options = [
        *_OPTIONS,
        f"--gpu-architecture=compute_{capability.replace('.', '')}",
        *(f"-D{name}={value}" for name, value in macros),
    ]
    encoded = [option.encode() for option in options]
    try:
        status, *_ = module.nvrtcCompileProgram(program, len(encoded), encoded)
        if status != module.nvrtcResult.NVRTC_SUCCESS:
            raise LossexportError(_first_error(_text(module, program, "ProgramLog")))
        return _text(module, program, "PTX")
    finally:
        module.nvrtcDestroyProgram(program)


def _call(module: ModuleType, name: str, *arguments: Any) -> Any:
    status, *results = getattr(module, name)(*arguments)
    if status != module.nvrtcResult.NVRTC_SUCCESS:
        raise LossexportError(f"NVRTC: {name}: {status.name}")
    return results


def _text(module: ModuleType, program: Any, what: str) -> str:
    (size,) = _call(module, f"nvrtcGet{what}Size", program)
    buffer = bytearray(size)
    _call(module, f"nvrtcGet{what}", program, buffer)
    return buffer.rstrip(b"\0").decode()


def _first_error(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line), "NVRTC gave no reason")


def _number(capability: str) -> int:
    major, _, minor = capability.partition(".")
    return 10 * int(major) + int(minor)
