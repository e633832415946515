"""Scores detections against references, or a child's boxes against its parent's: box quality, COCO
AP, drift, a table of boxes and a report."""

from lossexport.scoring.compare_pipeline import compare
from lossexport.scoring.gates import check_gates
from lossexport.scoring.pipeline import score

__all__ = ["check_gates", "compare", "score"]
