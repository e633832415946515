"""What the greedy assignment of `pairs` makes of every prediction."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from lossexport.boxes.boxset import Bool, Float64, Int8, Int32, Int64
from lossexport.boxes.pairs import Order, Pairs, assign, shares
from lossexport.runtime import pairs as native
from lossexport.runtime.pairs import Rules
from lossexport.threads import at_once

Assign = Callable[[Pairs, Order, Bool, Bool, Float64], Iterator[tuple[Int32, Int64]]]


def outcomes(
    pairs: Pairs,
    order: Order,
    crowd: Bool,
    ignored: Bool,
    thresholds: Float64,
    kind: Int8,
    by: Assign = assign,
) -> Iterator[tuple[Int32, Int8]]:
    """Assign as `assign` or another does, and yield in place of the pair what its reference is.

    This is [D,A,T] its number in `kind` [R,A], whose rows are in the order's places, and 0 without
    a pair.
    """
    if by is assign and pairs.rest is None and native.available():
        yield _native_outcomes(pairs, order, Rules(crowd, ignored, thresholds), kind)
        return
    area = np.arange(ignored.shape[1])[:, None]
    for places, winner in by(pairs, order, crowd, ignored, thresholds):
        yield places, np.where(winner >= 0, kind[pairs.ref[winner], area], np.int8(0))


def _native_outcomes(pairs: Pairs, order: Order, rules: Rules, kind: Int8) -> tuple[Int32, Int8]:
    """All of `outcomes` at once."""
    first = np.flatnonzero(np.diff(pairs.pred, prepend=-1))
    places = pairs.pred[first]
    found = np.empty((len(places), rules.ignored.shape[1], len(rules.thresholds)), np.int8)

    def fill(rows: slice) -> None:
        listed = slice(first[rows.start], first[rows.stop] if rows.stop < len(first) else None)
        of = pairs.pred[listed], pairs.ref[listed], pairs.iou[listed]
        low, high = int(of[1].min()), int(of[1].max()) + 1
        native.outcomes(*of, low, rules.of(low, high), kind[low:high], found[rows])

    at_once([partial(fill, rows) for rows in shares(order.pred_group[places])])
    return places, found
