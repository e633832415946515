"""Which categories are taken for which: a confusion matrix with a background."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace

from lossexport.boxes.boxset import Bool, Category, Dataset, Int32, Int64
from lossexport.boxes.pairs import assign, cap, find_pairs, sort_boxes
from lossexport.scoring.causes.images import kept
from lossexport.scoring.causes.record import Diagnosis, Finding, PageTable, Table
from lossexport.scoring.record import Run

MOST = 40
"""Cells beside the diagonal that the summary and the report have."""


NOTHING, REGION = -1, -2
"""Instead of the category of a reference: there is none, or it is an ignored region."""


def place(data: Dataset, threshold: float) -> Int32:
    """The category of the reference that each prediction is on [N], or NOTHING or REGION.

    Predictions take, by falling score, the free reference of their image with the highest overlap
    of `threshold` or more, whatever its category. So leaving out the lower ones changes none.
    """
    predictions, references = data.predictions, data.references
    merged = replace(
        data,
        predictions=replace(predictions, category=np.zeros_like(predictions.category)),
        references=replace(references, category=np.zeros_like(references.category), any_class=None),
    )
    order = sort_boxes(merged)
    every = np.ones(len(predictions), np.bool_)
    found = find_pairs(merged, order, cap(threshold)).at_least(cap(threshold), every)
    ignored = references.ignored[order.ref]
    on = np.full(len(predictions), NOTHING, np.int32)
    for places, winner in assign(
        found, order, ignored, ignored[:, None], np.array([cap(threshold)])
    ):
        won = winner[:, 0, 0]
        hit = won >= 0
        at = order.ref[found.ref[won[hit]]]
        category = references.category[at]
        on[order.pred[places[hit]]] = np.where(references.ignored[at], REGION, category)
    return on


def cells(category: Int32, on: Int32, keep: Bool, references: Int64) -> tuple[Int64, Int64, Int64]:
    """Cells of the matrix that are not 0: rows, columns and counts, by row and column.

    A row is the category of a reference, a column that of a prediction; K is the background. Of the
    predictions with a `category` [N], `on` [N] as by `place`, those that are in `keep` [N] count.
    `references` [K] are those that are not ignored. A prediction that only finds an ignored region
    does not count.
    """
    size = len(references)
    some = keep & (on != REGION)
    rows, columns = on[some].astype(np.int64), category[some].astype(np.int64)
    taken = np.bincount(rows[rows >= 0], minlength=size)
    rows[rows < 0] = size
    found, counts = np.unique(rows * (size + 1) + columns, return_counts=True)
    missed = references - taken
    lost = np.flatnonzero(missed)
    found = np.concatenate([found, lost * (size + 1) + size])
    counts = np.concatenate([counts, missed[lost]])
    order = np.argsort(found)
    found = found[order]
    return found // (size + 1), found % (size + 1), counts[order]


def numbers(
    matrix: tuple[Int64, Int64, Int64], categories: Sequence[Category], score: float | None
) -> dict[str, Any]:
    """The keys of the summary, of the predictions from a `score` on."""
    rows, columns, counts = matrix
    ids = [*(kind.id for kind in categories), None]
    between = (rows != columns) & (np.maximum(rows, columns) < len(categories))
    return {
        "confusion": {
            "score": score,
            "right": int(counts[rows == columns].sum()),
            "confused": int(counts[between].sum()),
            "cells": [
                {"reference": ids[rows[i]], "prediction": ids[columns[i]], "count": int(counts[i])}
                for i in _largest(matrix)
            ],
        }
    }


def _largest(matrix: tuple[Int64, Int64, Int64]) -> list[int]:
    """The cells beside the diagonal that are shown."""
    rows, columns, counts = matrix
    beside = np.flatnonzero(rows != columns)
    found: list[int] = beside[np.argsort(-counts[beside], kind="stable")][:MOST].tolist()
    return found


def find(run: Run, summary: Mapping[str, Any]) -> Finding:
    """The matrix at the best F1, with the IoU threshold of the matching."""
    data, references = run.data, run.data.references
    on = place(data, run.settings["iou_threshold"])
    counted = references.category[~references.ignored]
    positives = np.bincount(counted, minlength=len(data.categories))
    score = summary["best"]["score"]
    keep = kept(data.predictions.score, score)
    rows, columns, counts = matrix = cells(data.predictions.category, on, keep, positives)
    names = np.array([*(kind.name for kind in data.categories), "background"], object)
    return Finding(
        numbers(matrix, data.categories, score),
        PageTable(
            ("Reference", "Prediction", "Count"),
            [(names[rows[i]], names[columns[i]], f"{counts[i]:,}") for i in _largest(matrix)],
            texts=(1,),
        ),
        Table(
            {"reference": "string", "prediction": "string", "count": "int64"},
            {
                "reference": (names[rows], None),
                "prediction": (names[columns], None),
                "count": (counts, None),
            },
        ),
    )


CONFUSION = Diagnosis(
    name="confusion",
    title="Confusions",
    caption="Boxes from the score on that gives the highest F1, matched whatever their category. "
    "A reference of background is a wrong box, a prediction of background a missed reference.",
    find=find,
    gates=("confusion_right", "confusion_confused"),
)
