"""Whether the boxes of a window look like those of the sample: scores, classes, sizes, counts.

Each is a histogram, and the test of two histograms is chi-square's for homogeneity. Boxes of one
image resemble each other, so their shares vary more than those of independent boxes; the statistic
is divided by this factor, which is measured on both sides (Rao and Scott 1984, first order).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from lossexport.boxes.boxset import Float64, Int64

Part = Literal["score", "class", "size", "count"]
PARTS: tuple[Part, ...] = get_args(Part)
BINS = 10
LEAST_EXPECTED = 5.0
"""Bins in which either side expects fewer are taken together."""


def edges(values: Float64) -> Float64:
    """Limits of up to BINS bins with equal shares of `values` [n]."""
    if not len(values):
        return np.empty(0)
    return np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))


def place(values: Float64, limits: Float64) -> Int64:
    """The bin [n] of each value; a value on a limit belongs to the bin above it."""
    return np.searchsorted(limits, values, "right")


@dataclass(slots=True)
class Tally:
    """A histogram of boxes, and how much it varies between their frames."""

    counts: Int64
    """[b] boxes in each bin."""
    squares: Int64
    """[b] the sum over frames of the square of their boxes in the bin."""
    products: Int64
    """[b] the sum over frames of their boxes in the bin times all their boxes."""
    frames: int = 0
    """The sum over frames of the square of all their boxes."""

    @classmethod
    def empty(cls, number: int) -> "Tally":
        """Without a box, of `number` bins."""
        return cls(*np.zeros((3, number), np.int64))

    def add(self, frame: Int64, bins: Int64) -> None:
        """Add boxes [n] of whole frames; `frame` are their numbers from 0 on."""
        number = len(self.counts)
        boxes = np.bincount(frame)
        code, count = np.unique(frame * number + bins, return_counts=True)
        own, place = np.divmod(code, number)
        self.counts += np.bincount(bins, minlength=number)
        np.add.at(self.squares, place, count**2)
        np.add.at(self.products, place, count * boxes[own])
        self.frames += int(np.square(boxes).sum())

    def share(self) -> Float64:
        """[b] the part of the boxes in each bin."""
        found: Float64 = self.counts / max(int(self.counts.sum()), 1)
        return found

    def variance(self) -> Float64:
        """[b] of the shares, if whole frames are drawn."""
        share = self.share()
        total = self.squares - 2 * share * self.products + share**2 * self.frames
        found: Float64 = np.maximum(total, 0) / max(int(self.counts.sum()), 1) ** 2
        return found


class Tested(NamedTuple):
    """The outcome of a test of two histograms."""

    p: float
    """Probability of such a difference, or a larger one, without drift."""
    distance: float
    """Total variation: the share of the window that would have to move to another bin, 0 to 1."""
    moved: int
    """The bin whose share changed most."""
    before: float
    """Its share of the sample."""
    now: float
    """Its share of the window."""


def compare(before: Tally, now: Tally) -> Tested | None:
    """Test the boxes of a window against those of the sample; None if one has none."""
    n, m = int(before.counts.sum()), int(now.counts.sum())
    if not n or not m:
        return None
    pooled = (before.counts + now.counts) / (n + m)
    # The variance of the difference of shares: of independent boxes, and as it is.
    alone = pooled * (1 - pooled) * (1 / n + 1 / m)
    varied = np.maximum(before.variance() + now.variance(), alone)
    clusters = np.divide(varied, alone, out=np.ones(len(alone)), where=alone > 0)
    common = pooled * min(n, m) >= LEAST_EXPECTED * clusters
    change = now.share() - before.share()
    share, difference, variance = (
        np.append(x[common], x[~common].sum()) for x in (pooled, change, varied)
    )
    seen = np.flatnonzero(share)
    freedom = len(seen) - 1
    statistic = float((difference[seen] ** 2 / share[seen]).sum())
    expected = float((variance[seen] / share[seen]).sum()) / max(freedom, 1)
    moved = int(np.argmax(np.abs(change)))
    return Tested(
        chi_square(statistic / max(expected, 1e-300), freedom),
        float(np.abs(change).sum() / 2),
        moved,
        float(before.share()[moved]),
        float(now.share()[moved]),
    )


def chi_square(statistic: float, freedom: int) -> float:
    """Upper tail of the chi-square distribution, by the cube root of Wilson and Hilferty."""
    if freedom < 1:
        return 1.0
    spread = 2 / (9 * freedom)
    z = ((statistic / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
    return 0.5 * math.erfc(z / math.sqrt(2))


def holm(p: Mapping[Part, float]) -> dict[Part, float]:
    """The probabilities by name, corrected for their number by the method of Holm."""
    found: dict[Part, float] = {}
    highest = 0.0
    for done, name in enumerate(sorted(p, key=lambda name: p[name])):
        highest = max(highest, min(1.0, (len(p) - done) * p[name]))
        found[name] = highest
    return found


def within(limits: list[float], bin_: int) -> str:
    """A bin in words, such as "0.3 to 0.5"."""
    if not limits:
        return "any"
    if bin_ == 0:
        return f"below {limits[0]:.3g}"
    if bin_ == len(limits):
        return f"{limits[-1]:.3g} or more"
    return f"{limits[bin_ - 1]:.3g} to {limits[bin_]:.3g}"


def whole(limits: list[float], bin_: int) -> str:
    """A bin of whole numbers in words, such as "2 to 3 boxes"."""
    rising = [math.ceil(limit) for limit in limits]
    low = rising[bin_ - 1] if bin_ else 0
    if bin_ == len(rising):
        return f"{low} or more boxes"
    high = rising[bin_] - 1
    return f"{low} boxes" if high <= low else f"{low} to {high} boxes"


def as_rows(
    tests: Mapping[Part, Tested | None], words: Callable[[Part, int], str], alpha: float
) -> dict[Part, dict[str, Any] | None]:
    """The tests by part for JSON; `words` names a bin of a part."""
    corrected = holm({part: test.p for part, test in tests.items() if test})
    return {
        part: None
        if test is None
        else {
            "p": test.p,
            "p_holm": corrected[part],
            "distance": test.distance,
            "drifted": corrected[part] < alpha,
            "moved": words(part, test.moved),
            "before": test.before,
            "now": test.now,
        }
        for part, test in tests.items()
    }
