"""The catalogue: every op, declared once. Importing it pulls in numpy and nothing heavier."""

import sys
from importlib import import_module

from lossexport.arguments import refuse
from lossexport.catalog.domains import DOMAINS, Domain
from lossexport.catalog.drawing import samplers
from lossexport.catalog.registry import Catalogue
from lossexport.catalog.spec import Attribute, Op, Reference, Tensor, beside
from lossexport.errors import LossexportError
from lossexport.families import FAMILIES

__all__ = [
    "BUILTIN", "CATALOG", "DOMAINS", "Attribute", "Domain", "Op", "Reference", "Tensor", "beside",
    "find", "register", "samplers",
]  # fmt: skip

CATALOG = Catalogue(
    op
    for family in FAMILIES
    for op in import_module(f"lossexport.families.{family}.declaration").OPS
)
BUILTIN = CATALOG.builtin
"""The ops of this package alone."""


def find(name: str, in_file: bool = False) -> Op:
    """The op of that name, which a file has asked for or not.

    Raises LossexportError, naming the nearest ones, where there is none.
    """
    if not isinstance(name, str):
        raise refuse("op", name, "the name of an op")
    if name in CATALOG:
        return CATALOG[name]
    import difflib

    near = difflib.get_close_matches(name, CATALOG, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    if in_file:
        own = "an op of your own has to be loaded, as with --ops FILE.py"
        hint = f"{hint} Or {own}" if near else f"; {own}"
    raise LossexportError(f"unknown op {name!r}{hint or '; see `lossexport list`'}")


def register(op: Op) -> None:
    """Add an op of one's own to the catalogue: from then on it is like any other.

    Raises LossexportError where its name is taken, saying by whom.
    """
    if not isinstance(op, Op):
        raise refuse("op", op, "a lossexport.catalog.Op")
    caller = sys._getframe(1)
    CATALOG.add([op], f"{caller.f_code.co_filename}:{caller.f_lineno}")
