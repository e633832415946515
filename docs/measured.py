"""The tables of monitor.md, from the results of `benchmarks/monitor.py`."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lossexport.op_page import wrapped

RESULTS = Path(__file__).parents[1] / "benchmarks/results/monitor.json"
SHIFTS = ("random", "busy", "hard")
NUMBERS = ("precision", "AP50")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown whose columns but the first are numbers."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(found: Mapping[str, float]) -> str:
    return f"{found['error']:.3f}, {found['as before']:.3f}, {found['covered']:.0%}"


def _windows(sets: Mapping[str, Any], number: str) -> str:
    rows = [[name, *(_cell(rows[s][number]) for s in SHIFTS)] for name, rows in sets.items()]
    return _table([number, *SHIFTS], rows)


def _corrupted(rows: Mapping[str, Any]) -> list[str]:
    """Mean error, that of "as before", and how often the interval had the truth."""
    changed = [
        row
        for name, row in rows.items()
        if name != "clean" and row["truth"] is not None and row["value"] is not None
    ]
    off, before = (
        np.mean([abs(row[key] - row["truth"]) for row in changed]) for key in ("value", "before")
    )
    covered = np.mean([row["lower"] <= row["truth"] <= row["upper"] for row in changed])
    return [f"{off:.3f}", f"{before:.3f}", f"{covered:.0%}"]


def tables() -> str:
    """What was measured: text and tables."""
    record = json.loads(RESULTS.read_text("utf-8"))
    results, load = record["results"], record["environment"]["load before"]
    trials, times = results["trials"], results["times"].values()
    small = {
        images: {number: {s: rows[s][number] for s in rows} for number in NUMBERS}
        for images, rows in results["small"].items()
    }
    elsewhere = [
        [f"the two of {source}", f"{row['ridge']:g}"]
        + [f"{row[key]:.4f}" for key in ("error", "shipped", "best")]
        for source, row in results["chosen elsewhere"].items()
    ]
    held = [
        rows[shift][number]
        for rows in results["held out"].values()
        for shift in SHIFTS
        for number in NUMBERS
    ]
    closer = sum(row["error"] < row["as before"] for row in held)
    kinds = [
        [name, *(f"{rows[f'{shift}, any']:.0%}" for shift in SHIFTS)]
        for name, rows in results["alarms"].items()
    ]
    parts = [
        f"Half of the images of a labelled set calibrate, drawn {trials} times. The windows are "
        "images of the other half: all of them, those of the third with the most boxes (busy), and "
        "those of the third with the lowest scores (hard). Each cell is the mean error of the "
        "estimate, then of the assumption that the number is that of the sample, then how often "
        "the interval had the truth. Boxes on ignored references were left out of the windows too.",
        *(_windows(results["shifts"], number) for number in NUMBERS),
        "**Held out.** The ridge of the curve was chosen on these four sets, so two checks hold "
        "data out. The first chooses it anew, on the two detectors of the other source of images, "
        "and compares the mean error of precision and AP50 with that of the ridge shipped, and "
        "with that of the best choice for the set itself:",
        _table(["measured on", "ridge", "error", "as shipped", "best"], elsewhere),
        "The second is a set that took no part in any choice: 100 images of VOC 2012 with the "
        "boxes of a detector that its source does not name. Its errors are larger than those of "
        f"the sets above; the estimate was closer than the assumption in {closer} of {len(held)} "
        "rows:",
        *(_windows(results["held out"], number) for number in NUMBERS),
        "**Small samples** give larger errors. YOLO v3, AP50, by the images of the sample:",
        _table(
            ["images", "random", "hard"],
            [
                [n, *(_cell(rows["AP50"][s]) for s in ("random", "hard"))]
                for n, rows in small.items()
            ],
        ),
        "**Corruptions** that the sample has not seen: eight photos in three views calibrate, and "
        "copies of them with noise, blur, low contrast, darkness, coarse pixels and few levels are "
        "watched. Precision:",
        _table(
            ["detector", "mean error", "as before", "covered"],
            [[name, *_corrupted(rows)] for name, rows in results["corrupted"].items()],
        ),
        f"**Drift**: the part of {2 * trials} windows of 100 images in which any test finds it, at "
        "alpha 0.01. Of COCO there are only about 50 at random and 16 of a third.",
        _table(["set", "random: false alarms", "busy", "hard"], kinds),
        f"**Time**: a frame of 100 boxes of 80 categories costs {min(times):.2f} to "
        f"{max(times):.2f} ms of one CPU with its part of the statement, least in large windows, "
        f"on a machine with a load of {load} on {record['environment']['cores']} cores "
        "([all results](../benchmarks/results/monitor.md)).",
    ]
    return "\n\n".join(part if part.startswith("|") else wrapped(part) for part in parts)
