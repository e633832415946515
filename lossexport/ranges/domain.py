"""The inputs that a file is proved for: the declared domains, within an image."""

import math
from dataclasses import dataclass

from lossexport.catalog.spec import Tensor
from lossexport.catalog.variant import Variant
from lossexport.ranges.expression import Value
from lossexport.ranges.interval import TRUTH, WHOLE, Interval, Kind, kind_of
from lossexport.ranges.make import Maker

IMAGE = (640, 640)
"""Width and height that are assumed if none are given."""
_REAL = 1e4
_KINDS = {"float16": 10, "bfloat16": 16, "float32": 1, "int64": 7, "bool": 9}
SMALLEST_SIDE = 1.0
"""Of a box in a gradient graph: the derivative of an IoU grows as one over the side."""


@dataclass(frozen=True, slots=True)
class Domain:
    """Boxes lie in an image of `width` x `height`; other numbers reach to `real`."""

    width: float
    height: float
    side: float = 0.0
    real: float = _REAL

    def times(self, factor: float) -> "Domain":
        """The domain of larger boxes and numbers."""
        return Domain(self.width * factor, self.height * factor, self.side, self.real * factor)

    @property
    def text(self) -> str:
        """In words, for manifests and notes."""
        least = f", sides of at least {self.side:g}" if self.side else ""
        return (
            f"boxes in an image of {self.width:g} x {self.height:g}{least}; "
            f"numbers without a declared bound from -{self.real:g} to {self.real:g}"
        )

    def bounds(self, tensor: Tensor, variant: Variant) -> list[Interval] | Interval:
        """Bounds of the values of an input; a list of those of its last axis for boxes.

        The last two of upright boxes are those of the sides.
        """
        if tensor.dtype == "bool":
            return Interval(0.0, 1.0)
        size = max(self.width, self.height)
        if tensor.domain == "boxes":
            sides = [Interval(self.side, most) for most in (self.width, self.height)]
            return [Interval(0.0, side.high - self.side) for side in sides] + sides
        if tensor.domain == "rotated":
            side = Interval(self.side, size)
            turn = Interval(-2 * math.pi, 2 * math.pi)
            return [Interval(0.0, self.width), Interval(0.0, self.height), side, side, turn]
        high = tensor.upper({name: r.max for name, r in variant.ranges.items()})
        return Interval(max(tensor.low, -self.real), min(high, max(self.real, tensor.low)))


def value(tensor: Tensor, variant: Variant, domain: Domain, make: Maker) -> Value:
    """An input of the graph, with the expressions of the coordinates of boxes."""
    kind = _kind(variant.numpy_dtype(tensor))
    bounds = domain.bounds(tensor, variant)
    if isinstance(bounds, Interval):
        return Value(make.input(tensor.name, bounds, kind))
    parts = [make.input((tensor.name, place), one, kind) for place, one in enumerate(bounds)]
    if tensor.domain == "boxes":
        for place in (2, 3):
            side, corner = parts[place], parts[place - 2]
            most = side.bounds.high
            far = make.input((tensor.name, place, "far"), Interval(domain.side, most), kind)
            far.form = {corner: 1.0, side: 1.0}
            parts[place] = far
    return Value(make("any", parts, kind), tuple(parts))


def _kind(dtype: str) -> Kind:
    return TRUTH if dtype == "bool" else WHOLE if dtype == "int64" else kind_of(_KINDS[dtype])
