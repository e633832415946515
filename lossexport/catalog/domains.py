"""The domains of tensors: a description of the values, their bounds, and how to draw them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from lossexport.catalog import draw_boxes, draw_numbers
from lossexport.catalog.draw_numbers import LOGITS, Shape, spoil

DType = Literal["float", "float32", "int64", "bool"]


class Wanted(NamedTuple):
    """A tensor to draw: its shape, and the bounds of its values."""

    shape: Shape
    low: float
    high: float


# Draws all tensors of an op in the same domain together, such as predictions and their targets.
Draw = Callable[[np.random.Generator, Sequence[Wanted]], Sequence[np.ndarray]]


@dataclass(frozen=True, slots=True)
class Domain:
    """Values that tensors may have.

    `text` describes them to people. `low`, `high`, `whole` and `dtype` are the defaults of its
    tensors; `high` may name a dimension ("C-1"). `draws` has a draw for each family of cases,
    ordinary values first, and `last` is the required size of the last dimension.
    """

    text: str
    draws: Mapping[str, Draw] = field(repr=False)
    dtype: DType = "float"
    low: float = -math.inf
    high: float | str = math.inf
    whole: bool = False
    last: int | None = None


def _each(draw: Callable[[np.random.Generator, Wanted], np.ndarray]) -> Draw:
    """Draw tensors independently of each other."""
    return lambda rng, wanted: [draw(rng, one) for one in wanted]


def _sets(
    sample: Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]],
    near: Callable[[np.random.Generator, np.ndarray, float], np.ndarray],
) -> Draw:
    """Draw sets of boxes near each other, row by row; their lengths may differ."""

    def draw(rng: np.random.Generator, wanted: Sequence[Wanted]) -> Sequence[np.ndarray]:
        counts = [math.prod(one.shape[:-1]) for one in wanted]
        sets = list(sample(rng, max(counts)))
        with np.errstate(invalid="ignore"):
            sets += [near(rng, sets[1], 0.1) for _ in wanted[2:]]
        return [
            boxes[:n].reshape(one.shape)
            for boxes, n, one in zip(sets, counts, wanted, strict=False)
        ]

    return draw


def _reals(rng: np.random.Generator, wanted: Sequence[Wanted]) -> Sequence[np.ndarray]:
    """Numbers of about size 1; tensors of the same shape are near each other."""
    centres: dict[Shape, np.ndarray] = {}
    drawn = []
    for one in wanted:
        if (centre := centres.get(one.shape)) is None:
            drawn.append(centres.setdefault(one.shape, rng.normal(0.0, 1.0, one.shape)))
        else:
            drawn.append(centre + draw_numbers.reals(rng, one.shape))
    return drawn


def _spoilt(draw: Draw) -> Draw:
    """`draw`, with about one in ten values replaced by NaN or an infinity."""

    def spoilt(rng: np.random.Generator, wanted: Sequence[Wanted]) -> Sequence[np.ndarray]:
        drawn = [values.copy() for values in draw(rng, wanted)]
        for values in drawn:
            spoil(rng, values, 0.1)
        return drawn

    return spoilt


def _logits(
    draw: Callable[[np.random.Generator, Shape], np.ndarray],
    rng: np.random.Generator,
    one: Wanted,
) -> np.ndarray:
    return draw(rng, one.shape)


def _bounded(rng: np.random.Generator, one: Wanted) -> np.ndarray:
    return draw_numbers.within(rng, *one)


def _at_bounds(rng: np.random.Generator, one: Wanted) -> np.ndarray:
    return draw_numbers.at_ends(rng, *one)


def _whole(rng: np.random.Generator, one: Wanted) -> np.ndarray:
    low = one.low if math.isfinite(one.low) else min(one.high, 8.0) - 8.0
    high = one.high if math.isfinite(one.high) else low + 7.0
    return rng.integers(int(low), int(high) + 1, one.shape)


def _truths(rng: np.random.Generator, one: Wanted) -> np.ndarray:
    return rng.random(one.shape) < 0.5


def _few_truths(rng: np.random.Generator, one: Wanted) -> np.ndarray:
    """Booleans, of which none, one in a hundred or all are true."""
    return rng.random(one.shape) < float(rng.choice([0.0, 0.01, 1.0]))


def _positive(decades: float) -> Draw:
    """Draw numbers above 0, within so many decades of 1."""
    return _each(lambda rng, one: 10.0 ** rng.uniform(-decades, decades, one.shape))


def _with_nonfinite(ordinary: Draw, adversarial: Draw) -> dict[str, Draw]:
    return {"ordinary": ordinary, "adversarial": adversarial, "nonfinite": _spoilt(ordinary)}


_BOUNDED = _with_nonfinite(_each(_bounded), _each(_at_bounds))
_REALS = _with_nonfinite(_reals, _each(lambda rng, one: draw_numbers.extreme_reals(rng, one.shape)))
_MASKS: dict[str, Draw] = {"ordinary": _each(_truths), "adversarial": _each(_few_truths)}
_WHOLE: dict[str, Draw] = {"ordinary": _each(_whole)}

DOMAINS: Mapping[str, Domain] = {
    "boxes": Domain(
        "xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from 1e-4 to 1e5",
        {name: _sets(sample, draw_boxes.jittered) for name, sample in draw_boxes.UPRIGHT.items()},
        last=4,
    ),
    "rotated": Domain(
        "cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit",
        {name: _sets(sample, draw_boxes.turned) for name, sample in draw_boxes.ROTATED.items()},
        last=5,
    ),
    # Labels come before the logits that they belong to.
    "labels": Domain(
        "class indices 0 to C-1", _WHOLE, dtype="int64", low=0, high="C-1", whole=True
    ),
    "logits": Domain(
        "real numbers, exact from -1e4 to 1e4",
        {name: _each(partial(_logits, draw)) for name, draw in LOGITS.items()},
    ),
    "probabilities": Domain("0 to 1", _BOUNDED, low=0, high=1),
    "mask": Domain("true or false", _MASKS, dtype="bool"),
    "positive": Domain("above 0", _with_nonfinite(_positive(3), _positive(6)), low=2.0**-126),
    "real": Domain("real numbers", _REALS),
}
"""By name; the order is that in which they are drawn."""


def in_words(text: str, dtype: DType, whole: bool, bounded: bool) -> Domain:
    """The domain of a tensor that describes its values in words."""
    if dtype == "bool":
        return Domain(text, _MASKS)
    if whole or dtype == "int64":
        return Domain(text, _WHOLE)
    return Domain(text, _BOUNDED if bounded else _REALS)
