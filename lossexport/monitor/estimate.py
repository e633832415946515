"""Estimates of precision, correct boxes and AP50 of a window, each with an interval.

The estimate is the mean over the replicas of a calibration. Its variance has two parts: that of the
replicas, which is the error of the calibration, and that of the outcomes around their
probabilities, which is measured on the sample. An interval is 1.96 standard deviations wide on
either side. It covers windows like the sample, and no shift that the sample has not seen.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lossexport.boxes.boxset import Bool, Float64, Int64
from lossexport.monitor.calibration import Calibration
from lossexport.monitor.curve import Cells
from lossexport.monitor.numbers import average_precision, tally

WIDTH = 1.96
FEW_BELOW = 0.1
"""Least share of boxes below the threshold in a sample whose windows must have some too."""
_SEED = 0


@dataclass(frozen=True, slots=True)
class Counted:
    """The boxes of a window."""

    cells: Cells
    boxes: Float64
    """[C]"""
    at_threshold: Bool
    """[C] whether the boxes of the cell have the threshold or more."""
    frames: int


class Estimator:
    """The estimates that a calibration gives."""

    def __init__(self, calibration: Calibration, step_of: Int64) -> None:
        """`step_of` is the step of the calibration for each step of a window's cells."""
        self._curves = calibration.curves()
        self._misses = calibration.misses()
        self._calibration = calibration
        self._step_of = step_of

    def __call__(self, window: Counted) -> dict[str, Any]:
        """The estimates by name: `value`, `lower` and `upper`, all None where undefined.

        These are `precision` and `correct` of the boxes at the threshold, and `AP50`.
        """
        boxes, counted, steps = window.boxes, window.at_threshold, len(self._step_of)
        cells = window.cells
        own = Cells(self._step_of[cells.step], cells.kind, cells.size)
        first = np.flatnonzero(np.diff(cells.step, prepend=-1))
        present = cells.step[first]
        correct, variance = np.zeros((2, len(self._curves), steps))
        right, doubt = np.zeros((2, len(self._curves)))
        for b, curve in enumerate(self._curves):
            p = curve.at(own)
            expected = boxes * p
            uncertain = expected * (1 - p)
            right[b], doubt[b] = expected[counted].sum(), uncertain[counted].sum()
            if len(first):
                correct[b, present] = np.add.reduceat(expected, first)
                variance[b, present] = np.add.reduceat(uncertain, first)
        number = float(boxes[counted].sum())
        spread = math.sqrt(
            right.var() + self._calibration.dispersion_at_threshold * float(doubt.mean())
        )
        found = {"correct": _interval(float(right.mean()), spread, number)}
        share = float(right.mean()) / number if number else None
        found["precision"] = _interval(share, spread / max(number, 1.0), 1.0)
        total = tally(cells.step, boxes, steps)
        found["AP50"] = self._ap(total, correct, variance, window)
        return found

    def _ap(
        self, boxes: Float64, correct: Float64, variance: Float64, window: Counted
    ) -> dict[str, float | None]:
        """From `boxes` [S] and what each replica expects of them [B,S], by rising score."""
        sample = self._calibration
        below = 1 - sample.boxes_at_threshold / max(sample.boxes, 1)
        cut_off = below >= FEW_BELOW and window.at_threshold.all()
        if not len(window.boxes) or cut_off:
            return _interval(None, 0.0, 1.0)
        boxes, correct, variance = boxes[::-1], correct[:, ::-1], variance[:, ::-1]
        hits = correct.sum(1)
        causes = np.stack([np.full(len(hits), float(window.frames)), hits, variance.sum(1)], 1)
        objects = hits + np.maximum((causes * self._misses).sum(1), 0)
        value = average_precision(boxes, correct, objects)
        # What the window may have been like: the outcomes of its boxes, and its missed objects.
        noise = np.random.default_rng(_SEED).standard_normal
        drawn = correct + np.sqrt(sample.dispersion * variance) * noise(correct.shape)
        drawn = np.clip(drawn, 0, boxes)
        deviation = sample.missed_deviation * math.sqrt(window.frames)
        others = np.maximum(objects + deviation * noise(len(objects)), drawn.sum(1))
        spread = float(average_precision(boxes, drawn, others).std())
        return _interval(float(value.mean()), spread, 1.0)


def _interval(value: float | None, spread: float, most: float) -> dict[str, float | None]:
    """The value with its bounds, from 0 to `most`."""
    if value is None:
        return {"value": None, "lower": None, "upper": None}
    reach = WIDTH * spread
    return {"value": value, "lower": max(value - reach, 0.0), "upper": min(value + reach, most)}
