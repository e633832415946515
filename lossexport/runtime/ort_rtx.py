"""TensorRT-RTX as an execution provider of onnxruntime, which a package of its own brings."""

import functools
from importlib import import_module
from typing import Any

from lossexport.errors import one_line
from lossexport.runtime.backends import has_module
from lossexport.runtime.cuda import driver

NAME = "NvTensorRTRTXExecutionProvider"
PACKAGE = "onnxruntime-ep-nv-tensorrt-rtx-cu13"
MODULE = "onnxruntime_ep_nv_tensorrt_rtx"


def absence() -> str | None:
    """Why the provider cannot run here, beside an onnxruntime; None where it can. Never raises."""
    if not has_module(MODULE):
        return f"{PACKAGE} is not installed"
    # Without the driver its library does not load, and the error names a file of the driver's.
    if (reason := driver().reason) is not None:
        return reason
    try:
        return None if devices() else "onnxruntime finds no device for TensorRT-RTX"
    except Exception as error:  # onnxruntime's errors share no base of their own
        return one_line(error)


@functools.cache
def devices() -> tuple[Any, ...]:
    """The devices (`OrtEpDevice`) that it can run on.

    Registers it, which onnxruntime takes once in a process. Raises what its import and onnxruntime
    raise.
    """
    import onnxruntime

    library = import_module(MODULE).get_library_path()
    onnxruntime.register_execution_provider_library(NAME, library)
    return tuple(device for device in onnxruntime.get_ep_devices() if device.ep_name == NAME)
