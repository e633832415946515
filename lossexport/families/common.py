"""Parts of declarations that several families share."""

from lossexport.catalog.spec import Attribute, Reference, Tensor

REDUCTION = Attribute("reduction", "none", "none, sum or mean", choices=("none", "sum", "mean"))
SCORE_EPS = Attribute(
    "eps",
    1e-7,
    "added to the squared diagonal (DIoU) and the trade-off denominator (CIoU) only",
    minimum=0.0,
    maximum=1.0,
)

LOGITS = Tensor("logits", ("N", "C"), "logits")
LABELS = Tensor("labels", ("N",), "labels")
CLASSES = {"N": (1, 256, 131072), "C": (1, 80, 512)}
"""Sizes of logits [N,C]."""
MEMORY = "peak memory of the gradient in onnxruntime: about {} tensors of the logits' size"

UNITBOX = Reference("Yu et al., UnitBox, ACM MM 2016", "https://arxiv.org/abs/1608.01471")
GIOU = Reference(
    "Rezatofighi et al., Generalized Intersection over Union, CVPR 2019, eq. 1",
    "https://arxiv.org/abs/1902.09630",
)
DIOU = Reference(
    "Zheng et al., Distance-IoU Loss, AAAI 2020, eq. 7 (DIoU), eq. 8-11 (CIoU)",
    "https://arxiv.org/abs/1911.08287",
)
