"""boxes.parquet of a comparison: matched pairs, then lost boxes, then new ones."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lossexport.boxes.boxset import Float32, Int64
from lossexport.comparison.match import SIZES, size_of
from lossexport.comparison.record import Run
from lossexport.comparison.sides import Sides
from lossexport.reports.table import ROWS_AT_ONCE, Block, Columns, write_table

STATUS = ("matched", "lost", "new")


def write_boxes(path: Path, run: Run) -> None:
    """Write one row for each matched pair, each lost and each new box, in row groups.

    Columns: image_id and category_id (int64, or string if an id is not a number), parent_index
    and child_index (int64, positions in the inputs), parent_score, child_score and drift (double),
    iou, giou, diou and ciou (float; of oriented boxes iou and probiou), size and status ("matched",
    "lost" or "new"). Only matched rows have a drift and metrics. A lost or new row has index and
    score of the other side if that side has the box below the score threshold. At the end the names
    category and file_name (string), null where the inputs have none.
    """
    sides = run.sides
    types = {
        "parent_index": "int64",
        "child_index": "int64",
        "parent_score": "double",
        "child_score": "double",
        "drift": "double",
        **dict.fromkeys(run.quality, "float"),
        "size": "string",
        "status": "string",
    }
    write_table(path, sides.images, sides.categories, types, _blocks(run), sides.files)


def _blocks(run: Run) -> Iterator[Block]:
    result = run.result
    parent = np.concatenate([result.parent, result.lost, result.parent_below])
    child = np.concatenate([result.child, result.child_below, result.new])
    status = np.repeat(np.arange(3), [len(result.parent), len(result.lost), len(result.new)])
    for start in range(0, len(status), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        metrics = {metric: values[rows] for metric, values in run.quality.items()}
        yield _block(run.sides, parent[rows], child[rows], status[rows], metrics)


def _block(
    sides: Sides, parent: Int64, child: Int64, status: Int64, quality: Mapping[str, Float32]
) -> Block:
    """Image and category positions, and the values and nulls of each other column."""
    new = status == 2
    single = status > 0
    boxes = [sides.parent, sides.child]
    # If a side has no box in a row, its index of -1 reads some other box, which is masked.
    image, category = (
        np.where(new, _read(getattr(boxes[1], name), child), _read(getattr(boxes[0], name), parent))
        for name in ("image", "category")
    )
    box = np.where(new[:, None], _read(sides.child.box, child), _read(sides.parent.box, parent))
    scores = _read(sides.parent.score, parent), _read(sides.child.score, child)
    columns: Columns = {
        "parent_index": (parent, parent < 0),
        "child_index": (child, child < 0),
        "parent_score": (scores[0], parent < 0),
        "child_score": (scores[1], child < 0),
        "drift": (scores[1] - scores[0], single),
    }
    for metric, values in quality.items():
        column = np.zeros(len(status), np.float32)
        column[~single] = values
        columns[metric] = (column, single)
    columns["size"] = (np.array(SIZES, object)[size_of(box)], None)
    columns["status"] = (np.array(STATUS, object)[status], None)
    return image, category, columns


def _read(values: Any, rows: Int64) -> Any:
    """The values of `rows`; zeros if there are no values at all."""
    return values[rows] if len(values) else np.zeros((len(rows), *values.shape[1:]), values.dtype)
