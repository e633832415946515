"""Scores detections against references: box quality, COCO AP, a table of boxes and a report."""

from lossexport.scoring.gates import check_gates
from lossexport.scoring.pipeline import score

__all__ = ["check_gates", "score"]
