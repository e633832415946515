"""NMS of a batch of images whose boxes have a score for each of several classes.

Candidates are taken in blocks of falling score, so that no input is sorted, whose length TensorRT
would bound, and no matrix is larger than a block and the boxes kept so far. The best of a block's
length are among as many boxes with the best candidate each, so only the scores of those are looked
at. Those that the kept boxes leave over are decided together, as in `cluster_nms`. Equal scores are
put in order explicitly, as the order in which `topk` gives them depends on the runtime.

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
    """Boxes [B,N+1,4], their candidates [B,N+K,L] as scores, and all scores [B,N+1,C].

    L is C, or 1 where only the best class of a box is a candidate. Those that take no part are
    `OUT`, and so are K more, so that there always is a block. The last boxes and scores are 0.
    """

    boxes: Tensor
    candidates: Tensor
    scores: Tensor


class _Block(NamedTuple):
    """Candidates by falling score: scores, places in the pool and boxes [B,K], table [B,7,K].

    They are all from the boxes `rows` [B,K], which have the candidates `others` [B,K,L].
    """

    scores: Tensor
    places: Tensor
    boxes: Tensor
    table: Tensor
    rows: Tensor
    others: Tensor


class _Edge(NamedTuple):
    """The score and the place of the last candidate that was taken [B]."""

    scores: Tensor
    places: Tensor

    def left(self, candidates: Tensor, places: Tensor) -> Tensor:
        """The candidates [B,K,L] beyond the edge, `OUT` for the others."""
        score, place = (edge[:, None, None] for edge in self)
        beyond = (candidates < score) | ((candidates == score) & (places > place))
        return torch.where(beyond, candidates, OUT)


def _pool(boxes: Tensor, scores: Tensor, floor: float, multi_label: bool) -> _Pool:
    batch, _, classes = scores.shape
    if multi_label:
        best = scores
    else:
        best = torch.where(scores.abs() < torch.inf, scores, torch.inf).amax(2, keepdim=True)
    fit = (poison(boxes) == 0).unsqueeze(2)
    candidates = torch.where(fit & (best >= floor) & (best < torch.inf), best, OUT)
    return _Pool(
        torch.cat((boxes, boxes.new_zeros(batch, 1, 4)), 1),
        torch.cat((candidates, best.new_full((batch, _BLOCK, best.shape[2]), OUT)), 1),
        torch.cat((scores, scores.new_zeros(batch, 1, classes)), 1),
    )


def _first(scores: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """The best scores [B,K] of [B,M], and where: by falling score, ties by rising place."""
    best, index = scores.topk(_BLOCK)
    # Of all that have the last one's score, those of the lowest places.
    last = best[:, -1:]
    ties = torch.where(scores == last, -places.to(scores.dtype), -torch.inf).topk(_BLOCK)[1]
    above = best > last
    slots = torch.arange(_BLOCK, device=scores.device)
    tie = (slots - above.sum(1, keepdim=True)).clamp(min=0)
    index = torch.where(above, index, ties.gather(1, tie))
    # The ties among the others.
    score, place = best.unsqueeze(1), places.expand(scores.shape).gather(1, index).unsqueeze(1)
    before = (score.mT > score) | ((score.mT == score) & (place.mT < place))
    return best, torch.zeros_like(index).scatter(1, before.sum(1), index)


def _places(rows: Tensor, labels: int) -> Tensor:
    """The places [B,K,L] in the pool of the candidates of the boxes `rows` [B,K]."""
    return rows.unsqueeze(2) * labels + torch.arange(labels, device=rows.device)


def _block(pool: _Pool, best: Tensor, edge: _Edge) -> _Block:
    """The first block of those left; `best` [B,N+K] is the best one of each box."""
    most, classes, labels = pool.boxes.shape[1] - 1, pool.scores.shape[2], pool.candidates.shape[2]
    scores, rows = _first(best, torch.arange(best.shape[1], device=best.device).unsqueeze(0))
    others = pool.candidates.gather(1, rows.unsqueeze(2).expand(-1, -1, labels))
    if labels > 1:
        places = _places(rows, labels).flatten(1)
        scores, chosen = _first(edge.left(others, _places(rows, labels)).flatten(1), places)
        places = places.gather(1, chosen)
    else:
        places = rows
    boxes = (places // labels).clamp(max=most)
    if labels == classes:
        label = (places - places // labels * labels).to(scores.dtype)
    else:  # the first class with that score
        of_box = pool.scores.gather(1, boxes.unsqueeze(2).expand(-1, -1, classes))
        names = torch.arange(classes, device=of_box.device).to(of_box.dtype)
        label = torch.where(of_box == scores.unsqueeze(2), names, torch.inf).amin(2)
    corners = pool.boxes.gather(1, boxes.unsqueeze(2).expand(-1, -1, 4))
    corners = torch.where(scores.unsqueeze(2) >= 0, corners, 0)
    width = corners[..., 2] - corners[..., 0]
    height = corners[..., 3] - corners[..., 1]
    facts = torch.stack((width * height, label, scores), 2)
    return _Block(scores, places, boxes, torch.cat((corners, facts), 2).mT, rows, others)


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
        return (~full & (best.amax(1) >= score_threshold)).any()

    def step(count: Tensor, taken: Tensor, best: Tensor, *rest: Tensor) -> Tensors:
        score, place, kept, indices, *constants = rest
        pool = _Pool(*constants)
        block = _block(pool, best, _Edge(score, place))
        slots = torch.arange(_BLOCK, device=best.device)

        rows = torch.split(torch.cat((kept, block.table), 2).mT, 1, 2)
        columns = torch.split(block.table, 1, 1)
        overlap = rivalry(Boxes(*rows[:5]), Boxes(*columns[:5]), 1.0 if metric == "diou" else None)
        over = overlap > iou_threshold
        if class_aware:
            over = over & (rows[5] == columns[5])
        among = over[:, max_output:] & (slots.unsqueeze(1) < slots)
        takes_part = (block.scores >= score_threshold) & (
            taken.unsqueeze(1) + slots < max_candidates
        )
        free = takes_part & ~over[:, :max_output].any(1)
        stays, known = _decide(free.to(kept.dtype), among.to(kept.dtype))

        # The place in the block, for every slot of the output, or -1. Those that do not stay, or
        # are too many, are put beyond the output.
        slot = count.unsqueeze(1) - 1 + stays.to(torch.int64).cumsum(1)
        slot = torch.where(stays & (slot < max_output), slot, max_output + slots)
        source = torch.cat((torch.full_like(indices, -1), torch.full_like(slot, -1)), 1)
        source = source.scatter(1, slot, slots.expand(slot.shape))[:, :max_output]
        new, source = source >= 0, source.clamp(min=0)
        picked = block.table.gather(2, source.unsqueeze(1).expand(-1, _ROWS, -1))

        passed = known.sum(1)
        last = (passed - 1).unsqueeze(1)
        edge = _Edge(*(x.gather(1, last).squeeze(1) for x in (block.scores, block.places)))
        left = edge.left(block.others, _places(block.rows, block.others.shape[2]))
        return (
            count + new.sum(1),
            taken + passed,
            best.scatter(1, block.rows, left.amax(2)),
            *edge,
            torch.where(new.unsqueeze(1), picked, kept),
            torch.where(new, block.boxes.gather(1, source), indices),
        )

    pool = _pool(boxes, scores, score_threshold, multi_label)
    best = pool.candidates.amax(2)
    nothing = torch.zeros(boxes.shape[:1], dtype=torch.int64, device=boxes.device)
    state = (
        nothing,
        nothing.clone(),
        best,
        torch.full_like(best[:, 0], torch.inf),
        nothing - 1,
        boxes.new_zeros(boxes.shape[0], _ROWS, max_output),
        nothing.unsqueeze(1).expand(-1, max_output) - 1,
    )
    count, _, _, _, _, kept, indices = repeat(going, step, state, pool)
    corners, _, label, score = torch.split(kept, [4, 1, 1, 1], 1)
    return torch.cat((corners, score, label), 1).mT, indices, count
