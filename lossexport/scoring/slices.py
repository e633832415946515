"""The numbers of parts of the images, by their attributes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lossexport import arguments
from lossexport.boxes.boxset import Bool, Dataset, Int32
from lossexport.boxes.columns import plain_id
from lossexport.boxes.matching import MATCHED
from lossexport.errors import LossexportError, shown
from lossexport.formats import attributes, of_path
from lossexport.formats.memory import Detections
from lossexport.scoring import coco_ap
from lossexport.scoring.causes.classes import flat
from lossexport.scoring.causes.record import Finding, PageTable, Section, Table
from lossexport.scoring.causes.record import shown as digits
from lossexport.scoring.numbers import Tally, numbers
from lossexport.scoring.record import Run

MOST = 200
"""Slices of one run."""
LEFT_OUT = ("schema_version", "categories")
"""Numbers of a summary that a slice does not have."""
SHOWN = ("AP", "AP50", "AP75", "AR100", "best_f1", "lrp_optimal", "iou_mean")


@dataclass(frozen=True, slots=True)
class Slice:
    """Some of the images."""

    attribute: str
    value: str
    images: Bool
    """[I] which images are in it."""

    @property
    def name(self) -> str:
        """As gates name it."""
        return f"{self.attribute}/{self.value}"


Given = Mapping[str, Sequence[Any]]
"""Ids of images by the name of a slice."""


@dataclass(frozen=True, slots=True)
class Request:
    """The slices that are asked for; false if there are none."""

    given: Path | Given | None
    fields: tuple[str, ...]

    @classmethod
    def of(cls, slices: Any, slice_by: Any) -> "Request":
        """From the arguments of `score`. Raises LossexportError on another type."""
        fields = (slice_by,) if isinstance(slice_by, str) else tuple(slice_by)
        if slices is None or isinstance(slices, Mapping):
            return cls(slices, fields)
        return cls(arguments.path("slices", slices), fields)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.fields) or self.given is not None


def read(request: Request, references: Path | Detections, form: str, data: Dataset) -> list[Slice]:
    """The slices of a CSV file or of lists of ids, and by fields of images of the references.

    Raises LossexportError on unknown images, on fields of references that are no COCO file, and on
    too many slices.
    """
    given, fields = request.given, request.fields
    found: list[Slice] = []
    if isinstance(given, Path):
        found += _of_values(attributes.of_csv(given, data), data)
    elif given is not None:
        found += _of_ids(given, data)
    if fields:
        if not isinstance(references, Path) or of_path(references, form) != "coco":
            raise LossexportError("slice_by: is for references in a COCO file, which has fields")
        found += _of_values(attributes.of_coco(references, fields, data), data)
    if request and not found:
        raise LossexportError("slices: no image has a value, so there is none")
    if len(found) > MOST:
        raise LossexportError(
            f"slices: {len(found)} values of {', '.join(dict.fromkeys(s.attribute for s in found))}"
            f": at most {MOST} slices are scored; give values that more images share"
        )
    return found


def _of_values(values: attributes.Values, data: Dataset) -> Iterable[Slice]:
    for name, by_image in values.items():
        masks: dict[str, Bool] = {}
        for image, value in by_image.items():
            mask = masks.setdefault(value, np.zeros(len(data.images), np.bool_))
            mask[image] = True
        for value in sorted(masks, key=_rank):
            yield Slice(name, value, masks[value])


def _rank(value: str) -> tuple[bool, Any]:
    """Numbers before texts."""
    number = plain_id(value)
    return isinstance(number, str), number


def _of_ids(given: Given, data: Dataset) -> Iterable[Slice]:
    place = {plain_id(value): i for i, value in enumerate(data.images)}
    for name, ids in arguments.mapping("slices", given).items():
        mask = np.zeros(len(data.images), np.bool_)
        for value in ids:
            image = place.get(plain_id(value) if isinstance(value, str | int) else None)
            if image is None:
                raise LossexportError(
                    f"slices: {name} has {shown(value)}: no input has such an image"
                )
            mask[image] = True
        yield Slice("slice", name, mask)


def find(run: Run, slices: Sequence[Slice]) -> Finding:
    """The numbers of each slice, equal to those of `score` on its images alone."""
    rows = [
        {"attribute": one.attribute, "value": one.value, **_numbers(run, one.images)}
        for one in slices
    ]
    flats = [dict(flat(row)) for row in rows]
    names = [name for name, value in flats[0].items() if not isinstance(value, str | list)]
    columns: dict[str, tuple[Any, Bool | None]] = {
        name: (np.array([row[name] for row in flats], object), None)
        for name in ("attribute", "value")
    }
    for name in names:
        values = [row[name] for row in flats]
        null = np.array([value is None or value == -1 for value in values])
        columns[name] = np.array([0 if value is None else value for value in values]), null
    return Finding(
        {"slices": rows},
        PageTable(
            ("Slice", "Images", "References", *(name.replace("_", " ") for name in SHOWN)),
            [
                (
                    one.name,
                    f"{row['counts_images']:,}",
                    f"{row['counts_references']:,}",
                    *(digits(row[name]) for name in SHOWN),
                )
                for one, row in zip(slices, flats, strict=True)
            ],
        ),
        Table(
            {
                name: {"O": "string", "i": "int64"}.get(values.dtype.kind, "double")
                for name, (values, _) in columns.items()
            },
            columns,
        ),
    )


def _numbers(run: Run, images: Bool) -> dict[str, Any]:
    """What `numbers` gives for the boxes of some images."""
    data, matching = run.data, run.matching
    predictions, references = data.predictions, data.references
    size = len(data.categories)
    rows = np.flatnonzero(images[predictions.image])
    refs = images[references.image]
    matched = matching.status == MATCHED
    of_slice = images[predictions.image[matched]]
    missed = matching.unmatched_refs[refs[matching.unmatched_refs]]
    tally = Tally(
        int(images.sum()),
        data.categories,
        predictions.category[rows],
        predictions.score[rows],
        matching.status[rows],
        int(np.count_nonzero((predictions.box[rows, 2:] < 0).any(axis=1))),
        _count(references.category[refs], size),
        _count(references.category[missed], size),
        int(np.count_nonzero(references.ignored & refs)),
        {name: values[of_slice] for name, values in run.quality.items()},
        run.estimate[rows],
        coco_ap.accumulate(_outcomes(run, images), parts=data.parts),
        run.settings["iou_threshold"],
    )
    return {name: value for name, value in numbers(tally).items() if name not in LEFT_OUT}


def _outcomes(run: Run, images: Bool) -> coco_ap.Outcomes:
    found, references = run.outcomes, run.data.references
    keep = images[run.data.predictions.image[run.order.pred]]
    position = np.cumsum(keep, dtype=np.int32) - np.int32(1)
    kept = keep[found.place]
    counted = ~(
        coco_ap.outside(references.area, coco_ap.AREAS)
        | (references.ignored | ~images[references.image])[:, None]
    )
    return replace(
        found,
        category=found.category[keep],
        rank=found.rank[keep],
        score=found.score[keep],
        inside=found.inside[keep],
        place=position[found.place[kept]],
        outcome=found.outcome[kept],
        positives=np.stack(
            [_count(references.category[column], len(run.data.categories)) for column in counted.T]
        ),
    )


def _count(category: Int32, size: int) -> Any:
    return np.bincount(category, minlength=size)


SLICES = Section(
    name="slices",
    title="Slices",
    caption="The same numbers for the images of each value of an attribute.",
)
