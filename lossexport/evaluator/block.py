"""Images that are matched, in the few bytes that their numbers need."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
from lossexport.boxes.quality import corners, in_frame
from lossexport.evaluator.chunk import Chunk
from lossexport.scoring import coco_ap, protocol

LANES = len(protocol.AREAS) * len(protocol.THRESHOLDS)
"""Ranges of areas times thresholds."""
OUTCOME_BYTES = LANES // 8
INSIDE, STATUS, INVERTED, VARIANCE = 0x0F, 0x30, 0x40, 0x80
"""Bits of a flag: inside of each range of areas, status of the match, a negative side, and whether
a log variance was given."""
STATUS_AT = 4
COUNTS = 2 + len(protocol.AREAS)
"""Numbers of a category: references, missed ones, and those that count in each range of areas."""


@dataclass(frozen=True, slots=True)
class Block:
    """Matched images. Rows of an image are together, in the order in which they were given."""

    images: Sequence[Id]
    sizes: Int64
    """[I] predictions of each image."""
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
    pairs: Float32
    """[M,6] x1, y1, x2, y2 of each matched prediction, from the corner of its reference, and width
    and height of that; of oriented boxes [M,7] cx, cy, w, h, angle in the frame of the reference,
    and w and h of that."""
    variances: Float32
    """[V,6] width, height and the four log variances of each prediction that has them."""
    counts: Int64
    """[K,6]"""
    ignored_references: int

    @property
    def status(self) -> Int8:
        """[N] the outcome at the threshold of the evaluator, as in `Matching`."""
        return ((self.flags & STATUS) >> STATUS_AT).astype(np.int8)

    def with_categories(self, category: Int32, counts: Int64) -> "Block":
        """The block with other codes [N] of categories, and their `counts` [K,6]."""
        return replace(self, category=category, counts=counts)


def match(chunk: Chunk, categories: int, threshold: float) -> Block:
    """Match a chunk with so many `categories`. Raises LossexportError on too many overlaps."""
    by_image = np.argsort(chunk.predictions.image, kind="stable")
    predictions, references = chunk.predictions.take(by_image), chunk.references
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
    rows = order.pred[coco.place]
    lanes = coco.outcome.reshape(len(rows), LANES)
    true, ignored = (np.zeros((count, OUTCOME_BYTES), np.uint8) for _ in range(2))
    true[rows] = np.packbits(lanes == protocol.TRUE, axis=1)
    ignored[rows] = np.packbits(lanes == protocol.IGNORED, axis=1)
    flags: UInt8 = result.status.astype(np.uint8) << np.uint8(STATUS_AT)
    flags[order.pred] |= coco.inside
    flags[inverted(predictions.box)] |= INVERTED
    variances = np.empty((0, 6), np.float32)
    if predictions.log_variance is not None:
        known = ~np.isnan(predictions.log_variance).any(axis=1)
        flags[known] |= VARIANCE
        size = predictions.box[known, 2:].astype(np.float32)
        variances = np.concatenate([size, predictions.log_variance[known]], axis=1)
    pred, ref = result.pairs()
    target = references.box[ref]
    seen = in_frame if chunk.oriented else corners
    matched = seen(predictions.box[pred], target)
    return Block(
        chunk.images,
        np.bincount(predictions.image, minlength=len(chunk.images)),
        predictions.category,
        predictions.score,
        true,
        ignored,
        flags,
        np.concatenate([matched, sides(target).astype(np.float32)], axis=1),
        variances,
        np.stack(
            [
                np.bincount(references.category, minlength=categories),
                np.bincount(references.category[result.unmatched_refs], minlength=categories),
                *coco.positives,
            ],
            axis=1,
        ),
        int(np.count_nonzero(references.ignored)),
    )


def empty(categories: int) -> Block:
    """No image at all."""
    bits = np.empty((0, OUTCOME_BYTES), np.uint8)
    six = np.empty((0, 6), np.float32)
    return Block(
        [],
        np.empty(0, np.int64),
        np.empty(0, np.int32),
        np.empty(0),
        bits,
        bits,
        np.empty(0, np.uint8),
        six,
        six,
        np.zeros((categories, COUNTS), np.int64),
        0,
    )


def join(blocks: Sequence[Block], categories: int) -> Block:
    """All blocks as one, with so many `categories`."""
    blocks = blocks or [empty(categories)]
    counts = np.zeros((categories, COUNTS), np.int64)
    for block in blocks:
        counts[: len(block.counts)] += block.counts
    return Block(
        [value for block in blocks for value in block.images],
        np.concatenate([block.sizes for block in blocks]),
        np.concatenate([block.category for block in blocks]),
        np.concatenate([block.score for block in blocks]),
        np.concatenate([block.true for block in blocks]),
        np.concatenate([block.ignored for block in blocks]),
        np.concatenate([block.flags for block in blocks]),
        np.concatenate([b.pairs for b in blocks if len(b.pairs)] or [blocks[0].pairs]),
        np.concatenate([block.variances for block in blocks]),
        counts,
        sum(block.ignored_references for block in blocks),
    )


def arrange(block: Block, image: Int32, category: Int32) -> Block:
    """The block with its images at positions `image` [I] and its codes as `category` [K] says.

    Both are permutations.
    """
    rank = np.repeat(image, block.sizes)
    rows = np.argsort(rank, kind="stable")
    order = np.argsort(image)
    counts = np.empty_like(block.counts)
    counts[category] = block.counts
    return Block(
        [block.images[i] for i in order.tolist()],
        block.sizes[order],
        category[block.category[rows]],
        block.score[rows],
        block.true[rows],
        block.ignored[rows],
        block.flags[rows],
        block.pairs[_of(block.status == matching.MATCHED, rows)],
        block.variances[_of(block.flags & VARIANCE != 0, rows)],
        counts,
        block.ignored_references,
    )


def _of(some: Bool, rows: Int64) -> Int64:
    """Where the rows in the new order stand in an array that only `some` [N] of them have."""
    place: Int64 = np.cumsum(some) - 1
    moved: Int64 = place[rows[some[rows]]]
    return moved
