"""Which categories are taken for which: a confusion matrix with a background."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from msgspec.structs import replace

from lossexport.boxes.boxset import Bool, Dataset, Int64
from lossexport.boxes.pairs import assign, cap, find_pairs, sort_boxes
from lossexport.scoring.causes.images import kept
from lossexport.scoring.causes.record import Diagnosis, Finding, PageTable, Table
from lossexport.scoring.record import Run

MOST = 40
"""Cells beside the diagonal that the summary and the report have."""


def count(data: Dataset, keep: Bool, threshold: float) -> tuple[Int64, Int64, Int64]:
    """Cells of the matrix that are not 0: rows, columns and counts, by row and column.

    A row is the category of a reference, a column that of a prediction; K is the background. The
    predictions that are in `keep` [N] take, by falling score, the free reference of their image
    with the highest overlap of `threshold` or more, whatever its category. One that only finds an
    ignored region does not count.
    """
    size, references = len(data.categories), data.references
    merged = replace(
        data,
        predictions=replace(data.predictions, category=np.zeros_like(data.predictions.category)),
        references=replace(references, category=np.zeros_like(references.category), any_class=None),
    )
    order = sort_boxes(merged)
    found = find_pairs(merged, order, cap(threshold)).at_least(cap(threshold), keep[order.pred])
    ignored = references.ignored[order.ref]
    column = np.where(keep, data.predictions.category, -1).astype(np.int64)
    row = np.full(len(column), size)
    free = ~references.ignored
    for places, winner in assign(
        found, order, ignored, ignored[:, None], np.array([cap(threshold)])
    ):
        won = winner[:, 0, 0]
        hit = won >= 0
        pred, at = order.pred[places[hit]], order.ref[found.ref[won[hit]]]
        row[pred] = references.category[at]
        column[pred[references.ignored[at]]] = -1
        free[at] = False
    missed = references.category[free]
    some = column >= 0
    rows = np.concatenate([row[some], missed])
    columns = np.concatenate([column[some], np.full(len(missed), size)])
    cells, counts = np.unique(rows * (size + 1) + columns, return_counts=True)
    return cells // (size + 1), cells % (size + 1), counts


def find(run: Run, summary: Mapping[str, Any]) -> Finding:
    """The matrix at the best F1, with the IoU threshold of the matching."""
    data = run.data
    rows, columns, counts = count(data, kept(run, summary), run.settings["iou_threshold"])
    names = np.array([*(kind.name for kind in data.categories), "background"], object)
    ids = [*(kind.id for kind in data.categories), None]
    beside = np.flatnonzero(rows != columns)
    beside = beside[np.argsort(-counts[beside], kind="stable")][:MOST].tolist()
    found = int(counts[rows == columns].sum())
    between = int(counts[(rows != columns) & (np.maximum(rows, columns) < len(names) - 1)].sum())
    return Finding(
        {
            "confusion": {
                "score": summary["best"]["score"],
                "right": found,
                "confused": between,
                "cells": [
                    {
                        "reference": ids[rows[i]],
                        "prediction": ids[columns[i]],
                        "count": int(counts[i]),
                    }
                    for i in beside
                ],
            }
        },
        PageTable(
            ("Reference", "Prediction", "Count"),
            [(names[rows[i]], names[columns[i]], f"{counts[i]:,}") for i in beside],
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
