"""Nested numbers of a summary as columns and as flat names."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lossexport.boxes.boxset import Bool
from lossexport.names import COCO_NUMBERS
from lossexport.scoring.causes.record import Column

Number = float | None


def flat(row: Mapping[str, Any], prefix: str = "", between: str = "_") -> Iterator[tuple[str, Any]]:
    """The values of nested objects, with `lrp_score` for the `score` in `lrp`; lists are left out.

    An AP or AR of -1 is None.
    """
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}{between}", between)
        elif not isinstance(value, list):
            yield prefix + name, None if name in COCO_NUMBERS and value == -1 else value


def columns(
    rows: Sequence[Mapping[str, Number]],
) -> tuple[dict[str, str], dict[str, tuple[Column, Bool | None]]]:
    """Arrow's name of the type of each column, and its values [n] with those that are null.

    A name that a row lacks is null there.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    types: dict[str, str] = {}
    found: dict[str, tuple[Column, Bool | None]] = {}
    for name in names:
        values = [row.get(name) for row in rows]
        known = [value for value in values if value is not None]
        whole = bool(known) and all(isinstance(value, int) for value in known)
        types[name] = "int64" if whole else "double"
        filled = np.array([0 if value is None else value for value in values], types[name])
        found[name] = filled, np.array([value is None for value in values])
    return types, found
