"""Whether the numbers that a graph computes are among those that its analysis allows."""

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from lossexport.catalog.variant import Variant
from lossexport.ranges.domain import Domain
from lossexport.ranges.expression import MINUS, PLUS, Expression
from lossexport.ranges.walk import Walk
from lossexport.ranges.witness import inputs


def check(model: onnx.ModelProto, variant: Variant, domain: Domain, sizes: tuple[int, ...]) -> int:
    """Compare every result of a graph with what is known of it; the number of numbers compared.

    Bounds, and for whole tensors and places of the last axis alike: the infinities, the grid.
    """
    walk = Walk(model, variant, domain)
    evaluator = ReferenceEvaluator(model)
    compared = 0
    for size in sizes:
        for arrays in inputs(variant, domain, size):
            with np.errstate(all="ignore"):
                found = evaluator.run(None, arrays, intermediate=True)
            for node in model.graph.node:
                for output in filter(None, node.output):
                    numbers = np.asarray(found[output]).astype(np.float64)
                    value = walk.value(output)
                    _within(numbers, value.every, f"{node.op_type} {node.name} {output}")
                    for place, part in enumerate(value.parts or ()):
                        assert value.parts is not None
                        assert numbers.shape[-1] == len(value.parts), output
                        _within(numbers[..., place], part, f"{output}[..., {place}]")
                    compared += numbers.size
    return compared


def _within(numbers: np.ndarray, known: Expression, name: str) -> None:
    finite = numbers[np.isfinite(numbers)]
    if finite.size:
        low, high = known.bounds
        assert low <= finite.min(), (name, known.bounds, numbers)
        assert finite.max() <= high, (name, known.bounds, numbers)
        sizes = np.abs(finite[finite != 0.0])
        assert (sizes >= known.step).all(), (name, known.step, sizes.min())
        if -1000 < known.grid < 1000:
            assert (np.mod(sizes, 2.0**known.grid) == 0.0).all(), (name, known.grid, sizes)
    for sign, infinity in ((PLUS, np.inf), (MINUS, -np.inf)):
        assert sign in known.odd or not (numbers == infinity).any(), (name, sign, known.bounds)
