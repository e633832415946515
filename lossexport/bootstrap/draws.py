"""Draws of half of the images, and the intervals of numbers that follow from them."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import numpy as np

from lossexport import arguments
from lossexport.boxes.assemble import plural
from lossexport.boxes.boxset import Float64, Int32
from lossexport.boxes.gates import value_of
from lossexport.errors import LossexportError

MAX_DRAWS = 10_000
MAX_SEED = 2**32 - 1
LEVEL = 0.95
QUANTILE = 1.959963984540054
"""How many standard errors of a normal distribution are on each side at this level."""
METHOD = "half-sample"
CELLS_AT_ONCE = 1 << 23
"""Weights, and numbers of categories, that are held at once."""
_FEWEST_AT_ONCE = 16
"""Draws that the library counts together."""
_FEWEST_IMAGES = 2
PARTS = (0.0, 1.0)
_BELOW_ONE, _ANY = (-np.inf, 1.0), (-np.inf, np.inf)
_LIMITS = {"best_score": _ANY, "drift": _ANY} | dict.fromkeys(("giou", "diou", "ciou"), _BELOW_ONE)
"""Between what a number lies, by the beginning of its name; all others are parts of a whole."""


class Draws(msgspec.Struct, frozen=True):
    """So many draws, each of half of the images, every image at most once.

    Halves differ from the whole as sets of so many images do from all that they stand for: a mean
    over one varies as much, and what few images do to a number, such as the AP, they do once more.
    Draws of as many images with replacement have less of the latter, as most of the images are in
    each (docs/error_bars.md).

    Draw d of a seed is the same whatever else is drawn, and for all sets with as many images.
    """

    count: int
    seed: int

    @classmethod
    def checked(cls, bootstrap: object, seed: object) -> "Draws":
        """Check the arguments of these names.

        Raises LossexportError unless `bootstrap` is a whole number from 2 to MAX_DRAWS and `seed`
        one from 0 to MAX_SEED.
        """
        draws = arguments.whole("bootstrap", bootstrap, 2, MAX_DRAWS)
        return cls(draws, arguments.whole("seed", seed, 0, MAX_SEED))

    @classmethod
    def of(cls, bootstrap: object, seed: object) -> "Draws | None":
        """The same; None if `bootstrap` is None."""
        draws = cls.checked(2 if bootstrap is None else bootstrap, seed)
        return None if bootstrap is None else draws

    def weights(self, images: int, width: int = 1) -> Iterator[Int32]:
        """How often each of so many images is drawn: blocks [d,I] of draws, in order.

        `width` is how many numbers are made of a draw, which bounds the blocks too. Raises
        LossexportError if there are fewer than 2 images.
        """
        if images < _FEWEST_IMAGES:
            raise LossexportError(
                f"bootstrap: {plural(images, 'image')}: at least {_FEWEST_IMAGES} are needed"
            )
        step = max(CELLS_AT_ONCE // max(images, width), _FEWEST_AT_ONCE)
        for start in range(0, self.count, step):
            stop = min(start + step, self.count)
            yield np.stack([self._draw(images, draw) for draw in range(start, stop)])

    def _draw(self, images: int, draw: int) -> Int32:
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((self.seed, draw))))
        # An odd number has no half: its neighbours are, each as often as the other.
        taken = rng.permutation(images)[: (images + int(rng.integers(2))) // 2]
        weight = np.zeros(images, np.int32)
        weight[taken] = 1
        return weight

    def described(self, images: int) -> dict[str, Any]:
        """What a summary says of the draws."""
        return {
            "draws": self.count,
            "seed": self.seed,
            "images": images,
            "level": LEVEL,
            "method": METHOD,
        }


def interval(
    values: Float64, value: float | None, limits: tuple[float, float] = _ANY
) -> dict[str, Any]:
    """The interval of a number, `value`, whose `values` [D] in the draws are these; NaN: undefined.

    `lower` and `upper` are as far from `value` as the percentiles 97.5 and 2.5 of the draws are, on
    the other side, within `limits`, and never beyond `value`. Halves have a higher AP than the set
    that they are of, which has a higher one than the images that it stands for; this way the two
    cancel. `draws` is the number of draws in which the number is defined, and `standard_error` the
    standard deviation there. All are None if `value` is, or with fewer than two such draws.
    """
    known = values[~np.isnan(values)]
    lower = upper = error = None
    if value is not None and len(known) > 1:
        ends = np.quantile(known, ((1 + LEVEL) / 2, (1 - LEVEL) / 2))
        low, high = (float(end) for end in np.clip(2 * value - ends, *limits))
        # All draws of very few images may be on one side of the number.
        lower, upper = min(low, value), max(high, value)
        error = float(known.std(ddof=1))
    found = {"value": value, "lower": lower, "upper": upper}
    return {**found, "standard_error": error, "draws": len(known)}


def symmetric(values: Float64, value: float | None) -> dict[str, Any]:
    """The interval of a difference of two numbers on the same images; the same keys.

    It is `value`, less and plus 1.96 standard errors: what few images do to both drops out, and
    percentiles would put it in again with the other sign.
    """
    found = interval(values, value)
    error = found["standard_error"]
    if value is not None and error is not None:
        found |= {"lower": value - QUANTILE * error, "upper": value + QUANTILE * error}
    return found


def intervals(
    columns: Mapping[str, Float64], summary: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """The interval of each number of a summary whose values in the draws are a column [D]."""
    return {
        name: interval(values, value_of(summary, name), _limits(name))
        for name, values in columns.items()
    }


def _limits(name: str) -> tuple[float, float]:
    return next((limits for start, limits in _LIMITS.items() if name.startswith(start)), PARTS)
