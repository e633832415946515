"""Suppression in plain Python: one pair of boxes at a time, in the words of the papers."""

import math
from typing import Any

import numpy as np

Box = tuple[float, float, float, float]


def plain_metric(a: Box, b: Box, beta: float | None = None, offset: float = 0.0) -> float:
    iw = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    ih = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    inter = iw * ih
    union = sum((x[2] - x[0] + offset) * (x[3] - x[1] + offset) for x in (a, b)) - inter
    iou = inter / union if union > 0 else 0.0
    if beta is None:
        return iou
    c2 = (max(a[2], b[2]) - min(a[0], b[0])) ** 2 + (max(a[3], b[3]) - min(a[1], b[1])) ** 2
    rho2 = ((a[0] + a[2] - b[0] - b[2]) ** 2 + (a[1] + a[3] - b[1] - b[3]) ** 2) / 4
    return iou - ((rho2 / c2) ** beta if c2 > 0 else 0.0)


def whole(*rows: Any) -> bool:
    return all(math.isfinite(x) for row in rows for x in np.ravel(row))


def plain_greedy(
    boxes: list[Box],
    scores: list[float],
    threshold: float = 0.5,
    floor: float = 0.0,
    limit: int = 100,
    beta: float | None = None,
) -> list[int]:
    order = [i for i, s in enumerate(scores) if s >= floor and whole(boxes[i], s)]
    order.sort(key=lambda i: -scores[i])
    kept: list[int] = []
    for j in order:
        if all(plain_metric(boxes[i], boxes[j], beta) <= threshold for i in kept):
            kept.append(j)
    return kept[:limit]


def plain_soft(
    boxes: list[Box], scores: list[float], sigma: float, floor: float, limit: int
) -> tuple[list[int], list[float]]:
    left = {i: s for i, s in enumerate(scores) if whole(boxes[i], s)}
    chosen: list[int] = []
    final: list[float] = []
    while left and len(chosen) < limit:
        best = max(left, key=lambda i: (left[i], -i))
        if left[best] < floor:
            break
        chosen.append(best)
        final.append(left.pop(best))
        for i in left:
            left[i] *= math.exp(-(plain_metric(boxes[best], boxes[i]) ** 2) / sigma)
    return chosen, final


def plain_voting(
    boxes: list[Box],
    scores: list[float],
    log_variance: list[Box],
    method: str,
    sigma_t: float,
    floor: float,
    offset: float,
    limit: int,
) -> tuple[list[int], list[list[float]], list[float]]:
    left = {i: s for i, s in enumerate(scores) if whole(boxes[i], s, log_variance[i])}
    chosen: list[int] = []
    moved: list[list[float]] = []
    final: list[float] = []
    while left and len(chosen) < limit:
        best = max(left, key=lambda i: (left[i], -i))
        overlap = {i: plain_metric(boxes[best], boxes[i], None, offset) for i in left}
        overlap[best] = 1.0
        voters = [i for i in left if overlap[i] > 0.01]
        box = []
        for k in range(4):
            weights = [
                math.exp(-((1 - overlap[i]) ** 2) / sigma_t - log_variance[i][k]) for i in voters
            ]
            total = sum(w * boxes[i][k] for w, i in zip(weights, voters, strict=True))
            box.append(total / sum(weights))
        chosen.append(best)
        moved.append(box)
        final.append(left.pop(best))
        for i in list(left):
            if overlap[i] > 0:
                if method == "soft":
                    left[i] *= math.exp(-(overlap[i] ** 2) / 0.5)
                elif overlap[i] > 0.5:
                    left[i] = 0.0
                if left[i] < floor:
                    del left[i]
    return chosen, moved, final


def plain_batched(
    boxes: list[Box],
    scores: list[list[float]],
    threshold: float = 0.7,
    floor: float = 0.25,
    limit: int = 300,
    beta: float | None = None,
    class_aware: bool = True,
    multi_label: bool = False,
    most: int = 30000,
) -> list[tuple[int, int]]:
    """Index and class of what is kept of one image."""
    pairs: list[tuple[float, int, int]] = []
    for i, row in enumerate(scores):
        if multi_label:
            of_box = [(-s, i, c) for c, s in enumerate(row) if whole(boxes[i], s)]
        else:
            of_box = [min((-s, i, c) for c, s in enumerate(row))] if whole(boxes[i], row) else []
        pairs += [pair for pair in of_box if -pair[0] >= floor]
    kept: list[tuple[int, int]] = []
    for _, i, c in sorted(pairs)[:most]:
        rivals = [j for j, other in kept if other == c or not class_aware]
        if all(plain_metric(boxes[j], boxes[i], beta) <= threshold for j in rivals):
            kept.append((i, c))
    return kept[:limit]
