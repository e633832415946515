"""Layouts of the outputs of detectors, which a description names in `[output]`.

An installed package adds a layout by an entry point of the group `lossexport.detectors` that names
a `Layout`, under its own name.
"""

from lossexport.detectors.layout import Keys, Layout, Name, Names
from lossexport.registry import Registry

__all__ = ["LAYOUTS", "Keys", "Layout", "Name", "Names"]

LAYOUTS = Registry(
    Layout,
    "layout",
    "lossexport.detectors",
    {
        name: f"lossexport.detectors.layouts:{name.upper()}"
        for name in ("yolox", "nanodet", "boxes")
    },
)
