"""Makes the module for training code from a declaration."""

import functools
from collections.abc import Callable
from inspect import Signature
from typing import Any

import torch
from torch import Tensor, nn

from lossexport.catalog.spec import Op
from lossexport.ops import signature
from lossexport.ops.binding import bind


class CataloguedModule(nn.Module):
    """Base of the generated classes, which take attributes by keyword and are called with inputs.

    The state of an op (the bin counts of GHM) is a buffer of the module instead of an input and an
    output. It is read in every call and updated in training mode only.

    Raises LossexportError, a ValueError, on an attribute that does not exist or is out of bounds,
    and on tensors that do not fit; TypeError on inputs that are missing or unknown.
    """

    spec: Op
    # Bound once, because torch.compile would trace a binding inside of `forward`.
    _function: Callable[..., Any]

    def __init__(self, **attributes: Any) -> None:
        super().__init__()
        self.attributes = self.spec.resolve(attributes)
        for tensor in self.spec.inputs:
            if tensor.name in self.spec.state:
                sizes = [d if isinstance(d, int) else self.attributes[d] for d in tensor.shape]
                self.register_buffer(tensor.name, torch.zeros(sizes, dtype=torch.float32))

    def _call(self, *inputs: Tensor, **named: Tensor) -> Any:
        state = {name: getattr(self, name) for name in self.spec.state}
        results = self._function(**self._given(inputs, named), **state, **self.attributes)
        if not state:
            return results
        outputs = {t.name: r for t, r in zip(self.spec.outputs, results, strict=True)}
        for before, after in self.spec.state.items():
            new = outputs.pop(after)
            if self.training:
                state[before].copy_(new.detach())
        left = tuple(outputs.values())
        return left if len(left) > 1 else left[0]

    def _given(self, inputs: tuple[Tensor, ...], named: dict[str, Tensor]) -> dict[str, Tensor]:
        """The inputs by name. Raises TypeError if they are not those of the op."""
        names = [tensor.name for tensor in signature.without_state(self.spec)[0]]
        given = dict(zip(names, inputs, strict=False)) | named
        if len(given) < len(inputs) + len(named) or given.keys() != set(names):
            by_name = f" and {', '.join(named)} by name" if named else ""
            raise TypeError(
                f"{self.spec.class_name} takes the inputs {', '.join(names)}; "
                f"it was given {len(inputs)} by position{by_name}"
            )
        return given

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """As in any module, but keep the type of the state, because counts need float32."""
        before = {name: getattr(self, name) for name in self.spec.state}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, kept in before.items():
            moved = getattr(self, name)
            if moved.dtype != kept.dtype:
                setattr(self, name, kept.to(moved.device))
        return self

    def extra_repr(self) -> str:
        """The attributes, for printing a model."""
        return ", ".join(f"{name}={value!r}" for name, value in self.attributes.items())


@functools.cache
def module(op: Op) -> type[CataloguedModule]:
    """The class of an op, as `lossexport.nn` has it."""
    init, forward = signature.of_constructor(op), signature.of_forward(op)
    doc, call_doc = signature.class_doc(op), signature.forward_doc(op)
    base = CataloguedModule
    members = {
        "__module__": "lossexport.nn",
        "__doc__": doc,
        "spec": op,
        "_function": staticmethod(bind(op)),
        "__init__": _described(base.__init__, init, base.__init__.__doc__),
        "forward": _described(base._call, forward, call_doc),
        "__call__": _described(base.__call__, forward, call_doc),
    }
    return type(op.class_name, (base,), members)


def _described(method: Callable[..., Any], shown: Signature, doc: str | None) -> Callable[..., Any]:
    """`method` with the parameters and the docstring of one op."""

    @functools.wraps(method)
    def described(self: CataloguedModule, *args: Any, **kwargs: Any) -> Any:
        return method(self, *args, **kwargs)

    described.__signature__ = shown  # type: ignore[attr-defined]
    described.__doc__ = doc
    return described
