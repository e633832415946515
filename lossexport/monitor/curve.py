"""The probability that a box is correct, as a function of its score, its class and its size.

Its log odds are a sum: a step function of the score that never falls, and a constant for the class
and for the size. The first is an isotonic fit. The constants have a ridge penalty, so a class with
few boxes stays near the mean of all.
"""

from dataclasses import dataclass

import numpy as np

from lossexport.boxes.boxset import Float64, Int64
from lossexport.monitor.numbers import tally

FLOOR = 1e-4
"""Lowest probability of a step, and of its opposite."""
RIDGE = 16.0
"""Penalty of a constant: the information of this many boxes that are right in half of all cases
is four times less."""
ROUNDS = 2
SIZES = 3
"""Small, medium and large, by thirds of the boxes that match in the sample."""


@dataclass(frozen=True, slots=True)
class Cells:
    """Boxes of equal step, class and size, which have the same probability."""

    step: Int64
    """[C] rising"""
    kind: Int64
    """[C] place in the list of classes."""
    size: Int64
    """[C] 0 to SIZES - 1."""

    @classmethod
    def of(cls, code: Int64, kinds: int) -> "Cells":
        """The cells of codes [C], rising, from `codes`."""
        step, rest = np.divmod(code, kinds * SIZES)
        return cls(step, *np.divmod(rest, SIZES))


def codes(step: Int64, kind: Int64, size: Int64, kinds: int) -> Int64:
    """One number [n] for step, class and size of each box."""
    return (step * kinds + kind) * SIZES + size


@dataclass(frozen=True, slots=True)
class Curve:
    """Log odds that a box is correct."""

    step: Float64
    """[S] rising"""
    kind: Float64
    """[K] added for the class."""
    size: Float64
    """[SIZES] added for the size."""

    def at(self, cells: Cells) -> Float64:
        """Probabilities [C]."""
        odds = np.exp(self.step)[cells.step] * np.exp(self.kind)[cells.kind]
        odds *= np.exp(self.size)[cells.size]
        found: Float64 = odds / (1 + odds)
        return found


def fit(cells: Cells, count: Float64, correct: Float64, steps: int, kinds: int) -> Curve:
    """Fit a curve to `count` [C] boxes in each cell, `correct` [C] of which match.

    The step function is fitted to what the constants leave, and the constants, by Newton's method,
    to what it leaves, in turns.
    """
    boxes = tally(cells.step, count, steps)
    seen = np.flatnonzero(boxes)
    found = Curve(np.zeros(steps), np.zeros(kinds), np.zeros(SIZES))
    shift: Float64 = np.zeros(len(count))
    for _ in range(ROUNDS):
        target = tally(cells.step, correct - shift, steps)[seen] / boxes[seen]
        rising = np.interp(np.arange(steps), seen, isotonic(target, boxes[seen]))
        rising = np.clip(rising, FLOOR, 1 - FLOOR)
        found.step[:] = np.log(rising / (1 - rising))
        for constant, part in ((found.kind, cells.kind), (found.size, cells.size)):
            for _ in range(2):
                p = found.at(cells)
                slope = tally(part, correct - count * p, len(constant)) - RIDGE * constant
                constant += slope / (tally(part, count * p * (1 - p), len(constant)) + RIDGE)
        shift = count * (found.at(cells) - rising[cells.step])
    return found


def isotonic(value: Float64, weight: Float64) -> Float64:
    """The rising sequence [n] of least weighted squared distance from `value` [n].

    Pools adjacent violators (Ayer et al. 1955). The weights are positive.
    """
    pools: list[tuple[float, float, int]] = []
    for v, w in zip(value.tolist(), weight.tolist(), strict=True):
        mean, mass, length = v, w, 1
        while pools and pools[-1][0] >= mean:
            before, other, more = pools.pop()
            mean = (mean * mass + before * other) / (mass + other)
            mass, length = mass + other, length + more
        pools.append((mean, mass, length))
    return np.repeat([mean for mean, _, _ in pools], [length for _, _, length in pools])
