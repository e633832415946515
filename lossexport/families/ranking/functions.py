"""Losses that compare the scores of positives and negatives.

Sources: AP loss, Chen et al., CVPR 2019 (arXiv 1904.06373), algorithm 1, with the interpolated
precision of its public code; DR loss, Qian et al., CVPR 2020 (arXiv 1907.10156), eq. 10 to 12.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from lossexport.ops.common import is_concrete, physical, poison, tiny
from lossexport.ops.function import final, function, save, total
from lossexport.ops.logistic import Logistic, chosen, labelled, logistic, softmax_slope

# Number of positives that are compared with all elements at a time, which bounds the memory: a
# temporary takes 64 * 4 * K bytes.
_ROWS = 64


class _AveragePrecision(Function):
    """AP loss of logits [K], whose derivative is the error-driven update."""

    @staticmethod
    def forward(
        logits: Tensor, target: Tensor, delta: float, max_positives: int
    ) -> tuple[Tensor, ...]:
        score, place = ap_positives(logits, target, max_positives)
        above, level = ap_counts(logits, target, score, delta, max_positives)
        loss, share = ap_shares(score, place, above, level, max_positives)
        return loss, score, place, above, share

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.settings = inputs[2:]
        ctx.mark_non_differentiable(*output[1:])
        save(ctx, *inputs[:2], *output[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return _AveragePrecision.update(ctx) * grads[0], None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> tuple[Tensor | None, ...]:
        loss = (_AveragePrecision.update(ctx) * tangents[0]).sum()
        return loss, None, None, None, None

    @staticmethod
    def update(ctx: Any) -> Tensor:
        """The update, which cannot be differentiated."""
        logits = ctx.saved_tensors[0]
        update = ap_update(*(x.detach() for x in ctx.saved_tensors), *ctx.settings)
        return final(update, logits, "ap_loss: its gradient is an update that has no derivative")


_average_precision = function(_AveragePrecision)


# The loss is a chain of functions, each the body of a stage in `launches.py`. The positives are
# gathered by a TopK of fixed size instead of a boolean index. The running maximum of the precision
# over rising scores is computed as the largest one at or below each score. With b_i the
# negatives above positive i, softly counted, and e_i = b_i / (a_i + b_i) its error, the update
# simplifies: it moves negative j by `H_ij E_i / b_i`, where E_i is the interpolated error, and
# every sum is one of terms of one sign.


def ap_positives(logits: Tensor, target: Tensor, max_positives: int) -> tuple[Tensor, Tensor]:
    """Scores [max_positives] of the positives, and their indices, -1 for unused slots.

    NaN if there are more than `max_positives`.
    """
    positive = target == 1
    lowest = _lowest(logits)
    # Padded, so that there are always as many candidates as the TopK asks for.
    padding = logits.new_full((max_positives,), lowest)
    candidates = torch.cat((torch.where(positive, logits, lowest), padding))
    score, place = candidates.topk(max_positives)
    count = positive.sum()
    real = torch.arange(max_positives, device=logits.device) < count
    return torch.where(count > max_positives, torch.nan, score), torch.where(real, place, -1)


def ap_counts(
    logits: Tensor, target: Tensor, score: Tensor, delta: float, max_positives: int
) -> tuple[Tensor, Tensor]:
    """Twice delta times the soft counts b_i and a_i of every positive; H of a score with itself
    is 1/2. NaN if a logit is not finite, or if the score is NaN."""
    negatives = _negatives(logits, target)
    above = torch.cat([_overlap(negatives, rows, delta) for rows in _chunks(score)])
    return above + poison(logits) + score * 0, delta + _overlap(score, score, delta)


def ap_shares(
    score: Tensor, place: Tensor, above: Tensor, level: Tensor, max_positives: int
) -> tuple[Tensor, Tensor]:
    """The loss, and the share of each positive in it."""
    real = place >= 0
    error = torch.where(real, above / (level + above), 1)
    reached = score <= score.unsqueeze(1)
    least = torch.where(reached, error, 1).amin(1)
    share = torch.where(real, least, 0) / real.sum().clamp(min=1) + poison(above)
    return share.sum(), share


def ap_update(
    logits: Tensor,
    target: Tensor,
    score: Tensor,
    place: Tensor,
    above: Tensor,
    share: Tensor,
    delta: float,
    max_positives: int,
) -> Tensor:
    """The error-driven update of every logit."""
    negatives = _negatives(logits, target)
    # If no negative is above, the error is 0.
    weight = (share / above.clamp(min=tiny(above))).unsqueeze(1)
    update = torch.zeros_like(negatives)
    for rows, weights in zip(_chunks(score), _chunks(weight), strict=True):
        update = update + (_ramp(negatives, rows, delta) * weights).sum(0)
    # Slots without a positive get indices of their own behind all others.
    size = negatives.shape[0]
    behind = size + torch.arange(max_positives, device=place.device)
    pull = torch.zeros_like(torch.cat((negatives, score)))
    pull = pull.scatter(0, torch.where(place < 0, behind, place), -share)
    return update + pull[:size]


def _lowest(x: Tensor) -> float:
    """A number more than delta below every score, whose differences do not overflow."""
    return -0.25 * torch.finfo(x.dtype).max


def _negatives(logits: Tensor, target: Tensor) -> Tensor:
    return torch.where(target == 0, logits, _lowest(logits))


def _chunks(positives: Tensor) -> tuple[Tensor, ...]:
    return torch.split(positives, _ROWS)


def _ramp(scores: Tensor, rows: Tensor, delta: float) -> Tensor:
    """2 delta H(scores - rows): [K] and [P] to [P,K], in [0, 2 delta]."""
    return (scores - rows.unsqueeze(1) + delta).clamp(0.0, 2 * delta)


def _overlap(scores: Tensor, rows: Tensor, delta: float) -> Tensor:
    return _ramp(scores, rows, delta).sum(1)


def ap_loss(logits: Tensor, target: Tensor, delta: float = 1.0, max_positives: int = 512) -> Tensor:
    """1 - interpolated average precision, ranked jointly: any shape and the same to a scalar.

    `target` (int64) is 1 for positives, 0 for negatives, -1 for ignored elements. A graph has
    `max_positives` slots and gives NaN for more positives; in Python there is no limit.
    """
    if is_concrete(target):
        # Under vmap, the largest number in the batch.
        max_positives = max(int(physical((target == 1).sum()).max()), 1)
    loss: Tensor = _average_precision(logits, target, delta, max_positives)[0]
    return loss


class _Expectation(Function):
    """Mean of the probabilities p of `members`, weighted by exp(rate p); `empty` without members.

    p and q = 1 - p are in [0, 1], so weights relative to the one at p = 1 or 0 are in range. No
    maximum is needed, of a set that may be empty. The weights depend on p too, so d/dp_i of the
    mean is `share_i (1 + rate (p_i - mean))`. Returns the means of p and q, and the weights. The
    derivatives are those with respect to p, of which q is a function.
    """

    @staticmethod
    def forward(
        p: Tensor, q: Tensor, members: Tensor, rate: float, empty: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        weight = torch.where(members, torch.exp(-rate * q if rate > 0 else rate * p), 0)
        total = weight.sum()
        share = weight / total.clamp(min=tiny(total))
        # NaN is not above 0, but the result has to be NaN then.
        mean = torch.where(total > 0, (share * p).sum(), empty + 0 * total)
        return mean, (share * q).sum(), share

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.rate = inputs[3]
        ctx.set_materialize_grads(False)
        save(ctx, *inputs[:2], *output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        share = ctx.saved_tensors[-1]
        mean, rest, weight = grads
        terms = []
        if mean is not None:
            terms.append(mean * share * _Expectation.slope(ctx))
        if rest is not None:
            terms.append(-rest * share * _Expectation.slope(ctx))
        if weight is not None:
            terms.append(ctx.rate * _shifted(share, weight))
        return total(terms), None, None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        share, move = ctx.saved_tensors[-1], tangents[0]
        mean = (share * _Expectation.slope(ctx) * move).sum()
        return mean, -mean, ctx.rate * _shifted(share, move)

    @staticmethod
    def slope(ctx: Any) -> Tensor:
        """`1 + rate (p - mean)`."""
        p, q, mean, rest, _ = ctx.saved_tensors
        # The difference of the smaller numbers, because close to 1 the slope would lose digits.
        beyond = torch.where(mean < rest, p - mean, rest - q)
        slope: Tensor = 1 + ctx.rate * beyond
        return slope


def _shifted(share: Tensor, move: Tensor) -> Tensor:
    """The change of the shares [N,C] for a change of the exponents of their weights."""
    return softmax_slope(share.flatten(), move.flatten()).reshape(share.shape)


_expectations = function(_Expectation)


def _expectation(x: Logistic, members: Tensor, rate: float, empty: float) -> Tensor:
    mean: Tensor = _expectations(x.p, x.q, members, rate, empty)[0]
    return mean


def dr_loss(
    logits: Tensor,
    labels: Tensor,
    pos_lambda: float = 1.0,
    neg_lambda: float = 0.1 / math.log(3.5),
    L: float = 6.0,  # noqa: N803
    tau: float = 4.0,
    margin: float = 0.5,
) -> Tensor:
    """Distributional ranking: logits [N,C] and labels [N] to a scalar.

    Labels are 1 to C for classes, 0 for background, -1 for ignored rows. The worst-case
    distributions of positives and negatives are masked softmaxes, through which gradients flow.
    """
    classes = logits.shape[1]
    x = logistic(labelled(logits, labels, -1, classes))
    positive = chosen(labels, classes, first=1)
    negative = ~positive & (labels >= 0).unsqueeze(-1)
    hardest = _expectation(x, negative, 1 / neg_lambda, empty=0.0)
    easiest = _expectation(x, positive, -1 / pos_lambda, empty=1.0)
    return tau / L * logistic(L * (hardest - easiest + margin)).miss
