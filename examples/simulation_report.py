"""What a run of the regression simulation leaves behind: a table, JSON, CSV and two figures."""

import json
import os
import platform
import resource
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from PIL import Image
from simulation_directions import Array

from lossexport import __version__
from lossexport.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from regression_simulation import Outcome

NAMES = {"iou": "IoU", "giou": "GIoU", "diou": "DIoU", "ciou": "CIoU"}
COLOURS = {"iou": "#6a7282", "giou": "#0b6bb8", "diou": "#d1500f", "ciou": "#0c8a5f"}
INK, GREY, LINE = "#1f2430", "#6a7282", "#d8dde6"

REFERENCE_STEPS, REFERENCE_POINTS, REFERENCE_MARKS = 200, 5000, (1, 50, 160, 200)
REFERENCE = {
    "iou": (6.611e6, 5.976e6, 5.930e6, 5.858e6, 1.1970e9),
    "giou": (6.401e6, 3.328e6, 1.887e6, 1.527e6, 5.4208e8),
    "diou": (6.418e6, 6.515e5, 3.977e5, 4.127e3, 1.7961e8),
    "ciou": (6.358e6, 4.595e5, 3.948e5, 4.146e3, 1.5610e8),
}
"""Total error at the marks, and summed over all steps, along the directions of the paper's code
with uncrossed derivatives: a float64 run of the same 1,715,000 cases outside this project."""


def report(out: Path, direction: str, points: Array, outcomes: Mapping[str, "Outcome"]) -> None:
    """Print the table and write every file to the folder `out`."""
    steps = len(next(iter(outcomes.values())).curve)
    # Another number of points is another sample of the same disc.
    share = len(points) / REFERENCE_POINTS if steps == REFERENCE_STEPS else None
    marks = [max(1, round(steps * mark / REFERENCE_STEPS)) for mark in REFERENCE_MARKS]
    results = {
        "experiment": {
            "direction": direction,
            "points": len(points),
            "cases": len(points) * 343,
            "steps": steps,
            "dtype": "float32",
        },
        "run": _run(outcomes),
        "losses": {loss: _numbers(loss, outcomes[loss], marks, share) for loss in outcomes},
    }
    write_bytes(out / "results.json", (json.dumps(results, indent=1) + "\n").encode())
    write_bytes(out / "points.csv", _csv(points, outcomes))
    with mpl.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "",  # equal input gives equal text
            "font.sans-serif": ["DejaVu Sans", "Arial"],
            "font.size": 9,
        }
    ):
        write_bytes(out / "curves.svg", curves(direction, outcomes, share))
        write_bytes(out / "map.png", error_map(direction, points, outcomes))
    _show(results)


def _numbers(
    loss: str, outcome: "Outcome", marks: list[int], share: float | None
) -> dict[str, Any]:
    totals = {str(mark): _short(outcome.curve[mark - 1]) for mark in marks}
    found: dict[str, Any] = {"total_error": totals | {"all": _short(outcome.curve.sum())}}
    if share is not None:
        scaled = [_short(value * share) for value in REFERENCE[loss]]
        found["reference"] = dict(zip(found["total_error"], scaled, strict=True))
    return found | {
        "arrived": _short(outcome.arrived),
        "mean_final_error": _short(outcome.final.mean() / 343),
        "inverted": outcome.inverted,
        "seconds": round(outcome.seconds, 1),
        "curve": [_short(value) for value in outcome.curve],
    }


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def _run(outcomes: Mapping[str, "Outcome"]) -> dict[str, Any]:
    seconds = sum(outcome.seconds for outcome in outcomes.values())
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average_15_min": round(os.getloadavg()[2], 1),
        "seconds": round(seconds, 1),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "versions": {
            "python": platform.python_version(),
            "lossexport": __version__,
            "onnxruntime": version("onnxruntime"),
            "numpy": np.__version__,
        },
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def _csv(points: Array, outcomes: Mapping[str, "Outcome"]) -> bytes:
    rows = [["x", "y", *outcomes]]
    finals = np.stack([outcome.final for outcome in outcomes.values()], axis=1)
    for point, final in zip(points, finals, strict=True):
        rows.append([*(f"{value:.4f}" for value in point), *(f"{value:.4g}" for value in final)])
    return "".join(",".join(row) + "\n" for row in rows).encode()


def _show(results: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    experiment, run = results["experiment"], results["run"]
    table = Table(
        title=f"Total error, {experiment['cases']:,} cases, direction: {experiment['direction']}",
        title_justify="left",
        caption=f"{run['seconds']:.0f} s on {run['cores']} cores, {run['peak_memory_mb']} MB",
    )
    losses = results["losses"]
    marks = list(next(iter(losses.values()))["total_error"])
    for column in ("", *(f"step {mark}" for mark in marks[:-1]), "all steps", "arrived"):
        table.add_column(column, justify="right" if column else "left")
    for loss, numbers in losses.items():
        cells = [f"{value:.4g}" for value in numbers["total_error"].values()]
        table.add_row(NAMES[loss], *cells, f"{100 * numbers['arrived']:.1f}%")
        if "reference" in numbers:
            cells = [f"{value:.4g}" for value in numbers["reference"].values()]
            table.add_row("  paper's code", *cells, "", style="dim")
    console = Console()
    if not console.is_terminal:
        console.width = 120
    console.print(table)


def curves(direction: str, outcomes: Mapping[str, "Outcome"], share: float | None) -> bytes:
    """Total error after each step as SVG, on a linear and on a logarithmic axis.

    Rings are REFERENCE, which is of the paper's code whatever `direction` is.
    """
    figure = Figure(figsize=(9.2, 4.0), layout="constrained")
    linear, log = figure.subplots(1, 2)
    steps = len(next(iter(outcomes.values())).curve)
    unit = 1e6 if share == 1 else 1.0
    for axes in (linear, log):
        _style(axes)
        axes.set_xlabel("step")
        axes.set_xlim(0, steps * 1.14)
        for loss, outcome in outcomes.items():
            x = np.arange(1, steps + 1)
            axes.plot(x, outcome.curve / unit, color=COLOURS[loss], linewidth=1.8)
            if share is not None:
                y = np.array(REFERENCE[loss][:-1]) * share / unit
                ring = {"markerfacecolor": "white", "markersize": 5.5, "zorder": 3}
                axes.plot(REFERENCE_MARKS, y, "o", color=COLOURS[loss], **ring)
    linear.set_ylim(bottom=0)
    log.set_yscale("log")
    for axes in (linear, log):
        _label(axes, {loss: outcome.curve[-1] / unit for loss, outcome in outcomes.items()}, steps)
    linear.set_ylabel("total error" + (", millions" if unit > 1 else ""), color=INK)
    linear.set_title("linear, as in the paper", loc="left", fontsize=9, color=GREY)
    log.set_title("logarithmic", loc="left", fontsize=9, color=GREY)
    note = "" if share is None else "; rings: float64 run of the paper's code"
    figure.suptitle(
        f"{_title(direction)}{note}", x=0.01, ha="left", fontsize=11, color=INK, weight="bold"
    )
    return _saved(figure, "svg")


def _title(direction: str) -> str:
    return {
        "true": "Steps along the gradients of the exported losses",
        "coded": "Steps along the directions of the paper's code",
    }[direction]


def _style(axes: "Axes") -> None:
    axes.grid(color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=GREY)


def _label(axes: "Axes", ends: Mapping[str, float], steps: int) -> None:
    """Name the curves at their ends, apart from each other."""
    height = axes.transAxes.inverted()
    places = {
        loss: float(height.transform(axes.transData.transform((steps, value)))[1])
        for loss, value in ends.items()
    }
    least = -0.02
    for loss, place in sorted(places.items(), key=lambda item: item[1]):
        least = max(place, least + 0.055)
        axes.text(
            1.0,
            least,
            NAMES[loss],
            transform=axes.transAxes,
            color=COLOURS[loss],
            weight="bold",
            ha="right",
            va="center",
        )


def error_map(direction: str, points: Array, outcomes: Mapping[str, "Outcome"]) -> bytes:
    """Final error summed over the 343 cases of every anchor centre, as PNG."""
    figure = Figure(figsize=(2.6 * len(outcomes) + 0.9, 3.3), layout="constrained")
    panels = figure.subplots(1, len(outcomes), squeeze=False, sharex=True, sharey=True)[0]
    values = np.concatenate([outcome.final for outcome in outcomes.values()])
    norm = LogNorm(max(float(values.min()), 1e-3), float(values.max()))
    for axes, (loss, outcome) in zip(panels, outcomes.items(), strict=True):
        mesh = axes.tripcolor(
            points[:, 0], points[:, 1], outcome.final, norm=norm, cmap="magma", shading="gouraud"
        )
        axes.set_aspect("equal")
        axes.spines[:].set_visible(False)
        axes.tick_params(colors=GREY, length=0)
        axes.plot(10, 10, "+", color="white", markersize=7)
        total = float(f"{outcome.final.sum():.4g}")
        axes.set_title(f"{NAMES[loss]}   {total:,.0f}", fontsize=10, color=INK)
    bar = figure.colorbar(mesh, ax=list(panels), pad=0.01, aspect=28)
    bar.set_label("final error of 343 cases", color=INK)
    bar.outline.set_visible(False)
    figure.suptitle(_title(direction), x=0.01, ha="left", fontsize=11, color=INK, weight="bold")
    return _saved(figure, "png")


def _saved(figure: Figure, kind: str) -> bytes:
    stream = BytesIO()
    figure.savefig(stream, format=kind, dpi=100, metadata={"Date": None} if kind == "svg" else {})
    if kind == "svg":
        return stream.getvalue()
    # The colours of the map and those of grey text: shaded areas become three times smaller.
    map_colours = mpl.colormaps["magma"](np.linspace(0, 1, 236))[:, :3]
    greys = np.repeat(np.linspace(0.45, 1, 20)[:, None], 3, axis=1)
    palette, small = Image.new("P", (1, 1)), BytesIO()
    palette.putpalette((np.concatenate((map_colours, greys)) * 255).astype(np.uint8).tobytes())
    image = Image.open(stream).convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE)
    image.save(small, kind, optimize=True)
    return small.getvalue()
