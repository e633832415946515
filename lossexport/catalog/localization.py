"""Declaration of the confidence in a box's place, and inputs to verify it with."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lossexport.catalog import samples
from lossexport.catalog.boxes import BOX_DOMAIN
from lossexport.catalog.spec import Arrays, Dims, Op, Reference, Tensor


def _ordinary(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
    """Corners that are off by 0.1 % to 100 % of the side."""
    boxes = samples.random_boxes(rng, dims["N"])
    side = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    return {
        "boxes": boxes,
        "log_variance": 2 * np.log(side * 10.0 ** rng.uniform(-3, 0, boxes.shape)),
    }


def _extreme(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
    """Boxes of every kind, points and lines too, with variances over the whole range."""
    boxes = samples.box_pairs()["adversarial"](rng, dims, attributes)["pred"]
    ends = rng.choice([-200.0, -160.0, -80.0, 0.0, 80.0, 160.0, 176.0, 178.0, 200.0], boxes.shape)
    anywhere = rng.uniform(-200.0, 200.0, boxes.shape)
    return {
        "boxes": boxes,
        "log_variance": np.where(rng.random((dims["N"], 1)) < 0.5, ends, anywhere),
    }


def _nonfinite(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
    inputs = _ordinary(rng, dims, attributes)
    for array in inputs.values():
        samples.spoil(rng, array, 0.05)
    return inputs


CONFIDENCE = Op(
    name="localization_confidence",
    summary="Estimated IoU of a box with the true one, from the variance that a detector predicts.",
    formula=r"q = \frac{1}{1 + e},\quad e = \sqrt{\frac{2}{\pi}}\left("
    r"\frac{\sigma_{x_1} + \sigma_{x_2}}{w} + \frac{\sigma_{y_1} + \sigma_{y_2}}{h}\right)",
    inputs=(
        Tensor("boxes", ("N", 4), BOX_DOMAIN),
        Tensor(
            "log_variance",
            ("N", 4),
            "log sigma^2 of x1, y1, x2, y2 in the unit of the boxes, -200 to 200",
        ),
    ),
    outputs=(Tensor("quality", ("N",), "[0, 1]; 0 for a box without area"),),
    attributes=(),
    samplers={"ordinary": _ordinary, "extreme": _extreme, "nonfinite": _nonfinite},
    references=(
        Reference(
            "He et al., Bounding Box Regression with Uncertainty, CVPR 2019, eq. 3: the Gaussian "
            "corner; the estimate of IoU from it is our own",
            "https://arxiv.org/abs/1809.08545",
        ),
    ),
    kind="metric",
    notes=(
        "no reference boxes: it is as good as the variances, which kl_loss trains",
        "the mean IoU of a box whose true corners are off by independent Gaussian errors is at "
        "least q - e^2 / (1 + e) and at most q + v, v the variance of the error: "
        "(1 - 2 / pi) times the sum of (sigma / side)^2; docs/scoring.md derives it",
    ),
)

OPS = (CONFIDENCE,)
