"""COCO's evaluation of one image and category at a time, and of results that are kept so.

Programs that evaluate image by image and join the results themselves rely on this form. Whole sets
are evaluated together, by `lossexport.scoring.coco_ap`; the numbers are the same.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from lossexport.boxes.boxset import Float64, Int64
from lossexport.boxes.pairs import cap, overlap_matrix
from lossexport.pycocotools.columns import Row, boxes_of, flags_of, numbers_of
from lossexport.scoring.coco_ap import Curves, Tables
from lossexport.scoring.protocol import IGNORED, TRUE


def overlaps(detections: Sequence[Row], truths: Sequence[Row], most: int) -> Any:
    """[D,G] overlaps of the `most` best detections, best first; [] if either side is empty."""
    best = [detections[i] for i in by_score(detections)[:most]]
    if not best or not truths:
        return []
    return overlap_matrix(boxes_of(best), boxes_of(truths), flags_of(truths, "iscrowd"))


def by_score(detections: Sequence[Row]) -> Int64:
    """Positions by falling score; equal scores keep their order."""
    return np.argsort([-row["score"] for row in detections], kind="stable")


def evaluate(
    detections: Sequence[Row],
    truths: Sequence[Row],
    found: Any,
    thresholds: Sequence[float],
    area: Sequence[float],
    most: int,
) -> Row:
    """Match the `most` best detections; `found` are the overlaps of both as given, best first.

    The result has `dtIds` and `dtScores` [D], `dtMatches` and `dtIgnore` [T,D], `gtIds` and
    `gtIgnore` [G], `gtMatches` [T,G]. A match is the id of the other side, 0 without one.
    """
    least, largest = area
    size = numbers_of(truths, "area")
    ignored = (size < least) | (size > largest) | flags_of(truths, "ignore")
    order = np.argsort(ignored, kind="stable")
    ignored = ignored[order]
    truths = [truths[i] for i in order]
    best = [detections[i] for i in by_score(detections)[:most]]
    dt_match = np.zeros((len(thresholds), len(best)))
    gt_match = np.zeros((len(thresholds), len(truths)))
    dt_ignore = np.zeros(dt_match.shape, np.bool_)
    if len(found):
        crowd = flags_of(truths, "iscrowd")
        levels = np.array([cap(t) for t in thresholds])
        overlap = np.asarray(found)[: len(best), order]
        # Those that are not ignored come first, and a later one of equal overlap is preferred.
        for d in np.flatnonzero(overlap.max(axis=1) >= levels.min()):
            free = (overlap[d] >= levels[:, None]) & ((gt_match <= 0) | crowd)
            free &= ~ignored | ~(free & ~ignored).any(axis=1, keepdims=True)
            overlap_if_free = np.where(free, overlap[d], -1)
            winner = len(truths) - 1 - np.argmax(overlap_if_free[:, ::-1], axis=1)
            hit = np.flatnonzero(free.any(axis=1))
            g = winner[hit]
            dt_ignore[hit, d] = ignored[g]
            dt_match[hit, d] = [truths[i]["id"] for i in g]
            gt_match[hit, g] = best[d]["id"]
    size = numbers_of(best, "area")
    dt_ignore |= (dt_match == 0) & ((size < least) | (size > largest))
    return {
        "dtIds": [row["id"] for row in best],
        "gtIds": [row["id"] for row in truths],
        "dtMatches": dt_match,
        "gtMatches": gt_match,
        "dtScores": [row["score"] for row in best],
        "gtIgnore": ignored.astype(np.int64),
        "dtIgnore": dt_ignore,
    }


def accumulate(
    parts: Iterable[tuple[int, int, Sequence[Row]]],
    tables: Tables,
    recalls: Float64,
    limits: Sequence[int],
) -> None:
    """Enter category, range of areas and the results of its images into the tables."""
    for k, a, results in parts:
        if not results:
            continue
        ignored = np.concatenate([result["gtIgnore"] for result in results])
        positives = int(np.count_nonzero(ignored == 0))
        for m, most in enumerate(limits if positives else ()):
            score = np.concatenate([result["dtScores"][0:most] for result in results])
            order = np.argsort(-score, kind="stable")
            match, ignore = (
                np.concatenate([result[key][:, 0:most] for result in results], axis=1)[:, order]
                for key in ("dtMatches", "dtIgnore")
            )
            outcome = np.where(ignore, IGNORED, np.where(match, TRUE, 0)).astype(np.int8)
            count = len(order)
            curves = Curves.of(
                outcome.T,
                np.arange(count),
                np.ones(count, np.bool_),
                score[order],
                positives,
                recalls,
            )
            tables.precision[:, :, k, a, m] = curves.precision()
            tables.scores[:, :, k, a, m] = curves.scores()
            tables.recall[:, k, a, m] = [len(hits) / positives for hits in curves.hits]
