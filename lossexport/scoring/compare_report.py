"""report.html of a comparison, in the style of the score report, and the cases that it shows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lossexport.scoring import charts
from lossexport.scoring.boxset import Float32, Float64, Int64
from lossexport.scoring.compare_boxes import Comparison
from lossexport.scoring.compare_inputs import Sides
from lossexport.scoring.compare_summary import drift_of
from lossexport.scoring.pictures import CANDIDATES, Case, Crop, in_turn
from lossexport.scoring.report import SHOWN_CATEGORIES, fill, score_density, score_range

BINS = 8


def worst_cases(sides: Sides, result: Comparison, iou: Float32) -> list[Case]:
    """Loosest matches, and lost and new boxes by falling score, in turn; equal boxes are none."""
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


def render(
    summary: Mapping[str, Any],
    sides: Sides,
    result: Comparison,
    quality: Mapping[str, Float32],
    crops: Sequence[Crop],
) -> str:
    """Fill the template."""
    before, after = sides.parent.score[result.parent], sides.child.score[result.child]
    drift = drift_of(sides, result)
    least: float = summary["settings"]["score_threshold"]
    rows = sorted(
        summary["categories"], key=lambda row: (-row["lost"] - row["new"], str(row["name"]))
    )
    return fill(
        "compare.html.j2",
        quality,
        summary=summary,
        drawings={
            "kept": _kept(sides.parent.score, result, least),
            "drift": _drift(drift),
            "scores": _scores(before, after, least),
            "density": score_density(before, quality["iou"]),
        },
        categories=rows[:SHOWN_CATEGORIES],
        more_categories=rows[SHOWN_CATEGORIES:],
        crops=crops,
    )


def _range(score: Float64, least: float) -> tuple[float, float]:
    """The range of an axis of scores, from the least that counts."""
    low, high = score_range(score)
    return charts.span(least, high) if low <= least <= high else (low, high)


def _kept(score: Float64, result: Comparison, least: float) -> str:
    """The part of the parent's boxes that the child has, by their score."""
    both, gone = score[result.parent], score[result.lost]
    if not len(both) + len(gone):
        return ""
    low, high = _range(np.concatenate([both, gone]), least)
    edges = np.linspace(low, high, BINS + 1)
    matched, lost = (np.histogram(values, edges)[0] for values in (both, gone))
    some = matched + lost > 0
    axes = charts.Axes((low, high), (0.0, 1.06), "score of the parent", "boxes kept")
    middle = (edges[:-1] + edges[1:]) / 2
    share = matched[some] / (matched + lost)[some]
    return charts.bars(
        "Boxes kept, by score", axes, middle[some], share, float(edges[1] - edges[0]) * 0.82
    )


def _drift(drift: Float64) -> str:
    if not len(drift):
        return ""
    edge = max(float(np.abs(drift).max()) * 1.05, 1e-3)
    return charts.histogram(
        "Distribution of the drift", drift, "child - parent", (-edge, edge), 236
    )


def _scores(before: Float64, after: Float64, least: float) -> str:
    if not len(before):
        return ""
    both = _range(np.concatenate([before, after]), least)
    axes = charts.Axes(both, both, "score of the parent", "score of the child")
    same = charts.Line(np.array(both), np.array(both), "mid")
    return charts.density(
        "Score of the child against that of the parent", axes, before, after, same
    )
