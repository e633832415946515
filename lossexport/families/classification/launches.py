"""The fused kernels of the losses of labelled logits: plugins/kernels/classes.cuh."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from lossexport.catalog.launch import Constant, Launch, spread

_THREADS = 128  # CLASSES_THREADS


def _launch(entry: str, macros: Callable[[Mapping[str, Any]], dict[str, Constant]]) -> Launch:
    return Launch(
        source="classes.cuh",
        entry=entry,
        grid=spread(_THREADS, "N"),
        block=_THREADS,
        sizes=lambda sizes: (sizes["N"], sizes["C"]),
        macros=macros,
    )


ANCHOR = _launch(
    "anchor_loss",
    lambda given: {
        "LX_ANCHOR": 1,
        "LX_GAMMA": given["gamma"],
        "LX_SLACK": given["slack"],
        "LX_POSITIVE": int(given["anchor"] == "pos"),
    },
)
SCE = _launch(
    "sce_loss",
    lambda given: {
        "LX_SYMMETRIC": 1,
        "LX_ALPHA": given["alpha"],
        "LX_REVERSE": -given["beta"] * math.log(given["label_floor"]),
        "LX_FLOOR": given["prob_floor"],
    },
)
