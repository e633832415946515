"""Gates: bounds below or above which a number of a summary must not be."""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lossexport import arguments
from lossexport.errors import LossexportError
from lossexport.files import read_bytes
from lossexport.names import COCO_NUMBERS, COCO_OF_SIZE

MAX_BASELINE_BYTES = 64 * 2**20

TOLERANCE = 1e-9
"""How far beyond its bound a number still passes: a perfect set has an AP of 1 - 2e-16."""

ENDS = ("lower", "upper")
"""Ends of an interval, which follow the name of a number and a point: `AP.lower`."""
_SUFFIXES = tuple(f".{end}" for end in ENDS)


class Gates:
    """The bounds of numbers by name; `names` are the numbers that exist."""

    def __init__(
        self,
        names: Sequence[str],
        below: Mapping[str, float] | None,
        above: Mapping[str, float] | None,
        baseline: str | os.PathLike[str] | None = None,
        max_drop: Mapping[str, float] | None = None,
        bounded: Sequence[str] | None = None,
    ) -> None:
        """`max_drop` bounds how far numbers may fall below those of the summary `baseline`.

        `bounded` are the numbers with an interval, whose ends are numbers too (`AP.lower`); None
        if no intervals were asked for.

        Raises LossexportError on a number that does not exist, on a bound that is NaN, and on a
        baseline that cannot be read or lacks a number.
        """
        self._bounds = [
            (name, kind, sign, arguments.number(f"gate {name}", bound))
            for option, kind, sign, bounds in (
                ("fail_below", "at least", 1, below),
                ("fail_above", "at most", -1, above),
            )
            for name, bound in arguments.mapping(option, bounds).items()
        ]
        for name, _, _, bound in self._bounds:
            _check_name("gate", name, names, bounded)
            if math.isnan(bound):
                raise LossexportError(f"gate {name}: the bound is {bound}: a number is expected")
        self._bounds += _drops(
            names, arguments.optional_path("baseline", baseline), max_drop, bounded
        )

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


def _check_name(
    option: str, name: str, names: Sequence[str], bounded: Sequence[str] | None
) -> None:
    base, _, end = name.rpartition(".")
    if end in ENDS and base in names:
        if bounded is None:
            raise LossexportError(
                f"{option} {name!r}: is the end of an interval: bootstrap is missing"
            )
        if base not in bounded:
            raise LossexportError(f"{option} {name!r}: {base} has no interval")
    elif name not in names:
        raise LossexportError(
            f"{option} {name!r}: no such number; there are {', '.join(names)}"
            f"{arguments.did_you_mean(name, names)}"
        )


def _drops(
    names: Sequence[str],
    baseline: Path | None,
    max_drop: Mapping[str, float] | None,
    bounded: Sequence[str] | None,
) -> Iterator[tuple[str, str, int, float]]:
    """The bounds that follow from the numbers of an earlier summary."""
    drops = arguments.mapping("max_drop", max_drop)
    if bool(drops) != (baseline is not None):
        given, missing = ("max_drop", "baseline") if drops else ("baseline", "max_drop")
        raise LossexportError(f"{given}: is given without {missing}")
    if baseline is None:
        return
    try:
        earlier = json.loads(read_bytes(baseline, MAX_BASELINE_BYTES))
    except (ValueError, RecursionError) as error:
        if isinstance(error, LossexportError):
            raise
        raise LossexportError(f"{baseline}: not JSON: {error}") from error
    for name, drop in drops.items():
        number = arguments.number(f"max_drop {name}", drop)
        _check_name("max_drop", name, names, bounded)
        if not 0 <= number < math.inf:
            raise LossexportError(f"max_drop {name}: is {number}: expected 0 or more")
        try:
            value = value_of(earlier, name)
            bound = None if value is None else arguments.number(name, value) - number
        except (LookupError, TypeError, OverflowError, LossexportError):
            raise LossexportError(
                f"{baseline}: has no number {name}: it is no summary.json of the same verb"
                f"{_without_draws(name)}"
            ) from None
        if bound is None:
            raise LossexportError(f"{baseline}: {name} is undefined there: it cannot drop")
        yield name, "at least", 1, bound


def _without_draws(name: str) -> str:
    return " with bootstrap" if name.endswith(_SUFFIXES) else ""


def _why(name: str) -> str:
    """Why a number is undefined."""
    if name.endswith(_SUFFIXES):
        return "it is undefined in too many draws"
    if name in COCO_OF_SIZE:
        return "no reference counts in its range of areas, or areas in pixels are not known"
    return "no reference counts" if name in COCO_NUMBERS else "there is nothing to measure"


def value_of(summary: Mapping[str, Any], name: str) -> float | None:
    """Look up a number by its name as a gate; None if it is undefined.

    `matched` is one of the counts, `AP50` and `kept` are keys of the summary, `iou_mean` is the
    `mean` of `iou`, and `AP.lower` the lower end of the interval of `AP`.
    """
    value: float | None
    if name.endswith(_SUFFIXES):
        number, _, end = name.rpartition(".")
        value = summary["bootstrap"]["intervals"][number][end]
    elif name in summary["counts"]:
        value = summary["counts"][name]
    elif name in summary:
        value = summary[name]
    else:
        part, _, statistic = name.partition("_")
        value = summary[part][statistic]
    undefined = value is None or math.isnan(value) or (name in COCO_NUMBERS and value == -1)
    return None if undefined else value
