"""The fused kernels of the signals of quality."""

from lossexport.catalog.launch import Launch, macros_of

SUPPRESSION_RELIABILITY = Launch(
    source="reliability.cuh",
    entry="suppression_reliability",
    grid=lambda sizes: (1,),
    block=1024,  # PICKERS of suppression.cuh
    sizes=lambda sizes: (sizes["N"], sizes["K"]),
    macros=macros_of("iou_threshold", "score_threshold", "center"),
    largest={"N": 32768},  # MASK_BOXES of suppression.cuh
)

CONTRASTIVE_CONFIDENCE = Launch(
    source="reliability.cuh",
    entry="contrastive_confidence",
    grid=lambda sizes: (sizes["N"],),
    block=128,  # CONFIDENCE_THREADS of reliability.cuh
    sizes=lambda sizes: (sizes["K"],),
    macros=macros_of("score_threshold", "weight"),
)
