"""Boxes in CSV files: the line `image,category,x1,y1,x2,y2,score`, then a line for each box."""

import csv
from pathlib import Path
from typing import Any

from lossexport.formats import Format

CORNERS = ("x1", "y1", "x2", "y2")


def read(path: Path, scored: bool) -> dict[str, Any]:
    """The columns of a file; references (not `scored`) need no score.

    Raises ValueError on a column that is missing and on text in place of a number.
    """
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream, strict=True)
        for name in ("image", "category", *CORNERS, *(["score"] if scored else [])):
            if name not in (reader.fieldnames or ()):
                raise ValueError(f"line 1: there is no column {name}")
        rows = [(reader.line_num, row) for row in reader]
    images = [row["image"] for _, row in rows]
    categories = [row["category"] for _, row in rows]
    columns = {
        "image_id": images,
        "category_id": categories,
        "box": [[number(line, row, name) for name in CORNERS] for line, row in rows],
        # The ids are names too: of files, which --images finds, and of kinds of object.
        "images": dict(zip(images, images, strict=True)),
        "categories": dict(zip(categories, categories, strict=True)),
    }
    if scored:
        columns["score"] = [number(line, row, "score") for line, row in rows]
    return columns


def number(line: int, row: dict[str, str], name: str) -> float:
    """The number of a row in the column `name`."""
    try:
        return float(row[name] or "")
    except ValueError:
        raise ValueError(f"line {line}: {name} is {row[name]!r}, not a number") from None


CSV = Format(name="csv", title="CSV: image,category,x1,y1,x2,y2,score in each line", read=read)
