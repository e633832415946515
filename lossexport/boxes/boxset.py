"""Boxes in columns: what every reader produces and every measure consumes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import msgspec
import numpy as np
import numpy.typing as npt

from lossexport.errors import LossexportError, shown

Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
Int8 = npt.NDArray[np.int8]
UInt8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]
Id = int | str

MAX_PREDICTIONS = 20_000_000
MAX_REFERENCES = 5_000_000
MAX_IMAGES = 5_000_000
MAX_CATEGORIES = 100_000
MAX_COORDINATE = 1e9
"""Largest size of a coordinate: its square still fits the float32 of the exported metrics."""
MAX_SCORE = 1e9
"""Largest size of a score: far above any logit, with finite differences and charts."""
MAX_LOG_VARIANCE = 200.0
"""Largest size of a log variance: the domain of the exported `localization_confidence`."""


class Category(msgspec.Struct, frozen=True):
    """A kind of object. `name` is only shown."""

    id: Id
    name: str


class References(msgspec.Struct, frozen=True):
    """Ground truth, R boxes in file order."""

    image: Int32
    """[R] position in `Dataset.images`."""
    category: Int32
    """[R] position in `Dataset.categories`."""
    box: Float64
    """[R,4] x, y, width, height; oriented ones [R,11] as in `boxes.oriented`."""
    area: Float64
    """[R] the area that decides the COCO size range; not always width x height."""
    ignored: Bool
    """[R] crowd, difficult or don't-care: never missed, and predictions on it are not counted."""
    zero_id: Bool
    """[R] annotation id 0, which pycocotools cannot tell from "no match"."""
    any_class: Bool | None = None
    """[R] an ignored region that acts on predictions of every category; None if none does."""

    def __len__(self) -> int:
        """Number of boxes."""
        return len(self.image)

    def take(self, rows: Int64) -> "References":
        """The boxes at positions `rows`."""
        return References(
            self.image[rows],
            self.category[rows],
            self.box[rows],
            self.area[rows],
            self.ignored[rows],
            self.zero_id[rows],
            None if self.any_class is None else self.any_class[rows],
        )


class Predictions(msgspec.Struct, frozen=True):
    """Detections, N boxes in file order."""

    image: Int32
    """[N] position in `Dataset.images`."""
    category: Int32
    """[N] position in `Dataset.categories`."""
    box: Float64
    """[N,4] x, y, width, height; an inverted box has a negative side and matches nothing. Oriented
    boxes are [N,11] as in `boxes.oriented`."""
    score: Float64
    """[N]"""
    log_variance: Float32 | None = None
    """[N,4] log sigma^2 of x1, y1, x2, y2 in the unit of the box; NaN in rows without, None if
    no row has any."""

    def __len__(self) -> int:
        """Number of boxes."""
        return len(self.image)

    def take(self, rows: Int64) -> "Predictions":
        """The boxes at positions `rows`."""
        variance = None if self.log_variance is None else self.log_variance[rows]
        return Predictions(
            self.image[rows], self.category[rows], self.box[rows], self.score[rows], variance
        )


class Input(msgspec.Struct, frozen=True):
    """An input as the summary names it."""

    name: str
    sha256: str


class Dataset(msgspec.Struct, frozen=True):
    """Predictions and references over one table of images and one of categories."""

    images: list[Id]
    """Sorted: the order decides ties of scores. Numbers come before strings. If the references
    write every id as text, all are ordered as texts, as in pycocotools."""
    categories: list[Category]
    predictions: Predictions
    references: References
    inputs: dict[str, Input]
    """`pred` and `ref`."""
    notes: list[str] = msgspec.field(default_factory=list)
    """What the reader did that the user may not expect, one sentence each."""
    files: Sequence[tuple[str, ...]] = ()
    """Names that the file of each image may have; empty if unknown."""
    sizes: Float64 | None = None
    """[I,2] width and height of each image in pixels, NaN if no input states them."""
    parts: bool = False
    """Boxes are in parts of their image, whose size is not known."""

    @property
    def oriented(self) -> bool:
        """Whether the boxes are oriented; both sides are of one kind."""
        return bool(self.references.box.shape[1] > 4)


def fail(path: Path, where: str, value: object, why: str) -> NoReturn:
    """Raise LossexportError with one line that names the file, the field and its value."""
    raise LossexportError(f"{path}: {where} is {shown(value)}: {why}")


def check_count(path: Path, what: str, count: int, limit: int) -> None:
    """Raise LossexportError when `count` is above `limit`."""
    if count > limit:
        raise LossexportError(f"{path}: more than {limit} {what}, the most that is read")


def check_rows(path: Path, count: int, scored: bool) -> None:
    """Refuse a file with more predictions (`scored`) or references than the limit."""
    if scored:
        check_count(path, "predictions", count, MAX_PREDICTIONS)
    else:
        check_count(path, "references", count, MAX_REFERENCES)


def check_boxes(
    path: Path, box: Float64, where: Callable[[int, int], str], *, inverted: bool
) -> None:
    """Refuse boxes [n,4] that are not finite, too large or (unless `inverted`) of negative size.

    `where(row, column)` names a value in the words of the file's format.
    """
    # One pass decides; the search for the culprit is for the rare bad file.
    if np.all(np.abs(box) <= MAX_COORDINATE) and (inverted or np.all(box[:, 2:] >= 0)):
        return
    bad = ~(np.abs(box) <= MAX_COORDINATE)
    if not inverted:
        bad[:, 2:] |= box[:, 2:] < 0
    row, column = (int(i) for i in np.argwhere(bad)[0])
    value = float(box[row, column])
    why = too_large(value, MAX_COORDINATE) or "a reference must not have a negative size"
    fail(path, where(row, column), value, why)


def check_scores(path: Path, score: Float64, where: Callable[[int], str]) -> None:
    """Refuse scores [n] that are not finite or too large in size."""
    fine = np.abs(score) <= MAX_SCORE
    if fine.all():
        return
    row = int(np.argmin(fine))
    fail(path, where(row), float(score[row]), too_large(float(score[row]), MAX_SCORE))


def check_areas(path: Path, area: Float64, where: Callable[[int], str]) -> None:
    """Refuse areas [n] that are negative or infinite; NaN is one that is not stated."""
    bad = (area < 0) | np.isinf(area)
    if bad.any():
        row = int(np.argmax(bad))
        why = "must be a finite number" if np.isinf(area[row]) else "must not be negative"
        fail(path, where(row), float(area[row]), why)


def too_large(value: float, limit: float) -> str:
    """The reason to refuse a number that is not finite or above `limit` in size, else ""."""
    if not np.isfinite(value):
        return "must be a finite number"
    return f"must be at most {limit:g} in size" if abs(value) > limit else ""


def check_log_variance(path: Path, rows: Float64, where: Callable[[int, int], str]) -> None:
    """Refuse log variances [n,4] that are not finite or too large in size."""
    bad = ~(np.abs(rows) <= MAX_LOG_VARIANCE)
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        value = float(rows[row, column])
        fail(
            path,
            where(row, column),
            value,
            f"must be from -{MAX_LOG_VARIANCE:g} to {MAX_LOG_VARIANCE:g}",
        )


def sort_ids(ids: Sequence[Id]) -> tuple[list[Id], Int32]:
    """Sort distinct ids, numbers before strings; also the new position [n] of each old one."""
    if set(map(type, ids)) == {int}:
        numbers = np.array(ids, np.int64)
        place = np.arange(len(ids), dtype=np.int32)
        if (numbers[1:] > numbers[:-1]).all():
            return list(ids), place
        ranked = np.argsort(numbers)
        place[ranked] = place.copy()
        return [ids[i] for i in ranked.tolist()], place
    order = sorted(range(len(ids)), key=lambda i: (isinstance(ids[i], str), ids[i]))
    position = np.empty(len(ids), np.int32)
    position[order] = np.arange(len(ids), dtype=np.int32)
    return [ids[i] for i in order], position
