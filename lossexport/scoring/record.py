"""All that a scoring run found: its summary, its table and its report are made from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lossexport.boxes.boxset import Dataset, Float32
from lossexport.boxes.matching import Matching
from lossexport.scoring.coco_ap import CocoResult


@dataclass(frozen=True, slots=True)
class Run:
    """The boxes of both sides, how they match, and what was measured on them."""

    data: Dataset
    matching: Matching
    quality: Mapping[str, Float32]
    """[M] each metric of the matched pairs."""
    estimate: Float32
    """[N] quality that the detector predicts; NaN if it predicts none."""
    coco: CocoResult
    settings: Mapping[str, Any]
    backend: str
