"""The kernels of gradient harmonising, and the tensors between them.

Each kernel is a node in the op's ONNX function. Its body in standard operators is traced from its
torch function. The constants must equal those of `plugins/kernels/harmonise.cuh`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from lossexport.catalog.launch import Constant, Launch, Sizes
from lossexport.catalog.spec import Dim, Stage, Tensor, beside
from lossexport.families.ghm.edges import distance_edges, logit_edges, round_up

_torch = beside(__name__)
_THREADS = 256
_PARTS = 256  # GHM_BLOCKS
_Expression = Callable[[Sizes], tuple[Any, ...]]


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
            _torch(f"{op}_counts"),
            inputs=elements,
            outputs=(passed("partial_count", _PARTS, "bins"),),
            attributes=("bins", *more),
            launch=launch("counts", _PARTS, count, elementwise),
        ),
        Stage(
            "weights",
            _torch("ghm_weights"),
            inputs=(passed("partial_count", "P", "bins"), passed("bin_count", "bins")),
            outputs=(passed("bin_weight", "bins"), passed("new_bin_count", "bins")),
            attributes=("bins", "momentum"),
            launch=launch("weights", 1, lambda sizes: (sizes["P"],), weights),
            parts=_PARTS,
        ),
        Stage(
            "terms",
            _torch(f"{op}_terms"),
            inputs=(*elements, passed("bin_weight", "bins")),
            outputs=(passed("partial_loss", _PARTS),),
            attributes=("bins", *more),
            launch=launch("terms", _PARTS, count, elementwise),
            gradient=(first.name,),
        ),
        Stage(
            "total",
            _torch("ghm_total"),
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
