"""The intervals of a comparison of a child with its parent."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lossexport.bootstrap.draws import Draws, intervals
from lossexport.bootstrap.rates import Measured, f1, ratio, total
from lossexport.boxes.boxset import Float32, Float64, Int32
from lossexport.comparison.record import Run


class Sample:
    """All that the numbers of a comparison under weights are made of."""

    def __init__(self, run: Run) -> None:
        """Take the boxes of a comparison."""
        sides, result = run.sides, run.result
        self._images = len(sides.images)
        self._matched = sides.child.image[result.child]
        self._lost = sides.parent.image[result.lost]
        self._new = sides.child.image[result.new]
        measured: dict[str, Float32 | Float64] = {**run.quality, "drift": run.drift}
        self._measured = {k: Measured.of(v, self._matched) for k, v in measured.items()}

    def numbers(self, weight: Int32) -> dict[str, Float64]:
        """The numbers that get an interval [D], under weights [D,I]."""
        hits, lost, new = (total(weight, at) for at in (self._matched, self._lost, self._new))
        found = {"kept": ratio(hits, hits + lost), "agreement": f1(hits, lost, new)}
        for name, measured in self._measured.items():
            for statistic, values in measured.statistics(weight).items():
                found[f"{name}_{statistic}"] = values
        return found

    def drawn(self, draws: Draws) -> dict[str, Float64]:
        """The same in all draws."""
        blocks = [self.numbers(weight) for weight in draws.weights(self._images)]
        return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def bootstrap(run: Run, summary: Mapping[str, Any], draws: Draws) -> dict[str, Any]:
    """The `bootstrap` of a summary: the draws, and the interval of each number.

    Raises LossexportError if there are fewer than 2 images.
    """
    columns = Sample(run).drawn(draws)
    return {**draws.described(len(run.sides.images)), "intervals": intervals(columns, summary)}
