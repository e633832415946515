"""The kernels of ops that take several, and what is passed from one to the next.

Each is a node in the op's ONNX function, with a body of its own in standard operators, traced from
the function of that name in `lossexport.ops.stages`. Constants are those of
`plugins/kernels/ranking.cuh` and `harmonise.cuh`.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lossexport.catalog.kernels import Constant, Launch, Sizes, blocks
from lossexport.catalog.spec import Dim, Stage, Tensor

_THREADS = 256
_PARTS = 256  # GHM_BLOCKS
_LARGEST = float(np.finfo(np.float32).max)


def logit_edges(bins: int, lowest: float = -_LARGEST) -> list[float]:
    """Lower edges of GHM-C's bins, as logits of the wrong answer; `lowest` is below every one.

    |sigmoid(x) - t| is at least i / bins where the logit is at least that of i / bins.
    """
    return [lowest, *(math.log(i / (bins - i)) for i in range(1, bins))]


def distance_edges(bins: int, mu: float) -> list[float]:
    """Lower edges of GHM-R's bins, as sizes of the difference.

    |d| / sqrt(d^2 + mu^2) is at least e where |d| is at least mu e / sqrt(1 - e^2).
    """
    return [mu * i / math.sqrt(bins * bins - i * i) for i in range(bins)]


def round_up(edge: float) -> float:
    """The smallest float32 at or above: what reaches it reaches the exact edge."""
    rounded = np.float32(edge)
    if float(rounded) < edge:
        rounded = np.nextafter(rounded, np.float32(math.inf))
    return float(rounded)


_Expression = Callable[[Sizes], tuple[Any, ...]]


def _ranking(
    name: str,
    inputs: tuple[Tensor, ...],
    outputs: tuple[Tensor, ...],
    attributes: tuple[str, ...],
    grid: _Expression,
    sizes: _Expression = lambda sizes: (sizes["K"],),
    gradient_only: bool = False,
) -> Stage:
    def macros(given: Mapping[str, Any]) -> Mapping[str, Constant]:
        return {f"LX_AP_{name.upper()}": 1, **{f"LX_{a.upper()}": given[a] for a in attributes}}

    return Stage(
        name,
        f"ap_{name}",
        inputs,
        outputs,
        attributes,
        Launch("ranking.cuh", f"ap_{name}", grid, _THREADS, sizes, macros),
        gradient_only=gradient_only,
    )


_LOGITS = Tensor("logits", ("K",), "")
_TARGET = Tensor("target", ("K",), "", "int64")
_BY_POSITIVE = {
    name: Tensor(name, ("max_positives",), "", "int64" if name == "place" else "float32")
    for name in ("score", "place", "above", "level", "share")
}
_SCORE, _PLACE, _ABOVE, _LEVEL, _SHARE = _BY_POSITIVE.values()

_ONE_BLOCK: _Expression = lambda sizes: (1,)  # noqa: E731

AP = (
    _ranking(
        "positives",
        inputs=(_LOGITS, _TARGET),
        outputs=(_SCORE, _PLACE),
        attributes=("max_positives",),
        grid=_ONE_BLOCK,
    ),
    _ranking(
        "counts",
        inputs=(_LOGITS, _TARGET, _SCORE),
        outputs=(_ABOVE, _LEVEL),
        attributes=("delta", "max_positives"),
        grid=lambda sizes: (sizes["max_positives"],),
    ),
    _ranking(
        "shares",
        inputs=(_SCORE, _PLACE, _ABOVE, _LEVEL),
        outputs=(Tensor("loss", (), "", "float32"), _SHARE),
        attributes=("max_positives",),
        grid=_ONE_BLOCK,
        sizes=lambda sizes: (),
    ),
    _ranking(
        "update",
        inputs=(_LOGITS, _TARGET, _SCORE, _PLACE, _ABOVE, _SHARE),
        outputs=(Tensor("grad_logits", ("K",), ""),),
        attributes=("delta", "max_positives"),
        grid=lambda sizes: (blocks(sizes["K"], _THREADS),),
        gradient_only=True,
    ),
)


def _harmonised(
    op: str, first: Tensor, edges: Callable[[Mapping[str, Any]], list[float]], *more: str
) -> tuple[Stage, ...]:
    """The stages of GHM on `first`, whose bins begin at `edges` and depend on attributes `more`."""

    def elementwise(given: Mapping[str, Any]) -> dict[str, Constant]:
        return {
            "LX_REGRESSION": int(op == "ghm_r"),
            "LX_BINS": given["bins"],
            "LX_EDGES": tuple(round_up(edge) for edge in edges(given)),
            **{f"LX_{name.upper()}": given[name] for name in more},
        }

    def weights(given: Mapping[str, Any]) -> dict[str, Constant]:
        return {"LX_BINS": given["bins"], "LX_MOMENTUM": given["momentum"]}

    def count(sizes: Sizes) -> tuple[Any, ...]:
        rows, columns = (sizes[d] if isinstance(d, str) else d for d in first.shape)
        return (rows * columns,)

    def launch(
        stage: str,
        parts: int,
        sizes: _Expression,
        macros: Callable[[Mapping[str, Any]], dict[str, Constant]],
    ) -> Launch:
        return Launch(
            "harmonise.cuh",
            f"ghm_{stage}",
            lambda known: (parts,),
            _THREADS,
            sizes,
            lambda given: {f"LX_GHM_{stage.upper()}": 1, **macros(given)},
        )

    def passed(name: str, *shape: Dim) -> Tensor:
        return Tensor(name, shape, "", "float32")

    elements = tuple(Tensor(name, first.shape, "") for name in (first.name, "target", "weight"))
    return (
        Stage(
            "counts",
            f"{op}_counts",
            inputs=elements,
            outputs=(passed("partial_count", _PARTS, "bins"),),
            attributes=("bins", *more),
            launch=launch("counts", _PARTS, count, elementwise),
        ),
        Stage(
            "weights",
            "ghm_weights",
            inputs=(passed("partial_count", "P", "bins"), passed("bin_count", "bins")),
            outputs=(passed("bin_weight", "bins"), passed("new_bin_count", "bins")),
            attributes=("bins", "momentum"),
            launch=launch("weights", 1, lambda sizes: (sizes["P"],), weights),
            parts=_PARTS,
        ),
        Stage(
            "terms",
            f"{op}_terms",
            inputs=(*elements, passed("bin_weight", "bins")),
            outputs=(passed("partial_loss", _PARTS),),
            attributes=("bins", *more),
            launch=launch("terms", _PARTS, count, elementwise),
            gradient=(first.name,),
        ),
        Stage(
            "total",
            "ghm_total",
            inputs=(passed("partial_loss", "P"),),
            outputs=(passed("loss"),),
            attributes=(),
            launch=launch("total", 1, lambda sizes: (sizes["P"],), lambda given: {}),
            parts=_PARTS,
        ),
    )


GHM_C = _harmonised(
    "ghm_c", Tensor("logits", ("N", "C"), ""), lambda given: logit_edges(given["bins"])
)
GHM_R = _harmonised(
    "ghm_r",
    Tensor("pred", ("N", 4), ""),
    lambda given: distance_edges(given["bins"], given["mu"]),
    "mu",
)
