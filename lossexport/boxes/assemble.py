"""Gives two inputs common tables of images and of categories."""

from collections.abc import Mapping, Sequence
from itertools import chain, compress, repeat
from typing import Any, Literal

import msgspec
import numpy as np

from lossexport.boxes.boxset import Bool, Category, Dataset, Float64, Id, Int32, Int64, sort_ids
from lossexport.boxes.columns import PLAIN_WIDTH
from lossexport.boxes.join import CATEGORIES, IMAGES, Kind, Part, distinct_id, match_ids
from lossexport.boxes.side import Side, Table
from lossexport.errors import LossexportError
from lossexport.images import SUFFIXES
from lossexport.names import Extra, MatchBy

SHOWN = 3

_RESPELLED = 'Image ids such as "17" or 17.0 were read as the number 17.'
_PARTS = (
    "Boxes are in parts of the image, whose size is not known: DIoU and CIoU are those of a square "
    "image, and APs, APm, APl, ARs, ARm and ARl are undefined."
)


class Shared(msgspec.Struct, frozen=True):
    """One table of ids for both inputs, sorted."""

    ids: list[Id]
    base: Int32
    """[n] position of each code of the base; -1 for ids without boxes that were left out."""
    other: Int32
    """[n] the same for the other input."""
    known: Bool
    """[I] whether the base has the id."""
    names: list[str | None]
    """[I] as the base or, if it has none, the other input names each id."""
    stems: Bool
    """[I] whether the names of that input lack the suffix of a file."""


class Files(Sequence[tuple[str, ...]]):
    """The names that the file of each image may have, made when they are asked for."""

    def __init__(self, images: Shared) -> None:
        """Those of `images`."""
        self._images = images

    def __len__(self) -> int:
        """Number of images."""
        return len(self._images.names)

    def __getitem__(self, place: Any) -> Any:
        """The names of the image at a place, or a list of those of a slice."""
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        name = self._images.names[place]
        if name is None:
            return ()
        return tuple(name + suffix for suffix in SUFFIXES) if self._images.stems[place] else (name,)


class Joined(msgspec.Struct, frozen=True):
    """Both inputs' boxes over the same images and categories."""

    images: list[Id]
    files: Sequence[tuple[str, ...]]
    sizes: Float64
    categories: list[Category]
    base: tuple[Int32, Int32]
    """Image and category positions of the boxes of the base (references, parent)."""
    other: tuple[Int32, Int32]
    extra_images: Bool
    """[I] whether only the other input (predictions, child) has the image."""
    extra_categories: Bool
    """[K] the same for categories."""
    notes: list[str]


def join(base: Side, other: Side, by: MatchBy | None) -> Joined:
    """Give `base` (references, parent) and `other` (predictions, child) shared tables.

    Raises LossexportError if only one has oriented boxes, if the tables contradict each other, if
    no box of `other` is on an image of `base`, and if only one is in pixels and the image has no
    size.
    """
    same_kind(base, other)
    notes = [*base.notes, *other.notes]
    any_class = _forget_classes(base, other, notes)
    base_codes, other_codes = base.boxes.codes(), other.boxes.codes()
    images, note = _shared(base, other, "images", (base_codes[0], other_codes[0]), IMAGES, by)
    notes += [note] if note else []
    _refuse_strangers(base, other, images, other_codes[0])
    categories, note = _shared(
        base, other, "categories", (base_codes[1], other_codes[1]), CATEGORIES, by
    )
    notes += [note] if note else []
    if any(s.images.ids.respelled and not s.images.stems for s in (base, other)):
        notes.append(_RESPELLED)
    sizes = _sizes(images, base, other)
    placed = [
        (_place(images.base, base_codes[0]), _place(categories.base, base_codes[1])),
        (_place(images.other, other_codes[0]), _place(categories.other, other_codes[1])),
    ]
    _same_unit(base, other, placed, sizes, images, notes)
    return Joined(
        images.ids,
        Files(images),
        sizes,
        [Category(1, "any")] if any_class else _named(categories),
        placed[0],
        placed[1],
        ~images.known,
        ~categories.known,
        notes,
    )


def same_kind(base: Side, other: Side) -> None:
    """Raise LossexportError if only one has oriented boxes; a side without any takes either."""
    for side, beside in ((base, other), (other, base)):
        if not side.boxes.count:
            side.boxes.width = beside.boxes.width
    if base.boxes.width != other.boxes.width:
        raise LossexportError(
            f"{other.path}: the boxes are {other.box_field}, and those of {base.path} are "
            f"{base.box_field}: give both as rbox, or both as bbox alone"
        )
    if base.boxes.width != PLAIN_WIDTH and (base.parts or other.parts):
        side = base if base.parts else other
        raise LossexportError(f"{side.path}: oriented boxes have to be in pixels")


def _forget_classes(base: Side, other: Side, notes: list[str]) -> bool:
    """If one of the inputs has no classes, put all boxes of both into one."""
    # An input without any box has no class that could disagree.
    without = [side for side in (base, other) if side.classes is False]
    if not without:
        return False
    names = " and ".join(side.path.name for side in without)
    verb = "has" if len(without) == 1 else "have"
    notes.append(f"{names} {verb} no class: boxes are matched without regard to class.")
    for side in (base, other):
        side.categories = Table()
        side.categories.ids.codes([1])
        side.boxes.one_category()
    return True


def _shared(
    base: Side,
    other: Side,
    table: Literal["images", "categories"],
    codes: tuple[Int32, Int32],
    kind: Kind,
    by: MatchBy | None,
) -> tuple[Shared, str]:
    first, second = (
        Part(side.path, getattr(side, table), _used(getattr(side, table), code))
        for side, code in zip((base, other), codes, strict=True)
    )
    mapping, note = match_ids(first, second, kind, by)
    ids = list(first.ids)
    known = len(ids)
    names = first.table.names(ids)
    place = dict(zip(ids, range(known), strict=True))
    position = dict(zip(mapping, map(place.__getitem__, mapping.values()), strict=True))
    by_other = []
    if second.rows:
        by_other = [value for value, i in position.items() if names[i] is None]
        for value in by_other:
            names[position[value]] = second.table.name(value)
    for value in [] if len(mapping) == len(second.ids) else second.ids:
        if value in mapping or value not in second.used:
            continue
        name = second.table.name(value)
        target = distinct_id(value, name, second.path, place)
        place[target] = position[value] = len(ids)
        ids.append(target)
        names.append(name)
        by_other.append(value)
    stems = np.full(len(ids), first.table.stems)
    stems[[position[value] for value in by_other]] = second.table.stems
    order = np.array(id_order(ids, text=first.table.text), np.int64)
    rank = np.empty(len(ids), np.int32)
    rank[order] = np.arange(len(ids), dtype=np.int32)
    if (order[1:] < order[:-1]).any():
        ids, names = ([column[i] for i in order.tolist()] for column in (ids, names))
    return Shared(
        ids,
        _codes_to(first.table, place, rank),
        _codes_to(second.table, position, rank),
        order < known,
        names,
        stems[order],
    ), note


def _used(table: Table, codes: Int32) -> dict[Id, None]:
    """Ids that have boxes."""
    counts = np.bincount(codes, minlength=len(table.ids.ids))
    return dict.fromkeys(compress(table.ids.ids, (counts > 0).tolist()))


def id_order(ids: Sequence[Id], *, text: bool) -> list[int]:
    """Positions by rising id, as texts if the references write every id as text."""
    if text:
        return sorted(range(len(ids)), key=lambda i: str(ids[i]))
    _, position = sort_ids(ids)
    order: list[int] = np.argsort(position).tolist()
    return order


def _codes_to(table: Table, place: Mapping[Id, int], rank: Int32) -> Int32:
    """Final position of each code of a table; -1 for ids without boxes that were left out."""
    ids = table.ids.ids
    places = np.fromiter(map(place.get, ids, repeat(-1)), np.int64, len(ids))
    return np.append(rank, np.int32(-1))[places]


def _place(position: Int32, codes: Int32) -> Int32:
    if not len(codes) or np.array_equal(position, np.arange(len(position))):
        return codes
    return position[codes]


def _refuse_strangers(base: Side, other: Side, images: Shared, codes: Int32) -> None:
    """Raise LossexportError if no box of `other` is on an image of `base`."""
    if not len(codes) or images.known[images.other[codes[0]]]:
        return
    if images.known[images.other[codes]].any():
        return
    here = _shown(other.images, other.images.ids.ids[codes[0]])
    if not images.known.any() and base.images.rows is None:  # an empty result list has no image
        return
    theirs = next(iter(base.images.rows or base.images.ids.ids), None)
    there = "none" if theirs is None else _shown(base.images, theirs)
    raise LossexportError(
        f"{other.path}: no image in common with {base.path}: image {here} here, {there} there"
    )


def _shown(table: Table, value: Id) -> str:
    name = table.name(value)
    return repr(value) if name is None or name == str(value) else f"{value!r} ({name})"


def _sizes(images: Shared, base: Side, other: Side) -> Float64:
    """Width and height [I,2] of each image as an input states them; NaN if none does."""
    sizes = np.full((len(images.ids), 2), np.nan)
    for side, position in ((other, images.other), (base, images.base)):
        ids = side.images.ids
        rows = side.images.rows or {}
        stated = {value: row.size for value, row in rows.items() if row.size is not None}
        code = np.fromiter(map(ids.get, stated, repeat(-1)), np.int64, len(stated))
        place = np.append(position, np.int32(-1))[code]
        size = np.fromiter(chain.from_iterable(stated.values()), np.float64, 2 * len(stated))
        sizes[place[place >= 0]] = size.reshape(-1, 2)[place >= 0]
    return sizes


def _same_unit(
    base: Side,
    other: Side,
    placed: Sequence[tuple[Int32, Int32]],
    sizes: Float64,
    images: Shared,
    notes: list[str],
) -> None:
    """Convert boxes in parts of the image to pixels if the other input is in pixels."""
    if base.parts and other.parts:
        notes.append(_PARTS)
        return
    for side, (image, _) in zip((base, other), placed, strict=True):
        if not side.parts:
            continue
        size = sizes[image]
        if np.isnan(size).any():
            first = images.ids[int(image[np.isnan(size).any(axis=1)][0])]
            inputs = {base.path: other.path, other.path: base.path}
            raise LossexportError(
                f"{side.path}: boxes are in parts of the image, and {inputs[side.path]} gives no "
                f"width and height of image {first!r}: they are needed to compare in pixels"
            )
        side.boxes.scale(np.tile(size, 2))


def _named(categories: Shared) -> list[Category]:
    return [
        Category(final, name or str(final))
        for final, name in zip(categories.ids, categories.names, strict=True)
    ]


def dataset(pred: Side, ref: Side, by: MatchBy | None, extra: Extra) -> Dataset:
    """Predictions and references over shared tables, with notes on extra predictions."""
    joined = join(ref, pred, by)
    notes = joined.notes
    image, category = joined.other
    kept = _note_extras(joined, category, extra, notes)
    _note_strange_images(joined, image, notes)
    ids = ref.annotation_ids
    predictions = pred.boxes.predictions(image, category)
    if kept is not None:
        predictions = predictions.take(kept)
    references = ref.boxes.references(*joined.base, ids)
    if references.zero_id.any():
        notes.append(
            "A reference has annotation id 0; as in pycocotools, AP and AR count no match with it."
        )
    return Dataset(
        joined.images,
        joined.categories,
        predictions,
        references,
        {"pred": pred.input, "ref": ref.input},
        notes,
        joined.files,
        joined.sizes,
        parts=pred.parts and ref.parts,
    )


def _note_extras(joined: Joined, category: Int32, extra: Extra, notes: list[str]) -> Int64 | None:
    """Note predictions of categories that the references lack. Returns the rows to keep."""
    if not joined.extra_categories.any():
        return None
    strange = joined.extra_categories[category]
    if not strange.any():
        return None
    counts = np.bincount(category[strange])
    kinds = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    shown = [f"{_called(joined.categories[int(k)])}: {int(counts[k])}" for k in kinds[:SHOWN]]
    more = f" and {len(kinds) - SHOWN} more" if len(kinds) > SHOWN else ""
    left_out = extra == "ignore"
    notes.append(
        f"{plural(int(strange.sum()), 'prediction')} of categories that the references do not have "
        f"({', '.join(shown)}{more}): {'left out' if left_out else 'counted as wrong'}."
        + _nearest(joined, kinds, every=bool(strange.all()))
    )
    return np.flatnonzero(~strange) if left_out else None


def _nearest(joined: Joined, kinds: Int64, *, every: bool) -> str:
    """Categories of the references with similar names, or the first if no prediction has any."""
    known = [k for k, e in zip(joined.categories, joined.extra_categories, strict=True) if not e]
    folded = {str(joined.categories[int(k)].name).casefold() for k in kinds}
    near = [k for k in known if k.name.casefold() in folded] or (known if every else [])
    more = ", ..." if len(near) > SHOWN else ""
    names = ", ".join(map(_called, near[:SHOWN]))
    return f" The references have {names}{more}." if near else ""


def _called(category: Category) -> str:
    same = category.name == str(category.id)
    return repr(category.id) if same else f"{category.id!r} ({category.name})"


def _note_strange_images(joined: Joined, image: Int32, notes: list[str]) -> None:
    if not joined.extra_images.any():
        return
    strange = joined.extra_images[image]
    if strange.any():
        places = np.unique(image[strange])
        notes.append(
            f"{plural(int(strange.sum()), 'prediction')} on {plural(len(places), 'image')} that "
            f"the references do not have (the first: {joined.images[int(places[0])]!r}): counted "
            "as wrong."
        )


def plural(count: int, word: str) -> str:
    """`count` with the word in singular or plural: "1 box", "2 boxes"."""
    ending = "" if count == 1 else "es" if word.endswith("x") else "s"
    return f"{count} {word}{ending}"
