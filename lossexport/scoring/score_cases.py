"""The boxes of a scoring run that its report draws, and the images that they are on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from lossexport.scoring.boxset import Dataset, Float32, Id
from lossexport.scoring.compare_inputs import read_tables
from lossexport.scoring.formats.source import ignore_progress
from lossexport.scoring.matching import UNMATCHED, Matching
from lossexport.scoring.pictures import CANDIDATES, SUFFIXES, Case, in_turn


def worst_cases(
    data: Dataset, matching: Matching, iou: Float32, ref: Path, format: str
) -> list[Case]:
    """Loosest matches, wrong boxes by falling score, missed ones by falling area, in turn.

    File names are those of the table of images in a COCO file `ref`; in the other formats the name
    of the label file, or a MOT frame's number in six digits, with the suffix of an image.
    """
    files = _files(ref, format)
    predictions, references = data.predictions, data.references

    def case(kind: str, facts: str, first: int, second: int) -> Case:
        boxes, row = (references, first) if first >= 0 else (predictions, second)
        return Case(
            kind,
            files(data.images[boxes.image[row]]),
            data.categories[boxes.category[row]].name,
            facts,
            references.box[first] if first >= 0 else None,
            predictions.box[second] if second >= 0 else None,
            parts=format == "yolo",
        )

    pred, refs = matching.pairs()
    loose = [
        case(
            "matched", f"IoU {iou[i]:.3f}, score {predictions.score[pred[i]]:.3f}", refs[i], pred[i]
        )
        for i in map(int, np.argsort(iou, kind="stable")[:CANDIDATES])
        if iou[i] < 1
    ]
    wrong = np.flatnonzero(matching.status == UNMATCHED)
    wrong = wrong[np.argsort(-predictions.score[wrong], kind="stable")[:CANDIDATES]]
    area = references.area[matching.unmatched_refs]
    missed = matching.unmatched_refs[np.argsort(-area, kind="stable")[:CANDIDATES]]
    return in_turn(
        loose,
        [case("wrong", f"score {predictions.score[i]:.3f}", -1, i) for i in wrong.tolist()],
        [case("missed", "no prediction matched", i, -1) for i in missed.tolist()],
    )


def _files(ref: Path, format: str) -> Callable[[Id], tuple[str, ...]]:
    """Gives the names that the file of an image may have, by the image's id."""
    if format == "coco":
        table = read_tables(ref, lambda _: ignore_progress).images or ()
        named = {entry.id: (entry.name,) for entry in table if entry.name is not None}
        return lambda value: named.get(value, ())
    digits = "06d" if format == "mot" else ""
    return lambda value: tuple(f"{value:{digits}}{suffix}" for suffix in SUFFIXES)
