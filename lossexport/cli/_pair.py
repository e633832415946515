"""`lossexport score A B`: two results on the same references."""

from collections.abc import Mapping
from typing import Any

import click

from lossexport.cli._intervals import HIDDEN, title
from lossexport.cli._terminal import number, show
from lossexport.errors import printable

_PLACES = ("a", "b", "difference", "lower", "upper", "better")


def pair(
    a: str, b: str, ref: str, bootstrap: int | None, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Compare two results and print their differences."""
    from lossexport.bootstrap.pair import DRAWS, score_pair

    draws = DRAWS if bootstrap is None else bootstrap
    summary = score_pair(a, b, ref, bootstrap=draws, **options)
    rows = [
        (name, *(number(found[place]) for place in _PLACES))
        for name, found in summary["differences"].items()
        if found["difference"] is not None and not name.endswith(HIDDEN)
    ]
    columns = ("number", "A", "B", "B - A", "lower", "upper", "B better")
    show(title(summary["bootstrap"]), columns, rows, right=6)
    for note in summary["notes"]:
        click.echo(f"note: {printable(note)}")
    return summary


def pair_numbers(summary: Mapping[str, Any]) -> dict[str, str]:
    """The differences that people ask for first, with their intervals."""
    return {
        f"{name}, B - A": f"{number(found['difference'])} "
        f"({number(found['lower'])} to {number(found['upper'])})"
        for name in ("AP", "AP50", "AP75", "iou_mean")
        for found in [summary["differences"][name]]
    }
