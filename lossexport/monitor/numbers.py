"""Numbers of a set of boxes whose correctness is known, or expected: precision, AP50."""

import numpy as np

from lossexport.boxes.boxset import Bool, Float64, Int64


def tally(place: Int64, weight: Float64 | Bool | None, number: int) -> Float64:
    """Sum of the weights [n] at each of `number` places, or how many there are."""
    found: Float64 = np.bincount(place, weight, number).astype(np.float64, copy=False)
    return found


def average_precision(boxes: Float64, correct: Float64, references: Float64) -> Float64:
    """AP [...] of a ranking of groups of boxes, best first, pooled over the categories.

    `boxes` [S] are the boxes of each group, `correct` [...,S] those of them that match, and
    `references` [...] all objects. This is the area below the highest precision at each recall or
    above it, over all recalls.
    """
    found = np.cumsum(correct, -1)
    precision = found / np.maximum(np.cumsum(boxes), 1)
    precision = np.maximum.accumulate(precision[..., ::-1], -1)[..., ::-1]
    area: Float64 = (correct * precision).sum(-1)
    # Never above 1: without objects there is no correct box either.
    return np.minimum(area / np.maximum(references, 1e-9), 1.0)


def pooled_ap(score: Float64, correct: Bool, references: int) -> float:
    """AP of boxes [n] with known outcomes; boxes of equal score are one group."""
    values, place = np.unique(-score, return_inverse=True)
    boxes, right = (tally(place, weight, len(values)) for weight in (None, correct))
    return float(average_precision(boxes, right, np.array(references, np.float64)))
