"""Makes the cases that an op is verified with from the domains of its inputs."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from lossexport.catalog.domains import DOMAINS, Wanted
from lossexport.catalog.parts import Arrays, Dims, Sampler, Tensor

# Added to the logits of the labelled classes, so that these are found, or missed.
_MARGINS = {"right": 30.0, "wrong": -30.0}
_ORDER = {name: place for place, name in enumerate(DOMAINS)}


def samplers(inputs: Sequence[Tensor], without: Sequence[str] = ()) -> dict[str, Sampler]:
    """A sampler for each family of cases that one of the inputs has, except those in `without`.

    Inputs of the same named domain are drawn together, for example boxes near boxes. In a family
    that an input lacks, it has ordinary values. For labels of logits, there are also families in
    which the logits are right and wrong.
    """
    families = dict.fromkeys(name for tensor in inputs for name in tensor.values.draws)
    if _labelled(inputs) is not None:
        families |= dict.fromkeys(_MARGINS)
    return {
        family: partial(_draw, tuple(inputs), family)
        for family in families
        if family not in without
    }


def _draw(
    inputs: tuple[Tensor, ...],
    family: str,
    rng: np.random.Generator,
    dims: Dims,
    attributes: Mapping[str, Any],
) -> Arrays:
    sizes = {**attributes, **dims}
    arrays: Arrays = {}
    for group in _groups(inputs):
        draws = group[0].values.draws
        wanted = [
            Wanted(
                tuple(dim if isinstance(dim, int) else sizes[dim] for dim in tensor.shape),
                tensor.low,
                tensor.upper(sizes),
            )
            for tensor in group
        ]
        drawn = draws.get(family, draws["ordinary"])(rng, wanted)
        arrays |= {t.name: _typed(t, values) for t, values in zip(group, drawn, strict=True)}
    if (pair := _labelled(inputs)) is not None:
        labels, logits = pair
        place = arrays[labels][..., None]
        raised = np.take_along_axis(arrays[logits], place, -1) + _MARGINS.get(family, 0.0)
        np.put_along_axis(arrays[logits], place, raised, -1)
    return arrays


def _groups(inputs: Sequence[Tensor]) -> list[list[Tensor]]:
    """Inputs that are drawn together: all of a named domain, or one described in words."""
    groups: dict[str, list[Tensor]] = {}
    for tensor in sorted(inputs, key=lambda tensor: _ORDER.get(tensor.domain, len(_ORDER))):
        key = tensor.domain if tensor.domain in DOMAINS else f"input {tensor.name}"
        groups.setdefault(key, []).append(tensor)
    return list(groups.values())


def _labelled(inputs: Sequence[Tensor]) -> tuple[str, str] | None:
    """The names of the labels and of the logits that they are classes of."""
    for labels in inputs:
        for logits in inputs:
            belong = (labels.domain, logits.domain) == ("labels", "logits")
            if belong and labels.shape == logits.shape[:-1]:
                return labels.name, logits.name
    return None


def _typed(tensor: Tensor, values: np.ndarray) -> np.ndarray:
    if tensor.dtype == "bool":
        return values.astype(bool)
    if tensor.dtype == "int64":
        with np.errstate(invalid="ignore"):
            return np.asarray(np.rint(np.nan_to_num(values)), np.int64)
    return values.astype(np.float64)
