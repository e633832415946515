"""`prove`: a static proof that no result in a graph overflows the type in which it is computed."""

import math
from dataclasses import dataclass

import onnx
from msgspec.structs import replace

from lossexport.catalog.variant import Variant
from lossexport.errors import LossexportError, shown
from lossexport.manifest import ProofRecord
from lossexport.ranges.domain import IMAGE, SMALLEST_SIDE, Domain
from lossexport.ranges.interval import KINDS
from lossexport.ranges.reach import Reach
from lossexport.ranges.walk import Walk, inlined
from lossexport.ranges.witness import overflow

_STRIDE = 16.0
_STEPS = 4
_SMALLEST = 1 / 1024


@dataclass(frozen=True, slots=True)
class Image:
    """The image that boxes lie in."""

    width: float = IMAGE[0]
    height: float = IMAGE[1]


def image_size(given: object) -> Image:
    """The image of `given`, a width and a height in pixels, or the default for None.

    Raises LossexportError unless they are two numbers above 0 that are at most 65504.
    """
    if given is None:
        return Image()
    if isinstance(given, tuple | list) and len(given) == 2:
        width, height = given
        if all(type(size) in (int, float) and 0 < size <= 65504 for size in given):
            return Image(float(width), float(height))
    raise LossexportError(
        f"image_size {shown(given)}: must be a width and a height above 0, at most 65504 pixels"
    )


def prove(
    data: bytes, variant: Variant, image: Image | None = None, *, limit: bool = False
) -> ProofRecord:
    """Judge the graph of an fp16 or bf16 file of a variant.

    The status is "proved" if no float result can exceed its type for inputs of the domain,
    "overflows" if an input of the domain was found that makes one do so, else "not proved". The
    conversion of a result to the type of its output is reported apart from it, as `large`. `limit`
    asks for the largest image side, and numbers in proportion, that are proved: beyond those of a
    proved domain, or below those of another.
    """
    image = image or Image()
    side = SMALLEST_SIDE if variant.gradient else 0.0
    domain = Domain(image.width, image.height, side)
    model = inlined(onnx.load_from_string(data))
    reaches = Walk(model, variant, domain).reaches
    worst = _worst(reaches)
    record = ProofRecord(
        "proved", domain.text, worst.node, worst.kind.name, _finite(worst.bound), worst.kind.high,
        width=image.width, height=image.height,
        large={reach.output: _finite(reach.bound) for reach in reaches
               if reach.result and reach.part > 1.0},
    )  # fmt: skip
    if worst.part > 1.0:
        narrow = KINDS[10 if variant.precision == "fp16" else 16]
        if (found := overflow(model, variant, domain)) is not None:
            return replace(record, status="overflows", node=found.node, type=narrow.name,
                           bound=None, largest=narrow.high, example=found.inputs)  # fmt: skip
        reason = f"a bound of {worst.operator} is too wide"
        if not worst.known:
            reason = f"{worst.operator} has no rule"
        record = replace(record, status="not proved", reason=reason)
    if limit and (most := _limit(model, variant, domain, worst.part <= 1.0)) is not None:
        record = replace(record, limit=max(most.width, most.height), number_limit=most.real)
    return record


def _finite(bound: float) -> float | None:
    return bound if math.isfinite(bound) else None


def _worst(reaches: list[Reach]) -> Reach:
    """The result that comes closest to the largest number of its type, or first exceeds it."""
    inner = [reach for reach in reaches if not reach.result] or reaches
    return next((reach for reach in inner if reach.part > 1.0), None) or max(
        inner, key=lambda reach: reach.part
    )


def _limit(model: onnx.ModelProto, variant: Variant, domain: Domain, proved: bool) -> Domain | None:
    """The largest proved multiple of a domain, to within about a tenth; None if none was found."""

    def holds(factor: float) -> bool:
        return _worst(Walk(model, variant, domain.times(factor)).reaches).part <= 1.0

    # No larger side can be given in the type of the inputs.
    largest = KINDS[10].high / max(domain.width, domain.height)
    low = 1.0
    if proved:
        while low < largest and holds(min(low * _STRIDE, largest)):
            low = min(low * _STRIDE, largest)
        if low == largest:
            return domain.times(low)
        high = min(low * _STRIDE, largest)
    else:
        least = max(_SMALLEST, 2 * domain.side / min(domain.width, domain.height))
        while not holds(low):
            if low <= least:
                return None
            low = max(low / _STRIDE, least)
        high = min(low * _STRIDE, 1.0)
    for _ in range(_STEPS):
        middle = (low * high) ** 0.5
        if holds(middle):
            low = middle
        else:
            high = middle
    return domain.times(low)
