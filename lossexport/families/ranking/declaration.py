"""Declarations of the losses that rank all elements jointly or by row."""

import math

from lossexport.catalog.spec import Attribute, Op, Reference, Tensor, beside
from lossexport.families.common import LOGITS
from lossexport.families.ranking import launches
from lossexport.families.ranking.cases import PRECISION, RANKED

_torch = beside(__name__)

AP = Op(
    name="ap_loss",
    function=_torch("ap_loss"),
    summary="1 - interpolated average precision of all elements ranked jointly.",
    formula=r"L = 1 - \frac{1}{|P|}\sum_{i \in P} \max_{s_k \le s_i} \frac{a_k}{a_k + b_k},\quad "
    r"b_i = \sum_{j \in N} H(s_j - s_i)",
    inputs=(
        Tensor("logits", ("K",)),
        Tensor("target", ("K",), "1 positive, 0 negative, -1 ignored", "int64", low=-1, high=1),
    ),
    outputs=(Tensor("loss", (), "[0, 1]"),),
    attributes=(
        Attribute("delta", 1.0, "half the width of the ramp H", minimum=1e-6, maximum=1e6),
        # TensorRT's TopK supports at most 3840.
        Attribute(
            "max_positives",
            512,
            "most positives in a graph; more give NaN (eager PyTorch takes any number)",
            minimum=1,
            maximum=3840,
            graph_only=True,
        ),
    ),
    gradient=("logits",),
    samplers=PRECISION,
    references=(
        Reference(
            "Chen et al., Towards Accurate One-Stage Object Detection with AP-Loss, CVPR 2019, "
            "algorithm 1",
            "https://arxiv.org/abs/1904.06373",
        ),
    ),
    kind="loss",
    stages=launches.AP,
    dims={"K": (1, 16384, 131072)},
    any_shape=True,
    work=(64, "K"),
    notes=(
        "grad_logits is the error-driven update, not the derivative of the loss",
        "time grows with max_positives x K; temporaries take 64 x K x 4 bytes, a few at a time",
    ),
)

DR = Op(
    name="dr_loss",
    function=_torch("dr_loss"),
    summary="Distributional ranking: the hardest negatives below the hardest positives, by margin.",
    formula=r"L = \frac{\tau}{L}\log\left(1 + e^{L (E^- - E^+ + \gamma)}\right),\quad "
    r"E^\mp = \sum_i \mathrm{softmax}\left(\pm\frac{p}{\lambda_\mp}\right)_i p_i",
    inputs=(
        LOGITS,
        Tensor("labels", ("N",), "1 to C: class, 0: background, -1: ignored", "int64", -1, "C"),
    ),
    outputs=(Tensor("loss", (), "[0, inf)"),),
    attributes=(
        # exp(-1 / lambda) must be a normal float32.
        Attribute("pos_lambda", 1.0, "spread of the positives' distribution", 0.0125, 1e6),
        Attribute(
            "neg_lambda", 0.1 / math.log(3.5), "spread of the negatives' distribution", 0.0125, 1e6
        ),
        Attribute("L", 6.0, "sharpness of the logistic loss", minimum=1e-3, maximum=1e3),
        Attribute("tau", 4.0, "scale of the loss", minimum=0.0, maximum=1e6),
        Attribute("margin", 0.5, "gamma, the wanted distance", minimum=-1e3, maximum=1e3),
    ),
    gradient=("logits",),
    samplers=RANKED,
    references=(
        Reference(
            "Qian et al., DR Loss, CVPR 2020, eq. 10 to 12", "https://arxiv.org/abs/1907.10156"
        ),
    ),
    kind="loss",
    kernel=launches.DR,
    dims={"N": (1, 256, 131072), "C": (1, 80, 512)},
    notes=(
        "gradients flow through the weights of both distributions",
        "peak memory of the gradient in onnxruntime: about 10 tensors of the logits' size",
    ),
)

OPS = (AP, DR)
