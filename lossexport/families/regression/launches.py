"""The fused kernels of the regression losses: plugins/kernels/regression.cuh."""

from lossexport.catalog.launch import Launch, elements, spread

_THREADS = 256  # REGRESSION_THREADS

SMOOTH_L1 = Launch(
    source="regression.cuh",
    entry="smooth_l1_loss",
    grid=spread(_THREADS, "N", "D"),
    block=_THREADS,
    sizes=lambda sizes: (elements(sizes, "N", "D"),),
    macros=lambda given: {"LX_SMOOTH_L1": 1, "LX_BETA": given["beta"]},
)
KL = Launch(
    source="regression.cuh",
    entry="kl_loss",
    grid=spread(_THREADS, "N", 4),
    block=_THREADS,
    sizes=lambda sizes: (elements(sizes, "N", 4),),
    macros=lambda given: {"LX_KL": 1},
)
