"""Layouts of the outputs of detectors. A description names its layout in `[output]`.

An installed package can add a layout with an entry point in the group `lossexport.detectors`. Its
name is the name of the layout, and it refers to a `Layout`.
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
