"""pycocotools' own functions for masks, where they are installed."""

import importlib
from types import ModuleType
from typing import Any

from lossexport.errors import LossexportError


def masks() -> ModuleType:
    """`pycocotools.mask`, or a stand-in whose functions raise LossexportError."""
    try:
        return importlib.import_module("pycocotools.mask")
    except (ImportError, ValueError) as error:  # ValueError: compiled for another NumPy
        reason = str(error)
    module = ModuleType("pycocotools.mask", "A stand-in where pycocotools is not installed.")

    def refuse(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise LossexportError(
            f"pycocotools.mask.{name}: install pycocotools for masks, boxes need none ({reason})"
        )

    module.__dict__["__getattr__"] = refuse
    return module


def mask_utils(module: str, name: str) -> ModuleType:
    """The attribute `maskUtils` of pycocotools' modules, found on first use."""
    if name != "maskUtils":
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    return masks()
