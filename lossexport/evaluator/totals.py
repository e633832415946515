"""The numbers of matched images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lossexport.boxes.boxset import Category, Float32, Id, Int64, UInt8
from lossexport.boxes.pairs import ranks
from lossexport.boxes.quality import BoxQuality
from lossexport.errors import LossexportError, shown
from lossexport.evaluator.block import (
    COUNTED,
    IGNORED,
    INSIDE,
    INVERTED,
    MISSED,
    VARIED,
    Block,
)
from lossexport.evaluator.layout import Kept, flags
from lossexport.evaluator.state import State
from lossexport.scoring import coco_ap, confidence, protocol
from lossexport.scoring.extras import Extras
from lossexport.scoring.numbers import numbers
from lossexport.scoring.results import Results

if TYPE_CHECKING:
    from lossexport.scoring.slices import Slice


@dataclass(frozen=True, slots=True)
class Totals:
    """All images of a state, from which every number follows."""

    block: Block
    results: Results
    kept: Kept
    settings: Mapping[str, Any]
    backend: str

    @classmethod
    def of(
        cls,
        state: State,
        measure: BoxQuality,
        backend: str | None,
        names: Mapping[Id, str] | None = None,
    ) -> "Totals":
        """Measure the matched pairs; `names` are those of the files of images."""
        block, categories = state.arranged(canonical=False)
        measure = measure.of_kind(bool(state.oriented))
        settings: dict[str, Any] = {"iou_threshold": state.threshold}
        if measure.oriented:
            settings["boxes"] = "oriented"
        given = names or {}
        files = [(given[v],) if v in given else () for v in block.images] if given else ()
        results = _results(block, categories, files, measure, backend, state.threshold)
        return cls(block, results, state.kept, settings, measure.backend)

    def summary(
        self,
        extras: Extras,
        slices: "Sequence[Slice]" = (),
        advance: Callable[[float], None] | None = None,
    ) -> dict[str, Any]:
        """The numbers, with the settings and all that is asked for, which the state has kept.

        `slices` are those that `extras` ask for, and `advance` is told of the draws.
        """
        results = self.results
        found = {
            **numbers(results.tally(), extras.wanted),
            "settings": {**self.settings, **extras.settings},
            "backend": self.backend,
        }
        if extras.explain:
            found |= self.block.marks().numbers(results, found)
        if extras.slices is not None:
            by_size = _by_size(self.block, results, extras.sizes) if extras.sizes else None
            extras.slice(results, slices, by_size, found)
        extras.resample(results, found, advance)
        return found


def check_kept(kept: Kept, extras: Extras) -> None:
    """Raise LossexportError if something is asked for that is not kept."""
    if extras.explain and not kept.explain:
        raise LossexportError(
            "explain: this evaluator has not kept what it needs: Evaluator(explain=True)"
        )
    if extras.sizes and extras.sizes != kept.sizes:
        has = f"has kept {shown(list(kept.sizes))}" if kept.sizes else "has kept none"
        wanted = shown(list(extras.sizes))
        raise LossexportError(
            f"size_grid is {wanted}: this evaluator {has}: Evaluator(size_grid={wanted})"
        )


def _results(
    block: Block,
    categories: Sequence[Category],
    files: Sequence[tuple[str, ...]],
    measure: BoxQuality,
    backend: str | None,
    threshold: float,
) -> Results:
    """Of a block whose images are in their order and whose codes are positions."""
    places = np.arange(len(block.images), dtype=np.int32)
    image, ref_image = np.repeat(places, block.sizes), np.repeat(places, block.ref_sizes)
    group = block.category * np.int64(max(len(places), 1)) + image
    row = np.lexsort((-block.score, group))
    counted = block.ref_flags & np.uint8(COUNTED)
    positives = [
        np.bincount(block.ref_category[counted >> np.uint8(a) & 1 > 0], minlength=len(categories))
        for a in range(len(protocol.AREAS))
    ]
    outcomes = _outcomes(
        block.category[row],
        ranks(group[row]),
        block.score[row],
        (block.flags & np.uint8(INSIDE))[row],
        (block.true[row], block.ignored[row]),
        np.stack(positives),
    )
    pairs, own = block.pairs, 5 if measure.oriented else 4
    origin = np.zeros_like(pairs[:, :own])
    origin[:, 2:4] = pairs[:, -2:]
    return Results(
        block.images,
        files,
        categories,
        image,
        block.category,
        block.score,
        block.status,
        block.flags & INVERTED > 0,
        _estimate(block, backend),
        measure.of_corners(pairs[:, :own], origin),
        ref_image,
        block.ref_category,
        counted,
        block.ref_flags & IGNORED > 0,
        block.ref_flags & MISSED > 0,
        outcomes,
        row,
        coco_ap.accumulate(outcomes, parts=False),
        False,
        threshold,
    )


def _by_size(block: Block, found: Results, sizes: Sequence[float]) -> protocol.Outcomes:
    """The outcomes for the ranges of sizes, in the order of those of COCO."""
    row, count = found.row, len(sizes) + 1
    bit = np.uint64(1) << np.arange(count, dtype=np.uint64)
    counted = flags(block.size_counted, count)
    return _outcomes(
        found.outcomes.category,
        found.outcomes.rank,
        found.outcomes.score,
        (flags(block.size_inside, count)[row] * bit).sum(axis=1, dtype=np.uint64),
        (block.size_true[row], block.size_ignored[row]),
        np.stack([found.references(column) for column in counted.T]),
    )


def _outcomes(
    category: Any, rank: Int64, score: Any, inside: Any, lanes: tuple[UInt8, UInt8], positives: Any
) -> protocol.Outcomes:
    """Outcomes from the bits of true positives and of ignored matches."""
    place = np.flatnonzero((lanes[0] | lanes[1]).any(axis=1))
    shape = len(positives), len(protocol.THRESHOLDS)
    true, ignored = (flags(bits[place], *shape).view(np.int8) for bits in lanes)
    outcome = true * np.int8(protocol.TRUE) + ignored * np.int8(protocol.IGNORED)
    return protocol.Outcomes(
        category, rank, score, inside, place.astype(np.int32), outcome, positives
    )


def _estimate(block: Block, backend: str | None) -> Float32:
    found = np.full(len(block.score), np.nan, np.float32)
    box = np.concatenate([np.zeros_like(block.variances[:, :2]), block.variances[:, :2]], axis=1)
    known = block.flags & VARIED != 0
    found[known] = confidence.estimates(box, block.variances[:, 2:], backend)
    return found
