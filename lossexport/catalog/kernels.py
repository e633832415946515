"""How the fused kernel of an op is launched: for TensorRT's plugins and for the tests."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

# A size is an int, or TensorRT's symbolic integer: both have + - * and //.
Sizes = Mapping[str, Any]
# What a macro may hold.
Constant = int | float | tuple[float, ...]

# `enum Metric` of plugins/kernels/boxes.cuh.
METRICS = {"iou": 0, "giou": 1, "diou": 2, "ciou": 3}


def blocks(count: Any, block: int) -> Any:
    """How many blocks of `block` hold `count` elements."""
    return (count + (block - 1)) // block


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel in `plugins/kernels`, one launch without a workspace.

    Its arguments are the node's inputs, `sizes` as 32-bit integers, and the node's outputs. `grid`
    gives the number of blocks, x first, of `block` threads each; both are functions of dimensions
    and of attributes that are dimensions. `macros` turns attributes into the constants that are
    compiled into it. `largest` bounds the dimensions that it serves.
    """

    source: str
    entry: str
    grid: Callable[[Sizes], tuple[Any, ...]]
    block: int
    sizes: Callable[[Sizes], tuple[Any, ...]]
    macros: Callable[[Mapping[str, Any]], Mapping[str, Constant]]
    largest: Mapping[str, int] = field(default_factory=dict)

    def serves(self, largest: Mapping[str, int]) -> bool:
        """Whether the kernel takes dimensions of these sizes."""
        return all(largest[name] <= limit for name, limit in self.largest.items())


# Of pairwise.cuh: a thread a column, PAIRWISE_ROWS rows a block. CUDA bounds the y of a grid.
_COLUMNS, _ROWS, _MOST_Y = 256, 16, 65535
# MATCH_BOXES of best_match.cuh.
_MATCH_BOXES = 128
# Of suppression.cuh: one block, whose threads keep a bit or a score of every box in registers.
_PICKERS = 1024
_MASK_BOXES, _SCORED_BOXES = 32 * _PICKERS, 16 * _PICKERS


def pairwise(metric: str) -> Launch:
    """The matrix of a metric."""
    return Launch(
        source="pairwise.cuh",
        entry="pairwise",
        grid=lambda sizes: (blocks(sizes["M"], _COLUMNS), blocks(sizes["N"], _ROWS)),
        block=_COLUMNS,
        sizes=lambda sizes: (sizes["N"], sizes["M"]),
        macros=lambda attributes: {"LX_METRIC": METRICS[metric], "LX_EPS": attributes["eps"]},
        largest={"N": _MOST_Y * _ROWS},
    )


BEST_MATCH = Launch(
    source="best_match.cuh",
    entry="best_match",
    grid=lambda sizes: (blocks(sizes["N"], _MATCH_BOXES) + blocks(sizes["M"], _MATCH_BOXES),),
    block=_MATCH_BOXES,
    sizes=lambda sizes: (sizes["N"], sizes["M"]),
    macros=lambda attributes: {
        "LX_METRIC": METRICS[attributes["metric"]],
        "LX_EPS": attributes["eps"],
    },
)


def _of(*names: str) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Macros named as the attributes that they hold."""
    return lambda attributes: {f"LX_{name.upper()}": attributes[name] for name in names}


def _picking(
    entry: str, most: int, macros: Callable[[Mapping[str, Any]], Mapping[str, Constant]]
) -> Launch:
    return Launch(
        source=f"{entry}.cuh",
        entry=entry,
        grid=lambda sizes: (1,),
        block=_PICKERS,
        sizes=lambda sizes: (sizes["N"],),
        macros=macros,
        largest={"N": most},
    )


def nms(metric: str | None) -> Launch:
    """Greedy NMS by "iou", by "diou" or by the attribute `metric`."""
    constants = _of("iou_threshold", "score_threshold", "beta", "max_output")
    return _picking(
        "nms",
        _MASK_BOXES,
        lambda attributes: {
            "LX_METRIC": METRICS[metric or attributes["metric"]],
            **constants(attributes),
        },
    )


SOFT_NMS = _picking("soft_nms", _SCORED_BOXES, _of("sigma", "score_threshold", "max_output"))

_VOTING = _of(
    "sigma_t",
    "soft_sigma",
    "iou_threshold",
    "vote_threshold",
    "score_threshold",
    "offset",
    "max_output",
)
VARIANCE_VOTING = _picking(
    "variance_voting",
    _SCORED_BOXES,
    lambda attributes: {"LX_HARD": int(attributes["method"] == "hard"), **_VOTING(attributes)},
)
