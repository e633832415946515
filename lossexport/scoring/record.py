"""The results of a scoring run, from which its summary, table and report are made."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from lossexport.boxes.boxset import Dataset, Float32
from lossexport.boxes.matching import Matching
from lossexport.boxes.oriented import inverted
from lossexport.boxes.pairs import Order
from lossexport.scoring import coco_ap
from lossexport.scoring.coco_ap import CocoResult
from lossexport.scoring.numbers import Rated
from lossexport.scoring.protocol import AREAS, Outcomes
from lossexport.scoring.results import Results


class Run(msgspec.Struct, frozen=True, dict=True):
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

    @cached_property
    def results(self) -> Results:
        """What was found, without the boxes."""
        data, matching = self.data, self.matching
        predictions, references = data.predictions, data.references
        counted = ~(coco_ap.outside(references.area, AREAS) | references.ignored[:, None])
        missed = np.zeros(len(references), np.bool_)
        missed[matching.unmatched_refs] = True
        return Results(
            data.images,
            data.files,
            data.categories,
            predictions.image,
            predictions.category,
            predictions.score,
            matching.status,
            inverted(predictions.box),
            self.estimate,
            self.quality,
            references.image,
            references.category,
            np.packbits(counted, axis=1, bitorder="little")[:, 0],
            references.ignored,
            missed,
            self.outcomes,
            self.order.pred,
            self.coco,
            data.parts,
            self.settings["iou_threshold"],
        )


def wanted_rates(settings: Mapping[str, Any]) -> dict[str, float]:
    """The rates whose cut of the score the settings ask for, by their names."""
    names = ("precision", "recall")
    return {name: settings[f"at_{name}"] for name in names if f"at_{name}" in settings}
