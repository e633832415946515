"""Looks for inputs of the domain that make a node overflow, by running the graph in its own types.

onnxruntime computes products of float16 on a CPU in float32 and would not show it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from lossexport.catalog.spec import Arrays, Tensor
from lossexport.catalog.variant import Variant
from lossexport.ranges.domain import Domain
from lossexport.ranges.interval import Interval

_TRIES = 4
_SIZE = 6
# An infinity of these may come from a 0 on purpose.
_POLES = ("Div", "Reciprocal", "Log", "Pow")


def overflow(model: onnx.ModelProto, variant: Variant, domain: Domain) -> str | None:
    """The first node that turns finite numbers into an infinity in a 16-bit type.

    The conversion of a result to the type of an output is not one: it is the result that is large.

    `model` is inlined. None if no such input was found, or the graph cannot be run.
    """
    results = {info.name for info in model.graph.output}
    try:
        evaluator = ReferenceEvaluator(model)
        for arrays in _inputs(variant, domain):
            with np.errstate(all="ignore"):
                found = cast(dict[str, Any], evaluator.run(None, arrays, intermediate=True))
            for node in model.graph.node:
                converts = node.op_type == "Cast" and node.output[0] in results
                if not any(node.input) or node.op_type in _POLES or converts:
                    continue
                if np.asarray(found[node.output[0]]).dtype.name not in ("float16", "bfloat16"):
                    continue
                if _finite(found, node.input) and not _finite(found, node.output):
                    return str(node.name or node.output[0])
    except Exception:
        return None
    return None


def _finite(found: Mapping[str, Any], names: Iterable[str]) -> bool:
    arrays = [np.asarray(found[name]) for name in names if name]
    return all(np.isfinite(a.astype(np.float64)).all() for a in arrays if a.dtype != bool)


def _inputs(variant: Variant, domain: Domain) -> Iterator[Arrays]:
    """Corners of the domain and points in it, as many tries as there are."""
    rng = np.random.default_rng(0)
    sizes = {name: min(max(r.min, _SIZE), r.max) for name, r in variant.ranges.items()}
    for _ in range(_TRIES):
        yield {tensor.name: _drawn(tensor, variant, domain, sizes, rng)
               for tensor in variant.op.inputs}  # fmt: skip


def _drawn(
    tensor: Tensor,
    variant: Variant,
    domain: Domain,
    sizes: dict[str, int],
    rng: np.random.Generator,
) -> np.ndarray:
    dims = [sizes[d] if isinstance(d, str) else d for d in variant.shape(tensor)]
    bounds = domain.bounds(tensor, variant)

    def numbers(one: Interval, shape: list[int]) -> np.ndarray:
        ends = rng.choice([one.low, one.high], shape)
        return np.where(rng.random(shape) < 0.75, ends, rng.uniform(one.low, one.high, shape))

    if isinstance(bounds, Interval):
        drawn = numbers(bounds, dims)
    else:
        drawn = np.stack([numbers(one, dims[:-1]) for one in bounds], axis=-1)
        if tensor.domain == "boxes":
            sides = drawn[..., 2:]
            most = np.array([one.high for one in bounds[2:]])
            drawn = np.concatenate((drawn[..., :2], drawn[..., :2] + sides), axis=-1)
            drawn = np.minimum(drawn, np.tile(most, 2))
            drawn[..., :2] = np.minimum(drawn[..., :2], drawn[..., 2:] - domain.side)
            drawn[0] = [0.0, 0.0, *most]
    if tensor.dtype == "int64":
        high = tensor.upper(sizes)
        drawn = np.minimum(drawn, high if np.isfinite(high) else 6)
    name = variant.numpy_dtype(tensor)
    if name == "bfloat16":
        import ml_dtypes

        return drawn.astype(ml_dtypes.bfloat16)
    return drawn.astype(name)
