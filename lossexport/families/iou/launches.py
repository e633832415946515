"""The fused kernels of the metrics and their losses."""

from collections.abc import Callable, Mapping
from typing import Any

from lossexport.catalog.launch import METRIC_CODES, Constant, Launch, blocks, spread

# As in pairwise.cuh: a thread for each column, PAIRWISE_ROWS rows for each block. CUDA bounds the
# y of a grid.
_COLUMNS, _ROWS, _MOST_Y = 256, 16, 65535
# ALIGNED_THREADS of aligned.cuh and BOX_LOSS_THREADS of box_losses.cuh: a thread for each row.
_ROW_THREADS = 256


def pairwise(metric: str) -> Launch:
    """The launch that computes the matrix of a metric."""
    return Launch(
        source="pairwise.cuh",
        entry="pairwise",
        grid=lambda sizes: (blocks(sizes["M"], _COLUMNS), blocks(sizes["N"], _ROWS)),
        block=_COLUMNS,
        sizes=lambda sizes: (sizes["N"], sizes["M"]),
        macros=_macros(metric),
        largest={"N": _MOST_Y * _ROWS},
    )


def aligned(metric: str) -> Launch:
    """A metric of the boxes of each row."""
    return Launch(
        source="aligned.cuh",
        entry="aligned",
        grid=lambda sizes: (blocks(sizes["N"], _ROW_THREADS),),
        block=_ROW_THREADS,
        sizes=lambda sizes: (sizes["N"],),
        macros=_macros(metric),
    )


def loss(metric: str) -> Launch:
    """A loss of the boxes of each row."""
    return Launch(
        source="box_losses.cuh",
        entry="box_losses",
        grid=spread(_ROW_THREADS, "N"),
        block=_ROW_THREADS,
        sizes=lambda sizes: (sizes["N"],),
        macros=_macros(metric),
    )


def _macros(metric: str) -> Callable[[Mapping[str, Any]], Mapping[str, Constant]]:
    number = "constant" if metric == "nwd" else "eps"
    return lambda given: {"LX_METRIC": METRIC_CODES[metric], "LX_EPS": given[number]}
