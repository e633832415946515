"""The boxes of a parent and a child, from two result files or two detectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lossexport.boxes.assemble import join
from lossexport.boxes.boxset import Category, Float64, Id, Input, Predictions
from lossexport.boxes.side import Entry, Side
from lossexport.detectors.detector import Detector
from lossexport.errors import LossexportError
from lossexport.formats import Watch, read_side
from lossexport.formats.coco.reader import read_tables
from lossexport.formats.memory import Detections, side_in_memory
from lossexport.formats.source import FolderDigest
from lossexport.images import ImageFolder, few, pixels
from lossexport.names import MatchBy


@dataclass(frozen=True, slots=True)
class Sides:
    """Boxes of both over one table of images and one of categories."""

    images: list[Id]
    files: list[tuple[str, ...]]
    """Names that the file of each image may have; empty if unknown."""
    categories: list[Category]
    parent: Predictions
    child: Predictions
    inputs: dict[str, Input]
    """`parent`, `child` and whatever else was read."""
    notes: list[str]
    sizes: Float64
    """[I,2] width and height of each image in pixels, NaN if no input states them."""


def read_results(
    parent: Path | Detections,
    child: Path | Detections,
    names: Path | None,
    match_by: MatchBy | None,
    watch: Watch,
) -> Sides:
    """Read two COCO result lists, or dictionaries of annotations with a score, plain or gzipped.

    Either may also be in memory.

    `names` is a COCO dictionary whose tables name the images and the categories of result lists.
    Raises LossexportError on a wrong file, on tables that contradict each other, and if the two
    have no image in common.
    """
    sides = [
        read_side(value, "coco", True, watch(f"reading {what}"))
        if isinstance(value, Path)
        else side_in_memory(what, value, scored=True)
        for what, value in (("parent", parent), ("child", child))
    ]
    inputs = {"parent": sides[0].input, "child": sides[1].input}
    if names is not None:
        tables = read_tables(names, watch("reading names"))
        inputs["names"] = tables.input
        for side in sides:
            side.images.name_rows(tables.images.rows)
            side.categories.name_rows(tables.categories.rows)
    return _sides(sides[0], sides[1], match_by, inputs, [])


def _sides(
    parent: Side, child: Side, match_by: MatchBy | None, inputs: dict[str, Input], notes: list[str]
) -> Sides:
    joined = join(parent, child, match_by)
    return Sides(
        joined.images,
        joined.files,
        joined.categories,
        parent.boxes.predictions(*joined.base),
        child.boxes.predictions(*joined.other),
        inputs,
        [*joined.notes, *notes],
        joined.sizes,
    )


def run_detectors(
    models: tuple[Path, Path],
    descriptions: tuple[Path, Path],
    folder: ImageFolder,
    match_by: MatchBy | None,
    watch: Watch,
) -> Sides:
    """Run parent and child on every image of a folder; the name of a file is the image's id.

    An image that cannot be read is left out, with a note. Raises LossexportError if none can,
    and if a detector does not fit its description.
    """
    detectors = [Detector(*paths) for paths in zip(models, descriptions, strict=True)]
    sides = [_side(*pair) for pair in zip(descriptions, detectors, strict=True)]
    digest = FolderDigest()
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
        for detector, side in zip(detectors, sides, strict=True):
            try:
                found = detector(image)
            except LossexportError as error:
                raise LossexportError(f"{error} (on {file})") from error
            size = found.box[:, 2:] - found.box[:, :2]
            side.boxes.add(
                np.full(len(size), side.images.ids[file], np.int32),
                found.label.astype(np.int32),
                np.concatenate([found.box[:, :2], size], axis=1),
                score=found.score,
            )
        advance(done / len(listed))
    for side in sides:
        side.images.name_by_ids()
    if not sides[0].images.rows:
        raise LossexportError(f"{folder.path}: no image can be read: {few(failures)}")
    inputs = {
        "parent": detectors[0].input,
        "child": detectors[1].input,
        "parent detector": detectors[0].description_input,
        "child detector": detectors[1].description_input,
        "images": digest.finish(folder.path),
    }
    return _sides(sides[0], sides[1], match_by, inputs, _notes(detectors, failures))


def _side(description: Path, detector: Detector) -> Side:
    """An empty side with the categories of a detector; its labels are their codes."""
    side = Side(description, detector.input)
    side.categories.rows = {kind.id: Entry(kind.name) for kind in detector.kinds}
    side.categories.ids.codes([kind.id for kind in detector.kinds])
    return side


def _notes(detectors: Sequence[Detector], failures: list[str]) -> list[str]:
    free = dict.fromkeys(repr(d.input.name) for d in detectors if d.free_batch)
    notes = (
        [f"The batch of {' and '.join(free)} is free; it ran with a batch of 1."] if free else []
    )
    if failures:
        notes.append(f"Images that were left out: {few(failures)}.")
    return notes
