"""Overlapping pairs without the library: trees over the references of each group, in NumPy."""

from collections.abc import Iterator

import numpy as np

from lossexport.boxes import oriented
from lossexport.boxes.boxset import Bool, Float64, Int32, Int64
from lossexport.runtime.pairs import Boxes, Found

BLOCK, FAN = 16, 8
"""References of a block, and blocks or nodes of a node."""
RANK_BITS, CODE_BITS = 16, 32
"""Of the place of a box among all on one axis, and of the number by which boxes are ordered."""
CHUNK = 1 << 14
"""Predictions that descend together."""
CELLS = 1 << 18
"""Comparisons that are made at once."""
SLACK = 1 - 2.0**-10
"""Part of the threshold that the sides must allow; far more than the roundings of a sane box."""
LARGEST_COORDINATE, SMALLEST_SIDE, SMALLEST_THRESHOLD = 2.0**30, 1e-140, 1e-20


def overlap(pred: Float64, ref: Float64, crowd: Bool) -> Float64:
    """IoU of rows of boxes of one kind; for a crowd the part of the prediction inside it."""
    if oriented.are_oriented(pred):
        return oriented.overlap(pred, ref, crowd)
    px, py, pw, ph = pred.T
    rx, ry, rw, rh = ref.T
    width = np.minimum(pw + px, rw + rx) - np.maximum(px, rx)
    height = np.minimum(ph + py, rh + ry) - np.maximum(py, ry)
    inside = np.where((width > 0) & (height > 0), width * height, 0.0)
    area = pw * ph
    union = np.where(crowd, area, area + rw * rh - inside)
    iou: Float64 = np.divide(inside, union, out=np.zeros_like(inside), where=inside > 0)
    return iou


def find(pred: Boxes, ref: Boxes, crowd: Bool, threshold: float) -> Iterator[Found]:
    """Yield what `lossexport.runtime.pairs.find` yields, in pieces of other sizes."""
    if not len(ref) or not len(pred):
        yield nothing(len(pred))
        return
    forest = _Forest(pred, ref, crowd, threshold)
    for start in range(0, len(pred), CHUNK):
        stop = min(start + CHUNK, len(pred))
        for places, refs, iou in forest.pairs(start, stop):
            # The last prediction of a piece has all of its pairs in it.
            if len(places):
                yield Found(places, refs, iou, int(places[-1]) + 1)
    yield nothing(len(pred))


def nothing(following: int) -> Found:
    """No pair before the prediction at place `following`."""
    return Found(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0), following)


def _edges(box: Float64) -> tuple[Float64, Bool]:
    """x1, y1, x2, y2 [n,4] as `overlap` rounds them, and which boxes are sane [n].

    The roundings of a sane box are so small against its sides that its overlap cannot exceed what
    the sides allow.
    """
    low, side = box[:, :2], box[:, 2:4]
    high = side + low
    size = np.maximum(np.abs(low), np.abs(high))
    sane = (side > SMALLEST_SIDE) & (size <= LARGEST_COORDINATE * side)
    return np.concatenate([low, high], axis=1), np.all(sane, axis=1)


class _Forest:
    """Blocks of references, and above those of large groups levels of nodes with their bounds."""

    def __init__(self, pred: Boxes, ref: Boxes, crowd: Bool, threshold: float) -> None:
        self.pred, self.ref, self.crowd, self.threshold = pred, ref, crowd, threshold
        free = threshold < SMALLEST_THRESHOLD or oriented.are_oriented(ref.box)
        self.allowed = 0.0 if free else threshold * SLACK
        begin = np.flatnonzero(np.diff(ref.group, prepend=ref.group[0] - 1))
        self.groups = ref.group[begin]
        size = np.diff(begin, append=len(ref))
        edges, sane = _edges(ref.box[ref.row])
        self.order = _near(edges, np.repeat(size > BLOCK, size), ref.group)
        blocks = -(-size // BLOCK)
        self.first_block = np.cumsum(blocks) - blocks
        group = np.repeat(np.arange(len(size)), blocks)
        self.start = begin[group] + BLOCK * (np.arange(len(group)) - self.first_block[group])
        self.stop = np.minimum(self.start + BLOCK, (begin + size)[group])
        self.blocks = blocks
        # Of each level: bounds of x1, y1, x2, y2 [nodes,8], low and high, and whether all below
        # are sane and no crowd, so that sizes may decide.
        bounds = np.concatenate(
            [part.reduceat(edges[self.order], self.start) for part in (np.minimum, np.maximum)],
            axis=1,
        )
        sized = np.logical_and.reduceat((sane & ~crowd)[self.order], self.start)
        self.levels = [(bounds, sized)]
        self.children: list[tuple[Int64, Int64]] = []  # first and last, of levels from 1 on
        self._grow(blocks)

    def _grow(self, blocks: Int64) -> None:
        """Add levels until each large group has a few nodes; a small one has its block alone."""
        large = np.flatnonzero(blocks > 1)
        count, first = blocks[large], self.first_block[large]
        while len(large) and count.max() > FAN:
            above = -(-count // FAN)
            root = np.cumsum(above) - above
            of = np.repeat(np.arange(len(above)), above)
            begin = first[of] + FAN * (np.arange(len(of)) - root[of])
            end = np.minimum(begin + FAN, (first + count)[of])
            # Nodes of small groups lie between those of large ones.
            bounds, sized = self.levels[-1]
            cuts = np.stack([begin, end], axis=1).ravel()
            padded = np.concatenate([bounds, bounds[-1:]]), np.append(sized, sized[-1])
            low = np.minimum.reduceat(padded[0][:, :4], cuts)[::2]
            high = np.maximum.reduceat(padded[0][:, 4:], cuts)[::2]
            self.levels.append(
                (
                    np.concatenate([low, high], axis=1),
                    np.logical_and.reduceat(padded[1], cuts)[::2],
                )
            )
            self.children.append((begin, end))
            count, first = above, root
        self.large = np.full(len(blocks), -1)
        self.large[large] = np.arange(len(large))
        self.root, self.roots = first, count

    def pairs(self, start: int, stop: int) -> Iterator[tuple[Int32, Int32, Float64]]:
        """Pairs of the predictions from place `start` to `stop`, by prediction, then reference."""
        places = np.arange(start, stop)
        group = self.pred.group[start:stop]
        found = np.minimum(np.searchsorted(self.groups, group), len(self.groups) - 1)
        here = self.groups[found] == group
        places, found = places[here], found[here]
        edges, sane = _edges(self.pred.box[self.pred.row[start:stop]])
        # A small group has no nodes: its block is carried down as a negative number.
        large = self.large[found]
        first, count = self.first_block[found], np.ones(len(found), np.int64)
        tall = large >= 0
        first[tall], count[tall] = self.root[large[tall]], self.roots[large[tall]]
        at = np.repeat(np.arange(len(places)), count)
        node = _ranges(first, count)
        if len(self.levels) > 1:
            node = np.where(tall[at], node, ~node)
        yield from self._descend(len(self.levels) - 1, places[at], node, (edges, sane, start))

    def _descend(
        self, level: int, place: Int64, node: Int64, boxes: tuple[Float64, Bool, int]
    ) -> Iterator[tuple[Int32, Int32, Float64]]:
        """Go from the nodes of a level, each with the place of a prediction, to the pairs."""
        if not level:
            node = np.where(node < 0, ~node, node)
        keep = self._may_overlap(level, place, node, boxes)
        place, node = place[keep], node[keep]
        if level:
            small = node < 0
            begin, end = self.children[level - 1]
            first = np.where(small, node, begin[node * ~small])
            count = np.where(small, 1, end[node * ~small] - first)
        else:
            first, count = self.start[node], self.stop[node] - self.start[node]
        total = int(count.sum())
        if total > CELLS and place[0] != place[-1]:
            # All of a prediction's nodes stay together.
            cut = int(np.searchsorted(place, place[len(place) // 2]))
            cut = cut or int(np.searchsorted(place, place[0], "right"))
            for part in (slice(cut), slice(cut, None)):
                yield from self._descend(level, place[part], node[part], boxes)
            return
        place, below = np.repeat(place, count), _ranges(first, count)
        if level:
            yield from self._descend(level - 1, place, below, boxes)
            return
        ref = self.order[below]
        iou = overlap(
            self.pred.box[self.pred.row[place]], self.ref.box[self.ref.row[ref]], self.crowd[ref]
        )
        found = np.flatnonzero(iou >= self.threshold)
        found = found[np.lexsort((ref[found], place[found]))]
        yield place[found].astype(np.int32), ref[found].astype(np.int32), iou[found]

    def _may_overlap(
        self, level: int, place: Int64, node: Int64, boxes: tuple[Float64, Bool, int]
    ) -> Bool:
        bounds, sized = self.levels[level]
        edges, sane, start = boxes
        box, small = edges[place - start], node < 0
        node = node * ~small
        low, high = bounds[node, :4], bounds[node, 4:]
        side = np.minimum(box[:, 2:], high[:, 2:]) - np.maximum(box[:, :2], low[:, :2])
        # The IoU is at most that of the sides on either axis.
        most = np.maximum(box[:, 2:], low[:, 2:]) - np.minimum(box[:, :2], high[:, :2])
        fits = (side >= self.allowed * most).all(axis=1) | ~(sized[node] & sane[place - start])
        kept: Bool = ((side > 0).all(axis=1) & fits) | small
        return kept


def _ranges(first: Int64, count: Int64) -> Int64:
    """first, first + 1, ... of each range, one after the other."""
    start = np.cumsum(count) - count
    ranges: Int64 = np.arange(int(count.sum())) + np.repeat(first - start, count)
    return ranges


def _near(edges: Float64, large: Bool, group: Int64) -> Int64:
    """An order [R] that keeps the groups and puts boxes of like place and size beside each other.

    Only boxes that are `large`, which is to be in a large group, change places.
    """
    order = np.arange(len(edges))
    rows = np.flatnonzero(large)
    if not len(rows):
        return order
    low, high = edges[rows, :2], edges[rows, 2:]
    keys = np.concatenate([low + high, high - low], axis=1)
    rank = np.empty(keys.shape, np.int64)
    np.put_along_axis(rank, keys.argsort(axis=0), np.arange(len(rows))[:, None], axis=0)
    rank = (rank << RANK_BITS) // len(rows)
    # How far the centres are apart in sides, and the sides in doublings.
    few, most = np.quantile(keys, [0.05, 0.95], axis=0)
    side = np.maximum(few[2:], SMALLEST_SIDE)
    spread = [*((most - few)[:2] / (2 * side)), *np.log2(np.maximum(most[2:], side) / side)]
    used = [0] * len(spread)
    code = np.zeros(len(rows), np.int64)
    for _ in range(CODE_BITS):
        # Halve what is farthest apart.
        key = int(np.argmax(spread))
        used[key] += 1
        spread[key] = spread[key] / 2 if used[key] < RANK_BITS else 0.0
        code = code << 1 | rank[:, key] >> (RANK_BITS - used[key]) & 1
    order[rows] = rows[np.lexsort((code, group[rows]))]
    return order
