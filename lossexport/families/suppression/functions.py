"""Suppression: the boxes that are kept, their order, and their new scores and corners.

There are two exact formulations of the same greedy rule. `nms`, `diou_nms`, `rotated_nms`,
`soft_nms` and `variance_voting` pick one box in each step and work on vectors of N. They take at
most `max_output` steps and no memory of size N x N. `cluster_nms` compares all pairs at once and
repeats a product with that matrix until nothing changes. It takes memory of size N x N, and one
step more than the longest chain of suppressions. Neither sorts, because TensorRT bounds the length
of a sort. Ties are broken explicitly, the lowest index first, and do not depend on the runtime.

A box with NaN or infinity in its corners, score or variance is never picked and removes none.

Sources: NMS and Soft-NMS, Bodla et al., ICCV 2017 (arXiv 1704.04503), figure 2; DIoU-NMS, Zheng et
al., AAAI 2020 (arXiv 1911.08287); Cluster-NMS, Zheng et al. (arXiv 2005.03572); variance voting, He
et al., CVPR 2019 (arXiv 1809.08545), algorithm 1 and its public code.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lossexport.families.rotated.boxes import Box
from lossexport.families.rotated.overlap import iou as rotated_iou
from lossexport.ops.common import is_concrete, physical, poison, tiny

# The score of boxes that are picked, removed or unusable, below that of every candidate.
OUT = -1.0
# An index beyond every box.
_NOWHERE = 2**31 - 1

Tensors = tuple[Tensor, ...]
# The remaining scores, and the values to keep of the picked box.
_Ruling = tuple[Tensor, Tensors]
_while_loop: Any = torch.ops.higher_order.while_loop


class Boxes(NamedTuple):
    """The planes of corners and areas of all boxes [1,N], or of one box [1,1]."""

    x1: Tensor
    y1: Tensor
    x2: Tensor
    y2: Tensor
    area: Tensor

    @classmethod
    def of(cls, table: Tensor) -> "Boxes":
        """Boxes from the rows of a table [5,N]."""
        return cls(*torch.split(table, 1))


class Candidates(NamedTuple):
    """A table of boxes [5,N], their scores [1,N], `OUT` for unusable ones, and indices [1,N].

    It has one unusable box more than was given, so that no maximum is taken over an empty set.
    """

    table: Tensor
    scores: Tensor
    places: Tensor


def _clean(boxes: Tensor, scores: Tensor, floor: float, *others: Tensor) -> Candidates:
    """The candidates of boxes [N,D] in a table [D,N]: those with a score of at least `floor`.

    All numbers have to be finite, in the rows of `others` too.
    """
    usable = (poison(boxes, scores.unsqueeze(1), *others) == 0) & (scores >= floor)
    rows = torch.where(usable.unsqueeze(1), boxes, 0)
    table = torch.cat((rows, rows.new_zeros(1, boxes.shape[1]))).mT
    padded = torch.cat((torch.where(usable, scores, OUT), scores.new_full((1,), OUT)))
    places = torch.arange(boxes.shape[0] + 1, device=boxes.device)
    return Candidates(table, padded.unsqueeze(0), places.unsqueeze(0))


def candidates(
    boxes: Tensor, scores: Tensor, floor: float, *others: Tensor, offset: float = 0.0
) -> Candidates:
    """The candidates of upright boxes, by corners and area."""
    corners, padded, places = _clean(boxes, scores, floor, *others)
    x1, y1, x2, y2 = torch.split(corners, 1)
    area = ((x2 - x1) + offset) * ((y2 - y1) + offset)
    return Candidates(torch.cat((corners, area)), padded, places)


def rivalry(a: Boxes, b: Boxes, beta: float | None = None, offset: float = 0.0) -> Tensor:
    """IoU or, if `beta` is given, IoU minus the distance term to that power: DIoU without an eps.

    0 / 0 is 0, so two equal points do not overlap. IoU is the rounded quotient. If the true
    quotient equals the threshold in decimals, both are equal after rounding in any precision.
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


def earliest(scores: Tensor, places: Tensor) -> Tensor:
    """The lowest of the places [1,N] with the best score [1,N], as [1,1]."""
    best = scores.amax(1, keepdim=True)
    return torch.where(scores == best, places, _NOWHERE).amin(1, keepdim=True)


def earlier(scores: Tensor, places: Tensor) -> Tensor:
    """Whether a box [N,1] is before another [1,N]: by falling score, ties by rising place."""
    return (scores.mT > scores) | ((scores.mT == scores) & (places.mT < places))


def repeat(
    going: Callable[..., Tensor],
    step: Callable[..., Tensors],
    state: Tensors,
    constants: Tensors,
) -> Tensors:
    """`while going(*state, *constants): state = step(*state, *constants)`.

    For concrete numbers this is a Python loop, and in a traced graph an ONNX Loop.
    """
    if type(state[0]) is Tensor and state[0].is_meta:  # no numbers, and the shapes are constant
        return state
    if not is_concrete(state[0]):
        # The operands of the loop must not be views of each other.
        copies = tuple(constant.clone() for constant in constants)
        return tuple(_while_loop(going, step, state, copies))
    while (on := physical(here := going(*state, *constants))).any():
        new = step(*state, *constants)
        if on.dim():  # under vmap, the finished parts of the batch wait for the others
            new = tuple(torch.where(here, x, old) for x, old in zip(new, state, strict=True))
        state = new
    return state


class Pick(NamedTuple):
    """A step of the picking loop: the best score [], its box, a mask of it, all boxes, scores."""

    best: Tensor
    box: Boxes
    own: Tensor
    boxes: Boxes
    scores: Tensor


def select(
    rule: Callable[..., _Ruling],
    found: Candidates,
    floor: float,
    max_output: int,
    rows: tuple[int, ...] = (),
    constants: Tensors = (),
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Pick boxes by falling score until none of at least `floor` is left or the output is full.

    After each pick, `rule(pick, *constants)` returns the remaining scores [1,N] and the values to
    keep of the picked box, [R,1] for every R in `rows`. Returns the indices [max_output], padded
    with -1, their number [] and the kept values, [R,max_output] each, padded with 0.
    """
    table, scores, places = found
    slots = torch.arange(max_output, device=table.device).unsqueeze(0)

    def going(count: Tensor, best: Tensor, *_: Tensor) -> Tensor:
        return (count < max_output) & (best >= floor)

    def step(count: Tensor, best: Tensor, scores: Tensor, *rest: Tensor) -> Tensors:
        written, given = rest[: 1 + len(rows)], rest[1 + len(rows) :]
        table, places, slots, *planes = given[:8]
        first = torch.where(scores == best, places, _NOWHERE).amin(1, keepdim=True)
        box = Boxes.of(table.index_select(1, first.squeeze(0)))
        pick = Pick(best, box, places == first, Boxes(*planes), scores)
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
    given = (table, places, slots, *Boxes.of(table), *constants)
    count, _, _, chosen, *kept = repeat(going, step, state, given)
    return chosen.squeeze(0), count, kept


def _greedy(
    boxes: Tensor,
    scores: Tensor,
    threshold: float,
    floor: float,
    max_output: int,
    beta: float | None,
) -> tuple[Tensor, Tensor]:
    def rule(pick: Pick) -> _Ruling:
        drop = (rivalry(pick.box, pick.boxes, beta) > threshold) | pick.own
        return torch.where(drop, OUT, pick.scores), ()

    return select(rule, candidates(boxes, scores, floor), floor, max_output)[:2]


def nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
    max_output: int = 100,
    beta: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Greedy NMS by IoU: boxes [N,4] xyxy and scores [N] to indices [max_output] and count [].

    The indices are sorted by falling score, ties by rising index, and padded with -1. A box is kept
    if its score is at least `score_threshold` and its IoU with every box kept before it is at most
    `iou_threshold`. `beta` has no effect; it is there because the three NMS share one signature.
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

    As `nms`, but the threshold applies to IoU - (squared distance of the centres / squared diagonal
    of the enclosing box) ^ `beta`.
    """
    return _greedy(boxes, scores, iou_threshold, score_threshold, max_output, beta)


def rotated_nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
    max_output: int = 100,
    beta: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Greedy NMS by the exact IoU of rotated boxes: boxes [N,5] (cx, cy, w, h, radians).

    As `nms` otherwise: scores [N] to indices [max_output] and count []. `beta` has no effect.
    """

    def rule(pick: Pick) -> _Ruling:
        overlap = rotated_iou(Box(*pick.box), Box(*pick.boxes))
        return torch.where((overlap > iou_threshold) | pick.own, OUT, pick.scores), ()

    candidates = _clean(boxes, scores, score_threshold)
    return select(rule, candidates, score_threshold, max_output)[:2]


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

    Whether a box is kept depends only on the boxes before it, so step t decides every box at the
    end of a chain of t suppressions. The steps therefore end, with the result of the greedy rule.
    """
    table, live, places = candidates(boxes, scores, score_threshold)
    row = Boxes.of(table)
    column = Boxes(*(plane.mT for plane in row))
    removes = rivalry(column, row, beta if metric == "diou" else None) > iou_threshold
    first = earlier(live, places)
    usable = live >= score_threshold

    def going(changed: Tensor, *_: Tensor) -> Tensor:
        return changed > 0

    def step(changed: Tensor, kept: Tensor, removes: Tensor, usable: Tensor) -> Tensors:
        # The number of kept boxes that remove each box: small whole numbers, which are exact.
        now = (usable & (kept @ removes == 0)).to(kept.dtype)
        return (now - kept).abs().amax((0, 1)), now

    start = usable.to(table.dtype)
    state = (start.amax((0, 1)), start)
    _, kept = repeat(going, step, state, ((removes & first).to(table.dtype), usable))
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

    The box with the best remaining score is picked, and the scores of the others are multiplied by
    exp(-IoU^2 / sigma), until none is at least `score_threshold`. Returns the indices [max_output]
    in this order, padded with -1, and the scores when picked [max_output], padded with 0.
    """

    def rule(pick: Pick) -> _Ruling:
        faded = _fade(pick.scores, rivalry(pick.box, pick.boxes), sigma)
        # The score of a box that is out must not fade, since it would approach 0.
        out = pick.own | (pick.scores < 0)
        return torch.where(out, OUT, faded), (pick.best,)

    found = candidates(boxes, scores, score_threshold)
    indices, count, kept = select(rule, found, score_threshold, max_output, (1,))
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

    A picked box moves to the mean of the remaining boxes with an IoU above `vote_threshold`,
    including itself, weighted by exp(-(1 - IoU)^2 / sigma_t) / variance. Then the scores of the
    boxes that it overlaps are lowered ("soft": times exp(-IoU^2 / soft_sigma), "hard": to 0 above
    `iou_threshold`), and those below `score_threshold` are dropped. A box that no pick overlaps is
    kept whatever its score. Returns indices [max_output] in order, padded with -1, boxes
    [max_output,4] and scores, padded with 0, count [].
    """

    def rule(pick: Pick, corners: Tensor, log_variance: Tensor) -> _Ruling:
        overlap = rivalry(pick.box, pick.boxes, offset=offset)
        # A box without area also overlaps itself fully.
        iou = torch.where(pick.own, 1, overlap)
        live = pick.scores >= 0
        miss = 1 - iou
        # The largest is subtracted, so that the weights neither overflow nor all vanish.
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
        rest = torch.where(pick.own | leaves | ~live, OUT, fallen)
        return rest, (box, pick.best)

    found = candidates(boxes, scores, 0.0, log_variance, offset=offset)
    finite = torch.where(log_variance.abs() < torch.inf, log_variance, 0)
    constants = (found.table[:4], torch.cat((finite, finite.new_zeros(1, 4))).mT)
    indices, count, (box, score) = select(
        rule, found, 0.0, max_output, rows=(4, 1), constants=constants
    )
    return indices, box.mT, score.squeeze(0), count
