"""Inputs as pieces: of files, of some thousand rows each; and of images, with all their boxes.

Nothing here knows of a cluster: every function takes and returns values that can be pickled.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from lossexport.boxes.boxset import Id, Int32, Predictions, References, check_rows
from lossexport.boxes.columns import PLAIN_WIDTH
from lossexport.boxes.oriented import FIELDS
from lossexport.boxes.side import Entry, Side
from lossexport.errors import LossexportError
from lossexport.evaluator import wire
from lossexport.evaluator.layout import Kept
from lossexport.evaluator.state import State
from lossexport.files import open_regular
from lossexport.formats import parquet

ROWS = 1 << 19
"""Rows of a piece, if the row groups of the file allow it, and boxes of the images of one part."""
_MIXED = 0x9E3779B97F4A7C15
_BITS = 64


@dataclass(frozen=True, slots=True)
class Piece:
    """Row groups of a Parquet file; `first` is the place of their first row."""

    path: Path
    groups: tuple[int, ...]
    first: int
    rows: int
    scored: bool


@dataclass(frozen=True, slots=True)
class Part:
    """Boxes with codes that are positions in `images` and `categories`, rows in their order.

    `text` tells for images and for categories whether all ids were written as texts.
    """

    images: list[Id]
    categories: list[Id]
    boxes: Predictions | References
    text: tuple[bool, bool]

    @classmethod
    def of(
        cls,
        boxes: Predictions | References,
        images: Sequence[Id],
        categories: Sequence[Id],
        text: tuple[bool, bool],
    ) -> "Part":
        """The part that lists only those of the ids that its boxes have."""
        used, image = _used(images, boxes.image)
        kinds, category = _used(categories, boxes.category)
        return cls(used, kinds, replace(boxes, image=image, category=category), text)


def pieces_of(path: Path, scored: bool) -> Iterator[Piece]:
    """The pieces of the Parquet files of an input, in the order of their rows.

    Raises LossexportError on files that cannot be read, and on more rows than are scored.
    """
    total = 0
    with ExitStack() as stack:
        for name, opened in parquet.files_of(path, stack):
            with opened() as file:
                metadata = parquet.open_table(name, file).metadata
                sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
            total += sum(sizes)
            check_rows(name, total, scored)
            groups: list[int] = []
            first = rows = 0
            for group, size in enumerate(sizes):
                groups.append(group)
                rows += size
                if rows >= ROWS or (rows and group == len(sizes) - 1):
                    yield Piece(name, tuple(groups), first, rows, scored)
                    first, rows, groups = first + rows, 0, []


def read(piece: Piece) -> Side:
    """The rows of a piece. Raises LossexportError, naming the file, the column and the row."""
    rows = parquet.Rows(piece.path, piece.scored)
    with open_regular(piece.path) as file:
        table = parquet.open_table(piece.path, file)
        for _ in rows.add(piece.path, table, piece.groups, piece.first):
            pass
    return rows.finish()


def place_of(image: Id, count: int) -> int:
    """The part, of `count`, that an image belongs to: the same in every process."""
    number = image if isinstance(image, int) else zlib.crc32(image.encode("utf-8", "surrogatepass"))
    place: int = ((number * _MIXED) % 2**_BITS) * count >> _BITS
    return place


def split(side: Side, scored: bool, count: int) -> list[Part]:
    """The boxes of a side in `count` parts, by their images."""
    image, category = side.boxes.codes()
    places = np.array([place_of(value, count) for value in side.images.ids.ids], np.int32)
    place = places[image] if len(image) else image
    order = np.argsort(place, kind="stable")
    ends = np.searchsorted(place[order], np.arange(count + 1))
    text = side.images.text, side.categories.text
    ids = side.images.ids.ids, side.categories.ids.ids
    boxes: Predictions | References
    if scored:
        boxes = side.boxes.predictions(image, category)
    else:
        boxes = side.boxes.references(image, category, side.annotation_ids)
    return [Part.of(boxes.take(order[ends[i] : ends[i + 1]]), *ids, text) for i in range(count)]


def side_of(parts: Sequence[Part], path: Path, listed: Iterable[Id] = ()) -> Side:
    """The boxes of several parts, one after the other, and images that count without a box."""
    side = Side(path)
    zero = [np.empty(0, np.bool_)]
    for part in parts:
        boxes = part.boxes
        image = side.images.ids.codes(part.images)[boxes.image]
        category = side.categories.ids.codes(part.categories)[boxes.category]
        if len(boxes) and side.boxes.count and boxes.box.shape[1] != side.boxes.width:
            raise LossexportError(f"{path}: some files have oriented boxes (rbox) and some do not")
        if isinstance(boxes, Predictions):
            side.boxes.add(
                image, category, boxes.box, score=boxes.score, log_variance=boxes.log_variance
            )
        else:
            side.boxes.add(image, category, boxes.box, area=boxes.area, ignored=boxes.ignored)
            zero.append(boxes.zero_id)
    if side.boxes.width != PLAIN_WIDTH:
        side.box_field = FIELDS[0]
    if parts:
        side.images.text, side.categories.text = (all(p.text[i] for p in parts) for i in range(2))
    side.annotation_ids = (~np.concatenate(zero)).astype(np.int64)
    side.images.rows = {value: Entry() for value in listed}
    side.images.ids.codes(list(side.images.rows))
    return side


def split_piece(piece: Piece, count: int) -> list[Part]:
    """The parts of a piece."""
    return split(read(piece), piece.scored, count)


def match(
    start: tuple[float, Kept], listed: Sequence[Id], predictions: int, *parts: Part
) -> list[tuple[bytes, int]]:
    """The state after the images of a part, and its predictions on images of the references.

    `start` is the threshold of the state and what it keeps. The first of the `parts`, so many
    `predictions`, are of predictions, the others of references.
    """
    pred = side_of(parts[:predictions], Path("predictions"))
    ref = side_of(parts[predictions:], Path("references"), listed)
    images = np.array([value in ref.images.ids for value in pred.images.ids.ids], np.bool_)
    known = int(np.count_nonzero(images[pred.boxes.peek_codes()[0]])) if len(images) else 0
    state = State(start[0], None, kept=start[1])
    state.add_sides(pred, ref)
    return [(wire.to_bytes(state), known)]


def _used(ids: Sequence[Id], codes: Int32) -> tuple[list[Id], Int32]:
    found, places = np.unique(codes, return_inverse=True)
    return [ids[i] for i in found.tolist()], places.astype(np.int32)
