"""Gates: bounds below or above which a number of a summary must not be."""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lossexport import arguments
from lossexport.errors import LossexportError
from lossexport.files import read_bytes
from lossexport.names import (
    COCO_NUMBERS,
    COCO_OF_SIZE,
    METRIC_TITLES,
    METRICS,
    ORIENTED_METRICS,
    STATISTICS,
)

MAX_BASELINE_BYTES = 64 * 2**20

_ORIENTED = tuple(f"{m}_{s}" for m in ORIENTED_METRICS if m not in METRICS for s in STATISTICS)
"""Numbers that only sets of oriented boxes have."""
TOLERANCE = 1e-9
"""How far beyond its bound a number still passes: a perfect set has an AP of 1 - 2e-16."""

ENDS = ("lower", "upper")
"""Ends of an interval, which follow the name of a number and a point: `AP.lower`."""
_SUFFIXES = tuple(f".{end}" for end in ENDS)


@dataclass(frozen=True, slots=True)
class Missing:
    """What a verb finds if it is asked for, and was not asked for, by which messages name it."""

    explained: Callable[[], Sequence[str]] = tuple
    """Gives the numbers of `explain`."""
    slices: bool = False


class Gates:
    """The bounds of numbers by name; `names` are those of a verb, whatever the boxes are."""

    def __init__(
        self,
        names: Sequence[str],
        below: Mapping[str, float] | None,
        above: Mapping[str, float] | None,
        baseline: str | os.PathLike[str] | None = None,
        max_drop: Mapping[str, float] | None = None,
        bounded: Sequence[str] | None = None,
        missing: Missing = Missing(),
    ) -> None:
        """`max_drop` bounds how far numbers may fall below those of the summary `baseline`.

        `bounded` are the numbers with an interval, whose ends are numbers too (`AP.lower`); None
        if no intervals were asked for. `missing` are numbers that were not asked for either.

        Raises LossexportError on a number that does not exist, on a bound that is NaN, and on a
        baseline that cannot be read or lacks a number.
        """
        names = (*names, *_ORIENTED)
        self._missing = missing
        self._bounds = [
            (name, kind, sign, arguments.number(f"gate {name}", bound))
            for option, kind, sign, bounds in (
                ("fail_below", "at least", 1, below),
                ("fail_above", "at most", -1, above),
            )
            for name, bound in arguments.mapping(option, bounds).items()
        ]
        for name, _, _, bound in self._bounds:
            _check_name("gate", name, names, bounded, missing)
            if math.isnan(bound):
                raise LossexportError(f"gate {name}: the bound is {bound}: a number is expected")
        self._bounds += _drops(
            names, arguments.optional_path("baseline", baseline), max_drop, bounded, missing
        )

    def apply(self, summary: dict[str, Any], why: Callable[[str], str] | None = None) -> None:
        """Put `gates` and `gate_failures` into a summary.

        `gates` has a row for each gate: name, value, kind ("at least" or "at most"), bound, passed.
        An undefined number does not pass, for the reason that `why` gives. `gate_failures` has a
        sentence for each failure.
        """
        summary["gates"], summary["gate_failures"] = [], []
        for name, kind, sign, bound in self._bounds:
            try:
                if self._missing.slices:
                    _check_part(summary, name)
                value = value_of(summary, name)
            except LookupError:
                raise LossexportError(
                    f"gate {name}: a slice or category has no such number"
                ) from None
            passed = value is not None and sign * (value - bound) >= -TOLERANCE
            summary["gates"].append(
                {"name": name, "value": value, "kind": kind, "bound": bound, "passed": passed}
            )
            if not passed:
                reason = why(name) if why else _why(summary, name)
                text = f"undefined: {reason};" if value is None else f"{value:.6g},"
                summary["gate_failures"].append(f"{name} is {text} {kind} {bound:g} is required")


def _check_name(
    option: str, name: str, names: Sequence[str], bounded: Sequence[str] | None, missing: Missing
) -> None:
    """A name may be followed by a point and an end, or by a colon and a slice or category."""
    number = name.partition(":")[0]
    base, _, end = name.rpartition(".")
    if number in names:
        return
    if end in ENDS and base in names:
        if bounded is None:
            raise LossexportError(
                f"{option} {name!r}: is the end of an interval: bootstrap is missing "
                "(--bootstrap N)"
            )
        if base not in bounded:
            raise LossexportError(f"{option} {name!r}: {base} has no interval")
        return
    # The summary has them one in the other, so that a point is written as often as a line.
    explained = missing.explained()
    spelled = arguments.nearest(number.replace(".", "_"), (*names, *explained))
    if spelled in explained:
        meant = "" if spelled == number else f" ({spelled}?)"
        raise LossexportError(
            f"{option} {name!r}: is a number of explain{meant}: explain is missing (--explain)"
        )
    meant = f"; did you mean {spelled}?" if spelled else ""
    raise LossexportError(f"{option} {name!r}: no such number; there are {', '.join(names)}{meant}")


def _drops(
    names: Sequence[str],
    baseline: Path | None,
    max_drop: Mapping[str, float] | None,
    bounded: Sequence[str] | None,
    missing: Missing,
) -> Iterator[tuple[str, str, int, float]]:
    """The bounds that follow from the numbers of an earlier summary."""
    drops = arguments.mapping("max_drop", max_drop)
    if bool(drops) != (baseline is not None):
        given, other = ("max_drop", "baseline") if drops else ("baseline", "max_drop")
        raise LossexportError(f"{given}: is given without {other}")
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
        _check_name("max_drop", name, names, bounded, missing)
        if not 0 <= number < math.inf:
            raise LossexportError(f"max_drop {name}: is {number}: expected 0 or more")
        try:
            value = value_of(earlier, name)
            bound = None if value is None else arguments.number(name, value) - number
        except (LookupError, TypeError, AttributeError, OverflowError, LossexportError):
            raise LossexportError(
                f"{baseline}: has no number {name}: it is no summary.json of the same verb"
                f"{_without_draws(name)}"
            ) from None
        if bound is None:
            raise LossexportError(f"{baseline}: {name} is undefined there: it cannot drop")
        yield name, "at least", 1, bound


def _without_draws(name: str) -> str:
    return " with bootstrap" if name.endswith(_SUFFIXES) else ""


def _why(summary: Mapping[str, Any], name: str) -> str:
    """Why a number is undefined."""
    name = name.partition(":")[0]
    if _is_absent(summary, name):
        return "it is not given for such boxes"
    if name.endswith(_SUFFIXES):
        return "it is undefined in too many draws"
    if name in COCO_OF_SIZE:
        return "no reference counts in its range of areas, or areas in pixels are not known"
    return "no reference counts" if name in COCO_NUMBERS else "there is nothing to measure"


def _is_absent(summary: Mapping[str, Any], name: str) -> bool:
    """Whether it is of a metric that boxes of this kind, oriented or not, do not have."""
    metric = name.partition("_")[0]
    return metric in METRIC_TITLES and metric not in summary and "iou" in summary


def value_of(summary: Mapping[str, Any], name: str) -> float | None:
    """Look up a number by its name as a gate; None if it is undefined.

    `matched` is one of the counts, `AP50` and `kept` are keys of the summary, `iou_mean` is the
    `mean` of `iou`, `AP.lower` the lower end of the interval of `AP`, and `AP50:night` that of a
    slice or category. Raises LossexportError if there is no such slice or category or if several
    have this name, and LookupError on another number.
    """
    number, colon, part = name.partition(":")
    if _is_absent(summary, number):
        return None
    if not colon and name.endswith(_SUFFIXES) and name not in summary:
        number, _, end = name.rpartition(".")
        value = summary["bootstrap"]["intervals"][number][end]
    else:
        value = _look_up(_part(summary, name, part) if colon else summary, number)
    undefined = value is None or math.isnan(value) or (number in COCO_NUMBERS and value == -1)
    return None if undefined else value


def _look_up(numbers: Mapping[str, Any], name: str) -> float | None:
    for place in (numbers.get("counts", {}), numbers):
        if name in place:
            found: float | None = place[name]
            return found
    parts = name.split("_")
    for cut in range(1, len(parts)):
        inner, rest = numbers.get("_".join(parts[:cut])), "_".join(parts[cut:])
        if isinstance(inner, Mapping) and rest in inner:
            return _look_up(inner, rest)
    raise KeyError(name)


def _part(summary: Mapping[str, Any], name: str, part: str) -> Mapping[str, Any]:
    """The numbers of a slice or a category."""
    found = _parts(summary)
    rows = found.get(part, [])
    if len(rows) == 1:
        return rows[0]
    if rows:
        raise LossexportError(
            f"gate {name}: {len(rows)} slices or categories are called {part!r}: write "
            "ATTRIBUTE/VALUE for a slice and the id for a category"
        )
    shown = ", ".join(list(found)[:20])
    raise LossexportError(
        f"gate {name}: no slice or category {part!r}; there are {shown}"
        f"{arguments.did_you_mean(part, list(found))}"
    )


def _parts(summary: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """The rows of slices and categories by their names."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in summary.get("slices", ()):
        for called in (f"{row['attribute']}/{row['value']}", row["value"]):
            found.setdefault(called, []).append(row)
    for row in summary.get("categories", ()):
        for called in dict.fromkeys((row["name"], str(row["id"]))):
            found.setdefault(called, []).append(row)
    return found


def _check_part(summary: Mapping[str, Any], name: str) -> None:
    """Refuse a name with a part that is no category, where there are no slices."""
    _, colon, part = name.partition(":")
    found = _parts(summary) if colon else {}
    if colon and part not in found:
        raise LossexportError(
            f"gate {name}: no category {part!r}, and slices are missing (--slices FILE, --slice-by "
            f"FIELD, --size-grid SIDES){arguments.did_you_mean(part, list(found))}"
        )
