"""The boxes of a parent and a child, from two result files or two detectors."""

from dataclasses import dataclass
from pathlib import Path

from lossexport.boxes.assemble import join
from lossexport.boxes.boxset import Category, Float64, Id, Input, Predictions
from lossexport.boxes.side import Side
from lossexport.detectors.collect import Collector, notes
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
    nms_iou: float | None,
    folder: ImageFolder,
    match_by: MatchBy | None,
    watch: Watch,
) -> Sides:
    """Run parent and child on every image of a folder; the name of a file is the image's id.

    `nms_iou` replaces that of their limits. An image that cannot be read is left out, with a note.
    Raises LossexportError if none can, and if a detector does not fit its description.
    """
    detectors = _opened(models, descriptions, nms_iou)
    collectors = [Collector(detector) for detector in detectors]
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
        for collector in collectors:
            collector.add(file, image)
        advance(done / len(listed))
    sides = [collector.finish() for collector in collectors]
    if not sides[0].images.rows:
        raise LossexportError(f"{folder.path}: no image can be read: {few(failures)}")
    inputs = {"parent": detectors[0].input, "child": detectors[1].input}
    for name, detector in zip(("parent detector", "child detector"), detectors, strict=True):
        if detector.description_input is not None:
            inputs[name] = detector.description_input
    inputs["images"] = digest.finish(folder.path)
    return _sides(sides[0], sides[1], match_by, inputs, notes(detectors, failures))


def _opened(
    models: tuple[Path, Path], descriptions: tuple[Path, Path], nms_iou: float | None
) -> list[Detector]:
    """Parent and child. If only one of them states how images are fed, the other follows it."""
    parent = Detector(models[0], descriptions[0], None, nms_iou)
    child = Detector(models[1], descriptions[1], parent, nms_iou)
    if child.completed.certain and not parent.completed.certain:
        parent = Detector(models[0], descriptions[0], child, nms_iou)
    return [parent, child]
