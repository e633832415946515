"""The cases that an artifact is verified with. Each has a name by which it can be replayed."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lossexport import arguments
from lossexport.catalog.spec import Arrays
from lossexport.catalog.variant import Variant
from lossexport.errors import LossexportError
from lossexport.parity.error import round_to

# Elements of the largest tensor of a case: enough to exercise every vector loop and every split
# into threads, and few enough for a float64 oracle in well under a second.
ELEMENTS = 2**18
_SEEDS = 2
# The limit for shapes whose least sizes have more elements than that: some 5 GB for each case.
_MOST_ELEMENTS = 2**24
# The limit for all such cases together, which take a minute or two.
_MOST_IN_ALL = 2**25


@dataclass(frozen=True, slots=True)
class Case:
    """The inputs of a case: the sampler's family, the size of every dynamic dimension, the seed."""

    family: str
    sizes: tuple[tuple[str, int], ...]
    seed: int

    def __str__(self) -> str:
        sizes = ",".join(f"{name}={size}" for name, size in self.sizes)
        return f"{self.family}:{sizes}:{self.seed}"

    @classmethod
    def parse(cls, text: str, variant: Variant) -> "Case":
        """Read a case from its `str`. Raises LossexportError if it does not fit the variant."""
        match = re.fullmatch(r"(\w+):((?:\w+=\d{1,9}(?:,|(?=:)))*):(\d{1,9})", text)
        if match is None:
            raise LossexportError(f"case {text!r}: expected FAMILY:N=SIZE,M=SIZE:SEED")
        family, sizes, seed = match.groups()
        if family not in variant.op.samplers:
            names = ", ".join(variant.op.samplers)
            raise LossexportError(f"case {text!r}: family {family!r} is not one of {names}")
        pairs = tuple(
            (name, int(size))
            for name, size in (item.split("=") for item in sizes.split(",") if item)
        )
        if [name for name, _ in pairs] != list(variant.ranges):
            raise LossexportError(f"case {text!r}: dimensions must be {', '.join(variant.ranges)}")
        for name, count in pairs:
            allowed = variant.ranges[name]
            if not allowed.min <= count <= allowed.max:
                raise LossexportError(
                    f"case {text!r}: {name} must be {allowed.min} to {allowed.max}"
                )
        if (count := largest(variant, dict(pairs))) > _limit(variant, ELEMENTS):
            raise LossexportError(f"case {text!r}: {count} elements in one tensor are too many")
        return cls(family, pairs, int(seed))

    def inputs(self, variant: Variant) -> Arrays:
        """The inputs in float64 and int64, rounded to numbers of the artifact's types."""
        key = [self.seed, list(variant.op.samplers).index(self.family), *dict(self.sizes).values()]
        drawn = variant.op.samplers[self.family](
            np.random.default_rng(key), dict(self.sizes), variant.attributes
        )
        arrays: Arrays = {}
        for tensor in variant.op.inputs:
            values = drawn[tensor.name]
            dtype = variant.numpy_dtype(tensor)
            if tensor.dtype in ("float", "float32"):
                if dtype == "float16":  # finite numbers must stay finite
                    finite = np.isfinite(values)
                    values = np.where(finite, np.clip(values, -65504, 65504), values)
                values = round_to(values, dtype)
            arrays[tensor.name] = values
        return arrays


def cases(variant: Variant, seeds: int = _SEEDS, elements: int = ELEMENTS) -> Iterator[Case]:
    """Every family at every size: least, small, odd, large and as large as `elements` allows.

    If there are several dimensions, each has one more case at its largest size. The least sizes may
    exceed `elements`, for example if they are fixed; then there are only as many cases as can be
    computed in minutes. Raises LossexportError if they are too large for an oracle.
    """
    check_sizes(variant)
    planned = list(_sizes(variant, elements))
    for sizes in planned:
        drawn = [
            Case(family, tuple(sizes.items()), seed)
            for family in variant.op.samplers
            for seed in range(seeds)
        ]
        if (count := largest(variant, sizes)) > elements:
            drawn.sort(key=lambda case: case.seed)  # one case of every family, then the second ones
            drawn = drawn[: max(_MOST_IN_ALL // count, 1)]
        yield from drawn
    for sizes in _ends(variant, max(elements, ELEMENTS)):
        if sizes not in planned:
            yield Case(next(iter(variant.op.samplers)), tuple(sizes.items()), 0)


@dataclass(frozen=True, slots=True)
class Selection:
    """The cases to run: the one named `replay`, or those of `families` (None: all) and `seeds`."""

    replay: str | None = None
    families: Sequence[str] | None = None
    seeds: int = _SEEDS

    def __call__(self, variant: Variant) -> list[Case]:
        """The cases of a variant. Raises LossexportError on a name that it does not have."""
        if self.replay is not None:
            return [Case.parse(self.replay, variant)]
        for family in self.families or ():
            arguments.choice(f"{variant.op.name}: family", family, list(variant.op.samplers))
        found = cases(variant, self.seeds)
        return [case for case in found if not self.families or case.family in self.families]


def check_sizes(variant: Variant) -> None:
    """Raise LossexportError if even the least sizes are too large to compare."""
    if (least := largest(variant, _least(variant))) > _MOST_ELEMENTS:
        name, size = max(variant.ranges.items(), key=lambda item: item[1].min)
        raise LossexportError(
            f"{variant.stem}: {least} elements in one tensor at the least shape, more than the "
            f"{_MOST_ELEMENTS} that can be compared with float64 PyTorch; choose a smaller least "
            f"size, as {name}=1:{size.opt}:{size.max}"
        )


def _sizes(variant: Variant, elements: int) -> Iterator[dict[str, int]]:
    names = list(variant.ranges)
    limit = _limit(variant, elements)
    ladder = (1, 3, 33, 256)
    seen = []
    # Rotated, so that every dimension takes every size and no two have equal sizes throughout.
    plans = [[ladder[(i + k) % len(ladder)] for k in range(len(names))] for i in range(len(ladder))]
    plans.append(list(_least(variant).values()))
    side = int(elements ** (1 / len(names)))
    while side > 1 and largest(variant, dict.fromkeys(names, side)) > elements:
        side //= 2
    plans.append([side] * len(names))
    for plan in plans:
        sizes = {
            name: min(max(size, variant.ranges[name].min), variant.ranges[name].max)
            for name, size in zip(names, plan, strict=True)
        }
        if sizes not in seen and largest(variant, sizes) <= limit:
            seen.append(sizes)
            yield sizes


def _ends(variant: Variant, limit: int) -> Iterator[dict[str, int]]:
    """For each of several dimensions, sizes in which it is at its largest, if `limit` allows that.

    The others are all about the same size, as large as `limit` elements allow.
    """
    if len(variant.ranges) < 2:
        return  # a single dimension has been at its largest already
    for name, end in variant.ranges.items():
        if largest(variant, _least(variant) | {name: end.max}) > limit:
            continue
        side = limit
        while largest(variant, sizes := clipped(variant, side) | {name: end.max}) > limit:
            side //= 2
        yield sizes


def clipped(variant: Variant, side: int) -> dict[str, int]:
    """Sizes with every dimension at `side`, or as near to it as its range allows."""
    return {name: min(max(side, size.min), size.max) for name, size in variant.ranges.items()}


def _least(variant: Variant) -> dict[str, int]:
    return {name: size.min for name, size in variant.ranges.items()}


def _limit(variant: Variant, elements: int) -> int:
    """The most elements of a case: `elements`, or more if the least sizes have more."""
    return max(elements, largest(variant, _least(variant)))


def largest(variant: Variant, sizes: dict[str, int]) -> int:
    """Number of elements of the largest tensor."""
    known = sizes | {k: v for k, v in variant.attributes.items() if isinstance(v, int)}
    tensors = (*variant.op.inputs, *variant.outputs)
    return max(
        math.prod(dim if isinstance(dim, int) else known[dim] for dim in shape)
        for shape in (variant.op.work, *(tensor.shape for tensor in tensors))
    )
