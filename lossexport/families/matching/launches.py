"""The fused kernel of `best_match`."""

from lossexport.catalog.launch import METRIC_CODES, Launch, blocks

# MATCH_BOXES of best_match.cuh.
_MATCH_BOXES = 128

BEST_MATCH = Launch(
    source="best_match.cuh",
    entry="best_match",
    grid=lambda sizes: (blocks(sizes["N"], _MATCH_BOXES) + blocks(sizes["M"], _MATCH_BOXES),),
    block=_MATCH_BOXES,
    sizes=lambda sizes: (sizes["N"], sizes["M"]),
    macros=lambda attributes: {
        "LX_METRIC": METRIC_CODES[attributes["metric"]],
        "LX_EPS": attributes["eps"],
    },
)
