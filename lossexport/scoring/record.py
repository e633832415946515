"""The results of a scoring run, from which its summary, table and report are made."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lossexport.boxes.boxset import Dataset, Float32
from lossexport.boxes.matching import Matching
from lossexport.boxes.pairs import Order
from lossexport.scoring.coco_ap import CocoResult
from lossexport.scoring.protocol import Outcomes


@dataclass(frozen=True, slots=True)
class Run:
    """The boxes of both sides, their matches, and the measurements."""

    data: Dataset
    matching: Matching
    quality: Mapping[str, Float32]
    """[M] each metric of the matched pairs."""
    estimate: Float32
    """[N] the quality that the detector predicts; NaN for boxes without one."""
    coco: CocoResult
    outcomes: Outcomes
    order: Order
    """That of the outcomes."""
    settings: Mapping[str, Any]
    backend: str

    @property
    def wanted(self) -> dict[str, float]:
        """Rates whose cut of the score is asked for, by their names."""
        names = ("precision", "recall")
        return {
            name: self.settings[f"at_{name}"] for name in names if f"at_{name}" in self.settings
        }
