"""boxes.parquet of a comparison: matched pairs, then what is lost, then what is new."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lossexport.scoring.boxset import Float32, Int64
from lossexport.scoring.compare_boxes import SIZES, Comparison, size_of
from lossexport.scoring.compare_inputs import Sides
from lossexport.scoring.metrics import METRICS
from lossexport.scoring.parquet import ROWS_AT_ONCE, id_values

STATUS = ("matched", "lost", "new")


def write_boxes(
    path: Path, sides: Sides, result: Comparison, quality: Mapping[str, Float32]
) -> None:
    """Write one row for each matched pair, each lost and each new box, in row groups.

    Columns: image_id and category_id (int64, or string where the ids are no numbers), parent_index
    and child_index (int64, positions in the inputs), parent_score, child_score and drift (double),
    iou, giou, diou and ciou (float), size and status ("matched", "lost" or "new"). Only matched
    rows have a drift and metrics; a lost or new row has index and score of the other side where
    the box stands there below the score threshold.
    """
    import pyarrow as pa
    from pyarrow import parquet

    images = id_values(pa, sides.images)
    categories = id_values(pa, [kind.id for kind in sides.categories])
    schema = pa.schema(
        [
            ("image_id", images.type),
            ("category_id", categories.type),
            ("parent_index", pa.int64()),
            ("child_index", pa.int64()),
            ("parent_score", pa.float64()),
            ("child_score", pa.float64()),
            ("drift", pa.float64()),
            *((metric, pa.float32()) for metric in METRICS),
            ("size", pa.string()),
            ("status", pa.string()),
        ]
    )
    parent = np.concatenate([result.parent, result.lost, result.parent_below])
    child = np.concatenate([result.child, result.child_below, result.new])
    matched = len(result.parent)
    status = np.repeat(np.arange(3), [matched, len(result.lost), len(result.new)])
    # pyarrow's own opening of a path takes names in UTF-8 alone.
    with path.open("wb") as file, parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for start in range(0, len(status), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            metrics = {metric: values[rows] for metric, values in quality.items()}
            image, category, columns = _block(
                sides, parent[rows], child[rows], status[rows], metrics
            )
            values = [images.take(pa.array(image)), categories.take(pa.array(category))]
            for name, (column, mask) in columns.items():
                values.append(pa.array(column, schema.field(name).type, mask=mask))
            writer.write_table(pa.Table.from_arrays(values, schema=schema), ROWS_AT_ONCE)


def _block(
    sides: Sides, parent: Int64, child: Int64, status: Int64, quality: Mapping[str, Float32]
) -> tuple[Int64, Int64, dict[str, tuple[Any, Any]]]:
    """Image and category positions, and of each other column the values and the nulls."""
    new = status == 2
    single = status > 0
    boxes = [sides.parent, sides.child]
    # Where a side has no box of a row, its index -1 reads some other box, which is masked.
    image, category = (
        np.where(new, _read(getattr(boxes[1], name), child), _read(getattr(boxes[0], name), parent))
        for name in ("image", "category")
    )
    box = np.where(new[:, None], _read(sides.child.box, child), _read(sides.parent.box, parent))
    scores = _read(sides.parent.score, parent), _read(sides.child.score, child)
    columns: dict[str, tuple[Any, Any]] = {
        "parent_index": (parent, parent < 0),
        "child_index": (child, child < 0),
        "parent_score": (scores[0], parent < 0),
        "child_score": (scores[1], child < 0),
        "drift": (scores[1] - scores[0], single),
    }
    for metric in METRICS:
        column = np.zeros(len(status), np.float32)
        column[~single] = quality[metric]
        columns[metric] = (column, single)
    columns["size"] = (np.array(SIZES, object)[size_of(box)], None)
    columns["status"] = (np.array(STATUS, object)[status], None)
    return image, category, columns


def _read(values: Any, rows: Int64) -> Any:
    """The values of `rows`; zeros where there are none at all."""
    return values[rows] if len(values) else np.zeros((len(rows), *values.shape[1:]), values.dtype)
