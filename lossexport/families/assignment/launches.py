"""The fused kernels of the assignments."""

from lossexport.catalog.launch import Launch, macros_of

_COST = macros_of("class_weight", "box_weight", "giou_weight", "alpha", "gamma", "eps")
DETR_COST = Launch(
    source="detr_cost.cuh",
    entry="detr_cost",
    grid=lambda sizes: (sizes["N"],),
    block=128,  # COST_THREADS of detr_cost.cuh
    sizes=lambda sizes: (sizes["M"], sizes["C"]),
    macros=lambda attributes: {
        "LX_SOFTMAX": int(attributes["kind"] == "softmax"),
        **_COST(attributes),
    },
)

ALIGNMENT = macros_of("alpha", "beta", "topk", "small_side")
TASK_ALIGNED_ASSIGN = Launch(
    source="task_align.cuh",
    entry="task_aligned_assign",
    grid=lambda sizes: (1,),
    block=1024,  # PICKERS of suppression.cuh
    sizes=lambda sizes: (sizes["A"], sizes["T"], sizes["C"]),
    macros=lambda attributes: {"LX_TASK_ALIGN": 1, **ALIGNMENT(attributes)},
    largest={"T": 1024},  # ALIGNED_TARGETS of task_align.cuh
)
