"""The numbers of parts of the images, by their attributes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from lossexport import arguments
from lossexport.boxes.boxset import Bool, Float64
from lossexport.boxes.columns import plain_id
from lossexport.errors import LossexportError, shown
from lossexport.formats import attributes, of_path
from lossexport.formats.memory import Detections
from lossexport.scoring import coco_ap, protocol
from lossexport.scoring.causes.flat import columns, flat
from lossexport.scoring.causes.record import Finding, PageTable, Section, Table, title
from lossexport.scoring.causes.record import shown as digits
from lossexport.scoring.numbers import numbers
from lossexport.scoring.results import Results

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


Given = Mapping[str, Sequence[Any]]
"""Ids of images by the name of a slice."""


@dataclass(frozen=True, slots=True)
class Request:
    """The slices that are asked for."""

    given: Path | Given | None
    fields: tuple[str, ...]
    sizes: tuple[float, ...]
    """Limits of the sides of boxes, rising."""

    @classmethod
    def of(cls, slices: Any, slice_by: Any, size_grid: Any) -> "Request":
        """From the arguments of `score`. Raises LossexportError on wrong ones."""
        fields = (slice_by,) if isinstance(slice_by, str) else tuple(slice_by)
        sizes = tuple(arguments.number("size_grid", size) for size in size_grid)
        if not protocol.are_sizes(sizes):
            raise LossexportError(
                f"size_grid is {shown(list(size_grid))}: rising sides in pixels, above 0, below "
                f"{protocol.LARGEST:g} and fewer than {protocol.MOST_SIZES}, are expected"
            )
        if slices is None or isinstance(slices, Mapping):
            return cls(slices, fields, sizes)
        return cls(arguments.path("slices", slices), fields, sizes)

    def read(
        self, references: Path | Detections | None, form: str, data: attributes.Images
    ) -> list[Slice]:
        """The slices of a CSV file or of lists of ids, and by fields of images of the references.

        Raises LossexportError on unknown images, on fields of references that are no COCO file,
        and on too many slices.
        """
        given, fields = self.given, self.fields
        found: list[Slice] = []
        if isinstance(given, Path):
            found += _of_values(attributes.of_csv(given, data), data)
        elif given is not None:
            found += _of_ids(given, data)
        if fields:
            if not isinstance(references, Path) or of_path(references, form) != "coco":
                raise LossexportError("slice_by: is for references in a COCO file")
            found += _of_values(attributes.of_coco(references, fields, data), data)
        if not found and (fields or given is not None):
            raise LossexportError("slices: no image has a value, so there is none")
        return found


def _of_values(values: attributes.Values, data: attributes.Images) -> Iterable[Slice]:
    distinct = {
        name: sorted(set(by_image.values()), key=_rank) for name, by_image in values.items()
    }
    count = sum(map(len, distinct.values()))
    if count > MOST:
        raise LossexportError(
            f"slices: {count} values of {', '.join(values)}: at most {MOST} slices are scored; "
            "give values that more images share"
        )
    for name, by_image in values.items():
        masks = {value: np.zeros(len(data.images), np.bool_) for value in distinct[name]}
        for image, value in by_image.items():
            masks[value][image] = True
        yield from (Slice(name, value, mask) for value, mask in masks.items())


def _rank(value: str) -> tuple[bool, Any]:
    """Numbers before texts."""
    number = plain_id(value)
    return isinstance(number, str), number


def _of_ids(given: Given, data: attributes.Images) -> Iterable[Slice]:
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


def find(
    results: Results,
    wanted: Mapping[str, float],
    slices: Sequence[Slice],
    sizes: Sequence[float],
    by_size: protocol.Outcomes | None,
) -> Finding:
    """The numbers of each slice, equal to those of `score` on its images alone, and of each size.

    `wanted` is as in `numbers`; `by_size` are the outcomes of the protocol of `sizes`.
    """
    rows = [
        {
            "attribute": one.attribute,
            "value": one.value,
            **{
                name: value
                for name, value in numbers(results.within(one.images).tally(), wanted).items()
                if name not in LEFT_OUT
            },
        }
        for one in slices
    ]
    if by_size is not None:
        rows += _sizes(by_size, sizes)
    flats = [dict(flat(row)) for row in rows]
    words = {name: [row.pop(name) for row in flats] for name in ("attribute", "value")}
    types, values = columns(flats)
    return Finding(
        {"slices": rows},
        PageTable(
            ("Slice", "Images", "References", *map(title, SHOWN)),
            [
                (
                    f"{attribute}/{value}",
                    *(digits(row.get(f"counts_{name}"), 0) for name in ("images", "references")),
                    *(digits(row.get(name)) for name in SHOWN),
                )
                for attribute, value, row in zip(*words.values(), flats, strict=True)
            ],
        ),
        Table(
            {**dict.fromkeys(words, "string"), **types},
            {**{name: (np.array(word, object), None) for name, word in words.items()}, **values},
        ),
    )


def _sizes(found: protocol.Outcomes, sizes: Sequence[float]) -> list[dict[str, Any]]:
    """AP and AR by the COCO protocol of references of each range of sizes."""
    asked = protocol.of_sizes(sizes)
    edges = [0.0, *sizes]
    names = [f"{low:g}-{high:g}" for low, high in pairwise(edges)]
    rows = []
    for a, name in enumerate([*names, f"{sizes[-1]:g}-"]):
        one = replace(
            found,
            inside=(found.inside >> a & 1).astype(np.uint8),
            outcome=found.outcome[:, a : a + 1],
            positives=found.positives[a : a + 1],
        )
        tables = coco_ap.tabulate(one, replace(asked, areas=asked.areas[a : a + 1]))
        rows.append(
            {
                "attribute": "size",
                "value": name,
                "counts": {"references": int(one.positives.sum())},
                "AP": _mean(tables.precision),
                "AP50": _mean(tables.precision[0]),
                "AP75": _mean(tables.precision[5]),
                "AR100": _mean(tables.recall),
            }
        )
    return rows


def _mean(values: Float64) -> float:
    """The mean of what is defined, or -1."""
    known = values[values > -1]
    return float(known.mean()) if len(known) else -1.0


SLICES = Section(
    name="slices",
    title="Slices",
    caption="The same numbers for the images of each value of an attribute.",
)
