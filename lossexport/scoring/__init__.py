"""Scores detections against references: box quality, COCO AP, a table of boxes and a report."""

from lossexport.scoring.run import score

__all__ = ["score"]
