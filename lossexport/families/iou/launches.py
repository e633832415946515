"""The fused kernel of the pairwise metrics."""

from lossexport.catalog.launch import METRIC_CODES, Launch, blocks

# As in pairwise.cuh: a thread for each column, PAIRWISE_ROWS rows for each block. CUDA bounds the
# y of a grid.
_COLUMNS, _ROWS, _MOST_Y = 256, 16, 65535


def pairwise(metric: str) -> Launch:
    """The launch that computes the matrix of a metric."""
    return Launch(
        source="pairwise.cuh",
        entry="pairwise",
        grid=lambda sizes: (blocks(sizes["M"], _COLUMNS), blocks(sizes["N"], _ROWS)),
        block=_COLUMNS,
        sizes=lambda sizes: (sizes["N"], sizes["M"]),
        macros=lambda attributes: {"LX_METRIC": METRIC_CODES[metric], "LX_EPS": attributes["eps"]},
        largest={"N": _MOST_Y * _ROWS},
    )
