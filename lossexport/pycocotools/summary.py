"""The twelve lines that COCOeval prints."""

from typing import Any

import numpy as np

from lossexport.boxes.boxset import Float64
from lossexport.errors import LossexportError, shown


def summarize(p: Any, tables: dict[str, Any]) -> Float64:
    """Print the twelve numbers of the tables `eval` and return them [12]; -1 if undefined."""
    if not tables:
        raise LossexportError("summarize: accumulate() has not run")
    if len(p.maxDets) < 3:
        raise LossexportError(
            f"params.maxDets is {shown(p.maxDets)}: summarize prints the numbers of three limits; "
            "read eval['precision'] and eval['recall'] instead"
        )
    if (
        not isinstance(p.areaRngLbl, list | tuple | np.ndarray)
        or getattr(p.areaRngLbl, "ndim", 1) != 1
    ):
        raise LossexportError(f"params.areaRngLbl is {shown(p.areaRngLbl)}: a list is expected")
    if len(p.areaRngLbl) > len(p.areaRng):
        raise LossexportError(
            f"params.areaRngLbl is {shown(p.areaRngLbl)}: params.areaRng has {len(p.areaRng)} "
            "ranges"
        )
    few, some, most = p.maxDets[:3]
    # The first line is that of 100 detections, whatever the limits are.
    precision = [
        {"most": 100},
        {"most": most, "threshold": 0.5},
        {"most": most, "threshold": 0.75},
        *({"most": most, "area": name} for name in ("small", "medium", "large")),
    ]
    recall = [
        *({"most": limit} for limit in (few, some, most)),
        *({"most": most, "area": name} for name in ("small", "medium", "large")),
    ]
    lines = [(True, line) for line in precision] + [(False, line) for line in recall]
    return np.array([_number(p, tables, of_precision, **line) for of_precision, line in lines])


def _number(
    p: Any,
    tables: dict[str, Any],
    of_precision: bool,
    most: int,
    threshold: float | None = None,
    area: str = "all",
) -> float:
    """The mean of the defined numbers of a line, which is printed."""
    table = tables["precision" if of_precision else "recall"]
    if threshold is not None:
        table = table[np.flatnonzero(np.asarray(p.iouThrs) == threshold)]
    areas = [i for i, name in enumerate(p.areaRngLbl) if name == area]
    limits = [i for i, limit in enumerate(p.maxDets) if limit == most]
    found = table[..., areas, limits]
    found = found[found > -1]
    mean = float(np.mean(found)) if len(found) else -1.0
    title = "Average Precision  (AP)" if of_precision else "Average Recall     (AR)"
    first, last = p.iouThrs[0], p.iouThrs[-1]
    overlap = f"{first:0.2f}:{last:0.2f}" if threshold is None else f"{threshold:0.2f}"
    print(f" {title} @[ IoU={overlap:<9} | area={area:>6s} | maxDets={most:>3d} ] = {mean:0.3f}")
    return mean
