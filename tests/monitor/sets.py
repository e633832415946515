"""A small detector that is right as often as its scores say."""

from typing import Any

import numpy as np

from lossexport import Calibration, calibrate

KINDS = {1: "cat", 2: "dog"}


def scenes(images: int, seed: int, low: float = 0.0) -> tuple[dict[str, Any], dict[str, Any]]:
    """Predictions and references; the scores are from `low` to 1.

    A box is right with the probability of its score. A quarter of the objects has no box.
    """
    rng = np.random.default_rng(seed)
    count = rng.poisson(6, images)
    image = np.repeat(np.arange(images), count)
    boxes = len(image)
    # Each box has a place of its own, so that it meets its reference alone.
    x = 100.0 * np.concatenate([np.arange(n) for n in count])
    side = rng.uniform(10, 80, boxes)
    box = np.stack([x, np.zeros(boxes), side, side], 1)
    kind = rng.integers(1, 3, boxes)
    score = rng.uniform(low, 1, boxes)
    right = rng.random(boxes) < score
    missed = rng.random(boxes) < 1 / 6
    away = box + np.array([0, 5000.0, 0, 0])
    pred = {"image_id": image, "category_id": kind, "bbox": box, "score": score}
    ref = {
        "image_id": np.append(image[right], image[missed]),
        "category_id": np.append(kind[right], kind[missed]),
        "bbox": np.concatenate([box[right], away[missed]]),
        "images": {i: str(i) for i in range(images)},
        "categories": KINDS,
    }
    return pred, ref


def frames(pred: dict[str, Any], images: int) -> list[dict[str, Any]]:
    """The predictions as frames."""
    corners = np.asarray(pred["bbox"]).copy()
    corners[:, 2:] += corners[:, :2]
    found = []
    for image in range(images):
        rows = pred["image_id"] == image
        found.append(
            {
                "image_id": image,
                "boxes": corners[rows],
                "scores": pred["score"][rows],
                "labels": pred["category_id"][rows],
            }
        )
    return found


def calibrated(images: int = 300, **options: Any) -> Calibration:
    return calibrate(*scenes(images, 0), **options)
