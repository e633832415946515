"""The boxes of a comparison that its report draws, and the images that they are on."""

import numpy as np

from lossexport.boxes.boxset import Dataset, Float64, Int64
from lossexport.comparison.match import as_dataset
from lossexport.comparison.record import Run
from lossexport.reports.browse import Findings
from lossexport.reports.pictures import CANDIDATES, Case, in_turn

MOVED = 0.9
"""Least IoU of a match whose box stayed where it was."""


def differences(run: Run) -> tuple[Dataset, Findings]:
    """Lost and new boxes by their scores, and matches by 1 - IoU, with all boxes that take part.

    A lost or new box has its match below the score threshold beside it, if there is one. Only
    matches with an IoU below MOVED have moved.
    """
    result, sides = run.result, run.sides
    moved = np.flatnonzero(run.quality["iou"] < MOVED)
    rows = (
        np.concatenate([result.lost, result.parent_below, result.parent[moved]]),
        np.concatenate([result.child_below, result.new, result.child[moved]]),
    )
    # Boxes below the threshold take part only as such a match.
    used = [
        np.unique(np.concatenate([matched, side[side >= 0]]))
        for matched, side in zip((result.parent, result.child), rows, strict=True)
    ]
    first, second = (
        np.where(side < 0, -1, np.searchsorted(places, side))
        for places, side in zip(used, rows, strict=True)
    )
    data = as_dataset(sides, *used)
    ends = np.cumsum([len(result.lost), len(result.new)])
    before, after = sides.parent.score[rows[0][: ends[0]]], sides.child.score[result.new]
    # Scores may be logits.
    least = min(0.0, *(float(score.min(initial=0.0)) for score in (before, after)))
    weight = [before - least, after - least, 1.0 - run.quality["iou"][moved].astype(np.float64)]
    return data, Findings(
        kinds=("lost", "new", "moved"),
        kind=np.repeat(np.arange(3, dtype=np.int8), [len(part) for part in weight]),
        image=np.concatenate(
            [
                sides.parent.image[result.lost],
                sides.child.image[result.new],
                sides.child.image[result.child[moved]],
            ]
        ),
        first=first,
        second=second,
        weight=np.concatenate(weight),
        before=_scores(sides.parent.score, rows[0]),
    )


def _scores(score: Float64, rows: Int64) -> Float64:
    """The scores of `rows`, NaN where a row is -1."""
    return np.where(rows < 0, np.nan, np.append(score, np.nan)[rows])


def worst_cases(run: Run) -> list[Case]:
    """Matches by rising IoU (below 1), lost and new boxes by falling score, in turn."""
    sides, result, iou = run.sides, run.result, run.quality["iou"]
    parent, child = sides.parent, sides.child

    def case(kind: str, facts: str, first: int, second: int) -> Case:
        boxes, row = (parent, first) if first >= 0 else (child, second)
        return Case(
            kind,
            sides.files[boxes.image[row]],
            sides.categories[boxes.category[row]].name,
            facts,
            parent.box[first] if first >= 0 else None,
            child.box[second] if second >= 0 else None,
        )

    def single(kind: str, rows: Int64, others: Int64, score: Float64, other: Float64) -> list[Case]:
        cases = []
        for i in np.argsort(-score[rows], kind="stable")[:CANDIDATES]:
            facts = f"score {score[rows[i]]:.3f}"
            if others[i] >= 0:
                side = "child" if kind == "lost" else "parent"
                facts += f", in the {side} {other[others[i]]:.3f}"
            pair = (rows[i], others[i])
            cases.append(case(kind, facts, *(pair if kind == "lost" else pair[::-1])))
        return cases

    loose = [i for i in np.argsort(iou, kind="stable")[:CANDIDATES] if iou[i] < 1]
    matched = [
        case(
            "matched",
            f"IoU {iou[i]:.3f}, score {parent.score[result.parent[i]]:.3f} "
            f"\N{RIGHTWARDS ARROW} {child.score[result.child[i]]:.3f}",
            result.parent[i],
            result.child[i],
        )
        for i in loose
    ]
    return in_turn(
        matched,
        single("lost", result.lost, result.child_below, parent.score, child.score),
        single("new", result.new, result.parent_below, child.score, parent.score),
    )
