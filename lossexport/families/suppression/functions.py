"""Suppression: which boxes stay, in what order, with which scores and corners.

Two exact formulations of the same greedy rule. `nms`, `diou_nms`, `soft_nms` and `variance_voting`
pick one box a step and work on vectors of N: `max_output` steps at most and nothing of size N x N.
`cluster_nms` compares all pairs at once and repeats a product with that matrix until nothing
changes: N x N memory, and one step more than the longest chain of suppressions. Neither sorts, for
TensorRT bounds the length of a sort, and a tie is broken by comparison and not by what a runtime
happens to do: the lowest index first.

A box with NaN or infinity in its corners, score or variance is never picked and removes none.

Sources: NMS and Soft-NMS, Bodla et al., ICCV 2017 (arXiv 1704.04503), figure 2; DIoU-NMS, Zheng et
al., AAAI 2020 (arXiv 1911.08287); Cluster-NMS, Zheng et al. (arXiv 2005.03572); variance voting, He
et al., CVPR 2019 (arXiv 1809.08545), algorithm 1 and its public code.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lossexport.ops.common import is_concrete, physical, poison, tiny

# The score of boxes that are picked, removed or unusable: below every one that takes part.
_OUT = -1.0
# A place beyond every box.
_NOWHERE = 2**31 - 1

_Tensors = tuple[Tensor, ...]
# The scores that go on, and what is kept of the box that was picked.
_Ruling = tuple[Tensor, _Tensors]
_while_loop: Any = torch.ops.higher_order.while_loop


class _Boxes(NamedTuple):
    """Planes of corners and areas, of all boxes [1,N] or of one [1,1]."""

    x1: Tensor
    y1: Tensor
    x2: Tensor
    y2: Tensor
    area: Tensor

    @classmethod
    def of(cls, table: Tensor) -> "_Boxes":
        """Of the rows of a table [5,N]."""
        return cls(*torch.split(table, 1))


class _Candidates(NamedTuple):
    """A table of boxes [5,N], their scores [1,N], `_OUT` for unusable ones, and places [1,N].

    One box more than was given takes no part, so that no maximum is one of an empty set.
    """

    table: Tensor
    scores: Tensor
    places: Tensor


def _candidates(
    boxes: Tensor, scores: Tensor, floor: float, *others: Tensor, offset: float = 0.0
) -> _Candidates:
    """The boxes of finite numbers, in the rows of `others` too, and scores of at least `floor`."""
    usable = (poison(boxes, scores.unsqueeze(1), *others) == 0) & (scores >= floor)
    clean = torch.where(usable.unsqueeze(1), boxes, 0)
    corners = torch.cat((clean, clean.new_zeros(1, 4))).mT
    x1, y1, x2, y2 = torch.split(corners, 1)
    area = ((x2 - x1) + offset) * ((y2 - y1) + offset)
    padded = torch.cat((torch.where(usable, scores, _OUT), scores.new_full((1,), _OUT)))
    places = torch.arange(boxes.shape[0] + 1, device=boxes.device)
    return _Candidates(torch.cat((corners, area)), padded.unsqueeze(0), places.unsqueeze(0))


def _metric(a: _Boxes, b: _Boxes, beta: float | None = None, offset: float = 0.0) -> Tensor:
    """IoU, less the distance term to the power `beta` where there is one: DIoU without an eps.

    0 / 0 is 0, so that two equal points do not touch. IoU is the rounded quotient, which equals
    the rounded threshold in any precision where the true one equals it in decimals.
    """
    width = torch.minimum(a.x2, b.x2) - torch.maximum(a.x1, b.x1)
    height = torch.minimum(a.y2, b.y2) - torch.maximum(a.y1, b.y1)
    intersection = (width + offset).clamp(min=0) * (height + offset).clamp(min=0)
    iou = _ratio(intersection, (a.area + b.area) - intersection)
    if beta is None:
        return iou
    # Sides of the enclosing box, and twice the distance of the centres.
    width = ((a.x2 - a.x1) + (b.x2 - b.x1)) - width
    height = ((a.y2 - a.y1) + (b.y2 - b.y1)) - height
    shift_x = (a.x1 - b.x1) + (a.x2 - b.x2)
    shift_y = (a.y1 - b.y1) + (a.y2 - b.y2)
    distance = (shift_x * shift_x + shift_y * shift_y) * 0.25
    term = _ratio(distance, width * width + height * height)
    return iou - (term if beta == 1 else term.pow(beta))


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    return numerator / denominator.clamp(min=tiny(denominator))


def _repeat(
    going: Callable[..., Tensor],
    step: Callable[..., _Tensors],
    state: _Tensors,
    constants: _Tensors,
) -> _Tensors:
    """`while going(*state, *constants): state = step(*state, *constants)`.

    Over numbers a Python loop; in a graph that is being traced one ONNX Loop.
    """
    if type(state[0]) is Tensor and state[0].is_meta:  # no numbers, and shapes that stay
        return state
    if not is_concrete(state[0]):
        # Its operands may not be views of each other.
        copies = tuple(constant.clone() for constant in constants)
        return tuple(_while_loop(going, step, state, copies))
    while (on := physical(here := going(*state, *constants))).any():
        new = step(*state, *constants)
        if on.dim():  # under vmap: those of the batch that have ended wait for the others
            new = tuple(torch.where(here, x, old) for x, old in zip(new, state, strict=True))
        state = new
    return state


class _Pick(NamedTuple):
    """A step of the picking loop: the best score [], its box, where that stands, and all [1,N]."""

    best: Tensor
    box: _Boxes
    own: Tensor
    boxes: _Boxes
    scores: Tensor


def _select(
    rule: Callable[..., _Ruling],
    candidates: _Candidates,
    floor: float,
    max_output: int,
    rows: tuple[int, ...] = (),
    constants: _Tensors = (),
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Pick boxes by falling score until none of at least `floor` is left or the output is full.

    After each pick `rule(pick, *constants)` gives the scores that go on [1,N] and what is kept of
    the picked box, [R,1] for every R in `rows`. Returns the places [max_output], padded with -1,
    their number [] and what was kept, [R,max_output] each, padded with 0.
    """
    table, scores, places = candidates
    slots = torch.arange(max_output, device=table.device).unsqueeze(0)

    def going(count: Tensor, best: Tensor, *_: Tensor) -> Tensor:
        return (count < max_output) & (best >= floor)

    def step(count: Tensor, best: Tensor, scores: Tensor, *rest: Tensor) -> _Tensors:
        written, given = rest[: 1 + len(rows)], rest[1 + len(rows) :]
        table, places, slots, *planes = given[:8]
        first = torch.where(scores == best, places, _NOWHERE).amin(1, keepdim=True)
        box = _Boxes.of(table.index_select(1, first.squeeze(0)))
        pick = _Pick(best, box, places == first, _Boxes(*planes), scores)
        scores, facts = rule(pick, *given[8:])
        here = slots == count
        news = zip((first, *facts), written, strict=True)
        kept = [torch.where(here, new, old) for new, old in news]
        return (count + 1, scores.amax((0, 1)), scores, *kept)

    state = (
        torch.zeros((), dtype=torch.int64, device=table.device),
        scores.amax((0, 1)),
        scores,
        torch.full_like(slots, -1),
        *(table.new_zeros(row, max_output) for row in rows),
    )
    given = (table, places, slots, *_Boxes.of(table), *constants)
    count, _, _, chosen, *kept = _repeat(going, step, state, given)
    return chosen.squeeze(0), count, kept


def _greedy(
    boxes: Tensor,
    scores: Tensor,
    threshold: float,
    floor: float,
    max_output: int,
    beta: float | None,
) -> tuple[Tensor, Tensor]:
    def rule(pick: _Pick) -> _Ruling:
        drop = (_metric(pick.box, pick.boxes, beta) > threshold) | pick.own
        return torch.where(drop, _OUT, pick.scores), ()

    return _select(rule, _candidates(boxes, scores, floor), floor, max_output)[:2]


def nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
    max_output: int = 100,
    beta: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Greedy NMS by IoU: boxes [N,4] xyxy and scores [N] to indices [max_output] and count [].

    Indices by falling score, ties by rising index, padded with -1. A box stays where its score is
    at least `score_threshold` and its IoU with none that stays before it is above `iou_threshold`.
    `beta` changes nothing: the three NMS share one signature.
    """
    return _greedy(boxes, scores, iou_threshold, score_threshold, max_output, None)


def diou_nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
    max_output: int = 100,
    beta: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Greedy NMS by DIoU: boxes [N,4] xyxy and scores [N] to indices [max_output] and count [].

    As `nms`, the threshold applied to IoU - (squared distance of the centres / squared diagonal of
    the enclosing box) ^ `beta`.
    """
    return _greedy(boxes, scores, iou_threshold, score_threshold, max_output, beta)


def cluster_nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
    max_output: int = 100,
    beta: float = 1.0,
    metric: str = "iou",
) -> tuple[Tensor, Tensor]:
    """`nms` (`metric` "iou") or `diou_nms` ("diou") as a fixed point over all pairs.

    Whether a box stays depends only on those before it, so that step t settles every box at the end
    of a chain of t suppressions: it ends, and what a step leaves unchanged is the greedy result.
    """
    table, live, places = _candidates(boxes, scores, score_threshold)
    row = _Boxes.of(table)
    column = _Boxes(*(plane.mT for plane in row))
    removes = _metric(column, row, beta if metric == "diou" else None) > iou_threshold
    first = (live.mT > live) | ((live.mT == live) & (places.mT < places))
    usable = live >= score_threshold

    def going(changed: Tensor, *_: Tensor) -> Tensor:
        return changed > 0

    def step(changed: Tensor, kept: Tensor, removes: Tensor, usable: Tensor) -> _Tensors:
        # How many of those kept remove each box: small whole numbers, exact in any arithmetic.
        now = (usable & (kept @ removes == 0)).to(kept.dtype)
        return (now - kept).abs().amax((0, 1)), now

    start = usable.to(table.dtype)
    state = (start.amax((0, 1)), start)
    _, kept = _repeat(going, step, state, ((removes & first).to(table.dtype), usable))
    rank = kept @ first.to(table.dtype)
    slots = torch.arange(max_output, device=table.device).unsqueeze(1)
    indices = torch.where((rank == slots) & (kept > 0), places, -1).amax(1)
    return indices, (indices >= 0).sum()


def _fade(scores: Tensor, iou: Tensor, sigma: float) -> Tensor:
    """Scores times exp(-IoU^2 / sigma); 0 if float32 underflows, so that all types agree."""
    faded = scores * torch.exp(-(iou * iou) / sigma)
    return torch.where(faded < torch.finfo(torch.float32).tiny, 0, faded)


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    sigma: float = 0.5,
    score_threshold: float = 0.001,
    max_output: int = 100,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gaussian Soft-NMS: boxes [N,4] xyxy, scores [N] to indices, new scores and count [].

    Each pick, the best score left, multiplies the others by exp(-IoU^2 / sigma), until none is at
    least `score_threshold`. Indices [max_output] in that order, padded with -1, and the scores at
    their pick [max_output], which fall, padded with 0.
    """

    def rule(pick: _Pick) -> _Ruling:
        faded = _fade(pick.scores, _metric(pick.box, pick.boxes), sigma)
        # Not the faded score of a box that is out: it would creep up to 0.
        out = pick.own | (pick.scores < 0)
        return torch.where(out, _OUT, faded), (pick.best,)

    candidates = _candidates(boxes, scores, score_threshold)
    indices, count, kept = _select(rule, candidates, score_threshold, max_output, (1,))
    return indices, kept[0].squeeze(0), count


def variance_voting(
    boxes: Tensor,
    scores: Tensor,
    log_variance: Tensor,
    method: str = "soft",
    sigma_t: float = 0.02,
    soft_sigma: float = 0.5,
    iou_threshold: float = 0.5,
    vote_threshold: float = 0.01,
    score_threshold: float = 0.001,
    offset: float = 0.0,
    max_output: int = 100,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Softer-NMS: boxes [N,4] xyxy, scores [N], log_variance [N,4] to new boxes and scores.

    A pick moves to the mean of the remaining boxes of IoU above `vote_threshold`, itself included,
    weighted by exp(-(1 - IoU)^2 / sigma_t) / variance; then the scores of those it overlaps fall
    ("soft": times exp(-IoU^2 / soft_sigma), "hard": to 0 above `iou_threshold`) and those below
    `score_threshold` leave. One that no pick overlaps stays whatever its score. Returns indices
    [max_output] in order, padded with -1, boxes [max_output,4] and scores, padded with 0, count [].
    """

    def rule(pick: _Pick, corners: Tensor, log_variance: Tensor) -> _Ruling:
        overlap = _metric(pick.box, pick.boxes, offset=offset)
        # A point box too is all of itself.
        iou = torch.where(pick.own, 1, overlap)
        live = pick.scores >= 0
        miss = 1 - iou
        # Shifted by the largest, so that the weights neither overflow nor all vanish.
        exponent = -(miss * miss) / sigma_t - log_variance
        lowest = torch.finfo(exponent.dtype).min
        exponent = torch.where(live & (iou > vote_threshold), exponent, lowest)
        weight = torch.exp(exponent - exponent.amax(1, keepdim=True))
        start = torch.cat(pick.box[:4])
        shift = (weight * (corners - start)).sum(1, keepdim=True)
        box = start + shift / weight.sum(1, keepdim=True)

        hard = torch.where(iou > iou_threshold, 0, pick.scores)
        fallen = hard if method == "hard" else _fade(pick.scores, iou, soft_sigma)
        leaves = (fallen < score_threshold) & (iou > 0)
        rest = torch.where(pick.own | leaves | ~live, _OUT, fallen)
        return rest, (box, pick.best)

    candidates = _candidates(boxes, scores, 0.0, log_variance, offset=offset)
    finite = torch.where(log_variance.abs() < torch.inf, log_variance, 0)
    constants = (candidates.table[:4], torch.cat((finite, finite.new_zeros(1, 4))).mT)
    indices, count, (box, score) = _select(
        rule, candidates, 0.0, max_output, rows=(4, 1), constants=constants
    )
    return indices, box.mT, score.squeeze(0), count
