"""Annotations as columns."""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from lossexport.boxes.boxset import (
    Bool,
    Category,
    Dataset,
    Float64,
    Int32,
    Int64,
    Predictions,
    References,
)
from lossexport.errors import LossexportError, shown
from lossexport.pycocotools.parameters import is_flag

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sample:
    """The boxes of the images and categories that are evaluated."""

    data: Dataset
    """Images and categories by their position among the parameters; without categories there is
    one for all."""
    size: Float64
    """[N] area of each prediction."""
    pred_id: Float64
    """[N]"""
    ref_id: Float64
    """[R]"""
    detections: Sequence[Row]
    """N rows"""
    truths: Sequence[Row]
    """R rows"""


def sample(
    truths: Sequence[Row],
    detections: Sequence[Row],
    images: Sequence[Any],
    categories: Sequence[Any],
    *,
    use_categories: bool,
) -> Sample:
    """The rows on any of `images` and of any of `categories`.

    Raises LossexportError on a value that is missing or not a number, naming the annotation.
    """
    with checked_ids(truths, detections):
        refs, ref_image, ref_category = _places(truths, images, categories, use_categories)
        preds, pred_image, pred_category = _places(detections, images, categories, use_categories)
    ref_id = numbers_of(refs, "id")
    data = Dataset(
        images=list(images),
        categories=[Category(k, "") for k in (categories if use_categories else [-1])],
        predictions=Predictions(
            pred_image, pred_category, boxes_of(preds), numbers_of(preds, "score")
        ),
        references=References(
            ref_image,
            ref_category,
            boxes_of(refs),
            numbers_of(refs, "area"),
            flags_of(refs, "iscrowd"),
            ref_id == 0,
        ),
        inputs={},
    )
    size = numbers_of(preds, "area")
    return Sample(data, size, numbers_of(preds, "id"), ref_id, preds, refs)


@contextmanager
def checked_ids(*tables: Sequence[Row]) -> Iterator[None]:
    """Name the annotation whose ids, an array or a list, cannot be looked up inside."""
    try:
        yield
    except TypeError:
        for row in chain.from_iterable(tables):
            for field in ("image_id", "category_id"):
                if not isinstance(row.get(field), Hashable):
                    raise _refusal(row, field, "a number or a text is expected") from None
        raise


def _places(
    rows: Sequence[Row], images: Sequence[Any], categories: Sequence[Any], use_categories: bool
) -> tuple[Sequence[Row], Int32, Int32]:
    """The rows that are evaluated, and the positions of their images and categories."""
    if not use_categories:
        # The order of the categories decides between equal boxes, and one may be named twice.
        by_category: dict[Any, list[Row]] = defaultdict(list)
        for row in rows:
            by_category[row["category_id"]].append(row)
        rows = [row for category in categories for row in by_category.get(category, ())]
        kind = np.zeros(len(rows), np.int32)
    else:
        kind = _positions(rows, "category_id", categories)
    image = _positions(rows, "image_id", images)
    kept: Int64 = np.flatnonzero((image >= 0) & (kind >= 0))
    if len(kept) < len(rows):
        rows = [rows[i] for i in kept]
    return rows, image[kept], kind[kept]


def _positions(rows: Sequence[Row], field: str, ids: Sequence[Any]) -> Int32:
    place = {number: i for i, number in enumerate(ids)}
    return np.array([place.get(row[field], -1) for row in rows], np.int32)


def boxes_of(rows: Sequence[Row]) -> Float64:
    """[n,4] the boxes. Raises LossexportError on one that is not four finite numbers."""
    try:
        box = np.array([row["bbox"] for row in rows], np.float64).reshape(len(rows), 4)
    except (KeyError, TypeError, ValueError, OverflowError):
        box = None
    if box is None or not np.isfinite(box).all():
        for row in rows:
            _check_box(row)
    assert box is not None
    return box


def _check_box(row: Row) -> None:
    try:
        box = np.array(row["bbox"], np.float64)
        sound = box.shape == (4,) and bool(np.isfinite(box).all())
    except (KeyError, TypeError, ValueError, OverflowError):
        sound = False
    if not sound:
        raise _refusal(row, "bbox", "four finite numbers are expected")


def numbers_of(rows: Sequence[Row], field: str) -> Float64:
    """[n] a number of each row; a missing area is width x height.

    Raises LossexportError on one that is missing, NaN or not a number.
    """
    try:
        found = np.array([row[field] for row in rows], np.float64).reshape(len(rows))
        if not np.isnan(found).any():
            return found
    except (KeyError, TypeError, ValueError, OverflowError):
        pass
    return np.array([_number(row, field) for row in rows], np.float64)


def _number(row: Row, field: str) -> float:
    if field == "area" and field not in row:
        return float(row["bbox"][2] * row["bbox"][3])
    try:
        number = float(row[field])
    except (KeyError, TypeError, ValueError, OverflowError):
        number = np.nan
    if np.isnan(number):
        raise _refusal(row, field, "a number is expected")
    return number


def flags_of(rows: Sequence[Row], field: str) -> Bool:
    """[n] a flag of each row, false where it is missing.

    Raises LossexportError on an array of none or several numbers.
    """
    try:
        return np.array([bool(row.get(field)) for row in rows], np.bool_)
    except (TypeError, ValueError):
        row = next(row for row in rows if not is_flag(row.get(field)))
        raise _refusal(row, field, "0 or 1 is expected") from None


def _refusal(row: Row, field: str, why: str) -> LossexportError:
    return LossexportError(
        f"annotation {shown(row.get('id'))}: {field} is {shown(row.get(field))}: {why}"
    )
