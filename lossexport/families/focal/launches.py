"""The fused kernels of the focal losses: plugins/kernels/focal.cuh."""

from collections.abc import Mapping
from typing import Any

from lossexport.catalog.launch import Constant, Launch, elements, spread

_THREADS = 256  # FOCAL_THREADS


def _softmax(given: Mapping[str, Any]) -> dict[str, Constant]:
    name = "LX_WEIGHTS" if isinstance(given["alpha"], tuple) else "LX_ALPHA"
    return {"LX_SOFTMAX_FOCAL": 1, name: given["alpha"], "LX_GAMMA": given["gamma"]}


SIGMOID_FOCAL = Launch(
    source="focal.cuh",
    entry="sigmoid_focal_loss",
    grid=spread(_THREADS, "N", "C"),
    block=_THREADS,
    sizes=lambda sizes: (elements(sizes, "N", "C"),),
    macros=lambda given: {
        "LX_SIGMOID_FOCAL": 1,
        "LX_ALPHA": given["alpha"],
        "LX_GAMMA": given["gamma"],
    },
)
SOFTMAX_FOCAL = Launch(
    source="focal.cuh",
    entry="softmax_focal_loss",
    grid=spread(_THREADS, "N"),
    block=_THREADS,
    sizes=lambda sizes: (sizes["N"], sizes["C"]),
    macros=_softmax,
)
