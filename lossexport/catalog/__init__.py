"""The catalogue: every op, declared once. Importing it pulls in numpy and nothing heavier."""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

from lossexport.arguments import refuse
from lossexport.catalog.domains import DOMAINS, Domain
from lossexport.catalog.drawing import samplers
from lossexport.catalog.spec import Attribute, Op, Reference, Tensor, beside
from lossexport.errors import LossexportError
from lossexport.families import FAMILIES

__all__ = [
    "CATALOG", "DOMAINS", "Attribute", "Domain", "Op", "Reference", "Tensor", "beside", "find",
    "samplers",
]  # fmt: skip

CATALOG: Mapping[str, Op] = MappingProxyType(
    {
        op.name: op
        for family in FAMILIES
        for op in import_module(f"lossexport.families.{family}.declaration").OPS
    }
)


def find(name: str) -> Op:
    """The op of that name. Raises LossexportError, naming the nearest ones, where there is none."""
    if not isinstance(name, str):
        raise refuse("op", name, "the name of an op")
    if name in CATALOG:
        return CATALOG[name]
    import difflib

    near = difflib.get_close_matches(name, CATALOG, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; see `lossexport list`"
    raise LossexportError(f"unknown op {name!r}{hint}")
