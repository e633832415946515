"""Scores detections against references, or a child's boxes against its parent's: box quality, COCO
AP, drift, a table of boxes and a report."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossexport.scoring.compare_pipeline import compare
    from lossexport.scoring.gates import check_gates
    from lossexport.scoring.pipeline import score

__all__ = ["check_gates", "compare", "score"]

# A scoring run does not pay for importing a comparison, nor the other way round.
_LAZY = {
    "check_gates": "lossexport.scoring.gates",
    "compare": "lossexport.scoring.compare_pipeline",
    "score": "lossexport.scoring.pipeline",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
