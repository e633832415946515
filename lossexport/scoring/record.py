"""The results of a scoring run, from which its summary, table and report are made."""

from collections.abc import Mapping
from typing import Any

import msgspec

from lossexport.boxes.boxset import Dataset, Float32
from lossexport.boxes.matching import Matching
from lossexport.boxes.pairs import Order
from lossexport.scoring.coco_ap import CocoResult
from lossexport.scoring.numbers import Rated
from lossexport.scoring.protocol import Outcomes


class Run(msgspec.Struct, frozen=True):
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
    rated: Rated

    @property
    def wanted(self) -> dict[str, float]:
        """Rates whose cut of the score is asked for, by their names."""
        return wanted_rates(self.settings)


def wanted_rates(settings: Mapping[str, Any]) -> dict[str, float]:
    """The rates whose cut of the score the settings ask for, by their names."""
    names = ("precision", "recall")
    return {name: settings[f"at_{name}"] for name in names if f"at_{name}" in settings}
