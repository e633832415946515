"""Sizes of the terms that the losses add up, in float64: what an absolute error is measured by.

Where all terms have one sign that is the value itself, so that the tails are judged by their
relative error.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lossexport.catalog.spec import Arrays

Attributes = Mapping[str, Any]
# Below, products of probabilities have left the normal range of float32.
FLOOR = 1e-30


def _softplus(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _sigmoid(x: Any) -> Any:
    return np.exp(-_softplus(-x))


def kl(output: str, inputs: Arrays, attributes: Attributes) -> Any:
    """Both terms of the loss; the smooth L1's slope for `pred`."""
    alpha = inputs["log_variance"]
    size = np.abs(inputs["pred"] - inputs["target"])
    near = np.minimum(size, 1)
    weight = np.exp(-alpha)
    if output == "grad_pred":
        return weight * near + FLOOR
    linear = 0.5 if output == "grad_log_variance" else 0.5 * np.abs(alpha)
    return weight * near * (size - 0.5 * near) + linear


def sigmoid_focal(output: str, inputs: Arrays, attributes: Attributes) -> Any:
    """The two terms of the slope, of opposite sign where the target is soft."""
    if not output.startswith("grad_"):
        return FLOOR
    x, t = inputs["logits"], inputs["target"]
    alpha, gamma = attributes["alpha"], attributes["gamma"]
    p, q = _sigmoid(x), _sigmoid(-x)
    miss = np.maximum(t * q + (1 - t) * p, 1e-300)
    entropy = t * _softplus(-x) + (1 - t) * _softplus(x)
    weight = alpha * t + (1 - alpha) * (1 - t) if alpha >= 0 else 1.0
    first = gamma * miss ** (gamma - 1) * p * q * entropy
    return weight * (first + miss**gamma * (t * q + (1 - t) * p)) + FLOOR


def _rows(inputs: Arrays) -> tuple[Any, Any, Any, Any]:
    """Own class [N,C], margin [N], shares of the other classes [N,C] and an error factor [N]."""
    x = inputs["logits"]
    classes = x.shape[1]
    own = inputs["labels"][:, None] == np.arange(classes)
    difference = x - np.take_along_axis(x, inputs["labels"][:, None], axis=1)
    others = np.where(own, -np.inf, difference)
    peak = np.maximum(others.max(axis=1, keepdims=True), -1e30)
    shares = np.exp(others - peak)
    total = np.maximum(shares.sum(axis=1, keepdims=True), 1e-300)
    z = -(peak + np.log(total))[:, 0]
    reach = np.abs(difference).max(axis=1)
    return own, z, shares / total, reach + 1.5 * np.log(classes) + 10


def softmax_focal(output: str, inputs: Arrays, attributes: Attributes) -> Any:
    """The loss or its slopes, times the error of the margin in units of u."""
    own, z, shares, factor = _rows(inputs)
    gamma, alpha = attributes["gamma"], attributes["alpha"]
    labels = inputs["labels"]
    if isinstance(alpha, tuple | list):
        weight = np.array(alpha)[labels]
    else:
        weight = np.where(labels == 0, alpha, 1 - alpha)
    miss, entropy = _sigmoid(-z), _softplus(-z)
    factor = weight * (gamma + 1) * factor
    if not output.startswith("grad_"):
        return miss**gamma * entropy * factor + FLOOR
    slope = miss**gamma * (gamma * _sigmoid(z) * entropy + miss) * factor
    return slope[:, None] * np.where(own, 1, shares) + FLOOR


def sce(output: str, inputs: Arrays, attributes: Attributes) -> Any:
    """Both cross entropies or their slopes, times the error of the margin in units of u.

    A probability that rounding moves across the floor takes its slope along.
    """
    own, z, shares, factor = _rows(inputs)
    alpha, floor = attributes["alpha"], attributes["prob_floor"]
    reverse = -attributes["beta"] * np.log(attributes["label_floor"])
    miss = _sigmoid(-z)
    p = np.where(own, _sigmoid(z)[:, None], miss[:, None] * shares)
    if not output.startswith("grad_"):
        clamped = np.where(own, 0, np.maximum(p, floor)).sum(axis=1)
        return (alpha * _softplus(-z) + reverse * clamped) * factor + FLOOR
    certain = alpha * miss[:, None] * np.where(own, 1, shares)
    live = ~own & (p >= floor)
    moving = np.where(live, p, 0).sum(axis=1, keepdims=True)
    rest = np.where(live, 0, p).sum(axis=1, keepdims=True)
    slope = certain + reverse * p * np.where(live, rest, moving)
    border = ~own & (np.abs(p / max(floor, 1e-300) - 1) < 1e-4)
    moved = reverse * floor * (border + p * border.sum(axis=1, keepdims=True))
    return slope * factor[:, None] + moved * 2**22 + FLOOR


def ap(output: str, inputs: Arrays, attributes: Attributes) -> Any:
    """Pairs on the ramp of H, each good to u, over the soft count that they are part of."""
    x, target = inputs["logits"], inputs["target"]
    delta = attributes["delta"]
    positives = np.sort(x[target == 1])
    known = np.sort(x[target >= 0])
    count = max(len(positives), 1)
    if not np.isfinite(known).all() or not len(positives):
        return 1.0
    first = np.searchsorted(known, positives - delta)
    last = np.searchsorted(known, positives + delta)
    total = np.concatenate(([0.0], np.cumsum(known)))
    ramp = (total[last] - total[first] - (last - first) * positives) / (2 * delta)
    soft = 0.5 + ramp + 0.5 * (last - first) + (len(known) - last)
    worst = 1 + ((last - first) / np.maximum(soft, 0.5)).max()
    if not output.startswith("grad_"):
        return worst
    below = np.searchsorted(positives, x + delta)
    return worst * np.where(target == 1, 1, below) / count + FLOOR


def dr(output: str, inputs: Arrays, attributes: Attributes) -> Any:
    """The slopes' terms, times what the exponents p / lambda make of the probabilities' error."""
    lambdas = attributes["neg_lambda"], attributes["pos_lambda"]
    size = attributes["tau"] * (4 + sum(1 / value for value in lambdas))
    if not output.startswith("grad_"):
        return size
    x, labels = inputs["logits"], inputs["labels"]
    p = _sigmoid(x)
    positive = labels[:, None] - 1 == np.arange(x.shape[1])
    negative = ~positive & (labels >= 0)[:, None]
    terms = np.zeros_like(p)
    for members, sign, value in zip((negative, positive), (1, -1), lambdas, strict=True):
        weight = np.where(members, np.exp(sign * p / value), 0)
        share = weight / np.maximum(weight.sum(), 1e-300)
        terms += share * (1 + (p + (share * p).sum()) / value)
    return size * terms * p * _sigmoid(-x) + FLOOR
