"""The greedy assignment without the library, in NumPy."""

from itertools import pairwise

import numpy as np

from lossexport.boxes.boxset import Float64, Int32, Int64
from lossexport.boxes.forest import overlap
from lossexport.runtime.pairs import Boxes, Rules

CELLS_AT_ONCE = 1 << 21
"""Pairs times lanes that are held; a block of more pairs runs fewer lanes at a time."""


def assign_pairs(pred: Int32, ref: Int32, iou: Float64, group: Int64, rules: Rules) -> Int64:
    """Give each prediction, in the order of its pairs [P], the free reference of highest overlap.

    The pairs are by prediction, then reference; `group` [P] is that of each. `rules` [R] are those
    of the references. Returns the index of the pair, or -1, for each prediction that has one and
    each lane [D,A*T].
    """
    count = len(pred)
    first = np.flatnonzero(np.diff(pred, prepend=-1))
    row = np.repeat(np.arange(len(first), dtype=np.int32), np.diff(first, append=count))
    # A prediction depends only on the better ones of its own group. All groups therefore assign
    # their first prediction together, then their second, and so on.
    row_group = group[first]
    turn = np.arange(len(first)) - np.searchsorted(row_group, row_group, "left")
    by_turn = np.lexsort((iou, row, turn[row]))  # stable: equal ones by their reference
    iou, row = iou[by_turn], row[by_turn]
    ref = ref[by_turn]
    segment = np.flatnonzero(np.diff(row, prepend=-1))
    turn_of_segment = turn[row[segment]]
    bounds = np.searchsorted(turn_of_segment, np.arange(turn_of_segment[-1] + 2))
    segment = np.append(segment, count)

    winner = np.full((len(first), rules.lanes), -1, np.int64)
    step = max(CELLS_AT_ONCE // count, 1)
    for lane in range(0, rules.lanes, step):
        area, level = np.divmod(
            np.arange(lane, min(lane + step, rules.lanes)), len(rules.thresholds)
        )
        # Within a prediction the place in this order rises with overlap, then with the reference:
        # it serves as the key to maximise, with a bonus for references that are not ignored.
        # Twice the most pairs that are listed fits 32 bits.
        bonus = ~rules.ignored[:, area]
        key = np.arange(count, dtype=np.int32)[:, None] + np.int32(count) * bonus[ref]
        keys = np.where(iou[:, None] >= rules.thresholds[level], key, -1)
        taken = np.zeros(bonus.shape, np.bool_)
        for begin, end in pairwise(bounds):
            rows = slice(segment[begin], segment[end])
            free = np.where(taken[ref[rows]], -1, keys[rows])
            best = np.maximum.reduceat(free, segment[begin:end] - segment[begin], axis=0)
            hit = best >= 0
            best[hit] %= count
            winner[row[segment[begin:end]], lane : lane + step] = np.where(hit, by_turn[best], -1)
            _, column = np.nonzero(hit)
            used = ref[best[hit]]
            once = ~rules.crowd[used]
            taken[used[once], column[once]] = True
    return winner


def assign_group(pred: Boxes, ref: Boxes, rules: Rules, least: float) -> Int32:
    """The same for the predictions [n] of a single group, without a list of pairs.

    `least` is the smallest overlap of a pair. Returns the place of the reference, or -1, for each
    prediction and lane [n,A*T].
    """
    low, high = np.searchsorted(ref.group, [pred.group[0], pred.group[0] + 1])
    winner = np.full((len(pred), rules.lanes), -1, np.int32)
    lane = np.arange(rules.lanes)
    area, level = np.divmod(lane, len(rules.thresholds))
    # What is used up in every lane is looked at no more.
    places = np.arange(low, high)
    box, crowd = ref.box[ref.row[low:high]], rules.crowd[low:high]
    taken = np.zeros((len(places), rules.lanes), np.bool_)
    used_up = 0
    for row, own in enumerate(pred.box[pred.row]):
        if not len(places):
            break
        iou = overlap(own[None], box, crowd)
        near = np.flatnonzero(iou >= least)
        near = near[np.argsort(iou[near], kind="stable")]
        if not len(near):
            continue
        free = ~taken[near] & (iou[near, None] >= rules.thresholds[level])
        counted = free & ~rules.ignored[places[near]][:, area]
        free = np.where(counted.any(axis=0), counted, free)
        hit = free.any(axis=0)
        best = near[len(near) - 1 - free[::-1].argmax(axis=0)[hit]]
        winner[row, hit] = places[best]
        once = ~crowd[best]
        taken[best[once], lane[hit][once]] = True
        used_up += int(taken[np.unique(best[once])].all(axis=1).sum())
        if used_up > len(places) // 8:
            kept = ~taken.all(axis=1)
            places, box, crowd, taken = places[kept], box[kept], crowd[kept], taken[kept]
            used_up = 0
    return winner
