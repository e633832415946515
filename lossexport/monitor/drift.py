"""Whether the boxes of a window look like those of the sample: scores, classes, sizes, counts.

Each is a histogram, and the test of two histograms is chi-square's for homogeneity. Boxes of one
image resemble each other, so their counts vary more than those of independent boxes; the statistic
is divided by this factor, which is measured on the sample (Rao and Scott 1984, first order).
"""

import math
from collections.abc import Callable, Mapping
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


def clustering(image: Int64, bins: Int64, images: int, number: int) -> float:
    """How many times more the shares of bins vary than with independent boxes; at least 1.

    `image` and `bins` [n] are those of each box.
    """
    total = np.bincount(bins, minlength=number)
    used = np.flatnonzero(total)
    if len(used) < 2:
        return 1.0
    share = total[used] / len(bins)
    code, count = np.unique(image * number + bins, return_counts=True)
    own, bin_ = np.divmod(code, number)
    boxes = np.bincount(image, minlength=images)
    # Of the images without a box in the bin, only the share that was expected is left.
    expected = np.square(boxes, dtype=np.float64).sum() * share**2
    wanted = boxes[own] * (total[bin_] / len(bins))
    extra = np.bincount(bin_, (count - wanted) ** 2 - wanted**2, number)[used]
    return float(max(1.0, ((expected + extra) / share).sum() / (len(bins) * (len(used) - 1))))


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


def compare(before: Int64, now: Int64, dispersion: float) -> Tested | None:
    """Test the counts `now` [b] of a window against those of the sample; None if one is empty."""
    n, m = int(before.sum()), int(now.sum())
    if not n or not m:
        return None
    pooled = (before + now) / (n + m)
    common = pooled * min(n, m) >= LEAST_EXPECTED
    counts = [np.append(side[common], side[~common].sum()) for side in (before, now)]
    share = (counts[0] + counts[1]) / (n + m)
    seen = share > 0
    difference = (counts[0] / n - counts[1] / m)[seen]
    statistic = float((difference**2 / share[seen]).sum()) / (1 / n + 1 / m) / dispersion
    change = now / m - before / n
    moved = int(np.argmax(np.abs(change)))
    return Tested(
        chi_square(statistic, int(seen.sum()) - 1),
        float(np.abs(change).sum() / 2),
        moved,
        float(before[moved] / n),
        float(now[moved] / m),
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
