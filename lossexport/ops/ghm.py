"""Gradient harmonising: a loss weighted by the inverse density of its gradients' sizes.

Source: Li et al., AAAI 2019 (arXiv 1811.05181), eq. 8 to 12, in the authors' mmdetection form: unit
regions are the non-empty bins, running counts start at 0 without bias correction. The total that
weighs every bin divides the sum again, so that neither appears.

The histogram compares elements with the bins' edges, a bin at a time: no scatter, and no tensor of
bins x elements. Gradients' sizes grow with |pred - target|, or with the logit of the wrong answer,
so that these are compared instead, with edges moved to them: no rounding puts an element into the
wrong bin. Counts are integers.
"""

import math

import numpy as np
import torch
from torch import Tensor

from lossexport.ops._common import finite, op
from lossexport.ops._logistic import logistic


def _round_up(edge: float, dtype: torch.dtype) -> float:
    """The smallest number of `dtype` at or above: what reaches it reaches the exact edge."""
    if dtype != torch.float32:
        return edge
    rounded = np.float32(edge)
    if float(rounded) < edge:
        rounded = np.nextafter(rounded, np.float32(math.inf))
    return float(rounded)


def _harmonised(
    loss: Tensor, height: Tensor, edges: list[float], bin_count: Tensor, momentum: float
) -> tuple[Tensor, Tensor]:
    """The sum of `loss`, every element divided by the count of its bin and the number of bins.

    `height` [...] is what the lower `edges` of the bins cut; -inf for elements that are ignored.
    """
    edges = [_round_up(edge, height.dtype) for edge in edges]
    bin_count = finite(bin_count)
    reached = [(height >= edge).sum(dtype=torch.int32) for edge in edges]
    above = torch.stack([*reached[1:], torch.zeros_like(reached[0])])
    count = torch.stack(reached) - above
    filled = count > 0
    density = count.to(loss.dtype)
    if momentum > 0:
        mixed = momentum * bin_count.to(loss.dtype) + (1 - momentum) * density
        density = torch.where(filled, mixed, bin_count)
    # An empty bin weighs nothing, and may have a count of 0.
    shared = density * filled.sum()
    weights = torch.where(filled, 1 / shared.clamp(min=torch.finfo(loss.dtype).tiny), 0)
    weight = torch.zeros_like(loss)
    below = height < edges[0]
    for value, edge in zip(weights.unbind(), [*edges[1:], math.inf], strict=True):
        # Compared one step ahead: in this order onnxruntime holds two masks, not all of them.
        ahead = height < edge
        weight = torch.where(below, weight, value)
        below = ahead
    new = density if momentum > 0 else bin_count
    return (weight * loss).sum(), new.to(bin_count.dtype)


@op
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
    logits = finite(logits, weight, target)
    # Of hard targets the cross entropy is that of the wrong answer with 0.
    wrong = torch.where(target > 0.5, -logits, logits)
    height = torch.where(weight > 0, wrong.detach(), -math.inf)
    # |sigmoid(x) - t| >= i / bins where the logit of the wrong answer is at least that of i / bins.
    edges = [math.log(i / (bins - i)) for i in range(1, bins)]
    edges = [-torch.finfo(logits.dtype).max, *edges]
    return _harmonised(logistic(wrong).miss, height, edges, bin_count, momentum)


@op
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
    difference = finite(pred - target, weight)
    height = torch.where(weight > 0, difference.detach().abs(), -math.inf)
    # |d| / sqrt(d^2 + mu^2) >= e where |d| >= mu e / sqrt(1 - e^2).
    edges = [mu * i / math.sqrt(bins * bins - i * i) for i in range(bins)]
    square = difference * difference
    # Without the difference of the root and mu, which cancels.
    loss = square / ((square + mu * mu).sqrt() + mu)
    return _harmonised(loss, height, edges, bin_count, momentum)
