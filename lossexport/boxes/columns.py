"""Columns of boxes, which grow while a file is read."""

import re
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from lossexport.boxes.boxset import (
    Bool,
    Float32,
    Float64,
    Id,
    Int32,
    Int64,
    Predictions,
    References,
)
from lossexport.boxes.oriented import areas

RawId = int | str | float

ID = "an id is a string or a whole number, at least -2^63 and at most 2^63 - 1"
"""What `plain_id` takes, in messages."""

_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,18}")
LEAST_ID, MOST_ID = -(2**63), 2**63 - 1
PLAIN_WIDTH = 4


def plain_id(value: RawId) -> Id | None:
    """The id without quotes or a zero fraction if it is a number; None if it cannot be an id.

    Files mix "2299", 2299 and 2299.0. A string with leading zeros or letters, or with a number
    beyond 63 bits, stays a string.
    """
    if isinstance(value, str):
        if not _NUMBER.fullmatch(value) or not LEAST_ID <= int(value) <= MOST_ID:
            return value
        value = int(value)
    if isinstance(value, float):
        if not value.is_integer():
            return None
        value = int(value)
    return value if LEAST_ID <= value <= MOST_ID else None


class IdTable(dict[RawId, int]):
    """Numbers the distinct ids in the order of their first appearance.

    `table[raw]` is the position in `table.ids`, or -1 for a value that cannot be an id;
    `respelled` tells whether any came as text or fraction and was read as a number.
    """

    def __init__(self, ids: Iterable[RawId] = ()) -> None:
        """Start with `ids`, which must be distinct and results of `plain_id`."""
        super().__init__()
        self.ids: list[Id] = []
        self.respelled = False
        for value in ids:
            _ = self[value]

    def __missing__(self, raw: RawId) -> int:
        """Number an id that is new, or new in this spelling."""
        value = plain_id(raw)
        if value is None:
            return -1
        self.respelled |= type(value) is not type(raw)
        code = super().get(value, len(self.ids))
        if code == len(self.ids):
            self.ids.append(value)
            self[value] = code
        self[raw] = code
        return code

    def add_numbers(self, numbers: Sequence[int]) -> None:
        """Number distinct ids that are new, from LEAST_ID to MOST_ID."""
        self.update(zip(numbers, range(len(self.ids), len(self.ids) + len(numbers)), strict=True))
        self.ids += numbers

    def codes(self, raws: Sequence[RawId]) -> Int32:
        """Positions [n] of `raws`; -1 for values that cannot be an id."""
        return np.fromiter(map(self.__getitem__, raws), np.int32, len(raws))


def box_array(rows: Sequence[Sequence[float]], width: int = PLAIN_WIDTH) -> Float64:
    """Turn n rows of `width` numbers into an array [n,width]."""
    flat = np.fromiter(chain.from_iterable(rows), np.float64, width * len(rows))
    return flat.reshape(-1, width)


class BoxColumns:
    """Collects boxes block by block; `predictions` and `references` join the blocks."""

    def __init__(self) -> None:
        """Start empty."""
        self._image: list[Int32] = []
        self._category: list[Int32] = []
        self._box: list[Float64] = []
        self._score: list[Float64] = []
        self._log_variance: list[Float32] = []
        self._area: list[Float64] = []
        self._ignored: list[Bool] = []
        self._any_class: list[Bool] = []
        self._owned = False
        self.count = 0
        self.width = PLAIN_WIDTH
        """Numbers of a box: PLAIN_WIDTH, or those of `boxes.oriented`."""

    def add(
        self,
        image: Int32,
        category: Int32,
        box: Float64,
        *,
        score: Float64 | None = None,
        log_variance: Float32 | None = None,
        area: Float64 | None = None,
        ignored: Bool | None = None,
        any_class: bool = False,
        owned: bool = False,
    ) -> None:
        """Append n rows; predictions have a `score`, references may have `area` and `ignored`.

        All blocks of `box` that have rows have the same width.

        With `any_class` ignored references act on predictions of every category.

        `log_variance` [n,4] is NaN in rows without one. It takes no memory until a block has some.
        Columns that are `owned`, which nobody else will change, are not copied if they are all.
        """
        self._owned = owned and not self.count
        if log_variance is not None and not self._log_variance and self.count:
            self._log_variance.append(_nothing(self.count))
        if log_variance is not None or self._log_variance:
            self._log_variance.append(_nothing(len(box)) if log_variance is None else log_variance)
        self._image.append(image)
        self._category.append(category)
        if not self.count:  # blocks without a row have either width
            self._box.clear()
            self.width = box.shape[1]
        if len(box) or not self._box:
            self._box.append(box)
        if score is not None:
            self._score.append(score)
        else:
            self._area.append(areas(box) if area is None else area)
            self._ignored.append(np.zeros(len(box), np.bool_) if ignored is None else ignored)
            self._any_class.append(self._ignored[-1] & any_class)
        self.count += len(box)

    def _all(self, blocks: list[Any], kind: type) -> npt.NDArray[Any]:
        """The blocks of a column joined and released."""
        return blocks.pop() if self._owned and len(blocks) == 1 else _join(blocks, kind)

    def peek_codes(self) -> tuple[Int32, Int32]:
        """Image and category codes of all rows so far."""
        return _column(self._image), _column(self._category)

    def codes(self) -> tuple[Int32, Int32]:
        """The codes as from `peek_codes`; their memory is released here."""
        return self._all(self._image, np.int32), self._all(self._category, np.int32)

    def equal(self, first: Int64, second: Int64) -> Bool:
        """Whether rows `first` [n] of references equal rows `second` [n]."""
        same = np.ones(len(first), np.bool_)
        for blocks in (self._image, self._category, self._box, self._area, self._ignored):
            column = _column(blocks)
            differs = column[first] != column[second]
            same &= ~(differs.any(axis=1) if differs.ndim > 1 else differs)
        return same

    def keep(self, rows: Int64) -> None:
        """Forget all rows of references but `rows`."""
        columns = (self._image, self._category, self._box, self._area, self._ignored)
        for blocks in (*columns, self._any_class):
            blocks[:] = [_column(blocks)[rows]]
        self.count = len(rows)

    def scale(self, factors: Float64) -> None:
        """Multiply the boxes x, y, width, height of all rows by `factors` [n,4], width first."""
        box = _join(self._box, np.float64).reshape(-1, 4) * factors
        self._box.append(box)
        if self._log_variance:
            shift = (2 * np.log(factors)).astype(np.float32)
            self._log_variance[:] = [_join(self._log_variance, np.float32) + shift]
        if self._area:
            self._area[:] = [box[:, 2] * box[:, 3]]

    def one_category(self) -> None:
        """Forget the categories: all rows get code 0."""
        self._category = [np.zeros_like(codes) for codes in self._category]

    def predictions(self, image: Int32, category: Int32) -> Predictions:
        """All rows as predictions, with the final image and category positions."""
        box = self._all(self._box, np.float64).reshape(-1, self.width)
        log_variance = _join(self._log_variance, np.float32) if self._log_variance else None
        score = self._all(self._score, np.float64)
        return Predictions(image, category, box, score, log_variance)

    def references(self, image: Int32, category: Int32, ids: Int64 | None = None) -> References:
        """All rows as references, with the final image and category positions."""
        any_class = _join(self._any_class, np.bool_) if self._any_class else None
        return References(
            image,
            category,
            self._all(self._box, np.float64).reshape(-1, self.width),
            self._all(self._area, np.float64),
            self._all(self._ignored, np.bool_),
            np.zeros(self.count, np.bool_) if ids is None else ids == 0,
            any_class if any_class is not None and any_class.any() else None,
        )


def _column(blocks: list[Any]) -> npt.NDArray[Any]:
    """Join the blocks of a column into one, which replaces them in the list."""
    if len(blocks) != 1:
        blocks[:] = [_join(blocks, np.int32)]
    column: npt.NDArray[Any] = blocks[0]
    return column


def _nothing(count: int) -> Float32:
    return np.full((count, 4), np.nan, np.float32)


def _join(blocks: list, kind: type) -> np.ndarray:  # type: ignore[type-arg]
    """Join the blocks and release them, so that few columns exist twice at any time."""
    joined = np.concatenate(blocks) if blocks else np.empty(0, kind)
    blocks.clear()
    return joined
