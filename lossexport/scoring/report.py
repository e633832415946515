"""report.html: a self-contained page for screens of any size, dark mode and print."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lossexport.boxes.boxset import Float32, Float64
from lossexport.boxes.matching import IGNORED, Matching
from lossexport.names import COCO_NUMBERS, RATES
from lossexport.reports import charts
from lossexport.reports.browse import Scene
from lossexport.reports.document import Column
from lossexport.reports.page import UNIT, fill, named, score_density, score_range
from lossexport.reports.pictures import Crop
from lossexport.scoring.causes import Findings
from lossexport.scoring.coco_ap import CocoResult
from lossexport.scoring.confidence import bins, matched_quality
from lossexport.scoring.cuts import rates
from lossexport.scoring.protocol import RECALLS, THRESHOLDS
from lossexport.scoring.record import Run

_CURVES = ((0, "s1"), (3, "s2"), (5, "s3"), (7, "s4"), (9, "s5"))


def render(
    run: Run,
    summary: Mapping[str, Any],
    crops: Sequence[Crop] = (),
    scenes: Sequence[Scene] = (),
    findings: Findings | None = None,
) -> str:
    """Fill the template; `crops` and `scenes` are the pictures of the worst boxes and images."""
    data, matching, quality, coco = run.data, run.matching, run.quality, run.coco
    drawings = {
        "curves": _precision_recall(coco),
        "cut": _score_cut(data.predictions.score, matching, summary["best"]),
        "density": score_density(data.predictions.score[matching.pairs()[0]], quality["iou"]),
        "thresholds": _by_threshold(coco),
        "predicted": _predicted(run.estimate),
        "calibration": _calibration(
            *matched_quality(run.estimate[matching.pairs()[0]], quality["iou"])
        ),
    }
    return fill(
        "score.html.j2",
        quality,
        summary=summary,
        drawings=drawings,
        curve_keys=[(style, f"IoU {THRESHOLDS[t]:.2f}") for t, style in _CURVES],
        # The worst first; those without a reference have no AP and come last.
        categories=sorted(
            summary["categories"],
            key=lambda row: (row["AP"] == -1, row["AP"], -row["references"], str(row["name"])),
        ),
        coco_rows=named({name: summary[name] for name in COCO_NUMBERS}),
        count_rows=[
            *named({name: n for name, n in summary["counts"].items() if name != "unmatched"}),
            *named({name: summary[name] for name in RATES}, ", any score"),
            *named(summary["best"], " at best F1"),
        ],
        crops=crops,
        scenes=scenes,
        diagnoses=list(_diagnoses(findings or [])),
    )


def _diagnoses(findings: Findings) -> Iterator[tuple[str, str, list[Column], list[dict[str, str]]]]:
    """Title, caption, columns and rows of each finding that has a table."""
    for diagnosis, finding in findings:
        if (page := finding.page) is None:
            continue
        words = (0, *page.texts)
        columns = [
            Column(title, str(i), "wrap" if i in words else "shown")
            for i, title in enumerate(page.header)
        ]
        rows = [{str(i): cell for i, cell in enumerate(row)} for row in page.rows]
        yield diagnosis.title, diagnosis.caption, columns, rows


def _precision_recall(coco: CocoResult) -> str:
    if coco.precision[0, 0] < 0:
        return ""
    axes = charts.Axes(UNIT, UNIT, "recall", "precision")
    curves = [
        charts.Line(RECALLS, coco.precision[t], style, f"IoU {THRESHOLDS[t]:.2f}")
        for t, style in _CURVES
    ]
    return charts.lines("Precision against recall", axes, curves)


def _score_cut(score: Float64, matching: Matching, best: Mapping[str, float | None]) -> str:
    """Precision, recall and F1 of the predictions whose score is at or above a cut."""
    status, missed = matching.status, len(matching.unmatched_refs)
    cuts = np.unique(score[status != IGNORED])
    if best["f1"] is None or best["score"] is None:
        return ""
    axes = charts.Axes(score_range(cuts), UNIT, "least score kept", "")
    cuts = cuts[np.unique(np.linspace(0, len(cuts) - 1, 240).astype(np.int64))]
    found = rates(score, status, missed, cuts)
    curves = [
        charts.Line(cuts, values, style, name)
        for name, style, values in (
            ("precision", "s2", found.precision),
            ("recall", "s4", found.recall),
            ("F1", "s1", found.f1),
        )
    ]
    mark = charts.marker(axes, best["score"], best["f1"], f"F1 {best['f1']:.3f}")
    return charts.lines("Precision, recall and F1 against the least score", axes, curves, [mark])


def _predicted(estimate: Float32) -> str:
    known = estimate[~np.isnan(estimate)].astype(np.float64)
    if not len(known):
        return ""
    title = "Distribution of the predicted quality"
    return charts.histogram(title, known, "predicted quality", UNIT, charts.HEIGHT)


def _calibration(estimate: Float64, iou: Float64) -> str:
    """Draw the mean IoU of matched boxes against the mean predicted IoU, bin by bin."""
    if not len(estimate):
        return ""
    x, y = bins(estimate, iou)
    low = float(np.floor(min(x.min(), y.min(), 0.9) * 10) / 10)
    axes = charts.Axes((low, 1.0), (low, 1.0), "predicted quality", "mean IoU")
    ends = np.array([low, 1.0])
    curves = [charts.Line(ends, ends, "mid"), charts.Line(x, y, "s1", "mean IoU")]
    return charts.lines("Mean IoU against predicted quality", axes, curves, charts.dots(axes, x, y))


def _by_threshold(coco: CocoResult) -> str:
    present = coco.category_ap[:, 0] > -1
    if not present.any():
        return ""
    means = coco.category_ap[present].mean(axis=0)
    top = max(0.1, float(np.ceil(means.max() * 10) / 10))
    axes = charts.Axes(
        (0.47, 0.98),
        (0.0, min(top * 1.1, 1.06)),
        "IoU threshold",
        "AP",
        x_ticks=[0.5, 0.6, 0.7, 0.8, 0.9],
    )
    return charts.bars("AP at each IoU threshold", axes, THRESHOLDS, means, 0.034)
