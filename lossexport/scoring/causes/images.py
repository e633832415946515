"""What is right and wrong in each image, the worst images first."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lossexport.boxes.boxset import Bool, Float64, Int64
from lossexport.boxes.matching import MATCHED, UNMATCHED
from lossexport.scoring.causes.record import Diagnosis, Finding, PageTable, Table, shown
from lossexport.scoring.record import Run
from lossexport.scoring.results import Results

WORST = 20
"""Images that the summary and the report name."""


def kept(score: Float64, cut: float | None) -> Bool:
    """[N] the predictions from the score on that gives the highest F1; all if none has a match."""
    found: Bool = np.ones(len(score), np.bool_) if cut is None else score >= cut
    return found


@dataclass(frozen=True, slots=True)
class Counted:
    """Of each image, the worst first."""

    image: Int64
    """[I]"""
    columns: Mapping[str, Int64]
    """[I] what is counted."""
    iou: Float64
    """[I] mean of the matches, 0 without one."""

    @classmethod
    def of(cls, found: Results, cut: float | None) -> "Counted":
        """Count matches, wrong boxes and missed references at the best F1.

        Predictions are matched by falling score, so leaving out the lower ones changes no match.
        """
        keep, image, size = kept(found.score, cut), found.image, len(found.images)
        true, wrong = (
            np.bincount(image[keep & (found.status == status)], minlength=size)
            for status in (MATCHED, UNMATCHED)
        )
        references = np.bincount(found.ref_image[~found.ref_ignored], minlength=size)
        missed = references - true
        matched = np.flatnonzero(found.status == MATCHED)
        pairs = keep[matched]
        total = np.bincount(image[matched[pairs]], found.quality["iou"][pairs], size)
        order = np.lexsort((-missed, -(wrong + missed)))
        columns = {
            "references": references[order],
            "true_positives": true[order],
            "false_positives": wrong[order],
            "false_negatives": missed[order],
        }
        return cls(order, columns, total[order] / np.maximum(true, 1)[order])

    def numbers(self, found: Results) -> dict[str, Any]:
        """The keys of the summary."""
        worst = []
        for row, i in enumerate(self.image[:WORST].tolist()):
            counts = {name: int(column[row]) for name, column in self.columns.items()}
            if not counts["false_positives"] + counts["false_negatives"]:
                break
            worst.append(
                {
                    "image_id": found.images[i],
                    "file_name": (found.files[i] or (None,))[0] if found.files else None,
                    **counts,
                    "iou_mean": float(self.iou[row]) if counts["true_positives"] else None,
                }
            )
        return {"worst_images": worst}


def find(run: Run, summary: Mapping[str, Any]) -> Finding:
    """Count them in each image."""
    counted = Counted.of(run.results, summary["best"]["score"])
    numbers = counted.numbers(run.results)
    columns, worst = counted.columns, numbers["worst_images"]
    return Finding(
        numbers,
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
                "iou_mean": (counted.iou, columns["true_positives"] == 0),
            },
            image=counted.image.astype(np.int32),
        ),
    )


IMAGES = Diagnosis(
    name="images",
    title="Images with the most errors",
    caption="Wrong and missed boxes from the score on that gives the highest F1.",
    find=find,
)
