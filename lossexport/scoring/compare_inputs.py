"""What is compared: the boxes of a parent and a child, from two result files or two detectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from lossexport.errors import LossexportError
from lossexport.scoring.boxset import Category, Id, Input, Int32, Predictions, fail, sort_ids
from lossexport.scoring.columns import BoxColumns
from lossexport.scoring.detector import Detector
from lossexport.scoring.formats import coco
from lossexport.scoring.formats.shared import Watch
from lossexport.scoring.formats.source import FolderDigest
from lossexport.scoring.pictures import ImageFolder, few, pixels

_ANY = msgspec.json.Decoder(list[msgspec.Raw])

Names = dict[Id, str | None]


@dataclass(frozen=True, slots=True)
class Sides:
    """Boxes of both over one table of images and one of categories."""

    images: list[Id]
    files: list[str | None]
    """File name of each image, where something says it."""
    categories: list[Category]
    parent: Predictions
    child: Predictions
    inputs: dict[str, Input]
    """`parent`, `child` and whatever else was read."""
    notes: list[str]


def read_results(parent: Path, child: Path, names: Path | None, watch: Watch) -> Sides:
    """Read two COCO result lists, or dictionaries of annotations with a score, plain or gzipped.

    `names` is a COCO dictionary whose tables name the images and the categories of result lists.
    Raises LossexportError on a wrong file, on an id that two files name differently, and where the
    two have no image in common.
    """
    tables = [] if names is None else [_read_tables(names, watch)]
    sides = [
        coco.read_file(
            path, coco.DETECTIONS, coco.add_detections, watch(f"reading {what}"), bare=True
        )
        for what, path in (("parent", parent), ("child", child))
    ]
    image_names: Names = {}
    category_names: Names = {}
    for file in (*tables, *sides):
        _merge(image_names, file.path, "images", file.images)
        _merge(category_names, file.path, "categories", file.categories)
    seen = [{*file.image_ids.ids, *(row.id for row in file.images or ())} for file in sides]
    if all(seen) and seen[0].isdisjoint(seen[1]):
        here, there = (min(ids, key=str) for ids in seen)
        raise LossexportError(
            f"{child}: no image in common with {parent}: image {there!r} here, {here!r} there"
        )
    for file in sides:
        for value in file.image_ids.ids:
            image_names.setdefault(value, None)
        for value in file.category_ids.ids:
            category_names.setdefault(value, None)
    images, _ = sort_ids(list(image_names))
    categories, _ = sort_ids(list(category_names))
    inputs = {"parent": sides[0].input, "child": sides[1].input}
    if tables:
        inputs["names"] = tables[0].input
    respelled = any(file.image_ids.respelled for file in sides)
    return Sides(
        images,
        [image_names[value] for value in images],
        [Category(value, category_names[value] or str(value)) for value in categories],
        _predictions(sides[0], images, categories),
        _predictions(sides[1], images, categories),
        inputs,
        ['Image ids such as "17" or 17.0 were read as the number 17.'] if respelled else [],
    )


def _read_tables(path: Path, watch: Watch) -> coco.File:
    """Read the images and the categories of a COCO dictionary; its annotations are passed over."""
    file = coco.read_file(path, _ANY, lambda *_: None, watch("reading names"), bare=False)
    if file.images is None:
        raise LossexportError(f"{path}: images is missing: a COCO dictionary is expected")
    return file


def _merge(names: Names, path: Path, table: str, entries: Sequence[coco.Entry] | None) -> None:
    """Take in what a file calls its images or categories."""
    for entry in entries or ():
        known = names.setdefault(entry.id, entry.name)
        if known is None:
            names[entry.id] = entry.name
        elif entry.name is not None and entry.name.lower() != known.lower():
            fail(path, f"{table}: the name of id {entry.id!r}", entry.name, f"elsewhere {known!r}")


def _predictions(file: coco.File, images: list[Id], categories: list[Id]) -> Predictions:
    image, category = file.boxes.codes()
    return file.boxes.predictions(
        _positions(file.image_ids.ids, images)[image],
        _positions(file.category_ids.ids, categories)[category],
    )


def run_detectors(
    models: tuple[Path, Path],
    descriptions: tuple[Path, Path],
    folder: ImageFolder,
    watch: Watch,
) -> Sides:
    """Run parent and child on every image of a folder; the name of a file is the image's id.

    An image that cannot be read is left out, with a note. Raises LossexportError where none can,
    and where a detector does not fit its description.
    """
    detectors = [Detector(*paths) for paths in zip(models, descriptions, strict=True)]
    names: Names = {}
    for detector, path in zip(detectors, descriptions, strict=True):
        _merge(names, path, "categories", [coco.Entry(k.id, k.name) for k in detector.kinds])
    category_ids, _ = sort_ids(list(names))
    columns = [BoxColumns() for _ in detectors]
    digest = FolderDigest()
    images: list[Id] = []
    failures: list[str] = []
    advance = watch("running the detectors")
    listed = folder.names()
    for done, file in enumerate(listed, 1):
        try:
            data = folder.read(file)
            image = pixels(folder.decode(file, data))
        except LossexportError as error:
            failures.append(str(error))
            continue
        digest.add(Path(file), data)
        for detector, column in zip(detectors, columns, strict=True):
            try:
                found = detector(image)
            except LossexportError as error:
                raise LossexportError(f"{error} (on {file})") from error
            size = found.box[:, 2:] - found.box[:, :2]
            column.add(
                np.full(len(size), len(images), np.int32),
                found.label.astype(np.int32),
                np.concatenate([found.box[:, :2], size], axis=1),
                score=found.score,
            )
        images.append(file)
        advance(done / len(listed))
    if not images:
        raise LossexportError(f"{folder.path}: no image can be read: {few(failures)}")
    parent, child = (
        column.predictions(image, _positions([k.id for k in detector.kinds], category_ids)[label])
        for detector, column in zip(detectors, columns, strict=True)
        for image, label in [column.codes()]
    )
    inputs = {
        "parent": detectors[0].input,
        "child": detectors[1].input,
        "parent detector": detectors[0].description_input,
        "child detector": detectors[1].description_input,
        "images": digest.finish(folder.path),
    }
    return Sides(
        images,
        [str(file) for file in images],
        [Category(value, names[value] or str(value)) for value in category_ids],
        parent,
        child,
        inputs,
        _notes(detectors, failures),
    )


def _notes(detectors: Sequence[Detector], failures: list[str]) -> list[str]:
    free = dict.fromkeys(repr(d.input.name) for d in detectors if d.free_batch)
    notes = (
        [f"The batch of {' and '.join(free)} is free; it ran with a batch of 1."] if free else []
    )
    if failures:
        notes.append(f"Images that were left out: {few(failures)}.")
    return notes


def _positions(ids: Sequence[Id], known: Sequence[Id]) -> Int32:
    """Where each of `ids` stands in `known`."""
    position = {value: i for i, value in enumerate(known)}
    return np.array([position[value] for value in ids], np.int32)
