"""The kernels of AP loss, with the tensors between them, and the one of DR loss.

Each kernel of AP loss is a node in the op's ONNX function. Its body in standard operators is traced
from its torch function. The constants must equal those of `plugins/kernels/ranking.cuh` and
`distributions.cuh`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from lossexport.catalog.launch import Constant, Launch, Sizes, blocks, macros_of
from lossexport.catalog.spec import Stage, Tensor, beside

_torch = beside(__name__)
_THREADS = 256
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
        _torch(f"ap_{name}"),
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

DR = Launch(
    source="distributions.cuh",
    entry="dr_loss",
    grid=_ONE_BLOCK,
    block=512,  # DISTRIBUTION_THREADS
    sizes=lambda sizes: (sizes["N"], sizes["C"]),
    macros=macros_of("pos_lambda", "neg_lambda", "L", "tau", "margin"),
)
