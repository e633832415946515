"""NMS of a batch of images whose boxes have a score for each of several classes.

Candidates are taken from the pool in blocks of falling score, so that no input is sorted, whose
length TensorRT would bound, and no matrix is larger than a block and the boxes kept so far. Those
that the kept boxes leave over are decided together, as in `cluster_nms`. Equal scores are put in
order explicitly, as the order in which `topk` gives them depends on the runtime.

The metrics, and what happens to NaN and infinity, are those of functions.py.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lossexport.families.suppression.functions import OUT, Boxes, Tensors, repeat, rivalry
from lossexport.ops.common import poison

# Candidates of a block. TensorRT gives at most 3840 from a topk.
_BLOCK = 128
# Links of a chain of suppressions that are followed in a block before the next one is taken.
_LINKS = 8
# Rows of a table of candidates: the corners, their area, the class, the score.
_ROWS = 7


class _Pool(NamedTuple):
    """Boxes [B,N+1,4] and their scores [B,N+1,C], of which the last ones are 0; candidates [B,P+K].

    The candidates are boxes, P = N, or pairs of a box and a class, P = N x C, as their scores, with
    `OUT` for all that take no part and in the last K places, so that there always is a block.
    """

    boxes: Tensor
    scores: Tensor
    candidates: Tensor


class _Block(NamedTuple):
    """Candidates by falling score: scores, places in the pool and boxes [B,K], table [B,7,K]."""

    scores: Tensor
    places: Tensor
    boxes: Tensor
    table: Tensor


def _pool(boxes: Tensor, scores: Tensor, floor: float, multi_label: bool) -> _Pool:
    batch, _, classes = scores.shape
    if multi_label:
        best, bad = scores, poison(boxes).unsqueeze(2) + scores * 0
    else:
        best, bad = scores.amax(2), poison(boxes) + (scores * 0).sum(2)
    usable = (bad == 0) & (best >= floor)
    return _Pool(
        torch.cat((boxes, boxes.new_zeros(batch, 1, 4)), 1),
        torch.cat((scores, scores.new_zeros(batch, 1, classes)), 1),
        torch.cat(
            (torch.where(usable, best, OUT).flatten(1), best.new_full((batch, _BLOCK), OUT)), 1
        ),
    )


def _first(candidates: Tensor) -> tuple[Tensor, Tensor]:
    """The best scores [B,K] of the pool in order, and their places; those of ties rise."""
    scores, places = candidates.topk(_BLOCK)
    # Of all candidates that have the last one's score, those of the lowest places.
    last = scores[:, -1:]
    order = torch.arange(candidates.shape[1], device=candidates.device).to(candidates.dtype)
    ties = torch.where(candidates == last, -order, -torch.inf).topk(_BLOCK)[1]
    above = scores > last
    slots = torch.arange(_BLOCK, device=candidates.device)
    tie = (slots - above.sum(1, keepdim=True)).clamp(min=0)
    places = torch.where(above, places, ties.gather(1, tie))
    # The ties among the others.
    score, place = scores.unsqueeze(1), places.unsqueeze(1)
    before = (score.mT > score) | ((score.mT == score) & (place.mT < place))
    return scores, torch.zeros_like(places).scatter(1, before.sum(1), places)


def _block(pool: _Pool, multi_label: bool) -> _Block:
    scores, places = _first(pool.candidates)
    most, classes = pool.boxes.shape[1] - 1, pool.scores.shape[2]
    boxes = (places // classes if multi_label else places).clamp(max=most)
    if multi_label:
        label = (places - places // classes * classes).to(scores.dtype)
    else:  # the first class with that score
        rows = pool.scores.gather(1, boxes.unsqueeze(2).expand(-1, -1, classes))
        names = torch.arange(classes, device=rows.device).to(rows.dtype)
        label = torch.where(rows == scores.unsqueeze(2), names, torch.inf).amin(2)
    corners = pool.boxes.gather(1, boxes.unsqueeze(2).expand(-1, -1, 4))
    corners = torch.where(scores.unsqueeze(2) >= 0, corners, 0)
    width = corners[..., 2] - corners[..., 0]
    height = corners[..., 3] - corners[..., 1]
    others = torch.stack((width * height, label, scores), 2)
    return _Block(scores, places, boxes, torch.cat((corners, others), 2).mT)


def _decide(free: Tensor, removes: Tensor) -> tuple[Tensor, Tensor]:
    """Which of the first boxes [B,K] stay, and the first ones [B,K], for which that is known.

    `free` [B,K] and `removes` [B,K,K], of a box and one after it, are 0 or 1. The sets are in turn
    upper and lower bounds, and exact for boxes at the end of a chain of as many suppressions.
    """
    free = free.unsqueeze(1)
    bound = now = free
    for _ in range(_LINKS):
        bound, now = now, free * (torch.bmm(now, removes) == 0).to(free.dtype)
    known = ((bound != now).to(torch.int64).cumsum(2) == 0).squeeze(1)
    return (now.squeeze(1) > 0) & known, known


def batched_nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float = 0.7,
    score_threshold: float = 0.25,
    max_output: int = 300,
    metric: str = "iou",
    class_aware: bool = True,
    multi_label: bool = False,
    max_candidates: int = 30000,
) -> tuple[Tensor, Tensor, Tensor]:
    """NMS of images: boxes [B,N,4] xyxy and scores [B,N,C] to detections, indices and count.

    The candidates of an image are its boxes, each with its best class, or with `multi_label` all
    pairs of a box and a class, as far as their score is at least `score_threshold`; of these the
    best `max_candidates`. By falling score, ties by rising index and then class, a candidate is
    kept if its `metric`, IoU or DIoU, with every one kept before it is at most `iou_threshold`. If
    `class_aware`, only those of its own class count. Returns the detections [B,max_output,6] (x1,
    y1, x2, y2, score, class), padded with 0, the indices of their boxes [B,max_output], padded with
    -1, and the number of them [B].
    """

    def going(count: Tensor, taken: Tensor, best: Tensor, *_: Tensor) -> Tensor:
        full = (count >= max_output) | (taken >= max_candidates)
        return (~full & (best >= score_threshold)).any()

    def step(count: Tensor, taken: Tensor, best: Tensor, *rest: Tensor) -> Tensors:
        candidates, kept, indices, boxes, scores = rest
        block = _block(_Pool(boxes, scores, candidates), multi_label)
        slots = torch.arange(_BLOCK, device=boxes.device)

        rows = torch.split(torch.cat((kept, block.table), 2).mT, 1, 2)
        columns = torch.split(block.table, 1, 1)
        overlap = rivalry(Boxes(*rows[:5]), Boxes(*columns[:5]), 1.0 if metric == "diou" else None)
        over = overlap > iou_threshold
        if class_aware:
            over = over & (rows[5] == columns[5])
        removes = over.to(kept.dtype)
        takes_part = (block.scores >= score_threshold) & (
            taken.unsqueeze(1) + slots < max_candidates
        )
        free = takes_part & (removes[:, :max_output].sum(1) == 0)
        stays, known = _decide(free.to(kept.dtype), removes[:, max_output:].triu(1))

        # The place in the block, for every slot of the output, or -1.
        slot = (count.unsqueeze(1) - 1 + stays.to(torch.int64).cumsum(1)).unsqueeze(1)
        outputs = torch.arange(max_output, device=boxes.device).unsqueeze(1)
        source = torch.where((slot == outputs) & stays.unsqueeze(1), slots, -1).amax(2)
        new, source = source >= 0, source.clamp(min=0)
        picked = block.table.gather(2, source.unsqueeze(1).expand(-1, _ROWS, -1))
        left = torch.where(known, OUT, block.scores)
        return (
            count + new.sum(1),
            taken + known.sum(1),
            torch.maximum(left.amax(1), block.scores[:, -1]),
            candidates.scatter(1, block.places, left),
            torch.where(new.unsqueeze(1), picked, kept),
            torch.where(new, block.boxes.gather(1, source), indices),
        )

    pool = _pool(boxes, scores, score_threshold, multi_label)
    nothing = torch.zeros(boxes.shape[:1], dtype=torch.int64, device=boxes.device)
    state = (
        nothing,
        nothing.clone(),
        pool.candidates.amax(1),
        pool.candidates,
        boxes.new_zeros(boxes.shape[0], _ROWS, max_output),
        nothing.unsqueeze(1).expand(-1, max_output) - 1,
    )
    count, _, _, _, kept, indices = repeat(going, step, state, (pool.boxes, pool.scores))
    corners, _, label, score = torch.split(kept, [4, 1, 1, 1], 1)
    return torch.cat((corners, score, label), 1).mT, indices, count
