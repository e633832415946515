"""Gates: numbers of a summary that must not fall below, or rise above, a bound."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lossexport import arguments
from lossexport.errors import LossexportError
from lossexport.names import COCO_NUMBERS, COCO_OF_SIZE

TOLERANCE = 1e-9
"""How far beyond its bound a number still passes: a perfect set has an AP of 1 - 2e-16."""


class Gates:
    """The bounds of numbers by name; `names` are the numbers that exist."""

    def __init__(
        self,
        names: Sequence[str],
        below: Mapping[str, float] | None,
        above: Mapping[str, float] | None,
    ) -> None:
        """Raises LossexportError on a number that does not exist or a bound that is NaN."""
        self._bounds = [
            (name, kind, sign, arguments.number(f"gate {name}", bound))
            for option, kind, sign, bounds in (
                ("fail_below", "at least", 1, below),
                ("fail_above", "at most", -1, above),
            )
            for name, bound in arguments.mapping(option, bounds).items()
        ]
        for name, _, _, bound in self._bounds:
            if name not in names:
                raise LossexportError(
                    f"gate {name!r}: no such number; there are {', '.join(names)}"
                    f"{arguments.did_you_mean(name, names)}"
                )
            if math.isnan(bound):
                raise LossexportError(f"gate {name}: the bound is {bound}: a number is expected")

    def apply(self, summary: dict[str, Any]) -> None:
        """Put `gates` and `gate_failures` into a summary.

        `gates` has a row for each gate: name, value, kind ("at least" or "at most"), bound, passed.
        An undefined number does not pass. `gate_failures` has a sentence for each failure.
        """
        summary["gates"], summary["gate_failures"] = [], []
        for name, kind, sign, bound in self._bounds:
            value = value_of(summary, name)
            passed = value is not None and sign * (value - bound) >= -TOLERANCE
            summary["gates"].append(
                {"name": name, "value": value, "kind": kind, "bound": bound, "passed": passed}
            )
            if not passed:
                text = f"undefined: {_why(name)};" if value is None else f"{value:.6g},"
                summary["gate_failures"].append(f"{name} is {text} {kind} {bound:g} is required")


def _why(name: str) -> str:
    """Why a number is undefined."""
    if name in COCO_OF_SIZE:
        return "no reference counts in its range of areas, or areas in pixels are not known"
    return "no reference counts" if name in COCO_NUMBERS else "there is nothing to measure"


def value_of(summary: Mapping[str, Any], name: str) -> float | None:
    """Look up a number by its name as a gate; None if it is undefined.

    `matched` is one of the counts, `AP50` and `kept` are keys of the summary, and `iou_mean` is the
    `mean` of `iou`.
    """
    value: float | None
    if name in summary["counts"]:
        value = summary["counts"][name]
    elif name in summary:
        value = summary[name]
    else:
        part, _, statistic = name.partition("_")
        value = summary[part][statistic]
    undefined = value is None or math.isnan(value) or (name in COCO_NUMBERS and value == -1)
    return None if undefined else value
