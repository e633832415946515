"""The common part of both reports: values for templates, histograms, the axis of scores."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lossexport.boxes.boxset import Float32, Float64
from lossexport.names import METRIC_TITLES, STATISTICS
from lossexport.reports import charts

SHOWN_CATEGORIES = 40
UNIT = (0.0, 1.0)


def fill(
    template: str,
    quality: Mapping[str, Float32],
    *,
    summary: Mapping[str, Any],
    drawings: Mapping[str, str],
    **values: Any,
) -> str:
    """Fill a template with `values` and with the parts that both verbs' reports share."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
    from markupsafe import Markup

    import lossexport

    environment = Environment(
        loader=PackageLoader("lossexport.reports", "templates"),
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
        metric_names={name: METRIC_TITLES[name] for name in quality},
        statistics=STATISTICS,
        charts={name: Markup(text) for name, text in drawings.items()},
        spreads={name: Markup(text) for name, text in _spreads(quality).items()},
        version=lossexport.__version__,
        **values,
    )


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


def _number(value: float | None, digits: int = 3) -> str:
    """Format a number for people; a dash if it is undefined."""
    return "\N{EN DASH}" if value is None or value == -1 else f"{value:.{digits}f}"


def _signed(value: float | None, digits: int = 3) -> str:
    """Format a difference, with its sign unless it rounds to 0."""
    if value is None:
        return "\N{EN DASH}"
    text = f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return text if float(f"{value:.{digits}f}") else text[1:]


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
