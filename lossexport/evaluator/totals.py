"""The numbers of matched images."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lossexport.boxes.boxset import Category, Float32
from lossexport.boxes.pairs import ranks
from lossexport.boxes.quality import BoxQuality
from lossexport.evaluator.block import INSIDE, INVERTED, VARIANCE, Block
from lossexport.evaluator.state import State
from lossexport.scoring import coco_ap, confidence, protocol
from lossexport.scoring.numbers import Tally, numbers


def of_state(state: State, measure: BoxQuality, backend: str | None) -> dict[str, Any]:
    """The numbers of all images of a state, with its settings."""
    block, categories = state.arranged(canonical=False)
    settings: dict[str, Any] = {"iou_threshold": state.threshold}
    measure = measure.of_kind(bool(state.oriented))
    if measure.oriented:
        settings["boxes"] = "oriented"
    return {
        **summary(block, categories, measure, backend, state.threshold),
        "settings": settings,
        "backend": measure.backend,
    }


def summary(
    block: Block,
    categories: Sequence[Category],
    measure: BoxQuality,
    backend: str | None,
    threshold: float,
) -> dict[str, Any]:
    """The numbers of a block whose images are in their order and whose codes are positions."""
    pairs, own = block.pairs, 5 if measure.oriented else 4
    origin = np.zeros_like(pairs[:, :own])
    origin[:, 2:4] = pairs[:, -2:]
    return numbers(
        Tally(
            len(block.images),
            categories,
            block.category,
            block.score,
            block.status,
            int(np.count_nonzero(block.flags & INVERTED)),
            block.counts[:, 0],
            block.counts[:, 1],
            block.ignored_references,
            measure.of_corners(pairs[:, :own], origin),
            _estimate(block, backend),
            coco_ap.accumulate(_outcomes(block), parts=False),
            threshold,
        )
    )


def _outcomes(block: Block) -> protocol.Outcomes:
    images = np.int64(max(len(block.images), 1))
    group = block.category * images + np.repeat(np.arange(len(block.images)), block.sizes)
    order = np.lexsort((-block.score, group))
    place = np.flatnonzero((block.true | block.ignored)[order].any(axis=1))
    rows = order[place]
    outcome = np.unpackbits(block.true[rows], axis=1) * np.uint8(protocol.TRUE)
    outcome += np.unpackbits(block.ignored[rows], axis=1) * np.uint8(protocol.IGNORED)
    shape = len(rows), len(protocol.AREAS), len(protocol.THRESHOLDS)
    return protocol.Outcomes(
        block.category[order],
        ranks(group[order]),
        block.score[order],
        (block.flags & np.uint8(INSIDE))[order],
        place.astype(np.int32),
        outcome.view(np.int8).reshape(shape),
        block.counts[:, 2:].T,
    )


def _estimate(block: Block, backend: str | None) -> Float32:
    found = np.full(len(block.score), np.nan, np.float32)
    box = np.concatenate([np.zeros_like(block.variances[:, :2]), block.variances[:, :2]], axis=1)
    known = block.flags & VARIANCE != 0
    found[known] = confidence.estimates(box, block.variances[:, 2:], backend)
    return found
