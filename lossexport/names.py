"""Names that the command line, the package and the pages share. Importing it costs nothing."""

from typing import Literal, get_args

Metric = Literal["iou", "giou", "diou", "ciou"]
METRICS: tuple[str, ...] = get_args(Metric)
"""Box quality of a matched pair."""
ORIENTED_METRICS = ("iou", "probiou")
"""That of oriented boxes: the IoU is exact, ProbIoU that of Gaussians."""
METRIC_TITLES = dict(zip(METRICS, ("IoU", "GIoU", "DIoU", "CIoU"), strict=True)) | {
    "probiou": "ProbIoU"
}
STATISTICS = ("mean", "median", "p5", "p95")
"""Statistics of a metric over all matched pairs."""
RATES = ("precision", "recall", "f1")

COCO_PRECISION = ("AP", "AP50", "AP75", "APs", "APm", "APl")
COCO_RECALL = ("AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
COCO_NUMBERS = COCO_PRECISION + COCO_RECALL
"""The twelve numbers of the COCO protocol, in its order."""
COCO_OF_SIZE = tuple(name for name in COCO_NUMBERS if name[-1] in "sml")

BoxFormat = Literal["xyxy", "xywh", "cxcywh"]
BOX_FORMATS: tuple[BoxFormat, ...] = get_args(BoxFormat)
MatchBy = Literal["id", "name"]
MATCH_BY: tuple[MatchBy, ...] = get_args(MatchBy)
"""What joins images and categories of two inputs if their ids and names contradict."""
Extra = Literal["count", "ignore"]
EXTRA_CATEGORIES: tuple[Extra, ...] = get_args(Extra)
"""How to treat predictions of categories that the references lack."""
BROWSED = 12
"""Images that a report shows whole, unless told otherwise."""
MOST_BROWSED = 200

Precision = Literal["fp32", "fp16", "bf16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
FileFormat = Literal["onnx", "engine"]
FILE_FORMATS: tuple[FileFormat, ...] = get_args(FileFormat)
OPSETS = range(17, 24)
"""Opsets that graphs can be written for."""
Builder = Literal["rtx", "tensorrt"]
BUILDERS: tuple[Builder, ...] = get_args(Builder)
"""Backends that build engines."""
BUILDER_TITLES: dict[str, str] = {"rtx": "TensorRT-RTX", "tensorrt": "TensorRT"}
BACKENDS = {
    "native": "lossexport.runtime.native",
    "ort-kernels": "lossexport.runtime.ort_kernels",
    "ort": "lossexport.runtime.ort",
    "tensorrt": "lossexport.runtime.trt",
    "rtx": "lossexport.runtime.trt",
}
"""Backend -> module, the preferred one first among those that run the same files."""
KERNEL_BACKENDS = ("native", "ort-kernels")
"""Backends that compute ops by the native kernels; their modules say which files they may run."""
