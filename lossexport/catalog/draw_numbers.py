"""Numbers to verify with, in float64: what a detector gives, and the ends of every domain."""

from collections.abc import Callable

import numpy as np

Shape = tuple[int, ...]
NONFINITE = [np.nan, np.inf, -np.inf]
# Ties, the thresholds at which runtimes' sigmoid, log and exp give up, both ends of the domain.
_SPECIAL = (0.0, 1e-6, 1.0, 16.6, 17.5, 18.0, 20.0, 50.0, 87.0, 88.5, 100.0)
# Equal ones, neighbours, large and small: their differences are 0, tiny, and whole.
_REALS = (0.0, 1.0, 1.0 - 2**-20, 1.0 + 2**-20, 1e-6, 50.0, 1e5)


def spoil(rng: np.random.Generator, values: np.ndarray, share: float) -> None:
    """Put NaN or an infinity, in place, into about `share` of the elements."""
    where = rng.random(values.shape) < share
    values[where] = rng.choice(NONFINITE, int(where.sum()))


def _ordinary(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Logits of a detector in training: mostly confident negatives."""
    return rng.normal(-2.0, 3.0, shape)


def _tails(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Logits spread evenly over -100 to 100."""
    return rng.uniform(-100.0, 100.0, shape)


def _special(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Few distinct logits, so that rows are full of ties and saturated either way."""
    return np.asarray(rng.choice(_SPECIAL, shape) * rng.choice([-1.0, 1.0], shape))


def _nonfinite(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Ordinary logits with a NaN or an infinity in one out of ten."""
    logits = _ordinary(rng, shape)
    spoil(rng, logits, 0.1)
    return logits


LOGITS: dict[str, Callable[[np.random.Generator, Shape], np.ndarray]] = {
    "ordinary": _ordinary,
    "tails": _tails,
    "special": _special,
    "nonfinite": _nonfinite,
}


def reals(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Numbers about 0, of sizes from 1e-3 to 10."""
    return rng.normal(0.0, 1.0, shape) * 10.0 ** rng.uniform(-3.0, 1.0, shape)


def extreme_reals(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Few distinct numbers of either sign, up to 1e5."""
    return np.asarray(rng.choice(_REALS, shape) * rng.choice([-1.0, 1.0], shape))


def within(rng: np.random.Generator, shape: Shape, low: float, high: float) -> np.ndarray:
    """Numbers spread over the bounds; where one is infinite, of sizes from 1e-3 to 1e3 off it."""
    if np.isfinite(low) and np.isfinite(high):
        return rng.uniform(low, high, shape)
    size = 10.0 ** rng.uniform(-3.0, 3.0, shape)
    if np.isfinite(low) or np.isfinite(high):
        return low + size if np.isfinite(low) else high - size
    return reals(rng, shape)


def at_ends(rng: np.random.Generator, shape: Shape, low: float, high: float) -> np.ndarray:
    """Half of the numbers at the bounds and next to them, half far off a bound or in between."""
    ends = [end for end in (low, high) if np.isfinite(end)]
    if not ends:
        return extreme_reals(rng, shape)
    inner = within(rng, shape, low, high)
    if len(ends) == 1:
        inner = ends[0] + (inner - ends[0]) * 1e3
    step = 1e-6 * max(abs(end) for end in (*ends, 1e-3))
    near = np.clip(
        rng.choice([*ends, *(e + s for e in ends for s in (-step, step))], shape), low, high
    )
    return np.where(rng.random(shape) < 0.5, near, inner)
