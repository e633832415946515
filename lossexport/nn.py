"""The ops as `torch.nn.Module`s for training code: `CIoULoss(reduction="mean")(pred, target)`.

Every class is derived from the catalogue. Its constructor takes the op's attributes by keyword, and
`forward` takes the op's inputs by position or by name.
"""

from lossexport.catalog import BUILTIN, CATALOG
from lossexport.ops.module import CataloguedModule, module

__all__ = ["CataloguedModule", *(op.class_name for op in BUILTIN.values())]


def __getattr__(name: str) -> type[CataloguedModule]:
    # Ops of one's own are loaded only for a name that no built-in op has.
    for ops in (BUILTIN, {} if name.startswith("_") else CATALOG):
        for op in ops.values():
            if op.class_name == name:
                return module(op)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *(op.class_name for op in CATALOG.values())})
