"""The fused kernels of box deltas: plugins/kernels/deltas.cuh."""

from collections.abc import Callable, Mapping
from typing import Any

from lossexport.catalog.launch import Constant, Launch, blocks, macros_of

_THREADS = 256  # DELTAS_THREADS


def _rows(entry: str, macros: Callable[[Mapping[str, Any]], Mapping[str, Constant]]) -> Launch:
    """A kernel with a thread for each row."""
    return Launch(
        source="deltas.cuh",
        entry=entry,
        grid=lambda sizes: (blocks(sizes["N"], _THREADS),),
        block=_THREADS,
        sizes=lambda sizes: (sizes["N"],),
        macros=macros,
    )


ENCODE = _rows("encode_boxes", lambda given: {"LX_ENCODE": 1, "LX_WEIGHTS": given["weights"]})
DECODE = _rows("decode_boxes", macros_of("weights", "clip"))
