"""What the causes of errors need to know of each box, once the boxes of its image are matched."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lossexport.boxes.boxset import Bool, Dataset, Int32, Int64, UInt8
from lossexport.boxes.pairs import ranks
from lossexport.scoring.causes import confusion
from lossexport.scoring.causes.errors import CAUSES, FOUND, MOST, Charges, classify
from lossexport.scoring.causes.images import Counted, kept
from lossexport.scoring.results import Results

KIND, IGNORED, MENDED = 0x07, 0x08, 0x10
"""Bits of a prediction: its type of error or one of the next two, and as in `Errors`."""
RIGHT, BEYOND = len(CAUSES), len(CAUSES) + 1
"""Instead of a type: the prediction is right, or not one of those that count."""
MISSED, FREE = 0x01, 0x02
"""Bits of a reference, as in `Errors`."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Of N predictions and R references."""

    error: UInt8
    """[N] the bits above."""
    meant: Int32
    """[N] the category that a mended prediction would have, or -1."""
    on: Int32
    """[N] as by `confusion.place`."""
    lost: UInt8
    """[R] the bits above."""

    @classmethod
    def of(cls, data: Dataset, threshold: float) -> "Marks":
        """Those of boxes that are matched at an IoU of `threshold`."""
        errors = classify(data)
        charges = Charges.of(data, errors)
        error = np.full(len(data.predictions), BEYOND, np.uint8)
        error[errors.pred] = np.where(errors.kind == FOUND, RIGHT, errors.kind)
        error[errors.pred[errors.ignored]] |= IGNORED
        error[errors.pred[errors.mended]] |= MENDED
        meant = np.full(len(error), -1, np.int32)
        meant[errors.pred] = charges.meant
        lost = np.zeros(len(data.references), np.uint8)
        lost[errors.ref[errors.missed]] |= MISSED
        lost[errors.ref[errors.free]] |= FREE
        return cls(error, meant, confusion.place(data, threshold), lost)

    def numbers(self, found: Results, summary: Mapping[str, Any]) -> dict[str, Any]:
        """The keys that `explain` adds to a summary."""
        counted = found.references(~found.ref_ignored)
        by_image = np.lexsort((-found.score, found.image))
        kind = (self.error & KIND).astype(np.int8)
        rows = by_image[kind[by_image] != BEYOND]
        charges = Charges(
            found.category[rows],
            found.score[rows],
            np.where(kind == RIGHT, FOUND, kind)[rows].astype(np.int8),
            self._has(IGNORED)[rows],
            self._has(MENDED)[rows],
            self.meant[rows],
            counted,
            found.references(self.lost & MISSED > 0),
            found.references(self.lost & FREE > 0),
        )
        cut = summary["best"]["score"]
        matrix = confusion.cells(found.category, self.on, kept(found.score, cut), counted)
        return {
            **charges.numbers(),
            **confusion.numbers(matrix, found.categories, cut),
            **Counted.of(found, cut).numbers(found),
        }

    def fit(
        self, image: Int64, category: Int32, ref_category: Int32, ref_ignored: Bool, size: int
    ) -> bool:
        """Whether boxes of these images [N] and categories [N], [R] can have them.

        There are `size` categories; `ref_ignored` [R] tells which references are ignored.
        """
        missed, free = (self.lost & bit > 0 for bit in (MISSED, FREE))
        kind, mended = self.error & KIND, self._has(MENDED)
        if (
            (kind > BEYOND).any()
            or (self.error > (KIND | IGNORED | MENDED)).any()
            or ((missed | free) & ref_ignored).any()
            or (missed & ~free).any()
            or ((self.meant >= 0) != mended).any()
            or min(self.meant.min(initial=0) + 1, self.on.min(initial=0) - confusion.REGION) < 0
        ):
            return False
        by_image = np.argsort(image, kind="stable")
        beyond = ranks(image[by_image]) >= MOST
        if np.count_nonzero(kind == BEYOND) != np.count_nonzero(beyond):
            return False
        counted, missed_of, free_of, right, would, taken = (
            np.bincount(values, minlength=size)
            for values in (
                ref_category[~ref_ignored],
                ref_category[missed],
                ref_category[free],
                category[kind == RIGHT],
                self.meant[mended],
                self.on[self.on >= 0],
            )
        )
        return bool(
            (right + free_of == counted).all()
            and (would + missed_of == free_of).all()
            and (taken <= counted).all()
        )

    def _has(self, bit: int) -> Bool:
        found: Bool = self.error & np.uint8(bit) > 0
        return found
