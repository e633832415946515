"""Line plots and the picture of the README, as SVG text. Equal input gives equal text."""

import math
from collections.abc import Mapping, Sequence
from html import escape

FONT = "font-family='Helvetica Neue, Helvetica, Arial, sans-serif'"
INK, GREY, LINE, PAPER = "#1f2430", "#6a7282", "#d8dde6", "#ffffff"
COLOURS = ("#0b6bb8", "#d1500f", "#0c8a5f", "#a0468f")
DASHES = ("", "7 3", "2 3", "9 3 2 3")
WIDTH, HEIGHT, LEFT, TOP, BOTTOM, GAP = 760, 312, 52, 80, 44, 24


def text(x: float, y: float, words: str, size: int = 12, colour: str = GREY, **style: str) -> str:
    extra = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in style.items())
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}"'
    return f"<text {place}{extra}>{escape(words)}</text>"


def page(width: int, height: int, title: str, marks: Sequence[str]) -> str:
    """A card of its own colour: it reads on light and on dark pages."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {FONT} role="img">'
    )
    card = f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="10"'
    lines = (head, f"<title>{escape(title)}</title>", f'{card} fill="{PAPER}" stroke="{LINE}"/>')
    return "\n".join((*lines, *marks, "</svg>", ""))


def plot(
    title: str,
    x_label: str,
    x: Sequence[float],
    panels: Mapping[str, Mapping[str, Sequence[float]]],
) -> str:
    """Panels side by side over the same x; each maps names of curves to their y."""
    marks = [text(16, 26, title, 15, INK, font_weight="600")]
    names = list(next(iter(panels.values())))
    place = 16.0
    for index, name in enumerate(names if len(names) > 1 else []):
        marks.append(_stroke(f"M{place:.0f} 43h22", index))
        marks.append(text(place + 28, 47, name, 12, INK))
        place += 46 + 6.4 * len(name)
    wide = (WIDTH - LEFT - 16 - (len(panels) - 1) * (LEFT + GAP)) / len(panels)
    for index, (label, curves) in enumerate(panels.items()):
        marks += _panel(LEFT + index * (wide + LEFT + GAP), wide, label, x_label, x, curves)
    return page(WIDTH, HEIGHT, f"{title}: {', '.join(panels)}", marks)


def _panel(
    left: float,
    wide: float,
    label: str,
    x_label: str,
    x: Sequence[float],
    curves: Mapping[str, Sequence[float]],
) -> list[str]:
    values = [value for curve in curves.values() for value in curve]
    low, high = min(0.0, *values), max(0.0, *values)
    pad = 0.06 * (high - low or 1.0)
    low, high = (low - pad if low < 0 else low), high + pad
    bottom = HEIGHT - BOTTOM

    def across(value: float) -> float:
        return left + wide * (value - x[0]) / (x[-1] - x[0])

    def up(value: float) -> float:
        return bottom - (bottom - TOP) * (value - low) / (high - low)

    marks = []
    for tick in ticks(low, high, 5):
        colour = GREY if tick == 0 else LINE
        marks.append(f'<path d="M{left:.1f} {up(tick):.1f}h{wide:.1f}" stroke="{colour}"/>')
        marks.append(text(left - 6, up(tick) + 4, f"{tick:g}", 11, text_anchor="end"))
    for tick in ticks(x[0], x[-1], 7):
        marks.append(f'<path d="M{across(tick):.1f} {bottom:.1f}v4" stroke="{GREY}"/>')
        marks.append(text(across(tick), bottom + 17, f"{tick:g}", 11, text_anchor="middle"))
    middle = left + wide / 2
    marks.append(text(middle, HEIGHT - 10, x_label, 12, text_anchor="middle"))
    marks.append(text(left, TOP - 6, label, 12, INK, font_weight="600"))
    for index, curve in enumerate(curves.values()):
        points = " ".join(f"{across(a):.1f},{up(b):.1f}" for a, b in zip(x, curve, strict=True))
        marks.append(_stroke(f"M{points}", index))
    return marks


def _stroke(path: str, index: int) -> str:
    dash = f' stroke-dasharray="{DASHES[index]}"' if DASHES[index] else ""
    style = f'fill="none" stroke="{COLOURS[index]}" stroke-width="2" stroke-linejoin="round"'
    return f'<path d="{path}" {style}{dash}/>'


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers from `low` to `high`, at most `most` of them."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(k * power for k in (1, 2, 5, 10) if k * power >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 10) for k in range(first, last + 1)]
