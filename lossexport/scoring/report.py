"""report.html: one page that holds all it needs, readable on paper, in the dark, on a phone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lossexport.scoring import charts
from lossexport.scoring.boxset import Dataset, Float32, Float64
from lossexport.scoring.coco_ap import NAMES, RECALLS, THRESHOLDS, CocoResult
from lossexport.scoring.confidence import bins, matched_quality
from lossexport.scoring.cuts import rates
from lossexport.scoring.matching import IGNORED, Matching
from lossexport.scoring.metrics import METRICS
from lossexport.scoring.pictures import Crop
from lossexport.scoring.summary import STATISTICS

SHOWN_CATEGORIES = 40
UNIT = (0.0, 1.0)

_CURVES = ((0, "s1"), (3, "s2"), (5, "s3"), (7, "s4"), (9, "s5"))
_METRIC_NAMES = {"iou": "IoU", "giou": "GIoU", "diou": "DIoU", "ciou": "CIoU"}


def render(
    summary: Mapping[str, Any],
    data: Dataset,
    matching: Matching,
    quality: Mapping[str, Float32],
    estimate: Float32,
    coco: CocoResult,
    crops: Sequence[Crop] = (),
) -> str:
    """Fill the template."""
    drawings = {
        "curves": _precision_recall(coco),
        "cut": _score_cut(data.predictions.score, matching, summary["best"]),
        "density": score_density(data.predictions.score[matching.pairs()[0]], quality["iou"]),
        "thresholds": _by_threshold(coco),
        "predicted": _predicted(estimate),
        "calibration": _calibration(*matched_quality(estimate, matching, quality["iou"])),
    }
    rows = sorted(summary["categories"], key=lambda row: (-row["AP"], str(row["name"])))
    return fill(
        "report.html.j2",
        quality,
        summary=summary,
        ap_names=NAMES,
        drawings=drawings,
        curve_names=[(style, f"IoU {THRESHOLDS[t]:.2f}") for t, style in _CURVES],
        categories=rows[:SHOWN_CATEGORIES],
        more_categories=rows[SHOWN_CATEGORIES:],
        crops=crops,
    )


def fill(
    template: str,
    quality: Mapping[str, Float32],
    *,
    summary: Mapping[str, Any],
    drawings: Mapping[str, str],
    **values: Any,
) -> str:
    """Fill a template with `values` and with what the reports of both verbs share."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
    from markupsafe import Markup

    import lossexport

    environment = Environment(
        loader=PackageLoader("lossexport.scoring", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["signed"] = _signed
    environment.filters["count"] = lambda value: f"{value:,}"
    return environment.get_template(template).render(
        summary=summary,
        counts=summary["counts"],
        metric_names=_METRIC_NAMES,
        statistics=STATISTICS,
        charts={name: Markup(text) for name, text in drawings.items()},
        spreads={name: Markup(text) for name, text in _spreads(quality).items()},
        version=lossexport.__version__,
        **values,
    )


def _spreads(quality: Mapping[str, Float32]) -> dict[str, str]:
    """A histogram of each metric, where there is anything to count."""
    if not len(quality["iou"]):
        return {}
    return {
        metric: charts.histogram(
            f"Distribution of {_METRIC_NAMES[metric]}",
            quality[metric].astype(np.float64),
            _METRIC_NAMES[metric],
        )
        for metric in METRICS
    }


def _number(value: float | None, digits: int = 3) -> str:
    """Format a number for people; a dash for what is undefined."""
    return "\N{EN DASH}" if value is None or value == -1 else f"{value:.{digits}f}"


def _signed(value: float | None, digits: int = 3) -> str:
    """Format a difference, with its sign unless it rounds to nothing."""
    if value is None:
        return "\N{EN DASH}"
    text = f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return text if float(f"{value:.{digits}f}") else text[1:]


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
    cuts = np.unique(score[matching.status != IGNORED])
    if best["f1"] is None or best["score"] is None:
        return ""
    axes = charts.Axes(score_range(cuts), UNIT, "least score kept", "")
    cuts = cuts[np.unique(np.linspace(0, len(cuts) - 1, 240).astype(np.int64))]
    found = rates(score, matching, cuts)
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


def score_range(score: Float64) -> tuple[float, float]:
    """Return 0 to 1 for scores within it, else their own range, wide enough to draw."""
    low, high = float(score.min()), float(score.max())
    return UNIT if low >= 0 and high <= 1 else charts.span(low, high)


def score_density(score: Float64, iou: Float32) -> str:
    """Draw the IoU of matched boxes against their score, with its median; empty without a box."""
    if not len(iou):
        return ""
    exact = iou.astype(np.float64)
    low, high = score_range(score)
    axes = charts.Axes(
        (low, high), (min(np.floor(float(exact.min()) * 10) / 10, 0.9), 1.0), "score", "IoU"
    )
    edges = np.linspace(low, high, 13)
    place = np.clip(np.searchsorted(edges, score, "right") - 1, 0, 11)
    full = [b for b in range(12) if np.count_nonzero(place == b) >= 5]
    middle = None
    if len(full) > 1:
        medians = np.array([np.median(exact[place == b]) for b in full])
        middle = charts.Line((edges[full] + edges[np.array(full) + 1]) / 2, medians, "mid")
    return charts.density("IoU of matched boxes against their score", axes, score, exact, middle)


def _predicted(estimate: Float32) -> str:
    known = estimate[~np.isnan(estimate)].astype(np.float64)
    if not len(known):
        return ""
    title = "Distribution of the predicted quality"
    return charts.histogram(title, known, "predicted quality", UNIT, charts.HEIGHT)


def _calibration(estimate: Float64, iou: Float64) -> str:
    """Mean IoU of the matched boxes against the mean of what was predicted, bin by bin."""
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
