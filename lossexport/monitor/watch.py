"""`Watch`: estimates the quality of windows of frames without references, and finds drift."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from lossexport import arguments
from lossexport.boxes.boxset import Float64, Predictions
from lossexport.boxes.columns import ID, IdTable, plain_id
from lossexport.errors import LossexportError, shown
from lossexport.evaluator.frame import Frame
from lossexport.monitor import drift
from lossexport.monitor.calibration import Calibration
from lossexport.monitor.curve import Cells, codes
from lossexport.monitor.estimate import Counted, Estimator
from lossexport.monitor.learn import sides

WINDOW = 200
LEAST_WINDOW = 10
ALPHA = 0.01
WAITING = 1 << 14
"""Boxes that are counted together."""
_KEYS = ("boxes", "scores", "labels")
_NO_BOX = np.empty((0, 4)), np.empty(0, np.int64)


class Watch:
    """Watches the boxes of a detector, frame by frame, in windows of equal size.

    Memory does not grow with the number of frames. Every number of a statement is an estimate: see
    `compute`.
    """

    def __init__(
        self,
        calibration: str | os.PathLike[str] | Calibration,
        window: int = WINDOW,
        threshold: float = 0.25,
        *,
        detector: str | None = None,
        alpha: float = ALPHA,
    ) -> None:
        """Start with no frame.

        `calibration` is what `lossexport.calibrate` returned, or its file. A window has `window`
        frames, 10 or more. `threshold` is the lowest score of the boxes whose precision is
        estimated; drift is that of the boxes at the threshold of the calibration. `detector` is the
        name that the calibration must have. A window has drifted if a test is below `alpha`, 0 to
        1, after its correction for the number of tests.

        Raises LossexportError on a bad argument, a file of another version, and a calibration of
        another detector.
        """
        if not isinstance(calibration, Calibration):
            calibration = Calibration.load(calibration)
        if type(window) is not int or window < LEAST_WINDOW:
            raise arguments.refuse("window", window, f"a whole number, at least {LEAST_WINDOW},")
        threshold = arguments.finite("threshold", threshold)
        self._alpha = arguments.number("alpha", alpha)
        if not 0 < self._alpha < 1:
            raise arguments.refuse("alpha", alpha, "a number between 0 and 1")
        if detector is not None and arguments.text("detector", detector) != calibration.detector:
            name = "no named detector" if calibration.detector is None else calibration.detector
            raise LossexportError(f"detector is {shown(detector)}: the calibration is of {name}")
        self.calibration = calibration
        self._window = window
        self._threshold = threshold
        self._table = IdTable([plain_id(kind.id) or 0 for kind in calibration.categories])
        for code, kind in enumerate(calibration.categories):
            self._table.setdefault(kind.name, code)
        own = np.array(calibration.score_limits)
        # The threshold of this watch may divide a step of the calibration.
        self._limits = np.union1d(own, [threshold])
        lowest = np.append(-np.inf, self._limits)
        self._first_counted = int(np.searchsorted(self._limits, threshold, "right"))
        self._estimate = Estimator(calibration, drift.place(lowest, own))
        self._size_limits = np.array(calibration.size_limits)
        self._bins = {part: np.array(h.limits) for part, h in calibration.histograms.items()}
        self._before = {part: h.tally() for part, h in calibration.histograms.items()}
        self._statement: dict[str, Any] | None = None
        self._done = 0
        self._start()

    def _start(self) -> None:
        """Begin a window."""
        self._frames = 0
        self._first: Any = None
        self._last: Any = None
        self._boxes = self._at_threshold = 0
        self._cells = np.empty(0, np.int64)
        self._counts = np.empty(0, np.int64)
        self._now = {p: drift.Tally.empty(len(t.counts)) for p, t in self._before.items()}
        self._waiting: list[Predictions] = []
        self._held = 0

    def update(
        self,
        frame: Mapping[str, Any] | None = None,
        *,
        boxes: Any = None,
        scores: Any = None,
        labels: Any = None,
        image_id: Any = None,
    ) -> dict[str, Any] | None:
        """Add a frame. Returns the statement of its window if it is the last one, else None.

        Give a mapping with `boxes` [n,4] (x1, y1, x2, y2 in pixels), `scores` [n], `labels` [n]
        (ids or names of categories) and, optionally, `image_id`, or each as an argument; arrays or
        lists, also empty ones. Give all boxes that the detector has, also those of low score, and
        frames without a box.

        Raises LossexportError, naming the frame, the column and the row, on other shapes and types,
        numbers that are not finite, and categories that the calibration does not have. The watch is
        then as it was before.
        """
        if frame is not None:
            if not isinstance(frame, Mapping):
                raise arguments.refuse("frame", frame, "a mapping with boxes, scores and labels")
            missing = [key for key in _KEYS if key not in frame]
            if missing:
                raise LossexportError(f"frame: {missing[0]} is missing")
            boxes, scores, labels = (frame[key] for key in _KEYS)
            image_id = frame.get("image_id", image_id)
        for key, value in zip(_KEYS, (boxes, scores, labels), strict=True):
            if value is None:
                raise LossexportError(f"{key} is missing")
        name = self._name(image_id)
        found = Frame(
            name, self._table, closed=True, not_listed="is not a category of the calibration"
        ).chunk((boxes, scores, labels, *_NO_BOX), None, None, None)
        self._add(name, found.predictions)
        if self._frames < self._window:
            return None
        self._statement = self._state()
        self._done += 1
        self._start()
        return self._statement

    def _name(self, image_id: Any) -> int | str:
        """The id of a frame; without one, its number, from 0."""
        if image_id is None:
            return self._done * self._window + self._frames
        raw = image_id.item() if isinstance(image_id, np.generic) else image_id
        plain = isinstance(raw, int | float | str) and not isinstance(raw, bool)
        value = plain_id(raw) if plain else None
        if value is None:
            raise LossexportError(f"image_id is {shown(image_id)}: {ID}")
        return value

    def _add(self, name: int | str, boxes: Predictions) -> None:
        self._last = name
        if not self._frames:
            self._first = name
        self._frames += 1
        self._waiting.append(boxes)
        self._held += len(boxes)
        if self._held >= WAITING or self._frames >= self._window:
            self._count()

    def _count(self) -> None:
        """Count the boxes that wait; after this they are no longer needed."""
        score, kind, side = (
            np.concatenate(parts)
            for parts in zip(
                *((b.score, b.category, sides(b.box)) for b in self._waiting), strict=True
            )
        )
        number = len(self._waiting)
        frame = np.repeat(np.arange(number), [len(boxes) for boxes in self._waiting])
        self._waiting, self._held = [], 0
        self._boxes += len(score)
        self._at_threshold += int(np.count_nonzero(score >= self._threshold))
        kinds = len(self.calibration.categories)
        step = drift.place(score, self._limits)
        code = codes(step, kind.astype(np.int64), drift.place(side, self._size_limits), kinds)
        both = np.append(self._cells, code)
        weight = np.append(self._counts, np.ones(len(code), np.int64))
        self._cells, place = np.unique(both, return_inverse=True)
        self._counts = np.bincount(place, weight, len(self._cells)).astype(np.int64)
        drawn = score >= self.calibration.threshold
        frame, counted = frame[drawn], np.bincount(frame[drawn], minlength=number)
        self._now["class"].add(frame, kind[drawn].astype(np.int64))
        self._now["score"].add(frame, drift.place(score[drawn], self._bins["score"]))
        self._now["size"].add(frame, drift.place(side[drawn], self._bins["size"]))
        self._now["count"].add(
            np.arange(number), drift.place(counted.astype(np.float64), self._bins["count"])
        )

    def _state(self) -> dict[str, Any]:
        """The statement of the window that has just become full."""
        cells = Cells.of(self._cells, len(self.calibration.categories))
        counts: Float64 = self._counts.astype(np.float64)
        window = Counted(cells, counts, cells.step >= self._first_counted, self._frames)
        tests = {
            part: drift.compare(before, self._now[part]) for part, before in self._before.items()
        }
        rows = drift.as_rows(tests, self._words, self._alpha)
        return {
            "window": self._done,
            "first": self._first,
            "last": self._last,
            "frames": self._frames,
            "boxes": self._boxes,
            "boxes_at_threshold": self._at_threshold,
            "threshold": self._threshold,
            "estimate": self._estimate(window),
            "sample": {"precision": self.calibration.precision, "AP50": self.calibration.ap50},
            "drift": rows,
            "drifted": any(row is not None and row["drifted"] for row in rows.values()),
        }

    def _words(self, part: drift.Part, bin_: int) -> str:
        """A bin of a histogram in words."""
        if part == "class":
            return self.calibration.categories[bin_].name
        if part == "count":
            return drift.whole(self.calibration.histograms[part].limits, bin_)
        return drift.within(self.calibration.histograms[part].limits, bin_)

    def compute(self) -> dict[str, Any]:
        """The statement of the last full window.

        `window` is its number, from 0; `first` and `last` are the ids of its frames. `estimate` has
        `precision` and `correct` of the boxes at the threshold and `AP50`, pooled over the
        categories, each with `value` and the bounds of a 95 % interval, `lower` and `upper`; None
        without a box and, for AP50, if boxes below the threshold are missing. `sample` has what the
        labels of the calibration gave. `drift` has, for `score`, `class`, `size` and `count` (boxes
        of a frame), the probability `p` of such a difference to the sample, the same corrected for
        four tests (`p_holm`), the `distance` (share of boxes that would have to move to another
        bin), the bin that `moved` most and its share `before` and `now`; or None.

        Raises LossexportError if no window is full.
        """
        if self._statement is None:
            raise LossexportError(f"not enough frames: {self._frames} of {self._window}")
        return self._statement

    @property
    def waiting(self) -> int:
        """Frames of the window that is not full yet."""
        return self._frames

    def __repr__(self) -> str:
        """The settings and the number of windows."""
        return (
            f"<Watch at score {self._threshold:g}: {self._done} windows of {self._window} frames, "
            f"{self._frames} more>"
        )
