"""Which boxes match at one IoU threshold: the rows of boxes.parquet."""

from dataclasses import dataclass

import numpy as np

from lossexport import arguments
from lossexport.boxes.boxset import Bool, Dataset, Int8, Int64
from lossexport.boxes.pairs import Order, Pairs, assign, cap
from lossexport.errors import LossexportError

UNMATCHED, MATCHED, IGNORED = 0, 1, 2
STATUS = ("unmatched", "matched", "ignored")


@dataclass(frozen=True, slots=True)
class Matching:
    """The outcome for every box, by position in the files."""

    status: Int8
    """[N] of each prediction: UNMATCHED, MATCHED, or IGNORED when it fell on an ignored box."""
    ref: Int64
    """[N] reference that a prediction took, -1 without one."""
    unmatched_refs: Int64
    """References that count and that no prediction took, rising."""

    def pairs(self) -> tuple[Int64, Int64]:
        """Matched predictions, rising, and the reference of each."""
        pred = np.flatnonzero(self.status == MATCHED)
        return pred, self.ref[pred]


def match(data: Dataset, order: Order, pairs: Pairs, threshold: float) -> Matching:
    """Match per image and category by falling score, each taking the free reference of highest IoU.

    `pairs` holds at least every pair of an overlap of `threshold` or more. Ignored references are
    taken last and by any number of predictions; the overlap with one is the part of the prediction
    inside it. The rules are those of COCO, without its limit of 100 predictions per image.
    """
    ignored: Bool = data.references.ignored[order.ref]
    status = np.full(len(data.predictions), UNMATCHED, np.int8)
    taken = np.full(len(data.predictions), -1, np.int64)
    kept = pairs.at_least(cap(threshold), np.ones(len(order.pred), np.bool_))
    for places, winners in assign(
        kept, order, ignored, ignored[:, None], np.array([cap(threshold)])
    ):
        winner = winners[:, 0, 0]
        hit = winner >= 0
        pred, ref = order.pred[places[hit]], kept.ref[winner[hit]]
        status[pred] = np.where(ignored[ref], IGNORED, MATCHED)
        taken[pred] = np.where(ignored[ref], -1, order.ref[ref])
    free = ~data.references.ignored
    free[taken[taken >= 0]] = False
    return Matching(status, taken, np.flatnonzero(free))


def check_iou_threshold(value: object) -> float:
    """`value` as a float. Raises LossexportError where it is no number in (0, 1]."""
    threshold = arguments.number("iou_threshold", value)
    if not 0 < threshold <= 1:
        raise LossexportError(f"IoU threshold is {threshold}: above 0 and at most 1 is expected")
    return threshold
