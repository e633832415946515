"""Gradient harmonising: a loss weighted by the inverse density of its gradients' sizes.

Source: Li et al., AAAI 2019 (arXiv 1811.05181), eq. 8 to 12, in the authors' mmdetection form: unit
regions are the non-empty bins, and running counts start at 0 without bias correction. The total
number of elements is a factor of every weight and divides the sum, so it is left out of both.

The histogram compares elements with the edges of one bin at a time. It needs no scatter, and no
tensor of bins x elements. The size of a gradient grows with |pred - target|, or with the logit of
the wrong answer. These are compared instead, with edges that are converted accordingly, so rounding
puts no element into the wrong bin. Counts are integers.

The ops are chains of functions, each the body of a stage in `launches.py`: counts of the bins,
their weights, the weighted terms, their total. Counts and terms may be split into parts.
"""

import math

import torch
from torch import Tensor

from lossexport.families.ghm.edges import distance_edges, logit_edges, round_up
from lossexport.ops.common import finite
from lossexport.ops.logistic import logistic


def _edges(edges: list[float], dtype: torch.dtype) -> list[float]:
    return [round_up(edge) for edge in edges] if dtype == torch.float32 else edges


def _counts(height: Tensor, edges: list[float]) -> Tensor:
    """The number of elements of `height` [...] in every bin: [1,bins].

    `edges` are the lower edges of the bins; `height` is -inf for elements that are ignored.
    """
    reached = [(height >= edge).sum(dtype=torch.int32) for edge in _edges(edges, height.dtype)]
    above = torch.stack([*reached[1:], torch.zeros_like(reached[0])])
    return (torch.stack(reached) - above).to(height.dtype).unsqueeze(0)


def ghm_weights(
    partial_count: Tensor, bin_count: Tensor, bins: int, momentum: float
) -> tuple[Tensor, Tensor]:
    """Weights and new running counts [bins] from counts [P,bins] of parts and running counts."""
    count, bin_count = partial_count.sum(0), finite(bin_count)
    filled = count > 0
    density = count
    if momentum > 0:
        mixed = momentum * bin_count.to(count.dtype) + (1 - momentum) * count
        density = torch.where(filled, mixed, bin_count)
    # An empty bin has a weight of 0; its count may be 0.
    shared = density * filled.sum()
    weights = torch.where(filled, 1 / shared.clamp(min=torch.finfo(count.dtype).tiny), 0)
    return weights, (density if momentum > 0 else bin_count).to(bin_count.dtype)


def _terms(loss: Tensor, height: Tensor, edges: list[float], bin_weight: Tensor) -> Tensor:
    """The sum of `loss`, every element times the weight of its bin: [1]."""
    edges = _edges(edges, height.dtype)
    weight = torch.zeros_like(loss)
    below = height < edges[0]
    for value, edge in zip(bin_weight.unbind(), [*edges[1:], math.inf], strict=True):
        # Compared one step ahead, because onnxruntime then holds two masks and not all of them.
        ahead = height < edge
        weight = torch.where(below, weight, value)
        below = ahead
    return (weight * loss).sum().reshape(1)


def ghm_total(partial_loss: Tensor) -> Tensor:
    """The loss from its parts [P]."""
    return partial_loss.sum()


def _classified(logits: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The logit of the wrong answer, and its height for the bins."""
    logits = finite(logits, weight, target)
    # For hard targets: the cross entropy of the wrong answer's logit with a target of 0.
    wrong = torch.where(target > 0.5, -logits, logits)
    return wrong, torch.where(weight > 0, wrong.detach(), -math.inf)


def _logit_edges(bins: int, dtype: torch.dtype) -> list[float]:
    return logit_edges(bins, -torch.finfo(dtype).max)


def ghm_c_counts(logits: Tensor, target: Tensor, weight: Tensor, bins: int) -> Tensor:
    """The number of elements in every bin of GHM-C: [1,bins]."""
    height = _classified(logits, target, weight)[1]
    return _counts(height, _logit_edges(bins, height.dtype))


def ghm_c_terms(
    logits: Tensor, target: Tensor, weight: Tensor, bin_weight: Tensor, bins: int
) -> Tensor:
    """The sum of the weighted cross entropies: [1]."""
    wrong, height = _classified(logits, target, weight)
    return _terms(logistic(wrong).miss, height, _logit_edges(bins, height.dtype), bin_weight)


def _regressed(pred: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The difference, and its height for the bins."""
    difference = finite(pred - target, weight)
    return difference, torch.where(weight > 0, difference.detach().abs(), -math.inf)


def ghm_r_counts(pred: Tensor, target: Tensor, weight: Tensor, bins: int, mu: float) -> Tensor:
    """The number of elements in every bin of GHM-R: [1,bins]."""
    return _counts(_regressed(pred, target, weight)[1], distance_edges(bins, mu))


def ghm_r_terms(
    pred: Tensor, target: Tensor, weight: Tensor, bin_weight: Tensor, bins: int, mu: float
) -> Tensor:
    """The sum of the weighted losses of the differences: [1]."""
    difference, height = _regressed(pred, target, weight)
    square = difference * difference
    # Avoids the difference of the root and mu, which cancels.
    loss = square / ((square + mu * mu).sqrt() + mu)
    return _terms(loss, height, distance_edges(bins, mu), bin_weight)


def ghm_c_loss(
    logits: Tensor,
    target: Tensor,
    weight: Tensor,
    bin_count: Tensor,
    bins: int = 10,
    momentum: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Harmonised binary cross entropy: [N,C] three times and [bins] to a scalar and [bins].

    `weight` of 0 leaves an element out, any other takes it in. `bin_count` is the state, zeros at
    first; the second result takes its place in the next call.
    """
    count = ghm_c_counts(logits, target, weight, bins)
    bin_weight, new = ghm_weights(count, bin_count, bins, momentum)
    return ghm_total(ghm_c_terms(logits, target, weight, bin_weight, bins)), new


def ghm_r_loss(
    pred: Tensor,
    target: Tensor,
    weight: Tensor,
    bin_count: Tensor,
    bins: int = 10,
    momentum: float = 0.0,
    mu: float = 0.02,
) -> tuple[Tensor, Tensor]:
    """Harmonised `sqrt(d^2 + mu^2) - mu`: [N,4] three times and [bins] to a scalar and [bins].

    `weight` of 0 leaves an element out, any other takes it in. `bin_count` is the state, zeros at
    first; the second result takes its place in the next call.
    """
    count = ghm_r_counts(pred, target, weight, bins, mu)
    bin_weight, new = ghm_weights(count, bin_count, bins, momentum)
    return ghm_total(ghm_r_terms(pred, target, weight, bin_weight, bins, mu)), new
