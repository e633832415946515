"""Images that are matched, in the few bytes that their numbers need."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lossexport.boxes import matching, pairs
from lossexport.boxes.boxset import (
    Bool,
    Category,
    Dataset,
    Float32,
    Float64,
    Id,
    Int8,
    Int32,
    Int64,
    UInt8,
)
from lossexport.boxes.oriented import inverted, sides
from lossexport.boxes.pairs import Order, Pairs
from lossexport.boxes.quality import corners, in_frame
from lossexport.evaluator.chunk import Chunk
from lossexport.evaluator.layout import (
    COLUMNS,
    PAIR,
    PREDICTION,
    REFERENCE,
    VARIANCE,
    Kept,
    bits,
)
from lossexport.scoring import coco_ap, protocol

if TYPE_CHECKING:
    from lossexport.scoring.causes.marks import Marks

INSIDE, STATUS, INVERTED, VARIED = 0x0F, 0x30, 0x40, 0x80
"""Bits of a prediction: inside of each range of areas, status of the match, a negative side, and
whether a log variance was given."""
STATUS_AT = 4
COUNTED, IGNORED, MISSED, LOST = 0x0F, 0x10, 0x20, 0xC0
"""Bits of a reference: counts in each range of areas, is ignored, has no match, and `Marks`."""
LOST_AT = 6


@dataclass(frozen=True, slots=True)
class Block:
    """Matched images. Rows of an image are together, predictions in the order they were given."""

    images: Sequence[Id]
    sizes: Int64
    """[I] predictions of each image."""
    ref_sizes: Int64
    """[I] references of each image."""
    category: Int32
    """[N] code of the category."""
    score: Float64
    """[N]"""
    true: UInt8
    """[N,5] a bit for each range of areas and threshold of COCO: a true positive."""
    ignored: UInt8
    """[N,5] the same: matched with a reference that is ignored."""
    flags: UInt8
    """[N] the bits above."""
    error: UInt8
    """[N,E] as in `Marks`; E is 1 if they are kept, otherwise 0."""
    meant: Int32
    """[N,E] as in `Marks`."""
    on: Int32
    """[N,E] as in `Marks`."""
    size_true: UInt8
    """[N,T] as `true`, for the ranges of sizes that are kept."""
    size_ignored: UInt8
    """[N,T]"""
    size_inside: UInt8
    """[N,S] a bit for each of these ranges: inside of it."""
    ref_category: Int32
    """[R] code of the category."""
    ref_flags: UInt8
    """[R] the bits above."""
    size_counted: UInt8
    """[R,S] a bit for each of these ranges: counts in it."""
    pairs: Float32
    """[M,6] x1, y1, x2, y2 of each matched prediction, from the corner of its reference, and width
    and height of that; of oriented boxes [M,7] cx, cy, w, h, angle in the frame of the reference,
    and w and h of that."""
    variances: Float32
    """[V,6] width, height and the four log variances of each prediction that has them."""

    @property
    def status(self) -> Int8:
        """[N] the outcome at the threshold of the evaluator, as in `Matching`."""
        return ((self.flags & STATUS) >> STATUS_AT).astype(np.int8)

    def marks(self) -> "Marks":
        """What the causes need, if it is kept."""
        from lossexport.scoring.causes.marks import Marks

        lost = (self.ref_flags & np.uint8(LOST)) >> np.uint8(LOST_AT)
        return Marks(self.error[:, 0], self.meant[:, 0], self.on[:, 0], lost)

    def recoded(self, codes: Int32) -> "Block":
        """The block with `codes` [K] in place of its codes of categories."""
        columns: dict[str, Any] = {}
        for column in COLUMNS:
            if column.codes:
                old = getattr(self, column.name)
                new = codes[np.maximum(old, 0)] if old.size else old
                columns[column.name] = np.where(old < 0, old, new)
        return replace(self, **columns)


def match(chunk: Chunk, categories: int, threshold: float, kept: Kept) -> Block:
    """Match a chunk with so many `categories`. Raises LossexportError on too many overlaps."""
    by_image, refs = (
        np.argsort(boxes.image, kind="stable") for boxes in (chunk.predictions, chunk.references)
    )
    predictions, references = chunk.predictions.take(by_image), chunk.references.take(refs)
    data = Dataset(
        list(chunk.images),
        [Category(k, "") for k in range(categories)],
        predictions,
        references,
        {},
    )
    order = pairs.sort_boxes(data)
    least = min(pairs.cap(threshold), float(protocol.THRESHOLDS[0]))
    found = pairs.find_pairs(data, order, least)
    coco = coco_ap.match(data, order, found)
    result = matching.match(data, order, found, threshold)

    count = len(predictions)
    true, ignored = _lanes(coco, order.pred, count)
    flags: UInt8 = result.status.astype(np.uint8) << np.uint8(STATUS_AT)
    flags[order.pred] |= coco.inside
    flags[inverted(predictions.box)] |= INVERTED
    ref_flags = bits(_counted(data, protocol.COCO))[:, 0]
    ref_flags[references.ignored] |= IGNORED
    ref_flags[result.unmatched_refs] |= MISSED
    variances = np.empty((0, 6), np.float32)
    if predictions.log_variance is not None:
        known = ~np.isnan(predictions.log_variance).any(axis=1)
        flags[known] |= VARIED
        size = predictions.box[known, 2:].astype(np.float32)
        variances = np.concatenate([size, predictions.log_variance[known]], axis=1)
    pred, ref = result.pairs()
    target = references.box[ref]
    seen = in_frame if chunk.oriented else corners
    matched = seen(predictions.box[pred], target)
    none = np.empty((count, 0), np.uint8)
    marks: dict[str, Any] = {
        "error": none,
        "meant": none.astype(np.int32),
        "on": none.astype(np.int32),
    }
    if kept.explain:
        # Only then, as it takes longer to import.
        from lossexport.scoring.causes.marks import Marks

        made = Marks.of(data, threshold)
        marks = {name: getattr(made, name)[:, None] for name in marks}
        ref_flags |= made.lost << np.uint8(LOST_AT)
    return Block(
        chunk.images,
        np.bincount(predictions.image, minlength=len(chunk.images)),
        np.bincount(references.image, minlength=len(chunk.images)),
        category=predictions.category,
        score=predictions.score,
        true=true,
        ignored=ignored,
        flags=flags,
        **marks,
        **_by_size(data, order, found, kept),
        ref_category=references.category,
        ref_flags=ref_flags,
        pairs=np.concatenate([matched, sides(target).astype(np.float32)], axis=1),
        variances=variances,
    )


def _by_size(data: Dataset, order: Order, found: Pairs, kept: Kept) -> dict[str, Any]:
    """The columns of the ranges of sizes that are kept."""
    count = len(data.predictions)
    none = np.empty((count, 0), np.uint8)
    columns = dict.fromkeys(("size_true", "size_ignored", "size_inside"), none)
    if not kept.sizes:
        return {**columns, "size_counted": np.empty((len(data.references), 0), np.uint8)}
    asked = protocol.of_sizes(kept.sizes)
    outcomes = coco_ap.match(data, order, found, asked)
    inside = bits(asked.has(outcomes.inside))
    columns["size_true"], columns["size_ignored"] = _lanes(outcomes, order.pred, count)
    columns["size_inside"] = np.empty_like(inside)
    columns["size_inside"][order.pred] = inside
    return {**columns, "size_counted": bits(_counted(data, asked))}


def _lanes(found: protocol.Outcomes, row: Int64, count: int) -> tuple[UInt8, UInt8]:
    """Bits of true positives and of ignored matches, of each of `count` predictions."""
    width = -(-int(np.prod(found.outcome.shape[1:])) // 8)
    true, ignored = (np.zeros((count, width), np.uint8) for _ in range(2))
    rows = row[found.place]
    true[rows] = bits(found.outcome == protocol.TRUE)
    ignored[rows] = bits(found.outcome == protocol.IGNORED)
    return true, ignored


def _counted(data: Dataset, asked: protocol.Protocol) -> Bool:
    """[R,A] whether each reference counts in each range of areas."""
    references = data.references
    found: Bool = ~(coco_ap.outside(references.area, asked.areas) | references.ignored[:, None])
    return found


def empty(kept: Kept) -> Block:
    """No image at all."""
    columns = {c.name: np.empty(c.shape(0, kept, False), c.kind) for c in COLUMNS}
    return Block([], np.empty(0, np.int64), np.empty(0, np.int64), **columns)


def join(blocks: Sequence[Block], kept: Kept) -> Block:
    """All blocks as one."""
    blocks = blocks or [empty(kept)]
    columns = {}
    for column in COLUMNS:
        every = [getattr(block, column.name) for block in blocks]
        # Pairs of a block without any may be of the other kind of boxes.
        columns[column.name] = np.concatenate([a for a in every if len(a)] or every[:1])
    return Block(
        [value for block in blocks for value in block.images],
        np.concatenate([block.sizes for block in blocks]),
        np.concatenate([block.ref_sizes for block in blocks]),
        **columns,
    )


def arrange(block: Block, image: Int32, category: Int32) -> Block:
    """The block with its images at positions `image` [I] and its codes as `category` [K] says.

    Both are permutations. The references of an image get an order that they have however they were
    given.
    """
    block = block.recoded(category)
    pred = np.argsort(np.repeat(image, block.sizes), kind="stable")
    keys = (block.ref_flags, block.ref_category, np.repeat(image, block.ref_sizes))
    ref = np.lexsort((*block.size_counted.T, *keys))
    rows = {
        PREDICTION: pred,
        REFERENCE: ref,
        PAIR: _of(block.status == matching.MATCHED, pred),
        VARIANCE: _of(block.flags & VARIED != 0, pred),
    }
    order = np.argsort(image)
    return Block(
        [block.images[i] for i in order.tolist()],
        block.sizes[order],
        block.ref_sizes[order],
        **{column.name: getattr(block, column.name)[rows[column.of]] for column in COLUMNS},
    )


def _of(some: Bool, rows: Int64) -> Int64:
    """Where the rows in the new order stand in an array that only `some` [N] of them have."""
    place: Int64 = np.cumsum(some) - 1
    moved: Int64 = place[rows[some[rows]]]
    return moved
