"""Boxes of whole images before they are matched."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lossexport.boxes.assemble import same_kind
from lossexport.boxes.boxset import Float32, Float64, Id, Int32, Predictions, References
from lossexport.boxes.columns import IdTable
from lossexport.boxes.oriented import are_oriented
from lossexport.boxes.side import Side


@dataclass(frozen=True, slots=True)
class Chunk:
    """All boxes of some images. Categories are codes of the evaluator's table of categories."""

    images: Sequence[Id]
    predictions: Predictions
    references: References
    new: Sequence[Id]
    """Categories to be added to the table, in the order of their codes."""
    candidates: int
    """At least the number of pairs that can overlap."""

    @property
    def boxes(self) -> int:
        """Number of boxes."""
        return len(self.predictions) + len(self.references)

    @property
    def oriented(self) -> bool:
        """Whether the boxes are oriented."""
        return are_oriented(self.references.box)


def chunk_of(pred: Side, ref: Side, table: IdTable) -> Chunk:
    """The boxes of both sides, joined by the ids of images and categories.

    Raises LossexportError if only one has oriented boxes.
    """
    same_kind(ref, pred)
    images: dict[Id, int] = {}
    for side in (ref, pred):
        listed = () if side is pred else (side.images.rows or ())
        for value in (*listed, *side.images.ids.ids):
            images.setdefault(value, len(images))
    new: dict[Id, int] = {}
    codes = []
    for side in (pred, ref):
        image, category = side.boxes.codes()
        places = [images[value] for value in side.images.ids.ids]
        kinds = []
        for value in side.categories.ids.ids:
            code = table.get(value)
            kinds.append(new.setdefault(value, len(table.ids) + len(new)) if code is None else code)
        codes.append((_mapped(places, image), _mapped(kinds, category)))
    predictions = pred.boxes.predictions(*codes[0])
    references = ref.boxes.references(*codes[1], ref.annotation_ids)
    first, second = (
        np.bincount(boxes.image, minlength=len(images)) for boxes in (predictions, references)
    )
    return Chunk(list(images), predictions, references, list(new), int(first @ second))


def _mapped(places: Sequence[int], codes: Int32) -> Int32:
    return np.array(places, np.int32)[codes] if len(codes) else codes


def join(chunks: Sequence[Chunk]) -> Chunk:
    """All chunks as one; their categories must be in the table by now."""
    if len(chunks) == 1:
        return chunks[0]
    images = [value for chunk in chunks for value in chunk.images]
    starts = np.cumsum([0, *(len(chunk.images) for chunk in chunks)], dtype=np.int32)
    predictions = [chunk.predictions for chunk in chunks]
    references = [chunk.references for chunk in chunks]
    return Chunk(
        images,
        Predictions(
            _moved([boxes.image for boxes in predictions], starts),
            np.concatenate([boxes.category for boxes in predictions]),
            _boxes(predictions),
            np.concatenate([boxes.score for boxes in predictions]),
            _variances(predictions),
        ),
        References(
            _moved([boxes.image for boxes in references], starts),
            np.concatenate([boxes.category for boxes in references]),
            _boxes(references),
            np.concatenate([boxes.area for boxes in references]),
            np.concatenate([boxes.ignored for boxes in references]),
            np.concatenate([boxes.zero_id for boxes in references]),
        ),
        (),
        sum(chunk.candidates for chunk in chunks),
    )


def _moved(images: Sequence[Int32], starts: Int32) -> Int32:
    sizes = [len(image) for image in images]
    return np.concatenate(images) + np.repeat(starts[:-1], sizes)


def _boxes(chunks: Sequence[Predictions | References]) -> Float64:
    """All boxes. A chunk without any is of either kind."""
    widest = max((boxes.box for boxes in chunks), key=lambda box: box.shape[1])
    return np.concatenate([boxes.box for boxes in chunks if len(boxes)] or [widest])


def _variances(chunks: Sequence[Predictions]) -> Float32 | None:
    if all(boxes.log_variance is None for boxes in chunks):
        return None
    return np.concatenate(
        [
            np.full((len(boxes), 4), np.nan, np.float32)
            if boxes.log_variance is None
            else boxes.log_variance
            for boxes in chunks
        ]
    )


def xywh(corners: Float64) -> Float64:
    """Boxes x1, y1, x2, y2 [n,4] as x, y, width, height."""
    box = corners.copy()
    box[:, 2:] -= corners[:, :2]
    return box


def encodes(text: str) -> bool:
    """Whether `text` has no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
