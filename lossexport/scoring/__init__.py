"""Scores detections against references, or a child's boxes against its parent's: box quality, COCO
AP, drift, a table of boxes and a report."""

from typing import TYPE_CHECKING

from lossexport._lazy import lazy

if TYPE_CHECKING:
    from lossexport.comparison.run import compare
    from lossexport.scoring.run import score
else:
    # A scoring run does not pay for importing a comparison, nor the other way round.
    __getattr__ = lazy(
        __name__,
        {"compare": "lossexport.comparison.run", "score": "lossexport.scoring.run"},
    )

__all__ = ["compare", "score"]
