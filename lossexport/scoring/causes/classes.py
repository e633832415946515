"""The rows of categories as a table, and the curves of each."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lossexport.scoring.causes.flat import columns, flat
from lossexport.scoring.causes.record import Diagnosis, Finding, PageTable, Table, shown, title
from lossexport.scoring.coco_ap import curves
from lossexport.scoring.protocol import RECALLS, THRESHOLDS
from lossexport.scoring.record import Run

DRAWN = (0, 5)
"""Positions of the thresholds whose curves are written: IoU 0.5 and 0.75."""
NAMES = ("id", "name")


def find(run: Run, summary: Mapping[str, Any]) -> Finding:
    """All numbers of each category."""
    rows = [
        {name: value for name, value in flat(row) if name not in NAMES}
        for row in summary["categories"]
    ]
    types, values = columns(rows)
    shows = ("best_score", "best_f1", "lrp_score", "lrp_optimal", "APs", "APm", "APl")
    wanted = tuple(f"{key}_score" for key in ("at_precision", "at_recall") if key in summary)
    named = sorted(
        zip(summary["categories"], rows, strict=True), key=lambda pair: -pair[0]["references"]
    )
    return Finding(
        {},
        PageTable(
            ("Category", *map(title, shows + wanted)),
            [(kind["name"], *(shown(row[name]) for name in shows + wanted)) for kind, row in named],
        ),
        Table(types, values, category=np.arange(len(rows), dtype=np.int32)),
    )


def find_curves(run: Run, _: Mapping[str, Any]) -> Finding:
    """Precision and score over recall, of each category with a reference."""
    size = len(DRAWN) * len(RECALLS)
    found = [(k, one[DRAWN, :], cut[DRAWN, :]) for k, one, cut in curves(run.outcomes)]
    kinds = np.array([k for k, _, _ in found], np.int32)
    precision = np.concatenate([np.empty(0), *(one.ravel() for _, one, _ in found)])
    score = np.concatenate([np.empty(0), *(cut.ravel() for _, _, cut in found)])
    return Finding(
        {},
        table=Table(
            dict.fromkeys(("iou_threshold", "recall", "precision", "score"), "double"),
            {
                "iou_threshold": (
                    np.tile(np.repeat(THRESHOLDS[list(DRAWN)], len(RECALLS)), len(kinds)),
                    None,
                ),
                "recall": (np.tile(RECALLS, len(DRAWN) * len(kinds)), None),
                "precision": (precision, None),
                "score": (score, precision == 0),
            },
            category=np.repeat(kinds, size),
        ),
    )


CLASSES = Diagnosis(
    name="classes",
    title="Cuts and sizes of each category",
    caption="The score to cut at for the highest F1 and for the lowest LRP error, and AP by size.",
    find=find,
)
CURVES = Diagnosis(
    name="curves",
    title="Precision against recall of each category",
    caption="By the COCO protocol, at an IoU of 0.5 and of 0.75.",
    find=find_curves,
)
