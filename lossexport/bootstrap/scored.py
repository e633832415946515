"""The intervals of a summary of `score`."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from lossexport.bootstrap.coco import CATEGORY_NUMBERS, Coco, Outcome
from lossexport.bootstrap.draws import PARTS, Draws, interval, intervals
from lossexport.bootstrap.rates import Cut, Measured
from lossexport.boxes.boxset import Float64, Int32
from lossexport.boxes.matching import MATCHED
from lossexport.names import COCO_NUMBERS
from lossexport.scoring.results import Results
from lossexport.scoring.summary import INTERVALS


class Sample:
    """All that the numbers of a summary under weights are made of."""

    def __init__(self, found: Results) -> None:
        """Take the outcomes of a run or an evaluator."""
        matched = found.image[found.status == MATCHED]
        self.images = len(found.images)
        self.categories = found.categories
        self._coco = Coco(Outcome.of(found))
        missed = found.ref_image[found.ref_missed]
        self._cut = Cut(found.score, found.image, found.status, missed)
        self._quality = {name: Measured.of(v, matched) for name, v in found.quality.items()}
        self._estimate = Measured.of(found.estimate, found.image)

    def numbers(self, weight: Int32) -> tuple[dict[str, Float64], Float64]:
        """The numbers INTERVALS [D] and those of the categories [D,K,3] under weights [D,I]."""
        numbers, categories = self._coco(weight)
        numbers |= self._cut.rates(weight)
        for metric, measured in self._quality.items():
            for statistic, values in measured.statistics(weight).items():
                numbers[f"{metric}_{statistic}"] = values
        numbers["quality_mean"] = self._estimate.mean(weight)
        return {name: numbers[name] for name in INTERVALS if name in numbers}, categories

    def drawn(
        self, draws: Draws, advance: Callable[[float], None] | None = None
    ) -> tuple[dict[str, Float64], Float64]:
        """The same in all draws."""
        return self.under(draws.weights(self.images, self.width), draws.count, advance)

    @property
    def width(self) -> int:
        """How many numbers a draw makes."""
        return len(COCO_NUMBERS) * len(self.categories)

    def under(
        self,
        weights: Iterable[Int32],
        count: int,
        advance: Callable[[float], None] | None = None,
    ) -> tuple[dict[str, Float64], Float64]:
        """The same under blocks of weights, `count` draws in all."""
        # What boxes of this kind do not have stays undefined.
        columns = {name: np.full(count, np.nan) for name in INTERVALS}
        categories = np.empty((count, len(self.categories), len(CATEGORY_NUMBERS)))
        start = 0
        for weight in weights:
            rows = slice(start, start + len(weight))
            numbers, categories[rows] = self.numbers(weight)
            for name, values in numbers.items():
                columns[name][rows] = values
            start = rows.stop
            if advance:
                advance(start / count)
        return columns, categories


def bootstrap(
    found: Results,
    summary: Mapping[str, Any],
    draws: Draws,
    advance: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """The `bootstrap` of a summary: the draws, and the interval of each number and category.

    Raises LossexportError if there are fewer than 2 images.
    """
    sample = Sample(found)
    columns, categories = sample.drawn(draws, advance)
    return {
        **draws.described(sample.images),
        "intervals": intervals(columns, summary),
        "categories": [
            {"id": row["id"], "name": row["name"]}
            | {
                name: interval(categories[:, k, n], None if row[name] < 0 else row[name], PARTS)
                for n, name in enumerate(CATEGORY_NUMBERS)
            }
            for k, row in enumerate(summary["categories"])
        ],
    }
