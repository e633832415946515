"""Summaries for experiment trackers, which log numbers by flat names."""

from collections.abc import Mapping
from typing import Any

from lossexport.scoring.causes.flat import flat as nested


def flat(
    summary: Mapping[str, Any], prefix: str = "score", *, categories: bool = False
) -> dict[str, float]:
    """The numbers of a summary by names such as `score/AP` and `score/iou/mean`.

    Those of slices are `score/slice/ATTRIBUTE/VALUE/AP`, and with `categories` those of categories
    `score/category/NAME/AP`. Texts, settings, lists and undefined numbers are left out. `prefix` is
    the first part of each name; "" leaves it out. Summaries of `compare` are taken as well.
    """
    start = f"{prefix}/" if prefix else ""
    found = _numbers(summary, start)
    for row in summary.get("slices", ()):
        found |= _numbers(row, f"{start}slice/{row['attribute']}/{row['value']}/")
    for row in summary.get("categories", ()) if categories else ():
        found |= _numbers(row, f"{start}category/{row['name']}/", left_out=("id",))
    return found


def _numbers(
    row: Mapping[str, Any], start: str, left_out: tuple[str, ...] = ("schema_version", "settings")
) -> dict[str, float]:
    kept = {name: value for name, value in row.items() if name not in left_out}
    return {
        name: value
        for name, value in nested(kept, start, "/")
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
