"""The boxes of a comparison that its report draws, and the images that they are on."""

import numpy as np

from lossexport.boxes.boxset import Float64, Int64
from lossexport.comparison.record import Run
from lossexport.reports.pictures import CANDIDATES, Case, in_turn


def worst_cases(run: Run) -> list[Case]:
    """In turn: matches by rising IoU, unless it is 1, and lost and new boxes by falling score."""
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
