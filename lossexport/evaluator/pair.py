"""Two evaluators on the same references."""

from typing import Any

import numpy as np

from lossexport.arguments import refuse
from lossexport.boxes.boxset import Id
from lossexport.errors import LossexportError
from lossexport.evaluator.evaluator import Evaluator
from lossexport.scoring.extras import Extras
from lossexport.scoring.results import Results

Scored = tuple[Results, dict[str, Any]]
"""What was found, and its summary."""


def sides_of(a: object, b: object) -> list[Scored]:
    """What both have found, and their summaries.

    Raises LossexportError unless both are evaluators with the same threshold and references.
    """
    totals = []
    for name, value in (("a", a), ("b", b)):
        if not isinstance(value, Evaluator):
            raise refuse(name, value, "an Evaluator, as the other result is one,")
        totals.append(value._totals())
    first, second = (one.results for one in totals)
    if first.threshold != second.threshold:
        raise LossexportError(
            f"iou_threshold is {first.threshold:g} in a and {second.threshold:g} in b: results "
            "that are compared need the same"
        )
    boxes = _references(first), _references(second)
    for image in (*boxes[0], *boxes[1]):
        if not np.array_equal(*(side.get(image, _NONE) for side in boxes)):
            raise LossexportError(
                f"image {image!r} has other references in a than in b: results that are compared "
                "need the same"
            )
    return [(one.results, one.summary(Extras.of())) for one in totals]


_NONE = np.empty((0, 3), object)


def _references(found: Results) -> dict[Id, Any]:
    """Category, ranges of areas and kind of each reference of each image that has any."""
    kinds = np.array([kind.id for kind in found.categories], object)
    rows = np.stack([kinds[found.ref_category], found.ref_counted, found.ref_ignored], axis=1)
    order = np.lexsort((found.ref_ignored, found.ref_counted, found.ref_category, found.ref_image))
    sizes = np.bincount(found.ref_image, minlength=len(found.images))
    parts = np.split(rows[order], np.cumsum(sizes)[:-1]) if len(sizes) else []
    return {image: part for image, part in zip(found.images, parts, strict=True) if len(part)}
