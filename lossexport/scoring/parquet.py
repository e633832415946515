"""boxes.parquet: one row a prediction, then one an unmatched reference."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lossexport.scoring.boxset import Dataset, Float32, Id, Int64
from lossexport.scoring.matching import MATCHED, STATUS, UNMATCHED, Matching
from lossexport.scoring.metrics import METRICS

ROWS_AT_ONCE = 65_536


def write_boxes(
    path: Path,
    data: Dataset,
    matching: Matching,
    quality: Mapping[str, Float32],
    estimate: Float32,
) -> None:
    """Write the table in row groups.

    Columns: image_id and category_id (int64, or string where the ids are no numbers), pred_index
    and ref_index (int64, positions in the inputs), score (double), iou, giou, diou and ciou
    (float), status ("matched", "unmatched" or "ignored"), quality (float, `estimate` [N]). What a
    row does not have is null: an unmatched reference has no pred_index and no score, only matched
    rows have metrics, only predictions with a log variance have a quality.
    """
    import pyarrow as pa
    from pyarrow import parquet

    images = id_values(pa, data.images)
    categories = id_values(pa, [kind.id for kind in data.categories])
    schema = pa.schema(
        [
            ("image_id", images.type),
            ("category_id", categories.type),
            ("pred_index", pa.int64()),
            ("ref_index", pa.int64()),
            ("score", pa.float64()),
            *((metric, pa.float32()) for metric in METRICS),
            ("status", pa.string()),
            ("quality", pa.float32()),
        ]
    )
    # pyarrow's own opening of a path takes names in UTF-8 alone.
    with path.open("wb") as file, parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for image, category, columns in _blocks(data, matching, quality, estimate):
            values = [images.take(pa.array(image)), categories.take(pa.array(category))]
            for name, (column, mask) in columns.items():
                values.append(pa.array(column, schema.field(name).type, mask=mask))
            writer.write_table(pa.Table.from_arrays(values, schema=schema), ROWS_AT_ONCE)


def id_values(pa: Any, ids: list[Id]) -> Any:
    """A column of ids: int64, or string where any is no number. `pa` is pyarrow."""
    if any(isinstance(value, str) for value in ids):
        return pa.array([str(value) for value in ids], pa.string())
    return pa.array(ids, pa.int64())


Columns = dict[str, tuple[Any, Any]]


def _blocks(
    data: Dataset, matching: Matching, quality: Mapping[str, Float32], estimate: Float32
) -> Iterator[tuple[Any, Any, Columns]]:
    """Yield image and category positions, and of each other column the values and the nulls."""
    names = np.array(STATUS, object)
    predictions, references = data.predictions, data.references
    done = 0
    for start in range(0, len(predictions), ROWS_AT_ONCE):
        rows = slice(start, min(start + ROWS_AT_ONCE, len(predictions)))
        size = rows.stop - rows.start
        status = matching.status[rows]
        pair = status == MATCHED
        columns: Columns = {
            "pred_index": (np.arange(rows.start, rows.stop), None),
            "ref_index": (matching.ref[rows], ~pair),
            "score": (predictions.score[rows], None),
        }
        # The metrics are those of the matched predictions in this same order.
        stop = done + int(np.count_nonzero(pair))
        for metric in METRICS:
            column = np.zeros(size, np.float32)
            column[pair] = quality[metric][done:stop]
            columns[metric] = (column, ~pair)
        done = stop
        columns["status"] = (names[status], None)
        columns["quality"] = (estimate[rows], np.isnan(estimate[rows]))
        yield predictions.image[rows], predictions.category[rows], columns
    for start in range(0, len(matching.unmatched_refs), ROWS_AT_ONCE):
        refs: Int64 = matching.unmatched_refs[start : start + ROWS_AT_ONCE]
        empty = np.ones(len(refs), np.bool_)
        zeros = np.zeros(len(refs))
        columns = {
            "pred_index": (refs, empty),
            "ref_index": (refs, None),
            "score": (zeros, empty),
            **{metric: (zeros.astype(np.float32), empty) for metric in METRICS},
            "status": (np.full(len(refs), STATUS[UNMATCHED], object), None),
            "quality": (zeros.astype(np.float32), empty),
        }
        yield references.image[refs], references.category[refs], columns
