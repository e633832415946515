"""The fused kernels: plugins/kernels/quality.cuh and plugins/kernels/bins.cuh."""

from collections.abc import Callable, Mapping
from typing import Any

from lossexport.catalog.launch import Constant, Launch, elements, macros_of, spread

_THREADS = 256  # QUALITY_THREADS and BINS_THREADS
# `enum Quality` of quality.cuh.
_LOSSES = ("QUALITY_FOCAL", "VARIFOCAL", "MATCHED_VARIFOCAL", "MATCHABILITY_AWARE", "IOU_AWARE")


def _elementwise(loss: str, exponent: str, *others: str) -> Launch:
    return Launch(
        source="quality.cuh",
        entry="quality_loss",
        grid=spread(_THREADS, "N", "C"),
        block=_THREADS,
        sizes=lambda sizes: (elements(sizes, "N", "C"),),
        macros=_macros(loss, exponent, others),
    )


def _macros(
    loss: str, exponent: str, others: tuple[str, ...]
) -> Callable[[Mapping[str, Any]], Mapping[str, Constant]]:
    return lambda given: {
        "LX_QUALITY": _LOSSES.index(loss),
        "LX_EXPONENT": given[exponent],
        **{f"LX_{name.upper()}": +given[name] for name in others},  # of a bool 0 or 1
    }


QUALITY_FOCAL = _elementwise("QUALITY_FOCAL", "beta")
VARIFOCAL = _elementwise("VARIFOCAL", "gamma", "alpha", "iou_weighted")
MATCHED_VARIFOCAL = _elementwise("MATCHED_VARIFOCAL", "gamma", "alpha")
MATCHABILITY_AWARE = _elementwise("MATCHABILITY_AWARE", "gamma", "alpha")
IOU_AWARE = _elementwise("IOU_AWARE", "alpha")

DISTRIBUTION_FOCAL = Launch(
    source="bins.cuh",
    entry="distribution_focal_loss",
    grid=spread(_THREADS, "N"),
    block=_THREADS,
    sizes=lambda sizes: (sizes["N"], sizes["K"]),
    macros=macros_of("margin"),
)
