"""The catalogue: every op, declared once. Importing it pulls in numpy and nothing heavier."""

from collections.abc import Mapping
from types import MappingProxyType

from lossexport.catalog import (
    boxes,
    distances,
    localization,
    losses,
    matching,
    ranking,
    suppression,
)
from lossexport.catalog.spec import Op
from lossexport.errors import LossexportError, shown

CATALOG: Mapping[str, Op] = MappingProxyType(
    {
        op.name: op
        for module in (boxes, matching, localization, distances, losses, ranking, suppression)
        for op in module.OPS
    }
)


def find(name: str) -> Op:
    """The op of that name. Raises LossexportError, naming the nearest ones, where there is none."""
    if not isinstance(name, str):
        raise LossexportError(f"op {shown(name)}: the name of an op is expected")
    if name in CATALOG:
        return CATALOG[name]
    import difflib

    near = difflib.get_close_matches(name, CATALOG, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; see `lossexport list`"
    raise LossexportError(f"unknown op {name!r}{hint}")
