"""The ops as `torch.nn.Module`s for training code: `CIoULoss(reduction="mean")(pred, target)`.

Every class comes from the catalogue: its constructor takes the op's attributes by keyword, its
`forward` the op's inputs, by position or by name.
"""

from lossexport.catalog import BUILTIN, CATALOG
from lossexport.ops.module import CataloguedModule, module

__all__ = ["CataloguedModule", *(op.class_name for op in BUILTIN.values())]


def __getattr__(name: str) -> type[CataloguedModule]:
    # The ops of others are looked at for a name that none of this package has.
    for ops in (BUILTIN, {} if name.startswith("_") else CATALOG):
        for op in ops.values():
            if op.class_name == name:
                return module(op)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *(op.class_name for op in CATALOG.values())})
