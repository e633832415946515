"""COCO and COCOeval for boxes in pycocotools' place, with its names, its numbers and its tables."""

from lossexport.pycocotools.coco import COCO
from lossexport.pycocotools.cocoeval import COCOeval, Params
from lossexport.pycocotools.replacement import Patch, patch

__all__ = ["COCO", "COCOeval", "Params", "Patch", "patch"]
