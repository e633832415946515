"""boxes.parquet of a comparison: the matched and new boxes of the child, then the lost ones."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lossexport.scoring.boxset import Bool, Float32
from lossexport.scoring.compare_boxes import SIZES, Comparison, size_of
from lossexport.scoring.compare_inputs import Sides
from lossexport.scoring.compare_summary import drift_of
from lossexport.scoring.metrics import METRICS
from lossexport.scoring.parquet import ROWS_AT_ONCE, _id_values


def write_boxes(
    path: Path, sides: Sides, result: Comparison, quality: Mapping[str, Float32]
) -> None:
    """Write one row for each matched pair, then for each lost, then for each new box.

    Columns: image_id and category_id (int64, or string where the ids are no numbers), parent_index
    and child_index (int64, positions in the inputs), parent_score, child_score and drift (double),
    iou, giou, diou and ciou (float), size and status ("matched", "lost" or "new"). Only matched
    rows have a drift and metrics; a lost or new row has index and score of the other side where
    the box stands there below the score threshold.
    """
    import pyarrow as pa
    from pyarrow import parquet

    images = _id_values(pa, sides.images)
    categories = _id_values(pa, [kind.id for kind in sides.categories])
    parent = np.concatenate([result.parent, result.lost, result.parent_below])
    child = np.concatenate([result.child, result.child_below, result.new])
    parts = [len(result.parent), len(result.lost), len(result.new)]
    status = np.repeat(np.arange(3), parts)
    # A box is where the side that counts has it: the parent's, but for new ones.
    own = status < 2
    image = np.where(own, _of(sides.parent.image, parent), _of(sides.child.image, child))
    category = np.where(own, _of(sides.parent.category, parent), _of(sides.child.category, child))
    size = np.concatenate(
        [
            size_of(sides.parent.box[parent[own]]),
            size_of(sides.child.box[result.new]),
        ]
    )
