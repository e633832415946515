"""Run exported files with numpy and one backend: no torch, no onnx."""

from lossexport.runtime.backends import NAMES, available, load
from lossexport.runtime.linking import include_dir, library
from lossexport.runtime.ort_kernels import onnxruntime_library
from lossexport.runtime.session import Availability, Session, TensorInfo

__all__ = [
    "NAMES",
    "Availability",
    "Session",
    "TensorInfo",
    "available",
    "include_dir",
    "library",
    "load",
    "onnxruntime_library",
]
