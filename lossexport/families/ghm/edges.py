"""Edges of the bins of gradient harmonising, moved from gradients to logits and distances."""

import math

import numpy as np

_LARGEST = float(np.finfo(np.float32).max)


def logit_edges(bins: int, lowest: float = -_LARGEST) -> list[float]:
    """Lower edges of GHM-C's bins, as logits of the wrong answer; `lowest` is below every one.

    |sigmoid(x) - t| is at least i / bins if the logit is at least that of i / bins.
    """
    return [lowest, *(math.log(i / (bins - i)) for i in range(1, bins))]


def distance_edges(bins: int, mu: float) -> list[float]:
    """Lower edges of GHM-R's bins, as sizes of the difference.

    |d| / sqrt(d^2 + mu^2) is at least e if |d| is at least mu e / sqrt(1 - e^2).
    """
    return [mu * i / math.sqrt(bins * bins - i * i) for i in range(bins)]


def round_up(edge: float) -> float:
    """The smallest float32 that is at least `edge`, so that a float32 reaches both or neither."""
    rounded = np.float32(edge)
    if float(rounded) < edge:
        rounded = np.nextafter(rounded, np.float32(math.inf))
    return float(rounded)
