"""The boxes of a scoring run that its report draws, and the images that they are on."""

import numpy as np

from lossexport.boxes.matching import UNMATCHED
from lossexport.reports.pictures import CANDIDATES, Case, in_turn
from lossexport.scoring.record import Run


def worst_cases(run: Run) -> list[Case]:
    """In turn: matches by rising IoU, wrong boxes by falling score, missed ones by falling area."""
    data, matching, iou = run.data, run.matching, run.quality["iou"]
    predictions, references = data.predictions, data.references

    def case(kind: str, facts: str, first: int, second: int) -> Case:
        boxes, row = (references, first) if first >= 0 else (predictions, second)
        return Case(
            kind,
            data.files[boxes.image[row]] if data.files else (),
            data.categories[boxes.category[row]].name,
            facts,
            references.box[first] if first >= 0 else None,
            predictions.box[second] if second >= 0 else None,
            parts=data.parts,
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
