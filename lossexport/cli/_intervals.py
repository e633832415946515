"""Intervals on the terminal."""

from collections.abc import Mapping
from typing import Any

from lossexport.cli._terminal import number, show
from lossexport.names import STATISTICS

_ENDS = ("lower", "upper", "standard_error")
HIDDEN = tuple(f"_{name}" for name in STATISTICS if name != "mean")
"""Ends of the names of numbers that only the files have."""


def title(drawn: Mapping[str, Any]) -> str:
    """What the intervals of a `bootstrap` are."""
    return f"{drawn['level']:.0%} intervals, {drawn['draws']} draws of {drawn['images']} images"


def show_intervals(summary: Mapping[str, Any]) -> None:
    """Print the intervals, if there are any, but for the percentiles of the quality."""
    if "bootstrap" not in summary:
        return
    drawn = summary["bootstrap"]
    rows = [
        (name, number(found["value"]), *(number(found[end]) for end in _ENDS))
        for name, found in drawn["intervals"].items()
        if found["lower"] is not None and not name.endswith(HIDDEN)
    ]
    columns = ("number", "value", "lower", "upper", "standard error")
    show(title(drawn), columns, rows, right=4)
