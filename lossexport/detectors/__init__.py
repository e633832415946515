"""Layouts of the outputs of detectors. A description names its layout in `[output]`.

An installed package can add a layout with an entry point in the group `lossexport.detectors`. Its
name is the name of the layout, and it refers to a `Layout`.
"""

from lossexport.detectors.layout import Fit, Keys, Layout, Name, Names
from lossexport.registry import Registry

__all__ = ["LAYOUTS", "Fit", "Keys", "Layout", "Name", "Names"]

_BUILTIN = {
    "yolox": "grids",
    "nanodet": "grids",
    "boxes": "pairs",
    "yolov8": "yolo",
    "yolov8_rows": "yolo",
    "yolov5": "yolo",
    "end_to_end": "yolo",
    "detr_sigmoid": "detr",
    "detr_softmax": "detr",
    "detr_rows": "detr",
    "quadruple": "suppressed",
    "table": "suppressed",
    "nanodet_plus": "grids",
    "picodet": "grids",
    "ssd": "pairs",
    "ssd_deltas": "pairs",
}
LAYOUTS = Registry(
    Layout,
    "layout",
    "lossexport.detectors",
    {
        name: f"lossexport.detectors.layouts.{module}:{name.upper()}"
        for name, module in _BUILTIN.items()
    },
)
