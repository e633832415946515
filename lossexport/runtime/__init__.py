"""Run exported files with numpy and one backend: no torch, no onnx."""

from lossexport.runtime.backends import NAMES, Availability, available, load
from lossexport.runtime.session import Session, TensorInfo

__all__ = ["NAMES", "Availability", "Session", "TensorInfo", "available", "load"]
