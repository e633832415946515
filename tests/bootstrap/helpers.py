"""Sets of boxes, their copies, and runs over them."""

from pathlib import Path
from typing import Any

import numpy as np

from lossexport.boxes.boxset import Dataset, Int32
from lossexport.boxes.quality import BoxQuality
from lossexport.scoring.record import Run
from lossexport.scoring.run import evaluate
from tests.boxes.helpers import Json, coco, found, read_json, truth

COPIES = 100
"""Ids of the copies of image i are COPIES * i, COPIES * i + 1, ..."""


def run_of(data: Dataset, threshold: float = 0.5) -> Run:
    measure = BoxQuality()
    return evaluate(data, measure, None, {"iou_threshold": threshold}, lambda step, part: None).run


def random_set(seed: int, images: int = 12) -> tuple[Json, Json]:
    """References and detections with equal scores, crowds, and boxes of all sizes."""
    rng = np.random.default_rng(seed)
    references, detections = [], []
    for image in range(1, images + 1):
        for _ in range(rng.integers(0, 6)):
            box = np.append(
                rng.uniform(0, 200, 2), rng.choice([20, 60, 200]) * rng.uniform(1, 2, 2)
            )
            kind = int(rng.integers(1, 3))
            references.append(truth(image, kind, *box, iscrowd=int(rng.random() < 0.1)))
            for _ in range(rng.integers(0, 4)):
                moved = box * rng.uniform(0.8, 1.2, 4)
                detections.append(found(image, kind, float(rng.integers(0, 8)) / 8, *moved))
        for _ in range(rng.integers(0, 4)):
            box = rng.uniform(1, 200, 4)
            detections.append(found(image, int(rng.integers(1, 3)), rng.integers(0, 8) / 8, *box))
    return coco(references, images=range(1, images + 1)), detections


def copied(rows: Json, weight: Int32) -> Json:
    """The rows of images 1, 2, ... as often as their weight says."""
    return [
        {**row, "image_id": COPIES * row["image_id"] + copy}
        for row in rows
        for copy in range(weight[row["image_id"] - 1])
    ]


def copied_set(references: Json, detections: Json, weight: Int32) -> tuple[Json, Json]:
    """The set in which each image is there as often as its weight says, under ids of its own."""
    plain = [{key: a[key] for key in a if key != "id"} for a in references["annotations"]]
    annotations = copied(plain, weight)
    images = [COPIES * (i + 1) + copy for i, n in enumerate(weight) for copy in range(n)]
    return coco(annotations, images=images), copied(detections, weight)


def data_of(folder: Path, references: Json, detections: Json) -> Dataset:
    return read_json(folder, detections, references)


def draws(images: int, count: int, seed: int) -> Int32:
    rng = np.random.default_rng(seed)
    return rng.multinomial(images, [1 / images] * images, count).astype(np.int32)


def same(ours: Any, theirs: Any) -> bool:
    """Equal to 1e-12; NaN is -1."""
    return bool(np.all(np.abs(np.nan_to_num(ours, nan=-1) - np.nan_to_num(theirs, nan=-1)) < 1e-12))
