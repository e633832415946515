"""Declaration of the decoding of predicted distances, and inputs to verify it with."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lossexport.catalog import samples
from lossexport.catalog.boxes import BOX_DOMAIN
from lossexport.catalog.spec import Arrays, Attribute, Dims, Op, Reference, Tensor


def _ordinary(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
    n = dims["N"]
    return {
        "distribution": rng.normal(0.0, 2.0, (n, 4, attributes["bins"])),
        "points": rng.uniform(0.0, 1280.0, (n, 2)),
        "stride": rng.choice([8.0, 16.0, 32.0, 64.0], n),
    }


def _extreme(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
    """Certain and undecided distributions, logits of +-50, strides from 1e-4 to 1e4."""
    n, bins = dims["N"], attributes["bins"]
    rows = np.stack(
        [
            rng.choice([-50.0, 50.0], (n, 4, bins)),
            np.full((n, 4, bins), 50.0),
            np.where(rng.permuted(np.tile(np.arange(bins), (n, 4, 1)), axis=2) == 0, 50.0, -50.0),
            rng.uniform(-50.0, 50.0, (n, 4, bins)),
        ]
    )
    return {
        "distribution": rows[rng.integers(len(rows), size=n), np.arange(n)],
        "points": rng.choice([-1.0, 1.0], (n, 2)) * 10.0 ** rng.uniform(-4.0, 4.0, (n, 2)),
        "stride": 10.0 ** rng.uniform(-4.0, 4.0, n),
    }


def _nonfinite(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
    inputs = _ordinary(rng, dims, attributes)
    for array in inputs.values():
        samples.spoil(rng, array, 0.3 / max(1, array[0].size))
    return inputs


DECODE = Op(
    name="decode_distances",
    summary="Boxes from points and distributions over the distances to their four sides.",
    formula=r"d = s \sum_{b=0}^{B-1} b\,\mathrm{softmax}(x)_b,\quad "
    r"(p_x - d_l,\ p_y - d_t,\ p_x + d_r,\ p_y + d_b)",
    inputs=(
        Tensor("distribution", ("N", 4, "bins"), "logits for left, top, right, bottom"),
        Tensor("points", ("N", 2), "x, y, in the unit of the boxes"),
        Tensor("stride", ("N",), "size of a step, at least 0, in the unit of the boxes"),
    ),
    outputs=(Tensor("boxes", ("N", 4), BOX_DOMAIN),),
    attributes=(Attribute("bins", 16, "B, 8 in NanoDet, 16 in YOLOv8", minimum=2, maximum=64),),
    samplers={"ordinary": _ordinary, "extreme": _extreme, "nonfinite": _nonfinite},
    references=(
        Reference(
            "Li et al., Generalized Focal Loss, NeurIPS 2020, eq. 5",
            "https://arxiv.org/abs/2006.04388",
        ),
    ),
    kind="transform",
    notes=("bins is the size of the last dimension, and checked against it",),
)

OPS = (DECODE,)
