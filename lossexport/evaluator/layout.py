"""The columns of matched images: what is kept of each prediction, reference and matched pair."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lossexport.scoring import protocol

LANES = len(protocol.AREAS) * len(protocol.THRESHOLDS)
"""Ranges of areas times thresholds."""
PREDICTION, REFERENCE, PAIR, VARIANCE = "prediction", "reference", "pair", "variance"
"""What there is a row for; a pair is a matched prediction, a variance one with a log variance."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept beyond what the numbers of a summary need."""

    explain: bool = False
    """What the causes of errors need."""
    sizes: tuple[float, ...] = ()
    """Outcomes by these limits of sides, rising, in pixels."""

    @property
    def ranges(self) -> int:
        """Ranges of areas between the limits."""
        return len(self.sizes) + 1 if self.sizes else 0


Width = Callable[[Kept, bool], int]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: a number in each row or, with a width, several."""

    name: str
    of: str
    kind: str
    """Type in the bytes."""
    width: Width | None = None
    """From what is kept and whether boxes are oriented."""
    codes: bool = False
    """Holds codes of categories; those below 0 stand for none."""

    def shape(self, rows: int, kept: Kept, oriented: bool) -> tuple[int, ...]:
        """Of so many rows."""
        return (rows,) if self.width is None else (rows, self.width(kept, oriented))


def _if_explained(kept: Kept, _: bool) -> int:
    return int(kept.explain)


def _a_bit_for_each_range(kept: Kept, _: bool) -> int:
    return -(-kept.ranges // 8)


def _a_bit_for_each_lane(kept: Kept, _: bool) -> int:
    return -(-kept.ranges * len(protocol.THRESHOLDS) // 8)


COLUMNS = (
    Column("category", PREDICTION, "<i4", codes=True),
    Column("score", PREDICTION, "<f8"),
    Column("true", PREDICTION, "u1", lambda *_: LANES // 8),
    Column("ignored", PREDICTION, "u1", lambda *_: LANES // 8),
    Column("flags", PREDICTION, "u1"),
    Column("error", PREDICTION, "u1", _if_explained),
    Column("meant", PREDICTION, "<i4", _if_explained, codes=True),
    Column("on", PREDICTION, "<i4", _if_explained, codes=True),
    Column("size_true", PREDICTION, "u1", _a_bit_for_each_lane),
    Column("size_ignored", PREDICTION, "u1", _a_bit_for_each_lane),
    Column("size_inside", PREDICTION, "u1", _a_bit_for_each_range),
    Column("ref_category", REFERENCE, "<i4", codes=True),
    Column("ref_flags", REFERENCE, "u1"),
    Column("size_counted", REFERENCE, "u1", _a_bit_for_each_range),
    Column("pairs", PAIR, "<f4", lambda _, oriented: 7 if oriented else 6),
    Column("variances", VARIANCE, "<f4", lambda *_: 6),
)


def bits(flags: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Flags [n,...] in as few bytes as they need [n,B]."""
    # Rows without flags have no bytes either, which `reshape` could not tell.
    width = int(np.prod(flags.shape[1:], dtype=np.int64))
    return np.packbits(flags.reshape(len(flags), width), axis=1, bitorder="little")


def flags(packed: npt.NDArray[np.uint8], *shape: int) -> npt.NDArray[np.bool_]:
    """The flags [n,*shape] in such bytes."""
    width = int(np.prod(shape, dtype=np.int64))
    found = np.unpackbits(packed, axis=1, count=width, bitorder="little")
    return found.reshape(len(packed), *shape).view(np.bool_)
