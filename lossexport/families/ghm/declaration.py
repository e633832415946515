"""Declarations of gradient harmonising."""

from lossexport.catalog.spec import Attribute, Op, Reference, Tensor, beside
from lossexport.families.common import LOGITS
from lossexport.families.ghm import launches
from lossexport.families.ghm.cases import HARMONISED, RESIDUALS

_torch = beside(__name__)
_BINS = Attribute("bins", 10, "number of bins of equal width over the size of the gradient", 1, 512)
_MOMENTUM = Attribute(
    "momentum", 0.0, "momentum of the running counts; 0: only this call counts", 0.0, below=1.0
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
    "the weight of a bin is a constant in the gradient",
    "peak memory in onnxruntime: about 9 tensors of the input's size, whatever the number of bins",
)
GHM_C = Op(
    name="ghm_c_loss",
    function=_torch("ghm_c_loss"),
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
    samplers=HARMONISED,
    references=(_GHM,),
    kind="loss",
    stages=launches.GHM_C,
    any_shape=True,
    dims={"N": (1, 256, 131072), "C": (1, 80, 512)},
    state={"bin_count": "new_bin_count"},
    notes=_GHM_NOTES,
)

GHM_R = Op(
    name="ghm_r_loss",
    function=_torch("ghm_r_loss"),
    summary="Smooth absolute difference, every element divided by how many have a like gradient.",
    formula=r"L = \frac{1}{n}\sum_i \frac{\sqrt{d_i^2 + \mu^2} - \mu}{R_{b(i)}},\quad "
    r"g_i = \frac{|d_i|}{\sqrt{d_i^2 + \mu^2}}",
    inputs=(
        Tensor("pred", ("N", 4)),
        Tensor("target", ("N", 4)),
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
    samplers=RESIDUALS,
    references=(_GHM,),
    kind="loss",
    stages=launches.GHM_R,
    any_shape=True,
    dims={"N": (1, 256, 131072)},
    state={"bin_count": "new_bin_count"},
    notes=_GHM_NOTES,
)

OPS = (GHM_C, GHM_R)
