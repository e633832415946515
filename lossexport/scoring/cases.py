"""The boxes of a scoring run that its report draws, and the images that they are on."""

import numpy as np

from lossexport.boxes.matching import UNMATCHED
from lossexport.reports.browse import Findings
from lossexport.reports.pictures import CANDIDATES, Case, in_turn
from lossexport.scoring.record import Run

WELL_PLACED = 0.75
"""Least IoU of a match whose box is well placed: that of AP75."""


def faults(run: Run) -> Findings:
    """Missed boxes, each as bad as any; false ones by their score; matches by 1 - IoU.

    Only matches with an IoU below WELL_PLACED are badly placed.
    """
    data, matching = run.data, run.matching
    pred, refs = matching.pairs()
    loose = np.flatnonzero(run.quality["iou"] < WELL_PLACED)
    missed = matching.unmatched_refs
    false = np.flatnonzero(matching.status == UNMATCHED)
    score = data.predictions.score[false]
    none = np.full(max(len(missed), len(false)), -1, np.int64)
    return Findings(
        kinds=("missed", "false", "badly placed"),
        kind=np.repeat(np.arange(3, dtype=np.int8), [len(missed), len(false), len(loose)]),
        image=np.concatenate(
            [
                data.references.image[missed],
                data.predictions.image[false],
                data.predictions.image[pred[loose]],
            ]
        ),
        first=np.concatenate([missed, none[: len(false)], refs[loose]]),
        second=np.concatenate([none[: len(missed)], false, pred[loose]]),
        weight=np.concatenate(
            [
                np.ones(len(missed)),
                # Scores may be logits.
                score - min(0.0, float(score.min(initial=0.0))),
                1.0 - run.quality["iou"][loose].astype(np.float64),
            ]
        ),
    )


def worst_cases(run: Run) -> list[Case]:
    """Matches by rising IoU, wrong boxes by falling score, missed ones by falling area, in turn."""
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
