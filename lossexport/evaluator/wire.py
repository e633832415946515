"""The bytes of an evaluator: a header, then arrays whose lengths follow from it.

| part | content |
| --- | --- |
| 8 bytes | `LXEVAL` and a line end |
| 2 + 2 + 4 bytes | version, 0, length of the header (little endian, like all numbers) |
| 32 bytes | SHA-256 of all that follows |
| header | JSON, see `Header` |
| images | numbers [i8], lengths of texts [u4], texts in UTF-8 |
| | predictions and references of each image, [u4] each |
| categories | numbers, lengths, texts in the same way; lengths and texts of the names, if given |
| columns | those of `layout.COLUMNS`, whose meaning `Block` tells, one after the other |

Images and categories are sorted, so that equal states have equal bytes.
"""

import hashlib
import math
import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from lossexport.boxes.boxset import (
    MAX_CATEGORIES,
    MAX_COORDINATE,
    MAX_IMAGES,
    MAX_LOG_VARIANCE,
    MAX_PREDICTIONS,
    MAX_REFERENCES,
    MAX_SCORE,
    Category,
    Id,
)
from lossexport.boxes.columns import plain_id
from lossexport.boxes.matching import MATCHED, STATUS
from lossexport.errors import LossexportError, one_line, shown
from lossexport.evaluator.block import COUNTED, IGNORED, MISSED, VARIED, Block
from lossexport.evaluator.layout import (
    COLUMNS,
    PAIR,
    PREDICTION,
    REFERENCE,
    VARIANCE,
    Column,
    Kept,
)
from lossexport.evaluator.state import CATEGORY_NUMBER, IMAGE_NUMBER, State
from lossexport.scoring import protocol

MAGIC = b"LXEVAL\r\n"
VERSION = 2
_START = struct.Struct("<8sHHI32s")
MAX_HEADER = 1 << 12
_MAY_BE_NONE = ("meant", "on")
_NUMBERS = IMAGE_NUMBER | CATEGORY_NUMBER
_MAX_SIDE = 4 * MAX_COORDINATE
"""Coordinates are differences of two that are in the bounds, of boxes that are too."""


class Header(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """Settings, and the counts from which the length of every array follows."""

    iou_threshold: float
    closed: bool
    """Whether the categories were given, with names."""
    spelled: int
    image_numbers: int
    image_texts: int
    image_bytes: int
    category_numbers: int
    category_texts: int
    category_bytes: int
    name_bytes: int
    predictions: int
    references: int
    matched: int
    variances: int
    oriented: bool = False
    """Not written unless it is true."""
    explain: bool = False
    size_grid: tuple[float, ...] = ()

    @property
    def kept(self) -> Kept:
        """What is kept beyond the numbers."""
        return Kept(self.explain, self.size_grid)

    def shape(self, column: Column) -> tuple[int, ...]:
        """Of a column."""
        rows = {
            PREDICTION: self.predictions,
            REFERENCE: self.references,
            PAIR: self.matched,
            VARIANCE: self.variances,
        }
        return column.shape(rows[column.of], self.kept, self.oriented)


def to_bytes(state: State) -> bytes:
    """The bytes of all that `state` has seen."""
    block, categories = state.arranged(canonical=True)
    kinds = [kind.id for kind in categories]
    names = [kind.name for kind in categories] if state.categories is not None else []
    image, category = _ids(block.images), _ids(kinds)
    name = _texts(names)
    header = Header(
        iou_threshold=state.threshold,
        closed=state.categories is not None,
        # Where one id was a number, it does not matter that others were texts.
        spelled=state.spelled & ~((state.spelled & _NUMBERS) << 1),
        image_numbers=len(image[0]) // 8,
        image_texts=len(image[1]) // 4,
        image_bytes=len(image[2]),
        category_numbers=len(category[0]) // 8,
        category_texts=len(category[1]) // 4,
        category_bytes=len(category[2]),
        name_bytes=len(name[1]),
        predictions=len(block.score),
        references=len(block.ref_flags),
        matched=len(block.pairs),
        variances=len(block.variances),
        oriented=bool(state.oriented),
        explain=state.kept.explain,
        size_grid=state.kept.sizes,
    )
    head = msgspec.json.encode(header)
    sizes = (sizes.astype("<u4").tobytes() for sizes in (block.sizes, block.ref_sizes))
    body = [head, *image, *sizes, *category, *name]
    body += [getattr(block, c.name).astype(c.kind, copy=False).tobytes() for c in COLUMNS]
    digest = hashlib.sha256()
    for part in body:
        digest.update(part)
    return b"".join([_START.pack(MAGIC, VERSION, 0, len(head), digest.digest()), *body])


def _ids(ids: Sequence[Id]) -> tuple[bytes, bytes, bytes]:
    """The numbers, and the lengths and bytes of the texts, of sorted ids."""
    numbers = [value for value in ids if isinstance(value, int)]
    return np.array(numbers, "<i8").tobytes(), *_texts([v for v in ids if isinstance(v, str)])


def _texts(texts: Sequence[str]) -> tuple[bytes, bytes]:
    encoded = [text.encode() for text in texts]
    return np.array([len(text) for text in encoded], "<u4").tobytes(), b"".join(encoded)


def from_bytes(data: bytes | bytearray | memoryview) -> State:
    """The state that `to_bytes` wrote.

    Nothing larger than a few times `data` is made. Raises LossexportError on bytes that are not of
    this version, are damaged or hold impossible values.
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise _damaged(f"{type(data).__name__} where bytes are expected")
    view = memoryview(data).cast("B") if isinstance(data, memoryview) else memoryview(data)
    if len(view) < _START.size or bytes(view[:8]) != MAGIC:
        raise LossexportError("the bytes are not those of an evaluator")
    _, version, zero, length, digest = _START.unpack_from(view)
    if version != VERSION:
        raise LossexportError(
            f"the bytes are of version {version} of the evaluator's format, and this lossexport "
            f"reads version {VERSION}: use the same release everywhere"
        )
    rest = view[_START.size :]
    if zero or length > min(MAX_HEADER, len(rest)) or hashlib.sha256(rest).digest() != digest:
        raise _damaged("the checksum differs, they are cut off or changed")
    try:
        header = msgspec.json.decode(rest[:length], type=Header)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _damaged(f"header: {one_line(error)}") from error
    return _state(header, _Reader(rest[length:]))


def _damaged(why: str) -> LossexportError:
    return LossexportError(f"the bytes of the evaluator are damaged: {why}")


class _Reader:
    """Takes one array after the other from the bytes, which must have the expected length."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def expect(self, length: int) -> None:
        if length != len(self._data):
            raise _damaged(f"{len(self._data)} bytes of arrays where {shown(length)} are expected")

    def array(self, kind: str, *shape: int) -> npt.NDArray[Any]:
        count = int(np.prod(shape, dtype=np.int64))
        found = np.frombuffer(self._data, kind, count, self._at)
        self._at += found.nbytes
        return found.reshape(shape).astype(found.dtype.newbyteorder("="))

    def texts(self, what: str, count: int, size: int) -> list[str]:
        lengths = self.array("<u4", count).astype(np.int64)
        ends = np.cumsum(lengths)
        if (int(ends[-1]) if count else 0) != size:
            raise _damaged(f"the texts of {what} have other lengths")
        blob = bytes(self._data[self._at : self._at + size])
        self._at += size
        try:
            return [
                blob[end - n : end].decode()
                for n, end in zip(lengths.tolist(), ends.tolist(), strict=True)
            ]
        except UnicodeDecodeError as error:
            raise _damaged(f"a text of {what} is not UTF-8") from error

    def ids(self, what: str, numbers: int, texts: int, size: int) -> list[Id]:
        first = self.array("<i8", numbers)
        second = self.texts(what, texts, size)
        rising = (first[1:] > first[:-1]).all() and all(a < b for a, b in pairwise(second))
        if not rising or any(plain_id(text) != text for text in second):
            raise _damaged(f"ids of {what} are not sorted, or a number is written as text")
        return [*first.tolist(), *second]


def _state(header: Header, reader: _Reader) -> State:
    images, kinds = _bounds(header)
    names = kinds if header.closed else 0
    reader.expect(
        8 * header.image_numbers + 4 * header.image_texts + header.image_bytes + 8 * images
        + 8 * header.category_numbers + 4 * header.category_texts + header.category_bytes
        + 4 * names + header.name_bytes
        + sum(math.prod(header.shape(c)) * np.dtype(c.kind).itemsize for c in COLUMNS)
    )  # fmt: skip
    ids = reader.ids("images", header.image_numbers, header.image_texts, header.image_bytes)
    sizes, ref_sizes = (reader.array("<u4", images).astype(np.int64) for _ in range(2))
    categories = reader.ids(
        "categories", header.category_numbers, header.category_texts, header.category_bytes
    )
    named = reader.texts("names", names, header.name_bytes)
    columns = {c.name: reader.array(c.kind, *header.shape(c)) for c in COLUMNS}
    block = Block(ids, sizes, ref_sizes, **columns)
    _check(header, block, kinds)
    closed = None
    if header.closed:
        closed = tuple(Category(i, name) for i, name in zip(categories, named, strict=True))
    state = State(header.iou_threshold, closed, header.spelled, header.kept)
    state.table.codes(categories)
    state.images.update(ids)
    state.predictions, state.references = header.predictions, header.references
    state.oriented = header.oriented if state.predictions or state.references else None
    state.blocks.append(block)
    return state


def _bounds(header: Header) -> tuple[int, int]:
    """The numbers of images and of categories, after a check of all counts."""
    images = header.image_numbers + header.image_texts
    kinds = header.category_numbers + header.category_texts
    most = {
        "images": (images, MAX_IMAGES),
        "categories": (kinds, MAX_CATEGORIES),
        "predictions": (header.predictions, MAX_PREDICTIONS),
        "matched": (header.matched, header.predictions),
        "variances": (header.variances, header.predictions),
        "references": (header.references, MAX_REFERENCES),
        "spelled": (header.spelled, 15),
    }
    for name, value in msgspec.structs.asdict(header).items():
        if isinstance(value, int) and value < 0:
            raise _damaged(f"{name} is negative")
    for name, (value, limit) in most.items():
        if not 0 <= value <= limit:
            raise _damaged(f"{name} is {shown(value)}: at most {limit} is possible")
    if not 0 < header.iou_threshold <= 1:
        raise _damaged(f"iou_threshold is {header.iou_threshold}")
    if header.size_grid and not protocol.are_sizes(header.size_grid):
        raise _damaged(f"size_grid is {shown(list(header.size_grid))}")
    if header.name_bytes and not header.closed:
        raise _damaged("categories have names that were not given")
    return images, kinds


def _check(header: Header, block: Block, kinds: int) -> None:
    """Refuse values that no evaluator writes."""
    status, ref_flags = block.status, block.ref_flags
    found, missed = status == MATCHED, ref_flags & MISSED > 0
    ignored = ref_flags & IGNORED > 0
    codes = ((c.name, getattr(block, c.name)) for c in COLUMNS if c.codes)
    fine = {
        "sizes": block.sizes.sum() == header.predictions,
        "sizes of references": block.ref_sizes.sum() == header.references,
        "categories": all(
            (code < kinds).all() and (name in _MAY_BE_NONE or (code >= 0).all())
            for name, code in codes
        ),
        "scores": (np.abs(block.score) <= MAX_SCORE).all(),
        "outcomes": not (block.true & block.ignored).any()
        and not (block.size_true & block.size_ignored).any(),
        "flags": not (status >= len(STATUS)).any(),
        "references": not (ignored & ((ref_flags & (COUNTED | MISSED)) > 0)).any(),
        "pairs": np.count_nonzero(found) == header.matched,
        "variances": np.count_nonzero(block.flags & VARIED) == header.variances,
        "boxes of pairs": (np.abs(block.pairs) <= _MAX_SIDE).all()
        and not (block.pairs[:, -2:] < 0).any(),
        "sides": (np.abs(block.variances[:, :2]) <= _MAX_SIDE).all(),
        "log variances": (np.abs(block.variances[:, 2:]) <= MAX_LOG_VARIANCE).all(),
    }
    wrong = [name for name, right in fine.items() if not right]
    if not wrong:
        free = ignored | missed
        taken = np.bincount(block.ref_category[~free], minlength=kinds)
        matched = np.bincount(block.category[found], minlength=kinds)
        wrong = [] if np.array_equal(matched, taken) else ["matches"]
    if not wrong and header.explain:
        image = np.repeat(np.arange(len(block.sizes)), block.sizes)
        fit = block.marks().fit(image, block.category, block.ref_category, ignored, kinds)
        wrong = [] if fit else ["causes"]
    if wrong:
        raise _damaged(f"impossible {wrong[0]}")
