"""What the formats without tables of images and categories have in common."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lossexport.errors import LossexportError
from lossexport.scoring.boxset import Category, Dataset, Id, Input, Int32, sort_ids
from lossexport.scoring.columns import BoxColumns, IdTable
from lossexport.scoring.formats.source import Advance

Watch = Callable[[str], Advance]
"""Given the name of a step, returns what is to be told of its progress."""


@dataclass(slots=True)
class Tables:
    """Images and categories as both inputs name them."""

    images: IdTable = field(default_factory=IdTable)
    categories: IdTable = field(default_factory=IdTable)


def number(text: str) -> float:
    """Turn plain text into a float. Raises ValueError, also for digits grouped by underscores."""
    if "_" in text:
        raise ValueError(text)
    return float(text)


def build(
    pred: Path,
    tables: Tables,
    predictions: BoxColumns,
    references: BoxColumns,
    known: int,
    inputs: dict[str, Input],
    names: Mapping[Id, str],
    notes: list[str],
) -> Dataset:
    """Join two inputs that were read into the same `tables`, the references first.

    The first `known` images are those of the references. Raises LossexportError when no prediction
    is on one of them, which is a mistake in the arguments.
    """
    pred_image, pred_category = predictions.codes()
    ref_image, ref_category = references.codes()
    if len(pred_image) and pred_image.min() >= known:
        value = tables.images.ids[int(pred_image[0])]
        raise LossexportError(
            f"{pred}: no image in common with the references (the first here is {value!r})"
        )
    images, image_at = sort_ids(tables.images.ids)
    ids, category_at = sort_ids(tables.categories.ids)

    def place(codes: Int32, position: Int32) -> Int32:
        return position[codes] if len(codes) else codes

    return Dataset(
        images,
        [Category(value, names.get(value, str(value))) for value in ids],
        predictions.predictions(place(pred_image, image_at), place(pred_category, category_at)),
        references.references(place(ref_image, image_at), place(ref_category, category_at)),
        inputs,
        notes,
    )
