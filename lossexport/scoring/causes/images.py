"""What is right and wrong in each image, the worst images first."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lossexport.boxes.boxset import Bool
from lossexport.boxes.matching import MATCHED, UNMATCHED
from lossexport.scoring.causes.record import Diagnosis, Finding, PageTable, Table, shown
from lossexport.scoring.record import Run

WORST = 20
"""Images that the summary and the report name."""


def kept(run: Run, summary: Mapping[str, Any]) -> Bool:
    """[N] the predictions from the score on that gives the highest F1; all if none has a match."""
    score = run.data.predictions.score
    cut = summary["best"]["score"]
    found: Bool = np.ones(len(score), np.bool_) if cut is None else score >= cut
    return found


def find(run: Run, summary: Mapping[str, Any]) -> Finding:
    """Count matches, wrong boxes and missed references of each image at the best F1.

    Predictions are matched by falling score, so leaving out the lower ones changes no match.
    """
    data, matching, size = run.data, run.matching, len(run.data.images)
    keep = kept(run, summary)
    image = data.predictions.image
    true, wrong = (
        np.bincount(image[keep & (matching.status == status)], minlength=size)
        for status in (MATCHED, UNMATCHED)
    )
    counted = data.references.image[~data.references.ignored]
    references = np.bincount(counted, minlength=size)
    missed = references - true
    matched = np.flatnonzero(matching.status == MATCHED)
    pairs = keep[matched]
    total = np.bincount(image[matched[pairs]], run.quality["iou"][pairs], size)
    order = np.lexsort((-missed, -(wrong + missed)))
    iou = total[order] / np.maximum(true, 1)[order]
    columns = {
        "references": references[order],
        "true_positives": true[order],
        "false_positives": wrong[order],
        "false_negatives": missed[order],
    }
    worst = [
        {
            "image_id": data.images[i],
            "file_name": (data.files[i] or (None,))[0] if data.files else None,
            **{name: int(column[row]) for name, column in columns.items()},
            "iou_mean": float(iou[row]) if true[i] else None,
        }
        for row, i in enumerate(order[:WORST].tolist())
        if wrong[i] + missed[i]
    ]
    return Finding(
        {"worst_images": worst},
        PageTable(
            ("Image", "Name", "References", "Found", "Wrong", "Missed", "Mean IoU"),
            [
                (
                    str(row["image_id"]),
                    row["file_name"] or "",
                    *(f"{row[name]:,}" for name in columns),
                    shown(row["iou_mean"]),
                )
                for row in worst
            ],
            texts=(1,),
        ),
        Table(
            {**dict.fromkeys(columns, "int64"), "iou_mean": "double"},
            {
                **{name: (column, None) for name, column in columns.items()},
                "iou_mean": (iou, true[order] == 0),
            },
            image=order.astype(np.int32),
        ),
    )


IMAGES = Diagnosis(
    name="images",
    title="Images with the most errors",
    caption="Wrong and missed boxes from the score on that gives the highest F1.",
    find=find,
)
