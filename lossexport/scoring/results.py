"""What matching and measuring found, without the boxes: all numbers are made of it.

A scoring run and an evaluator both make one, so that summaries, slices and intervals are the same.
"""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from msgspec.structs import replace

from lossexport.boxes.boxset import (
    Bool,
    Category,
    Float32,
    Float64,
    Id,
    Int8,
    Int32,
    Int64,
    UInt8,
)
from lossexport.boxes.matching import MATCHED
from lossexport.scoring import coco_ap
from lossexport.scoring.coco_ap import CocoResult
from lossexport.scoring.numbers import Tally
from lossexport.scoring.protocol import AREAS, Outcomes

Files = Sequence[tuple[str, ...]]
"""Names that the file of each image may have; empty if unknown."""


class Results(msgspec.Struct, frozen=True):
    """The outcomes of N predictions, M of them matched, and R references, by image."""

    images: Sequence[Id]
    files: Files
    categories: Sequence[Category]
    image: Int32
    """[N]"""
    category: Int32
    """[N]"""
    score: Float64
    """[N]"""
    status: Int8
    """[N] as in `Matching`."""
    inverted: Bool
    """[N] whether a side is negative."""
    estimate: Float32
    """[N] the quality that the detector predicts; NaN for predictions without one."""
    quality: Mapping[str, Float32]
    """[M] each metric of the matched predictions, rising by their row."""
    ref_image: Int32
    """[R]"""
    ref_category: Int32
    """[R]"""
    ref_counted: UInt8
    """[R] a bit for each of COCO's ranges of areas in which it counts."""
    ref_ignored: Bool
    """[R]"""
    ref_missed: Bool
    """[R] whether it counts and has no match."""
    outcomes: Outcomes
    """By the COCO protocol, in its order."""
    row: Int64
    """[N] the prediction at each place of that order."""
    coco: CocoResult
    parts: bool
    """Boxes are in parts of their image: no number of a size is defined."""
    threshold: float
    """IoU from which boxes were matched."""

    def tally(self) -> Tally:
        """What the numbers of a summary are made of."""
        return Tally(
            len(self.images),
            self.categories,
            self.category,
            self.score,
            self.status,
            int(np.count_nonzero(self.inverted)),
            self.references(np.ones_like(self.ref_ignored)),
            self.references(self.ref_missed),
            int(np.count_nonzero(self.ref_ignored)),
            self.quality,
            self.estimate,
            self.coco,
            self.threshold,
        )

    def references(self, some: Bool) -> Int64:
        """How many of `some` [R] references each category has [K]."""
        return np.bincount(self.ref_category[some], minlength=len(self.categories))

    def within(self, images: Bool) -> "Results":
        """Those of some `images` [I] alone."""
        rows, refs = np.flatnonzero(images[self.image]), np.flatnonzero(images[self.ref_image])
        place = np.cumsum(images, dtype=np.int32) - np.int32(1)
        moved = np.full(len(self.image), -1)
        moved[rows] = np.arange(len(rows))
        kept = np.flatnonzero(moved[self.row] >= 0)
        pairs = images[self.image[self.status == MATCHED]]
        part = replace(
            self,
            images=[self.images[i] for i in np.flatnonzero(images).tolist()],
            files=[self.files[i] for i in np.flatnonzero(images).tolist()] if self.files else (),
            image=place[self.image[rows]],
            category=self.category[rows],
            score=self.score[rows],
            status=self.status[rows],
            inverted=self.inverted[rows],
            estimate=self.estimate[rows],
            quality={name: values[pairs] for name, values in self.quality.items()},
            ref_image=place[self.ref_image[refs]],
            ref_category=self.ref_category[refs],
            ref_counted=self.ref_counted[refs],
            ref_ignored=self.ref_ignored[refs],
            ref_missed=self.ref_missed[refs],
            row=moved[self.row[kept]],
        )
        positives = np.stack(
            [part.references(part.ref_counted >> np.uint8(a) & 1 > 0) for a in range(len(AREAS))]
        )
        outcomes = self.outcomes.take(kept, positives)
        coco = coco_ap.accumulate(outcomes, parts=self.parts)
        return replace(part, outcomes=outcomes, coco=coco)
