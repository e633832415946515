"""The fused kernel of `decode_distances`: plugins/kernels/distances.cuh."""

from lossexport.catalog.launch import Launch, blocks, macros_of

_THREADS = 256  # DISTANCES_THREADS, four for each box

DECODE = Launch(
    source="distances.cuh",
    entry="decode_distances",
    grid=lambda sizes: (blocks(sizes["N"], _THREADS // 4),),
    block=_THREADS,
    sizes=lambda sizes: (sizes["N"],),
    macros=macros_of("bins"),
)
