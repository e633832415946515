"""What an evaluator has seen: matched images, and the boxes that wait to be matched."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lossexport.arguments import refuse
from lossexport.boxes.assemble import id_order
from lossexport.boxes.boxset import (
    MAX_CATEGORIES,
    MAX_IMAGES,
    MAX_PREDICTIONS,
    MAX_REFERENCES,
    Category,
    Id,
    Int32,
    sort_ids,
)
from lossexport.boxes.columns import ID, IdTable, plain_id
from lossexport.boxes.side import Side, Table
from lossexport.errors import LossexportError, shown
from lossexport.evaluator import block as blocks
from lossexport.evaluator import chunk as chunks
from lossexport.evaluator.block import Block
from lossexport.evaluator.chunk import Chunk, encodes
from lossexport.evaluator.layout import Kept

BOXES_AT_ONCE = 1 << 14
CANDIDATES_AT_ONCE = 1 << 20
"""Boxes, and pairs of them, that wait before they are matched together; far from the limits."""

IMAGE_NUMBER, IMAGE_TEXT, CATEGORY_NUMBER, CATEGORY_TEXT = 1, 2, 4, 8
"""How ids of references have been written: they are sorted as texts if all of them were."""


@dataclass(slots=True)
class State:
    """Settings and everything seen with them. A method that raises changes nothing."""

    threshold: float
    categories: tuple[Category, ...] | None
    """All categories there are; None for any."""
    spelled: int = 0
    kept: Kept = field(default_factory=Kept)
    oriented: bool | None = None
    """Whether the boxes are oriented; None before the first one."""
    table: IdTable = field(default_factory=IdTable)
    """Categories so far."""
    images: set[Id] = field(default_factory=set)
    predictions: int = 0
    references: int = 0
    blocks: list[Block] = field(default_factory=list)
    waiting: list[Chunk] = field(default_factory=list)
    waiting_boxes: int = 0
    waiting_candidates: int = 0

    def __post_init__(self) -> None:
        """Put the given categories into the table."""
        self.table.codes([kind.id for kind in self.categories or ()])

    def add_sides(self, pred: Side, ref: Side) -> None:
        """Add the images of predictions and references, with all their boxes."""
        spelled = _spelled(ref.images, IMAGE_NUMBER, IMAGE_TEXT)
        if self.categories is None:
            spelled |= _spelled(ref.categories, CATEGORY_NUMBER, CATEGORY_TEXT)
        self.add(chunks.chunk_of(pred, ref, self.table), spelled)

    def add(self, chunk: Chunk, spelled: int) -> None:
        """Add images that were not seen before."""
        self._check(chunk.images, chunk.new, len(chunk.predictions), len(chunk.references))
        oriented = self._kind(chunk.oriented if chunk.boxes else None)
        large = chunk.boxes > BOXES_AT_ONCE or chunk.candidates > CANDIDATES_AT_ONCE
        if large:  # may have more overlaps than are held
            count = len(self.table.ids) + len(chunk.new)
            self.blocks.append(blocks.match(chunk, count, self.threshold, self.kept))
        self.oriented = oriented
        self.table.codes(chunk.new)
        self.images.update(chunk.images)
        self.predictions += len(chunk.predictions)
        self.references += len(chunk.references)
        self.spelled |= spelled
        if large:
            return
        self.waiting.append(chunk)
        self.waiting_boxes += chunk.boxes
        self.waiting_candidates += chunk.candidates
        if self.waiting_boxes > BOXES_AT_ONCE or self.waiting_candidates > CANDIDATES_AT_ONCE:
            self.flush()

    def _check(
        self, images: Collection[Id], new: Collection[Id], predictions: int, references: int
    ) -> None:
        twice = [value for value in images if value in self.images]
        if twice:
            first = sort_ids(twice)[0][0]
            more = f" ({len(twice)} such images)" if len(twice) > 1 else ""
            raise LossexportError(
                f"image {first!r} was added before{more}: all boxes of an image belong into one "
                "update, and an image into one shard"
            )
        for what, count, most in (
            ("images", len(self.images) + len(images), MAX_IMAGES),
            ("categories", len(self.table.ids) + len(new), MAX_CATEGORIES),
            ("predictions", self.predictions + predictions, MAX_PREDICTIONS),
            ("references", self.references + references, MAX_REFERENCES),
        ):
            if count > most:
                raise LossexportError(f"more than {most} {what}, the most that are evaluated")

    def _kind(self, oriented: bool | None) -> bool | None:
        """Whether all boxes are oriented after such ones. Raises LossexportError on a mixture."""
        if None not in (oriented, self.oriented) and oriented != self.oriented:
            kinds = {True: "oriented (rbox)", False: "not oriented"}
            raise LossexportError(
                f"boxes are {kinds[bool(oriented)]}, and those before are "
                f"{kinds[bool(self.oriented)]}: an evaluator takes one of both"
            )
        return self.oriented if oriented is None else oriented

    def flush(self) -> None:
        """Match the boxes that wait."""
        if self.waiting:
            waiting = chunks.join(self.waiting)
            count = len(self.table.ids)
            self.blocks.append(blocks.match(waiting, count, self.threshold, self.kept))
            self.waiting.clear()
            self.waiting_boxes = self.waiting_candidates = 0

    def whole(self) -> Block:
        """All images as one block."""
        self.flush()
        if len(self.blocks) != 1:
            self.blocks[:] = [blocks.join(self.blocks, self.kept)]
        return self.blocks[0]

    def merge(self, other: "State") -> None:
        """Add what another state of the same settings has seen."""
        for name, mine, theirs in (
            ("iou_threshold", self.threshold, other.threshold),
            ("categories", _named(self.categories), _named(other.categories)),
            ("explain", self.kept.explain, other.kept.explain),
            ("size_grid", self.kept.sizes, other.kept.sizes),
        ):
            if mine != theirs:
                raise LossexportError(
                    f"{name} is {shown(mine)} here and {shown(theirs)} in the other evaluator: "
                    "merged ones need the same settings"
                )
        oriented = self._kind(other.oriented)
        new = [value for value in other.table.ids if value not in self.table]
        self._check(other.images, new, other.predictions, other.references)
        block = other.whole()
        self.oriented = oriented
        self.table.codes(new)
        self.blocks.append(block.recoded(self.table.codes(other.table.ids)))
        self.images |= other.images
        self.predictions += other.predictions
        self.references += other.references
        self.spelled |= other.spelled

    def name(self, categories: Sequence[Category]) -> None:
        """Give names to categories, which then count without a box, too."""
        self.table.codes([kind.id for kind in categories])
        self.categories = tuple(categories) or None

    def arranged(self, *, canonical: bool) -> tuple[Block, list[Category]]:
        """One block, sorted by the ids of images, and its categories, sorted too.

        Numbers come before texts, unless ids of references were all written as text: then the
        order is that of texts, but not if `canonical`.
        """
        block = self.whole()
        seen = 0 if canonical else self.spelled
        as_text = [
            seen & (number | text) == text
            for number, text in ((IMAGE_NUMBER, IMAGE_TEXT), (CATEGORY_NUMBER, CATEGORY_TEXT))
        ]
        images = _positions(block.images, text=as_text[0])
        kinds = _positions(self.table.ids, text=as_text[1])
        names = {kind.id: kind.name for kind in self.categories or ()}
        categories = [Category(value, names.get(value, str(value))) for value in self.table.ids]
        ordered = [categories[i] for i in np.argsort(kinds).tolist()]
        return blocks.arrange(block, images, kinds), ordered


def _spelled(table: Table, number: int, text: int) -> int:
    """How the ids of references are written; 0 if there are none."""
    if not table.ids.ids:
        return 0
    return text if table.text else number


def _named(categories: tuple[Category, ...] | None) -> dict[Id, str] | None:
    return None if categories is None else {kind.id: kind.name for kind in categories}


def _positions(ids: Iterable[Id], *, text: bool) -> Int32:
    """The position [n] of each id in the order."""
    order = id_order(list(ids), text=text)
    position = np.empty(len(order), np.int32)
    position[order] = np.arange(len(order), dtype=np.int32)
    return position


def parse_categories(given: Any) -> tuple[tuple[Category, ...] | None, int]:
    """The categories that a user gives, and how their ids are written.

    A mapping of ids to names, a list of ids, or a list of COCO's categories. Raises LossexportError
    on anything else, and on an id that appears twice.
    """
    if given is None:
        return None, 0
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise refuse("categories", given, "a mapping of ids to names or a list of ids")
    try:
        rows = list(given.items()) if isinstance(given, Mapping) else [_row(item) for item in given]
    except TypeError:  # an array without dimensions
        raise refuse("categories", given, "a mapping of ids to names or a list of ids") from None
    if len(rows) > MAX_CATEGORIES:
        raise LossexportError(f"more than {MAX_CATEGORIES} categories, the most that are evaluated")
    found: dict[Id, Category] = {}
    spelled = 0
    for raw, name in rows:
        raw = raw.item() if isinstance(raw, np.generic) else raw
        plain = isinstance(raw, int | float | str) and not isinstance(raw, bool)
        value = plain_id(raw) if plain else None
        if value is None:
            raise LossexportError(f"categories: an id is {shown(raw)}: {ID}")
        if value in found:
            raise LossexportError(f"categories: the id {shown(raw)} appears twice")
        name = str(value) if name is None else name
        if not isinstance(name, str) or not all(encodes(text) for text in (name, str(value))):
            raise LossexportError(f"categories: the name of {shown(raw)} is {shown(name)}: no text")
        found[value] = Category(value, name)
        spelled |= CATEGORY_TEXT if isinstance(raw, str) else CATEGORY_NUMBER
    return tuple(found.values()), spelled


def _row(item: Any) -> tuple[Any, Any]:
    return (item.get("id"), item.get("name")) if isinstance(item, Mapping) else (item, None)
