"""Run exported files with numpy and one backend: no torch, no onnx."""

from typing import TYPE_CHECKING

from lossexport._lazy import lazy

if TYPE_CHECKING:
    from lossexport.runtime.assignment import assign
    from lossexport.runtime.backends import NAMES, available, load
    from lossexport.runtime.linking import include_dir, library
    from lossexport.runtime.ort_kernels import onnxruntime_library
    from lossexport.runtime.session import Availability, Session, TensorInfo
else:
    __getattr__ = lazy(
        __name__,
        {
            "NAMES": "lossexport.runtime.backends",
            "Availability": "lossexport.runtime.session",
            "Session": "lossexport.runtime.session",
            "TensorInfo": "lossexport.runtime.session",
            "assign": "lossexport.runtime.assignment",
            "available": "lossexport.runtime.backends",
            "include_dir": "lossexport.runtime.linking",
            "library": "lossexport.runtime.linking",
            "load": "lossexport.runtime.backends",
            "onnxruntime_library": "lossexport.runtime.ort_kernels",
        },
    )

__all__ = [
    "NAMES",
    "Availability",
    "Session",
    "TensorInfo",
    "assign",
    "available",
    "include_dir",
    "library",
    "load",
    "onnxruntime_library",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
