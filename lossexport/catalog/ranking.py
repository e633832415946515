"""Declarations of the losses that judge a whole set at once: gradient harmonising and ranking."""

import math

from lossexport.catalog import loss_samples, stages
from lossexport.catalog.losses import LOGITS
from lossexport.catalog.spec import Attribute, Op, Reference, Tensor

_BINS = Attribute("bins", 10, "bins of equal width over the gradient's size", 1, 512)
_MOMENTUM = Attribute(
    "momentum", 0.0, "of the running counts; 0: the counts of this call alone", 0.0, below=1.0
)
_STATE = {
    "bin_count": Tensor("bin_count", ("bins",), "running counts, zeros at first", "float32", low=0),
    "new_bin_count": Tensor("new_bin_count", ("bins",), "counts for the next call", "float32"),
}
_WEIGHT_DOMAIN = "0: ignored; above: counted, whatever the size"
_GHM = Reference(
    "Li et al., Gradient Harmonized Single-stage Detector, AAAI 2019, eq. 8 to 12; authors' code "
    "in mmdetection 2",
    "https://arxiv.org/abs/1811.05181",
)
_GHM_NOTES = (
    "the weight of a bin is a constant of the gradient",
    "peak memory in onnxruntime: about 9 tensors of the input's size, whatever the number of bins",
)
GHM_C = Op(
    name="ghm_c_loss",
    summary="Binary cross entropy, every element divided by how many have a like gradient.",
    formula=r"L = \frac{1}{n}\sum_i \frac{\ell_i}{R_{b(i)}},\quad g_i = |\sigma(x_i) - t_i|",
    inputs=(
        LOGITS,
        Tensor("target", ("N", "C"), "0 or 1", low=0, high=1, whole=True),
        Tensor("weight", ("N", "C"), _WEIGHT_DOMAIN, low=0),
        _STATE["bin_count"],
    ),
    outputs=(Tensor("loss", (), "[0, inf)"), _STATE["new_bin_count"]),
    attributes=(_BINS, _MOMENTUM),
    gradient=("logits",),
    samplers=loss_samples.HARMONISED,
    references=(_GHM,),
    kind="loss",
    stages=stages.GHM_C,
    any_shape=True,
    dims={"N": (1, 256, 131072), "C": (1, 80, 512)},
    state={"bin_count": "new_bin_count"},
    notes=_GHM_NOTES,
)

GHM_R = Op(
    name="ghm_r_loss",
    summary="Smooth absolute difference, every element divided by how many have a like gradient.",
    formula=r"L = \frac{1}{n}\sum_i \frac{\sqrt{d_i^2 + \mu^2} - \mu}{R_{b(i)}},\quad "
    r"g_i = \frac{|d_i|}{\sqrt{d_i^2 + \mu^2}}",
    inputs=(
        Tensor("pred", ("N", 4), "real numbers"),
        Tensor("target", ("N", 4), "real numbers"),
        Tensor("weight", ("N", 4), _WEIGHT_DOMAIN, low=0),
        _STATE["bin_count"],
    ),
    outputs=(Tensor("loss", (), "[0, inf)"), _STATE["new_bin_count"]),
    attributes=(
        _BINS,
        _MOMENTUM,
        Attribute("mu", 0.02, "width of the quadratic part", minimum=1e-6, maximum=1e6),
    ),
    gradient=("pred",),
    samplers=loss_samples.RESIDUALS,
    references=(_GHM,),
    kind="loss",
    stages=stages.GHM_R,
    any_shape=True,
    dims={"N": (1, 256, 131072)},
    state={"bin_count": "new_bin_count"},
    notes=_GHM_NOTES,
)

AP = Op(
    name="ap_loss",
    summary="1 - interpolated average precision of all elements ranked jointly.",
    formula=r"L = 1 - \frac{1}{|P|}\sum_{i \in P} \max_{s_k \le s_i} \frac{a_k}{a_k + b_k},\quad "
    r"b_i = \sum_{j \in N} H(s_j - s_i)",
    inputs=(
        Tensor("logits", ("K",), "real numbers"),
        Tensor("target", ("K",), "1 positive, 0 negative, -1 ignored", "int64", low=-1, high=1),
    ),
    outputs=(Tensor("loss", (), "[0, 1]"),),
    attributes=(
        Attribute("delta", 1.0, "half the width of the ramp H", minimum=1e-6, maximum=1e6),
        # TensorRT's TopK takes 3840 at most.
        Attribute(
            "max_positives",
            512,
            "positives that a graph has room for; more of them give NaN (eager PyTorch takes any)",
            minimum=1,
            maximum=3840,
            graph_only=True,
        ),
    ),
    gradient=("logits",),
    samplers=loss_samples.PRECISION,
    references=(
        Reference(
            "Chen et al., Towards Accurate One-Stage Object Detection with AP-Loss, CVPR 2019, "
            "algorithm 1",
            "https://arxiv.org/abs/1904.06373",
        ),
    ),
    kind="loss",
    stages=stages.AP,
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
    summary="Distributional ranking: the hardest negatives below the hardest positives, by margin.",
    formula=r"L = \frac{\tau}{L}\log\left(1 + e^{L (E^- - E^+ + \gamma)}\right),\quad "
    r"E^\mp = \sum_i \mathrm{softmax}\left(\pm\frac{p}{\lambda_\mp}\right)_i p_i",
    inputs=(
        LOGITS,
        Tensor("labels", ("N",), "1 to C: class, 0: background, -1: ignored", "int64", -1, "C"),
    ),
    outputs=(Tensor("loss", (), "[0, inf)"),),
    attributes=(
        # exp(-1 / lambda) has to stay a normal float32.
        Attribute("pos_lambda", 1.0, "spread of the positives' distribution", 0.0125, 1e6),
        Attribute(
            "neg_lambda", 0.1 / math.log(3.5), "spread of the negatives' distribution", 0.0125, 1e6
        ),
        Attribute("L", 6.0, "sharpness of the logistic loss", minimum=1e-3, maximum=1e3),
        Attribute("tau", 4.0, "scale of the loss", minimum=0.0, maximum=1e6),
        Attribute("margin", 0.5, "gamma, wanted distance", minimum=-1e3, maximum=1e3),
    ),
    gradient=("logits",),
    samplers=loss_samples.RANKED,
    references=(
        Reference(
            "Qian et al., DR Loss, CVPR 2020, eq. 10 to 12", "https://arxiv.org/abs/1907.10156"
        ),
    ),
    kind="loss",
    dims={"N": (1, 256, 131072), "C": (1, 80, 512)},
    notes=(
        "gradients flow through the weights of both distributions",
        "peak memory of the gradient in onnxruntime: about 10 tensors of the logits' size",
    ),
)

OPS = (GHM_C, GHM_R, AP, DR)
