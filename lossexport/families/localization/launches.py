"""The fused kernel of `localization_confidence`: plugins/kernels/aligned.cuh."""

from lossexport.catalog.launch import Launch, blocks

_THREADS = 256  # ALIGNED_THREADS

CONFIDENCE = Launch(
    source="aligned.cuh",
    entry="aligned",
    grid=lambda sizes: (blocks(sizes["N"], _THREADS),),
    block=_THREADS,
    sizes=lambda sizes: (sizes["N"],),
    macros=lambda given: {},
)
