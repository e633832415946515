"""The ops as `torch.nn.Module`s for training code: `CIoULoss(reduction="mean")(pred, target)`.

Every class comes from the catalogue: its constructor takes the op's attributes by keyword, its
`forward` the op's inputs.
"""

from typing import Any

import torch
from torch import nn

import lossexport.ops
from lossexport.catalog import CATALOG
from lossexport.catalog.spec import Op


class CataloguedModule(nn.Module):
    """Base of the generated classes."""

    spec: Op

    def __init__(self, **attributes: Any) -> None:
        super().__init__()
        self.attributes = self.spec.resolve(attributes)
        for tensor in self.spec.inputs:
            if tensor.name in self.spec.state:
                sizes = [d if isinstance(d, int) else self.attributes[d] for d in tensor.shape]
                self.register_buffer(tensor.name, torch.zeros(sizes))

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Call the op with the attributes that this module was made with.

        State of an op (the bin counts of GHM) is a buffer of the module, read and updated here,
        and is neither an input nor an output.
        """
        state = {name: getattr(self, name) for name in self.spec.state}
        results = getattr(lossexport.ops, self.spec.name)(*inputs, **state, **self.attributes)
        if not state:
            return results
        outputs = {t.name: r for t, r in zip(self.spec.outputs, results, strict=True)}
        for before, after in self.spec.state.items():
            setattr(self, before, outputs.pop(after).detach())
        return next(iter(outputs.values()))

    def extra_repr(self) -> str:
        """Attributes, as they are printed inside a model."""
        return ", ".join(f"{name}={value!r}" for name, value in self.attributes.items())


def _module(spec: Op) -> type[CataloguedModule]:
    doc = getattr(lossexport.ops, spec.name).__doc__
    return type(spec.class_name, (CataloguedModule,), {"spec": spec, "__doc__": doc})


_MODULES = {spec.class_name: _module(spec) for spec in CATALOG.values()}
globals().update(_MODULES)
__all__ = ["CataloguedModule", *_MODULES]
