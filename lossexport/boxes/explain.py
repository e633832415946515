"""Notes on poor results, such as how many boxes would match if they were read in another way.

Every reading is tried on the boxes themselves, so a note states a count and not a guess. No number
of the result changes. At most `BOXES` predictions and references are used, those of the first
images.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec.structs import replace

from lossexport.boxes import matching, pairs
from lossexport.boxes.assemble import plural
from lossexport.boxes.boxset import Dataset, Float64, Id, Int64, Predictions, References
from lossexport.boxes.oriented import OWN, PLAIN, are_oriented, rows_of
from lossexport.boxes.pairs import Order
from lossexport.runtime import coco as native

BOXES = 50_000
FEW = 0.5
"""Matches are few if they are less than this part of the boxes that could match."""
SOME = 0.2
"""More than this part matches in another category before that is worth a note."""
MUCH = 2.0
"""Another reading is worth a note where it matches this many times as many boxes."""
SPILL = 0.1
"""A box that exceeds its image by more than this part of a side does so not by rounding."""
SHOWN = 3

Boxes = Predictions | References
Reading = Callable[[Predictions, list[Id]], Predictions]


class Words(msgspec.Struct, frozen=True):
    """The words for the two inputs in notes, the matched one first."""

    pred: str
    ref: str


SCORED = Words("predictions", "references")
COMPARED = Words("child", "parent")


def explain(data: Dataset, order: Order, matched: int, threshold: float, words: Words) -> list[str]:
    """Notes on `data`, of which `matched` pairs were found at the IoU `threshold`."""
    looks = Looks(_look(data.predictions, data), _look(data.references, data))
    notes = [*_of_references(data, words), *_of_scores(data, words), *_doubled(data, order, words)]
    notes += [*_in_parts(data, looks, words), *_beyond_image(data, looks, words)]
    possible = min(len(data.predictions), int(np.count_nonzero(~data.references.ignored)))
    few = matched < FEW * possible
    if few or looks.pred.may_be_corners:
        notes += _other_readings(_first_images(data), threshold, words, few=few)
    return notes


def _of_references(data: Dataset, words: Words) -> Iterator[str]:
    ignored = data.references.ignored
    if len(ignored) and ignored.all():
        yield (
            f"All {plural(len(ignored), words.ref.removesuffix('s'))} are crowds, difficult or "
            "don't-care: nothing is left to find."
        )


def _of_scores(data: Dataset, words: Words) -> Iterator[str]:
    score = data.predictions.score
    if words is SCORED and len(score) > 1 and score.min() == score.max():
        yield (
            f"All scores of the {words.pred} are {score[0]:g}: AP depends on the order of the file."
        )


def _doubled(data: Dataset, order: Order, words: Words) -> Iterator[str]:
    """Rows that occur more than once."""
    predictions, references = data.predictions, data.references
    of_refs = order.ref, order.ref_group
    if references.any_class is not None:  # such a reference has several places
        of_refs = pairs.in_order(data, references)[:2]
    for name, count in (
        (words.pred, _repeats(predictions, predictions.score, order.pred, order.pred_group)),
        (words.ref, _repeats(references, references.area, *of_refs)),
    ):
        if count:
            are = "is" if count == 1 else "are"
            yield f"{plural(count, 'row')} of the {name} {are} there more than once: each counts."


def _repeats(boxes: Boxes, value: Float64, row: Int64, group: Int64) -> int:
    """How many rows repeat an earlier one; `row` and `group` are those of an order."""
    if native.available() and not are_oriented(boxes.box):
        return native.repeats(row, group, boxes.box, value)
    place = boxes.category.astype(np.int64) << 32 | boxes.image
    columns = [place.view(np.uint64), *boxes.box.T.copy().view(np.uint64), value.view(np.uint64)]
    mixed = np.zeros(len(place), np.uint64)
    for column in columns:
        mixed = (mixed ^ column) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    order = np.argsort(mixed, kind="stable")
    same = mixed[order[1:]] == mixed[order[:-1]]
    for column in columns:
        same &= column[order[1:]] == column[order[:-1]]
    return int(np.count_nonzero(same))


class Look(msgspec.Struct, frozen=True):
    """What one pass over the boxes of a side tells."""

    most: float
    """The largest size of a coordinate."""
    beyond: int
    """Boxes that reach far beyond an image whose size an input states."""
    may_be_corners: bool
    """Whether all boxes may be x1, y1, x2, y2, which is rare for x, y, width, height."""


class Looks(NamedTuple):
    """Those of both sides."""

    pred: Look
    ref: Look


def _look(boxes: Boxes, data: Dataset) -> Look:
    box, sizes = boxes.box[:, PLAIN], None if data.parts else data.sizes
    if native.available():
        most, beyond, turned = native.look(box, boxes.image, sizes, SPILL)
    else:
        most = float(np.abs(box).max(initial=0.0))
        turned = int(np.count_nonzero((box[:, 2:] > box[:, :2]).all(axis=1)))
        out = np.zeros((len(box), 2), np.bool_)
        if sizes is not None:
            size = sizes[boxes.image]
            low, high = box[:, :2], box[:, :2] + box[:, 2:]
            out = (high > (1 + SPILL) * size) | (low < -SPILL * size)
        beyond = int(np.count_nonzero(out.any(axis=1)))
    return Look(most, beyond, 1 < len(box) == turned and not data.oriented)


def _in_parts(data: Dataset, looks: Looks, words: Words) -> Iterator[str]:
    """Note if one side is in parts of the image and the other in pixels."""
    if not len(data.predictions) or not len(data.references):
        return
    most = looks.pred.most, looks.ref.most
    for name, mine, other in zip((words.pred, words.ref), most, reversed(most), strict=True):
        if mine <= 1.5 and other > 16:
            yield (
                f"No coordinate of the {name} is above {mine:g}, those of the other side reach "
                f"{other:g}: are they parts of the image instead of pixels?"
            )


def _beyond_image(data: Dataset, looks: Looks, words: Words) -> Iterator[str]:
    """Boxes that reach far beyond an image whose size an input states."""
    for name, boxes, look in (
        (words.pred, data.predictions, looks.pred),
        (words.ref, data.references, looks.ref),
    ):
        if look.beyond > 0.05 * len(boxes):
            corners = "bbox x1, y1, x2, y2 instead of x, y, width, height, or"
            yield (
                f"{look.beyond} of {plural(len(boxes), 'box')} of the {name} reach out of their "
                "image by more than a tenth of its side: is "
                f"{'rbox' if data.oriented else corners} of another image size?"
            )


def _first_images(data: Dataset) -> Dataset:
    """The images from the first on that have `BOXES` boxes between them, at least one."""
    images = np.concatenate([data.predictions.image, data.references.image])
    if len(images) <= BOXES:
        return data
    total = np.cumsum(np.bincount(images, minlength=len(data.images)))
    last = max(int(np.searchsorted(total, BOXES, "right")) - 1, int(np.argmax(total > 0)))
    return replace(
        data,
        predictions=data.predictions.take(np.flatnonzero(data.predictions.image <= last)),
        references=data.references.take(np.flatnonzero(data.references.image <= last)),
    )


def _other_readings(data: Dataset, threshold: float, words: Words, *, few: bool) -> Iterator[str]:
    """Readings of the boxes that match many more of them than the one that was taken."""
    now = len(_match(data, threshold)[0])
    alike = _one_category(data)
    pred, ref = _match(alike, threshold)
    possible = min(len(data.predictions), len(data.references))
    if len(pred) > max(MUCH * now, SOME * possible):
        yield _categories_differ(data, pred, ref, now, words)
    enough = max(MUCH * len(pred), FEW * possible, 1)
    best, sentence = 0, ""
    for reading, change in _ORIENTED_READINGS if data.oriented else _READINGS:
        if not few and change is not _corners:
            continue
        least = enough if few else 1.2 * len(pred)
        changed = change(alike.predictions, data.images)
        count = len(_match(replace(alike, predictions=changed), threshold)[0])
        if count >= least and count > max(best, len(pred)):
            best, sentence = count, reading
    if best:
        yield (
            f"{len(pred)} of {plural(len(data.predictions), 'box')} of the {words.pred} match a "
            f"box of their image, whatever its category, but {best} would {sentence}"
        )
    elif not len(pred):
        yield (
            f"No box of the {words.pred} overlaps one of the {words.ref} on its image by an IoU of "
            f"{threshold:g}, whatever its category."
        )


def _match(data: Dataset, threshold: float) -> tuple[Int64, Int64]:
    order = pairs.sort_boxes(data)
    found = pairs.find_pairs(data, order, pairs.cap(threshold))
    if found.rest is not None:  # too many overlaps: such a reading explains nothing
        return np.empty(0, np.int64), np.empty(0, np.int64)
    return matching.match(data, order, found, threshold).pairs()


def _one_category(data: Dataset) -> Dataset:
    predictions, references = data.predictions, data.references
    return replace(
        data,
        categories=data.categories[:1],
        predictions=replace(predictions, category=np.zeros_like(predictions.category)),
        references=replace(references, category=np.zeros_like(references.category), any_class=None),
    )


def _categories_differ(data: Dataset, pred: Int64, ref: Int64, now: int, words: Words) -> str:
    """How many boxes would match in another category, and which those are."""
    mine, theirs = data.predictions.category[pred], data.references.category[ref]
    other = mine != theirs
    changes = Counter(zip(mine[other].tolist(), theirs[other].tolist(), strict=True))
    shift = _shift([(data.categories[a].id, data.categories[b].id) for a, b in changes])
    if shift:
        mapping = f"with category_id {'+' if shift > 0 else '-'} {abs(shift)}"
    else:
        shown = [
            f"{data.categories[a].name} as {data.categories[b].name}: {count}"
            for (a, b), count in changes.most_common(SHOWN)
        ]
        more = ", ..." if len(changes) > SHOWN else ""
        mapping = f"in another category ({', '.join(shown)}{more})"
    some = "No box" if not now else f"Only {plural(now, 'box')}"
    verb = "matches" if now < 2 else "match"
    would = f"{len(pred)} of {len(data.predictions)} would {mapping}"
    return f"{some} of the {words.pred} {verb} in its category, but {would}."


def _shift(changes: list[tuple[Id, Id]]) -> int:
    """The number that, added to every id, gives the other one; 0 if there is none."""
    steps = {b - a if isinstance(a, int) and isinstance(b, int) else 0 for a, b in changes}
    return steps.pop() if len(steps) == 1 else 0


def _with_box(boxes: Predictions, low: Float64, size: Float64) -> Predictions:
    return replace(boxes, box=np.concatenate([low, size], axis=1))


def _corners(boxes: Predictions, images: list[Id]) -> Predictions:
    return _with_box(boxes, boxes.box[:, :2], boxes.box[:, 2:] - boxes.box[:, :2])


def _centres(boxes: Predictions, images: list[Id]) -> Predictions:
    return _with_box(boxes, boxes.box[:, :2] - boxes.box[:, 2:] / 2, boxes.box[:, 2:])


def _swapped(boxes: Predictions, images: list[Id]) -> Predictions:
    return replace(boxes, box=boxes.box[:, [1, 0, 3, 2]])


def _score_second(boxes: Predictions, images: list[Id]) -> Predictions:
    """A YOLO line `class score cx cy w h` that was read as `class cx cy w h score`."""
    size = np.stack([boxes.box[:, 3], boxes.score], axis=1)
    second = boxes.box[:, 1] + boxes.box[:, 3] / 2
    return _with_box(boxes, np.stack([second, boxes.box[:, 2]], axis=1) - size / 2, size)


def _moved(step: int) -> Reading:
    """The boxes on the image whose number is larger by `step`, if there is one."""

    def move(boxes: Predictions, images: list[Id]) -> Predictions:
        place = {value: i for i, value in enumerate(images) if isinstance(value, int)}
        target = [place.get(value + step, -1) if isinstance(value, int) else -1 for value in images]
        image = np.array(target, np.int32)[boxes.image]
        kept = np.flatnonzero(image >= 0)
        return replace(boxes, image=np.maximum(image, 0)).take(kept)

    return move


def _oriented(order: Sequence[int], sign: int) -> Reading:
    """Oriented boxes whose numbers are in another order, with the angle times `sign`."""

    def change(boxes: Predictions, images: list[Id]) -> Predictions:
        rbox = boxes.box[:, OWN][:, order]
        rbox[:, 4] *= sign
        return replace(boxes, box=rows_of(rbox))

    return change


_FRAMES: tuple[tuple[str, Reading], ...] = (
    ("on the next image: does one side count frames from 0?", _moved(1)),
    ("on the image before: does one side count frames from 0?", _moved(-1)),
)
_READINGS: tuple[tuple[str, Reading], ...] = (
    ("if bbox were x1, y1, x2, y2.", _corners),
    ("if x and y were the centre of the box.", _centres),
    ("if x and y, and width and height, changed places.", _swapped),
    ("if the score came second, as in class score cx cy w h.", _score_second),
    *_FRAMES,
)
_ORIENTED_READINGS: tuple[tuple[str, Reading], ...] = (
    ("if the angles were counter-clockwise.", _oriented(range(5), -1)),
    ("if w and h changed places.", _oriented((0, 1, 3, 2, 4), 1)),
    ("if x and y changed places.", _oriented((1, 0, 2, 3, 4), 1)),
    *_FRAMES,
)


def scores_differ(pred: Float64, ref: Float64, words: Words) -> list[str]:
    """A note if only one of two sides has scores beyond 1, such as percent or logits."""
    if not len(pred) or not len(ref):
        return []
    tops = float(pred.max()), float(ref.max())
    if (tops[0] > 1.5) == (tops[1] > 1.5):
        return []
    return [
        f"Scores of the {words.pred} go up to {tops[0]:g}, of the {words.ref} to {tops[1]:g}: "
        "is one in percent?"
    ]
