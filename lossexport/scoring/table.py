"""boxes.parquet: one row for each prediction, then one for each unmatched reference."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lossexport.boxes.boxset import Int64
from lossexport.boxes.matching import MATCHED, STATUS, UNMATCHED
from lossexport.names import METRICS
from lossexport.reports.table import ROWS_AT_ONCE, Block, Columns, write_table
from lossexport.scoring.record import Run

_TYPES = {
    "pred_index": "int64",
    "ref_index": "int64",
    "score": "double",
    **dict.fromkeys(METRICS, "float"),
    "status": "string",
    "quality": "float",
}


def write_boxes(path: Path, run: Run) -> None:
    """Write the table in row groups.

    Columns: image_id and category_id (int64, or string where the ids are no numbers), pred_index
    and ref_index (int64, positions in the inputs), score (double), iou, giou, diou and ciou
    (float), status ("matched", "unmatched" or "ignored"), quality (float, as predicted). Values
    that do not apply are null: an unmatched reference has no pred_index and no score, only matched
    rows have metrics, and only predictions with a log variance have a quality.
    """
    data = run.data
    ids = [kind.id for kind in data.categories]
    write_table(path, data.images, ids, _TYPES, _blocks(run))


def _blocks(run: Run) -> Iterator[Block]:
    """Yield image and category positions, and of each other column the values and the nulls."""
    names = np.array(STATUS, object)
    data, matching, quality, estimate = run.data, run.matching, run.quality, run.estimate
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
