"""How a diagnosis is declared, and what it finds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lossexport.boxes.boxset import Bool, Float64, Int32, Int64
from lossexport.scoring.record import Run

Column = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Table:
    """A Parquet file of n rows."""

    types: Mapping[str, str]
    """Name of each column and Arrow's name of its type, without those of images and categories."""
    columns: Mapping[str, tuple[Column, Bool | None]]
    """[n] values of each column of `types`, and which of them are null, or None."""
    image: Int32 | None = None
    """[n] position of the image of each row; None if the rows are of no image."""
    category: Int32 | None = None
    """[n] position of the category of each row; None if the rows are of no category."""

    def __len__(self) -> int:
        """Number of rows."""
        values = (self.image, self.category, *(column for column, _ in self.columns.values()))
        return next((len(one) for one in values if one is not None), 0)


@dataclass(frozen=True, slots=True)
class PageTable:
    """A table of the report, as text."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    """The first cell of a row names it."""
    texts: Sequence[int] = ()
    """Columns of words, beside the first."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a diagnosis found."""

    numbers: Mapping[str, Any]
    """Keys of the summary."""
    page: PageTable | None = None
    table: Table | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """What a finding is called in the report and among the files."""

    name: str
    title: str
    caption: str
    """A sentence or two."""

    @property
    def file(self) -> str:
        """Name of its Parquet file, if it has one."""
        return f"{self.name}.parquet"


@dataclass(frozen=True, slots=True)
class Diagnosis(Section):
    """A diagnosis that `--explain` makes; summary, tables and report derive from it."""

    find: Callable[[Run, Mapping[str, Any]], Finding]
    """From a run and its summary, which has the numbers of earlier diagnoses."""
    gates: tuple[str, ...] = ()
    """Names of the numbers that can be gates."""


def shown(value: float | None, digits: int = 3) -> str:
    """A number for people; a dash if it is undefined."""
    return "\N{EN DASH}" if value is None else f"{value:z,.{digits}f}"


def title(name: str) -> str:
    """The heading of the column of a number of the summary."""
    words = name.replace("_", " ")
    return words[0].upper() + words[1:]


def average_precision(hits: Int64, positives: int, recalls: Float64) -> float:
    """Mean over `recalls` [R] of the highest precision at each recall or a higher one.

    `hits` [H] are the ranks of the true predictions of a category, from 0 and rising, and
    `positives` is the number of its references.
    """
    if not len(hits):
        return 0.0
    count = np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate((count / (hits + 1))[::-1])[::-1]
    at = np.searchsorted(count / positives, recalls, "left")
    return float(envelope[at[at < len(hits)]].sum() / len(recalls))
