"""report.html of a comparison, in the style of the score report."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lossexport.boxes.boxset import Float64
from lossexport.comparison.match import Comparison
from lossexport.comparison.record import Run
from lossexport.reports import charts
from lossexport.reports.browse import Scene
from lossexport.reports.page import fill, named, score_density, score_range
from lossexport.reports.pictures import Crop

BINS = 8


def render(
    run: Run, summary: Mapping[str, Any], crops: Sequence[Crop] = (), scenes: Sequence[Scene] = ()
) -> str:
    """Fill the template; `crops` and `scenes` are the pictures of the worst boxes and images."""
    sides, result, quality = run.sides, run.result, run.quality
    before, after = sides.parent.score[result.parent], sides.child.score[result.child]
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
            "drift": _drift(run.drift),
            "scores": _scores(before, after, least),
            "density": score_density(before, quality["iou"]),
        },
        categories=rows,
        count_rows=named(summary["counts"]),
        crops=crops,
        scenes=scenes,
    )


def _range(score: Float64, least: float) -> tuple[float, float]:
    """The range of an axis of scores, from the least score that counts."""
    low, high = score_range(score)
    return charts.span(least, high) if low <= least <= high else (low, high)


def _kept(score: Float64, result: Comparison, least: float) -> str:
    """Draw the part of the parent's boxes that the child has, by their score."""
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
