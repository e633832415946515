"""Gates: numbers of a summary that must not fall below a value."""

import math
from collections.abc import Mapping
from typing import Any

from lossexport.errors import LossexportError
from lossexport.scoring.coco_ap import NAMES
from lossexport.scoring.metrics import METRICS

COUNTS = (
    *("images", "categories", "predictions", "references", "matched", "unmatched"),
    *("unmatched_predictions", "unmatched_references"),
    *("ignored_predictions", "ignored_references", "inverted"),
)
RATES = ("precision", "recall", "f1")
STATISTICS = ("mean", "median", "p5", "p95")
PREDICTED = ("count", *STATISTICS, "pairs", "spearman")
GATE_NAMES = (
    *NAMES,
    *(f"{metric}_{statistic}" for metric in METRICS for statistic in STATISTICS),
    *(f"quality_{name}" for name in PREDICTED),
    *RATES,
    *COUNTS,
)

TOLERANCE = 1e-9
"""How far below its bound a number passes: the COCO arithmetic gives a perfect set 1 - 2e-16."""


def check_names(gates: Mapping[str, float]) -> None:
    """Raise LossexportError on a metric that does not exist or a bound that is NaN."""
    for name, bound in gates.items():
        if name not in GATE_NAMES:
            raise LossexportError(
                f"gate {name!r}: no such metric; there are {', '.join(GATE_NAMES)}"
            )
        if math.isnan(bound):
            raise LossexportError(f"gate {name}: the bound is {bound}: a number is expected")


def value_of(summary: Mapping[str, Any], name: str) -> float | None:
    """Look up the number that a gate calls `name`; None where it is undefined."""
    value: float | None
    if name in COUNTS:
        value = summary["counts"][name]
    elif name in NAMES or name in RATES:
        value = summary[name]
        if name in NAMES and value == -1:
            return None
    else:
        metric, _, statistic = name.partition("_")
        value = summary[metric][statistic]
    return None if value is None or math.isnan(value) else value


def check_gates(summary: Mapping[str, Any], gates: Mapping[str, float]) -> list[str]:
    """One line for each gate that fails: its number is below the bound, or undefined.

    Raises LossexportError on a metric that does not exist.
    """
    check_names(gates)
    failures = []
    for name, bound in gates.items():
        value = value_of(summary, name)
        if value is None:
            failures.append(f"{name} is undefined, at least {bound:g} is required")
        elif value < bound - TOLERANCE:
            failures.append(f"{name} is {value:.6g}, at least {bound:g} is required")
    return failures
