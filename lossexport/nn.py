"""The ops as `torch.nn.Module`s for training code: `CIoULoss(reduction="mean")(pred, target)`.

Every class comes from the catalogue: its constructor takes the op's attributes by keyword, its
`forward` the op's inputs.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from lossexport.catalog import BUILTIN, CATALOG
from lossexport.catalog.spec import Op
from lossexport.ops.binding import bind


class CataloguedModule(nn.Module):
    """Base of the generated classes."""

    spec: Op

    def __init__(self, **attributes: Any) -> None:
        super().__init__()
        self.attributes = self.spec.resolve(attributes)
        for tensor in self.spec.inputs:
            if tensor.name in self.spec.state:
                sizes = [d if isinstance(d, int) else self.attributes[d] for d in tensor.shape]
                self.register_buffer(tensor.name, torch.zeros(sizes, dtype=torch.float32))

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Call the op with the attributes that this module was made with.

        State of an op (the bin counts of GHM) is a buffer of the module and is neither an input
        nor an output. It is read in every call and updated in those of training mode.
        """
        state = {name: getattr(self, name) for name in self.spec.state}
        results = bind(self.spec)(*inputs, **state, **self.attributes)
        if not state:
            return results
        outputs = {t.name: r for t, r in zip(self.spec.outputs, results, strict=True)}
        for before, after in self.spec.state.items():
            new = outputs.pop(after)
            if self.training:
                state[before].copy_(new.detach())
        return next(iter(outputs.values()))

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
        """Move as a module does, but keep the type of the state: counts need float32."""
        before = {name: getattr(self, name) for name in self.spec.state}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, kept in before.items():
            moved = getattr(self, name)
            if moved.dtype != kept.dtype:
                setattr(self, name, kept.to(moved.device))
        return self

    def extra_repr(self) -> str:
        """Attributes, as they are printed inside a model."""
        return ", ".join(f"{name}={value!r}" for name, value in self.attributes.items())


@functools.cache
def _module(spec: Op) -> type[CataloguedModule]:
    doc = bind(spec).__doc__
    return type(spec.class_name, (CataloguedModule,), {"spec": spec, "__doc__": doc})


_MODULES = {spec.class_name: _module(spec) for spec in BUILTIN.values()}
globals().update(_MODULES)
__all__ = ["CataloguedModule", *_MODULES]


def __getattr__(name: str) -> type[CataloguedModule]:
    """The module of an op of one's own."""
    for spec in () if name.startswith("_") else CATALOG.values():
        if spec.class_name == name:
            return _module(spec)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *(spec.class_name for spec in CATALOG.values())})
