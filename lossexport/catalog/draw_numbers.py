"""Numbers to verify with, in float64: typical outputs of detectors, and extremes of domains."""

from collections.abc import Callable

import numpy as np

Shape = tuple[int, ...]
NONFINITE = [np.nan, np.inf, -np.inf]
# Ties, the thresholds where runtimes' sigmoid, log and exp lose precision, ends of the domain.
_SPECIAL = (0.0, 1e-6, 1.0, 16.6, 17.5, 18.0, 20.0, 50.0, 87.0, 88.5, 100.0)
# Equal, neighbouring, large and small numbers, whose differences are 0, tiny, or whole.
_REALS = (0.0, 1.0, 1.0 - 2**-20, 1.0 + 2**-20, 1e-6, 50.0, 1e5)


def spoil(rng: np.random.Generator, values: np.ndarray, share: float) -> None:
    """Put NaN or an infinity, in place, into about `share` of the elements."""
    where = rng.random(values.shape) < share
    values[where] = rng.choice(NONFINITE, int(where.sum()))


def _ordinary(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Logits as of a detector in training, which are mostly confident negatives."""
    return rng.normal(-2.0, 3.0, shape)


def _tails(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Logits spread evenly over -100 to 100."""
    return rng.uniform(-100.0, 100.0, shape)


def _special(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Few distinct logits, so that rows have many ties and saturate at both ends."""
    return np.asarray(rng.choice(_SPECIAL, shape) * rng.choice([-1.0, 1.0], shape))


def _nonfinite(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Ordinary logits, of which one in ten is NaN or infinite."""
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
    """Numbers of both signs, of sizes from 1e-3 to 10."""
    return rng.normal(0.0, 1.0, shape) * 10.0 ** rng.uniform(-3.0, 1.0, shape)


def extreme_reals(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Few distinct numbers of either sign, up to 1e5."""
    return np.asarray(rng.choice(_REALS, shape) * rng.choice([-1.0, 1.0], shape))


def within(rng: np.random.Generator, shape: Shape, low: float, high: float) -> np.ndarray:
    """Numbers between the bounds; if one is infinite, at 1e-3 to 1e3 from the other."""
    if np.isfinite(low) and np.isfinite(high):
        return rng.uniform(low, high, shape)
    size = 10.0 ** rng.uniform(-3.0, 3.0, shape)
    if np.isfinite(low) or np.isfinite(high):
        return low + size if np.isfinite(low) else high - size
    return reals(rng, shape)


def at_ends(rng: np.random.Generator, shape: Shape, low: float, high: float) -> np.ndarray:
    """Numbers of which half are at or next to the bounds, and half far from them or between."""
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
