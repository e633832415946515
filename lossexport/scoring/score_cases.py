"""The boxes of a scoring run that its report draws, and the images that they are on."""

import numpy as np

from lossexport.scoring.boxset import Dataset, Float32
from lossexport.scoring.matching import UNMATCHED, Matching
from lossexport.scoring.pictures import CANDIDATES, SUFFIXES, Case, in_turn


def worst_cases(data: Dataset, matching: Matching, iou: Float32, format: str) -> list[Case]:
    """Loosest matches, wrong boxes by falling score, missed ones by falling area, in turn.

    File names are those that a COCO file states; in the other formats the name of the label file,
    or a MOT frame's number in six digits, with the suffix of an image.
    """
    predictions, references = data.predictions, data.references

    def case(kind: str, facts: str, first: int, second: int) -> Case:
        boxes, row = (references, first) if first >= 0 else (predictions, second)
        return Case(
            kind,
            _files(data, boxes.image[row], format),
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


def _files(data: Dataset, image: int, format: str) -> tuple[str, ...]:
    """The names that the file of an image may have."""
    if format == "coco":
        name = data.files[image]
        return () if name is None else (name,)
    digits = "06d" if format == "mot" else ""
    return tuple(f"{data.images[image]:{digits}}{suffix}" for suffix in SUFFIXES)
