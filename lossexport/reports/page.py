"""The common part of both reports: values for templates, histograms, the axis of scores."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lossexport.boxes.boxset import Float32, Float64
from lossexport.names import METRIC_TITLES, STATISTICS
from lossexport.reports import charts
from lossexport.reports.document import document
from lossexport.runtime.backends import version

UNIT = (0.0, 1.0)


def fill(
    template: str,
    quality: Mapping[str, Float32],
    *,
    summary: Mapping[str, Any],
    drawings: Mapping[str, str],
    **values: Any,
) -> str:
    """Fill a template with `values` and with the parts that both verbs' reports share.

    `quality` has each metric of the matched pairs [M]; `drawings` are the charts of the template by
    name, made by `charts`, empty where there is nothing to draw.
    """
    from markupsafe import Markup

    return document(
        template,
        backends={summary["backend"]: version(summary["backend"]) or ""},
        summary=summary,
        counts=summary["counts"],
        input_rows=[{"side": side, **value} for side, value in summary["inputs"].items()],
        interval_rows=[
            {"name": name, **found}
            for name, found in summary.get("bootstrap", {}).get("intervals", {}).items()
            if found["lower"] is not None
        ],
        metric_names={name: METRIC_TITLES[name] for name in quality},
        statistics=STATISTICS,
        charts={name: Markup(text) for name, text in drawings.items()},
        drawn=any(drawings.values()),
        spreads={name: Markup(text) for name, text in _spreads(quality).items()},
        **values,
    )


def named(values: Mapping[str, Any], suffix: str = "") -> list[dict[str, Any]]:
    """Rows of a table of names and values."""
    return [
        {"name": name.replace("_", " ") + suffix, "value": value} for name, value in values.items()
    ]


def _spreads(quality: Mapping[str, Float32]) -> dict[str, str]:
    """A histogram of each metric that has any values."""
    if not len(quality["iou"]):
        return {}
    return {
        metric: charts.histogram(
            f"Distribution of {METRIC_TITLES[metric]}",
            quality[metric].astype(np.float64),
            METRIC_TITLES[metric],
        )
        for metric in quality
    }


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
