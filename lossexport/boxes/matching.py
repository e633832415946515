"""Matches boxes at one IoU threshold, for the rows of boxes.parquet."""

import msgspec
import numpy as np

from lossexport import arguments
from lossexport.boxes.boxset import Bool, Dataset, Int8, Int64
from lossexport.boxes.pairs import Order, Pairs, assign, cap
from lossexport.errors import LossexportError

UNMATCHED, MATCHED, IGNORED = 0, 1, 2
STATUS = ("unmatched", "matched", "ignored")


class Matching(msgspec.Struct, frozen=True):
    """The outcome for every box, by position in the files."""

    status: Int8
    """[N] UNMATCHED, MATCHED or, for a prediction on an ignored box, IGNORED."""
    ref: Int64
    """[N] the reference that each prediction is matched with; -1 if there is none."""
    unmatched_refs: Int64
    """References that count and have no prediction, rising."""

    def pairs(self) -> tuple[Int64, Int64]:
        """Matched predictions, rising, and the reference of each."""
        pred = np.flatnonzero(self.status == MATCHED)
        return pred, self.ref[pred]


def match(data: Dataset, order: Order, pairs: Pairs, threshold: float) -> Matching:
    """Match per image and category, by falling score, with the free reference of highest IoU.

    `pairs` holds at least every pair with an overlap of `threshold` or more. Ignored references are
    matched last and with any number of predictions. The overlap with one is the part of the
    prediction inside it. These are COCO's rules, without the limit of 100 predictions per image.
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
    """`value` as a float. Raises LossexportError if it is not a number in (0, 1]."""
    threshold = arguments.number("iou_threshold", value)
    if not 0 < threshold <= 1:
        raise LossexportError(f"IoU threshold is {threshold}: above 0 and at most 1 is expected")
    return threshold
