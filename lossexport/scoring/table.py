"""boxes.parquet: one row for each prediction, then one for each unmatched reference."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lossexport.boxes.boxset import Float64, Int64
from lossexport.boxes.matching import MATCHED, STATUS, UNMATCHED
from lossexport.boxes.oriented import OWN, are_oriented, areas
from lossexport.reports.table import ROWS_AT_ONCE, Block, Columns, write_table
from lossexport.scoring.record import Run

_CORNERS = ("x1", "y1", "x2", "y2")
_OWN = ("cx", "cy", "w", "h", "angle")
_SIZES = np.array(("small", "medium", "large"), object)


def write_boxes(path: Path, run: Run) -> None:
    """Write the table in row groups.

    Columns: image_id and category_id (int64, or string if an id is not a number), pred_index
    and ref_index (int64, positions in the inputs), score (double), iou, giou, diou and ciou
    (float), status ("matched", "unmatched" or "ignored"), quality (float, as predicted). Values
    that do not apply are null: an unmatched reference has no pred_index and no score, only matched
    rows have metrics, and only predictions with a log variance have a quality. Then the box of the
    prediction, or of the unmatched reference: x1, y1, x2, y2 and area (double), and size by COCO's
    limits ("small", "medium" or "large"; null where boxes are in parts of an image). At the end the
    names category and file_name (string), null where the inputs have none.

    Oriented boxes have the metrics iou and probiou, and cx, cy, w, h and angle (double) in place of
    the corners.
    """
    data = run.data
    write_table(path, data.images, data.categories, _types(run), _blocks(run), data.files)


def _types(run: Run) -> dict[str, str]:
    return {
        "pred_index": "int64",
        "ref_index": "int64",
        "score": "double",
        **dict.fromkeys(run.quality, "float"),
        "status": "string",
        "quality": "float",
        **dict.fromkeys((*(_OWN if run.data.oriented else _CORNERS), "area"), "double"),
        "size": "string",
    }


def _blocks(run: Run) -> Iterator[Block]:
    """Yield image and category positions, and the values and nulls of each other column."""
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
        # The metrics have the order of the matched predictions.
        stop = done + int(np.count_nonzero(pair))
        for metric, values in quality.items():
            column = np.zeros(size, np.float32)
            column[pair] = values[done:stop]
            columns[metric] = (column, ~pair)
        done = stop
        columns["status"] = (names[status], None)
        columns["quality"] = (estimate[rows], np.isnan(estimate[rows]))
        box = predictions.box[rows]
        columns |= _boxes(box, areas(box), data.parts)
        yield predictions.image[rows], predictions.category[rows], columns
    for start in range(0, len(matching.unmatched_refs), ROWS_AT_ONCE):
        refs: Int64 = matching.unmatched_refs[start : start + ROWS_AT_ONCE]
        empty = np.ones(len(refs), np.bool_)
        zeros = np.zeros(len(refs))
        columns = {
            "pred_index": (refs, empty),
            "ref_index": (refs, None),
            "score": (zeros, empty),
            **{metric: (zeros.astype(np.float32), empty) for metric in quality},
            "status": (np.full(len(refs), STATUS[UNMATCHED], object), None),
            "quality": (zeros.astype(np.float32), empty),
            **_boxes(references.box[refs], references.area[refs], data.parts),
        }
        yield references.image[refs], references.category[refs], columns


def _boxes(box: Float64, area: Float64, parts: bool) -> Columns:
    """The numbers of boxes, their area and size."""
    if are_oriented(box):
        columns: Columns = {name: (box[:, OWN][:, k], None) for k, name in enumerate(_OWN)}
    else:
        corners = np.concatenate([box[:, :2], box[:, :2] + box[:, 2:]], axis=1)
        columns = {name: (corners[:, k], None) for k, name in enumerate(_CORNERS)}
    columns["area"] = (area, None)
    # At a limit, which both sizes include, the smaller one.
    size = _SIZES[np.searchsorted([32**2, 96**2], area)]
    columns["size"] = (size, np.full(len(box), parts))
    return columns
