"""Draws of images with replacement, and the intervals of numbers that follow from them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lossexport import arguments
from lossexport.boxes.boxset import Float64, Int32
from lossexport.errors import LossexportError, shown

MAX_DRAWS = 10_000
MAX_SEED = 2**32 - 1
LEVEL = 0.95
METHOD = "percentile"
CELLS_AT_ONCE = 1 << 23
"""Weights, and numbers of categories, that are held at once."""
_FEWEST_IMAGES = 2


@dataclass(frozen=True, slots=True)
class Draws:
    """So many draws, each of as many images as there are, with replacement.

    Draw d of a seed is the same whatever else is drawn, and for all sets with as many images.
    """

    count: int
    seed: int

    @classmethod
    def of(cls, bootstrap: object, seed: object = 0) -> "Draws | None":
        """Check the arguments of these names; None if `bootstrap` is None.

        Raises LossexportError unless `bootstrap` is a whole number from 2 to MAX_DRAWS and `seed`
        one from 0 to MAX_SEED.
        """
        first = _whole("seed", seed, 0, MAX_SEED)
        return (
            None if bootstrap is None else cls(_whole("bootstrap", bootstrap, 2, MAX_DRAWS), first)
        )

    def weights(self, images: int, width: int = 1) -> Iterator[Int32]:
        """How often each of so many images is drawn: blocks [d,I] of draws, in order.

        `width` is how many numbers are made of a draw, which bounds the blocks too. Raises
        LossexportError if there are fewer than 2 images.
        """
        if images < _FEWEST_IMAGES:
            raise LossexportError(
                f"bootstrap: {images} image(s): at least {_FEWEST_IMAGES} are needed to draw from"
            )
        step = max(CELLS_AT_ONCE // max(images, width), 1)
        for start in range(0, self.count, step):
            stop = min(start + step, self.count)
            yield np.stack([self._draw(images, draw) for draw in range(start, stop)])

    def _draw(self, images: int, draw: int) -> Int32:
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((self.seed, draw))))
        taken = rng.integers(0, images, images)
        return np.bincount(taken, minlength=images).astype(np.int32)

    def described(self, images: int) -> dict[str, Any]:
        """What a summary says of the draws."""
        return {
            "draws": self.count,
            "seed": self.seed,
            "images": images,
            "level": LEVEL,
            "method": METHOD,
        }


def _whole(name: str, value: object, least: int, most: int) -> int:
    number = arguments.number(name, value)
    if not least <= number <= most or number != int(number):
        raise LossexportError(
            f"{name} is {shown(value)}: a whole number from {least} to {most} is expected"
        )
    return int(number)


def interval(values: Float64) -> dict[str, Any]:
    """The interval of a number whose `values` [D] in the draws are these, NaN where undefined.

    `lower` and `upper` are the percentiles 2.5 and 97.5 of the draws in which it is defined, and
    `draws` is their number; `standard_error` is their standard deviation. All are None with fewer
    than two.
    """
    known = values[~np.isnan(values)]
    lower = upper = error = None
    if len(known) > 1:
        lower, upper = (float(v) for v in np.quantile(known, ((1 - LEVEL) / 2, (1 + LEVEL) / 2)))
        error = float(known.std(ddof=1))
    return {"lower": lower, "upper": upper, "standard_error": error, "draws": len(known)}


def intervals(columns: Mapping[str, Float64]) -> dict[str, dict[str, Any]]:
    """The interval of each column [D] by name."""
    return {name: interval(values) for name, values in columns.items()}
