"""`prove`: a static proof that no result in a graph overflows the type in which it is computed."""

from dataclasses import dataclass
from functools import partial

import onnx

from lossexport.catalog.variant import Variant
from lossexport.errors import LossexportError, shown
from lossexport.manifest import ProofRecord
from lossexport.ranges.domain import IMAGE, SMALLEST_SIDE, Domain
from lossexport.ranges.interval import KINDS
from lossexport.ranges.walk import Reach, Walk, inlined
from lossexport.ranges.witness import overflow

_STEPS = 4


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
    "overflows" if an input of the domain was found that makes one do so, else "not proved".
    `limit` asks for the largest image side, and numbers in proportion, that are proved as well.
    """
    image = image or Image()
    side = SMALLEST_SIDE if variant.gradient else 0.0
    domain = Domain(image.width, image.height, side)
    model = inlined(onnx.load_from_string(data))
    worst = _worst(model, variant, domain)
    record = partial(
        ProofRecord, domain=domain.text, node=worst.node, type=worst.kind.name,
        bound=worst.bound if worst.part < float("inf") and worst.bound < float("inf") else None,
        largest=worst.kind.high,
    )  # fmt: skip
    if worst.part > 1.0:
        narrow = KINDS[10 if variant.precision == "fp16" else 16]
        if (node := overflow(model, variant, domain)) is not None:
            return ProofRecord("overflows", domain.text, node, narrow.name, None, narrow.high)
        return record("not proved")
    found = _limit(model, variant, domain) if limit else None
    return record("proved", limit=None if found is None else max(found.width, found.height),
                  number_limit=None if found is None else found.real)  # fmt: skip


def _worst(model: onnx.ModelProto, variant: Variant, domain: Domain) -> Reach:
    """The result that comes closest to the largest number of its type, or first exceeds it."""
    reaches = Walk(model, variant, domain).reaches
    beyond = [reach for reach in reaches if reach.part > 1.0]
    return max(reaches, key=lambda reach: reach.part) if not beyond else beyond[-1]


def _limit(model: onnx.ModelProto, variant: Variant, domain: Domain) -> Domain:
    """The largest proved multiple of a proved domain, to within about a tenth."""
    # No larger side can be given in the type of the inputs.
    largest = KINDS[10].high / max(domain.width, domain.height)
    low, high = 1.0, 1.0
    while high < largest:
        high = min(low * 16.0, largest)
        if _worst(model, variant, domain.times(high)).part > 1.0:
            break
        low = high
    else:
        return domain.times(low)
    for _ in range(_STEPS):
        middle = (low * high) ** 0.5
        if _worst(model, variant, domain.times(middle)).part > 1.0:
            high = middle
        else:
            low = middle
    return domain.times(low)
