"""Charts as inline SVG without scripts or other files; the page's style sheet has the colours.

Texts that are given to a chart are escaped here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from lossexport.boxes.boxset import Float64

WIDTH, HEIGHT = 440, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 14, 14, 42
_POINTS = {
    "s1": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z",
    "s2": "M-3.5 -3.5H3.5V3.5H-3.5Z",
    "s3": "M0 -4.5L4.2 3.5H-4.2Z",
    "s4": "M0 -5L5 0L0 5L-5 0Z",
    "s5": "M0 4.5L-4.2 -3.5H4.2Z",
}
"""The shape of the points on a curve of each style, so that colour alone never tells them apart."""
_PATCHES = ("cell", "band", "bar", "one", "two", "fine one")
_MARKED = 6
"""Points on a curve."""


@dataclass(frozen=True, slots=True)
class Line:
    """A curve; `style` is a class of the style sheet: s1 to s5, or mid for what it is held against.

    Each has its own colour, dashes and, but for mid, points.
    """

    x: Float64
    y: Float64
    style: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Axes:
    """The ranges of a chart, not empty (see `span`), and the labels of its axes.

    `x_ticks` replace the round numbers.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    x_label: str
    y_label: str
    height: int = HEIGHT
    x_ticks: Sequence[float] = ()

    def at(self, x: Float64 | float, y: Float64 | float) -> tuple[Float64, Float64]:
        """Turn data coordinates into those of the drawing."""
        wide, high = WIDTH - _LEFT - _RIGHT, self.height - _TOP - _BOTTOM
        across = (np.asarray(x, np.float64) - self.x[0]) / (self.x[1] - self.x[0])
        up = (np.asarray(y, np.float64) - self.y[0]) / (self.y[1] - self.y[0])
        return _LEFT + across * wide, self.height - _BOTTOM - up * high

    def draw(self, title: str, marks: Sequence[str]) -> str:
        """Frame `marks` with grid, ticks and labels; `title` is for screen readers."""
        parts = [
            f'<svg viewBox="0 0 {WIDTH} {self.height}" role="img" aria-label="{escape(title)}">',
            *self._grid(),
            *marks,
            _text((_LEFT + WIDTH - _RIGHT) / 2, self.height - 6, self.x_label, "axis middle"),
            f'<text class="axis middle" transform="translate(8 {(self.height - _BOTTOM) / 2:.1f}) '
            f'rotate(-90)">{escape(self.y_label)}</text>',
            "</svg>",
        ]
        return "".join(parts)

    def _grid(self) -> list[str]:
        parts = []
        bottom, top = self.height - _BOTTOM, _TOP
        marked = [(value, f"{value:g}") for value in self.x_ticks]
        for value, label in marked or _ticks(*self.x):
            px = float(self.at(value, self.y[0])[0])
            parts.append(f'<path class="grid" d="M{px:.1f} {top}V{bottom}"/>')
            parts.append(_text(px, bottom + 16, label, "tick middle"))
        for value, label in _ticks(*self.y):
            py = float(self.at(self.x[0], value)[1])
            parts.append(f'<path class="grid" d="M{_LEFT} {py:.1f}H{WIDTH - _RIGHT}"/>')
            parts.append(_text(_LEFT - 7, py + 4, label, "tick end"))
        return parts


def span(low: float, high: float) -> tuple[float, float]:
    """A range of an axis that holds `low` to `high`, widened if it is too narrow to divide."""
    if high - low > 1e-9 * max(abs(low), abs(high), 1.0):
        return low, high
    return low - 0.5, high + 0.5


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Round numbers across a range, four to eight of them, with their labels."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    values = [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]
    digits = max(0, -math.floor(math.log10(step)) + (step / power == 2.5))
    return [(value, _count(value) if step >= 1 else f"{value:.{digits}f}") for value in values]


def _count(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:g}"


def _path(x: Float64, y: Float64) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))


def lines(title: str, axes: Axes, curves: Sequence[Line], extra: Sequence[str] = ()) -> str:
    """Draw curves; a legend with their names is made of their `key`s."""
    marks = []
    for turn, curve in enumerate(curves):
        x, y = axes.at(curve.x, curve.y)
        hover = f"<title>{escape(curve.label)}</title>" if curve.label else ""
        marks.append(f'<path class="line {curve.style}" d="{_path(x, y)}">{hover}</path>')
        if curve.style in _POINTS and len(x) > _MARKED:
            # Evenly along the curve; each curve elsewhere, so that points do not cover others.
            way = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
            places = (np.arange(_MARKED) + (turn + 0.5) / len(curves)) / _MARKED * way[-1]
            rows = np.unique(np.searchsorted(way, places).clip(0, len(x) - 1))
            marks += [_point(curve.style, x[row], y[row]) for row in rows]
    return axes.draw(title, [*marks, *extra])


def _point(style: str, x: float, y: float) -> str:
    return (
        f'<path class="point {style}" transform="translate({x:.1f} {y:.1f})" d="{_POINTS[style]}"/>'
    )


def key(style: str) -> str:
    """The sample of a style in a legend: a line with its points, or a patch of a surface.

    Styles are those of `Line`, or "cell", "band" and "bar" of the other charts, or "one", "two"
    and "fine one" of boxes on pictures.
    """
    if style in _PATCHES:
        place = 'x="7" y="2" width="16" height="10"'
        drawn = f'<rect class="under" {place}/><rect class="{style}" {place}/>'
    else:
        drawn = f'<path class="line {style}" d="M1 7H29"/>'
        if style in _POINTS:
            drawn += _point(style, 15, 7)
    return f'<svg class="key" viewBox="0 0 30 14" aria-hidden="true">{drawn}</svg>'


def marker(axes: Axes, x: float, y: float, label: str) -> str:
    """Draw a dot with a label beside it."""
    px, py = (float(v) for v in axes.at(x, y))
    right = px < WIDTH * 0.62
    return f'<circle class="dot" cx="{px:.1f}" cy="{py:.1f}" r="4.5"/>' + _text(
        px + (9 if right else -9), py - 8, label, "note" + ("" if right else " end")
    )


def dots(axes: Axes, x: Float64, y: Float64) -> list[str]:
    """Draw a dot at every point, its numbers on hover."""
    return [
        f'<circle class="dot" cx="{float(px):.1f}" cy="{float(py):.1f}" r="4">'
        f"<title>{a:.3f}: {b:.3f}</title></circle>"
        for a, b, px, py in zip(x, y, *axes.at(x, y), strict=True)
    ]


def histogram(
    title: str,
    values: Float64,
    label: str,
    span: tuple[float, float] | None = None,
    height: int = 190,
) -> str:
    """Draw a distribution with its median and its 5 % to 95 % range.

    `span` is the range of the axis, which must hold all of the values; None is that of a metric.
    """
    span = span or (min(math.floor(float(values.min()) * 10) / 10, 0.9), 1.0)
    counts, edges = np.histogram(values, bins=36, range=span)
    axes = Axes(span, (0.0, max(float(counts.max()) * 1.08, 4.5)), label, "boxes", height)
    p5, median, p95 = np.percentile(values, [5, 50, 95])
    left, top = axes.at(p5, axes.y[1])
    right, bottom = axes.at(p95, 0.0)
    marks = [
        f'<rect class="band" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
        f'height="{bottom - top:.1f}"/>'
    ]
    for count, start, stop in zip(counts, edges[:-1], edges[1:], strict=True):
        if count:
            x0, y0 = axes.at(start, count)
            x1, y1 = axes.at(stop, 0.0)
            marks.append(
                f'<rect class="bar" x="{x0 + 0.5:.1f}" y="{y0:.1f}" width="{x1 - x0 - 1:.1f}" '
                f'height="{y1 - y0:.1f}" rx="1"><title>{start:.3f} to {stop:.3f}: {count}</title>'
                "</rect>"
            )
    middle = float(axes.at(median, 0.0)[0])
    marks.append(f'<path class="median" d="M{middle:.1f} {float(top):.1f}V{float(bottom):.1f}"/>')
    return axes.draw(title, marks)


def density(title: str, axes: Axes, x: Float64, y: Float64, middle: Line | None) -> str:
    """Draw the number of points in each cell, darker for more (by the root of the count)."""
    bins = (36, 22)
    counts, x_edges, y_edges = np.histogram2d(x, y, bins=bins, range=(axes.x, axes.y))
    shade = np.sqrt(counts / max(counts.max(), 1.0))
    marks = []
    for i, j in np.argwhere(counts > 0):
        x0, y1 = axes.at(x_edges[i], y_edges[j])
        x1, y0 = axes.at(x_edges[i + 1], y_edges[j + 1])
        marks.append(
            f'<rect class="cell" x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0 + 0.2:.1f}" '
            f'height="{y1 - y0 + 0.2:.1f}" opacity="{0.12 + 0.88 * shade[i, j]:.2f}">'
            f"<title>{int(counts[i, j])}</title></rect>"
        )
    if middle is not None:
        px, py = axes.at(middle.x, middle.y)
        marks.append(f'<path class="line halo" d="{_path(px, py)}"/>')
        marks.append(f'<path class="line {middle.style}" d="{_path(px, py)}"/>')
    return axes.draw(title, marks)


def bars(title: str, axes: Axes, x: Float64, y: Float64, width: float) -> str:
    """Draw upright bars centred at `x`, each with its value above it."""
    marks = []
    for centre, value in zip(x, y, strict=True):
        x0, y0 = axes.at(centre - width / 2, value)
        x1, y1 = axes.at(centre + width / 2, 0.0)
        marks.append(
            f'<rect class="bar" x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0:.1f}" '
            f'height="{y1 - y0:.1f}" rx="2"><title>{centre:.2f}: {value:.4f}</title></rect>'
        )
        marks.append(_text(float(x0 + x1) / 2, float(y0) - 4, f"{value:.2f}", "tick middle"))
    return axes.draw(title, marks)
