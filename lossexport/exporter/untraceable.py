"""Explains why a function cannot be exported: the line to blame, and a replacement for it.

A user's function may do things that a graph cannot. If tracing, the exporter or the first check of
the graph fails, the function runs once more while its calls are recorded, first in eager PyTorch
and then through the same steps. The failure is then reported in one line.
"""

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import onnx_ir as ir
import sympy
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedOperatorException,
)
from torch.fx import GraphModule, Node
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.fx.traceback import preserve_node_meta

from lossexport.catalog.variant import MAX_ELEMENTS, Range
from lossexport.errors import LossexportError
from lossexport.exporter import refusals
from lossexport.exporter.eager import Blame, Boundary, described
from lossexport.exporter.refusals import Kind, RefusalError, Sizes, name
from lossexport.exporter.watch import Call, Place, Watch, causes
from lossexport.parity.oracle import Function

_DATA = (GuardOnDataDependentSymNode, DataDependentOutputException, DynamicOutputShapeException)
# Calls that give Python the truth of a tensor, a number of it, or its memory.
_TRUTHS = {"__bool__", "__contains__", "is_nonzero", "equal", "allclose"}
_NUMBERS = {"__float__", "__int__", "__index__", "__complex__", "__format__"}
_NUMBERS |= {"item", "tolist", "tensor", "as_tensor", "asarray"}
_MEMORY = {"numpy", "__array__", "__array_wrap__", "data_ptr", "__dlpack__"}
_TORCH = str(Path(torch.__file__).parent)
# The range that torch.export gets, whatever range is declared.
_ANY = Range(1, 1, MAX_ELEMENTS)


@dataclass(slots=True)
class Subject(Boundary):
    """A function that is being traced and exported."""

    _sizes: Sizes = field(default_factory=Sizes)
    _written: list[str] = field(default_factory=list)
    _traced: GraphModule | None = None

    def explained(self, make: Callable[[Function], ir.Model], call: Function) -> ir.Model:
        """`make(call)`. Raises LossexportError, with the line to blame, if that fails."""
        try:
            return make(call)
        except LossexportError:
            raise
        except Exception as error:
            blame = self.eager(call) or self._again(make, call)
            blame = blame or Blame(_untraceable(error), self.home.place)
            raise LossexportError(f"{self.variant.op.name}: {blame}") from error

    def observed(self, call: Function) -> Function:
        """`call`, wrapped so that changes of its inputs are noticed while it is traced."""

        def run(*inputs: Tensor) -> tuple[Tensor, ...]:
            self._sizes, self._traced = Sizes(), None
            for declared, given, tensor in zip(self.inputs, self.example, inputs, strict=True):
                dims = self.variant.shape(declared)
                for symbol, dim, number in zip(tensor.shape, dims, given.shape, strict=True):
                    self._sizes.note(symbol, dim, number)
            versions = [x._version for x in inputs]
            results = call(*inputs)
            self._written = self.changed(inputs, versions)
            return results

        return run

    def check(self, traced: GraphModule) -> None:
        """Raise RefusalError if a traced graph does not fit every runtime and every size."""
        self._traced = traced
        for written in self._written:
            raise RefusalError(refusals.WRITTEN, input=written)
        refusals.check_operators(traced.graph)
        for refusal, guard in self._broken(self.variant.ranges):
            # torch itself may choose an algorithm by a size, as long as this fixes no size.
            if isinstance(guard.expr, sympy.Eq) or _line(guard) is not None:
                raise refusal
        (results,) = cast(Any, traced.graph.output_node().args)
        values = [x.meta.get("val") if isinstance(x, Node) else x for x in results]
        for refusal, _ in self.wrong(values, self.outputs, self._sizes.number):
            raise refusal

    @property
    def _guards(self) -> Sequence[Any]:
        environment = self._traced.shape_env if self._traced else None
        return environment.guards if environment else ()

    def _broken(self, ranges: Mapping[str, Range]) -> Iterator[tuple[RefusalError, Any]]:
        """The guards of the trace that hold for the example but not for every size."""
        for index, guard in enumerate(self._guards):
            if (found := self._sizes.broken(guard.expr, ranges)) is not None:
                condition, dim = found
                yield refusals.no_size(condition, dim, self.variant.ranges[dim], index), guard

    def _again(self, make: Callable[[Function], ir.Model], call: Function) -> Blame | None:
        """The fault that shows when the function is traced and exported once more."""
        watch = Watch(self.home)
        try:
            with preserve_node_meta():
                make(partial(watch.run, call))
        except LossexportError:
            raise
        except Exception as error:
            refusal = error if isinstance(error, RefusalError) else self._refusal(error, watch)
            place = watch.home.raised(error) or watch.home.place
            source = watch.failure(error)
            if refusal.node is not None:
                source = watch.call_of(refusal.node)
            elif refusal.guard is not None:
                source = watch.guards.get(refusal.guard)
                place = _line(self._guards[refusal.guard]) or place
            elif refusal.kind is refusals.NUMBER:
                source = watch.number or source
            return Blame.of(refusal, source, place)
        return None

    def _refusal(self, error: Exception, watch: Watch) -> RefusalError:
        """The refusal for an error of torch, for a function that runs in eager PyTorch."""
        chain = list(causes(error))
        call = watch.failure(error)
        if any(isinstance(cause, _DATA) for cause in chain):
            return RefusalError(_of_data(call))
        for cause in chain:
            if isinstance(cause, UnsupportedOperatorException):
                return refusals.no_translation(cause.func)
        if call is not None and call.name in _MEMORY | _NUMBERS:
            return RefusalError(refusals.MEMORY if call.name in _MEMORY else refusals.NUMBER)
        if isinstance(error, torch.onnx.OnnxExporterError):
            for node in filter(None, map(_node, reversed(chain))):
                source = self._source(node)
                return refusals.no_translation((source or node).target, source)
        for refusal, _ in self._broken(dict.fromkeys(self.variant.ranges, _ANY)):
            return refusal
        return RefusalError(refusals.NUMBER) if watch.number else _untraceable(error)

    def _source(self, node: Node) -> Node | None:
        """The node of the trace from which the exporter made `node`: the first with its name."""
        names = {name(node.target), name(node.meta.get("original_aten"))}
        nodes: Iterable[Node] = self._traced.graph.nodes if self._traced else ()
        return next((x for x in nodes if x.op == "call_function" and name(x.target) in names), None)


def _of_data(call: Call | None) -> Kind:
    """The kind of an error about the values of a tensor."""
    if call is None or call.name in _TRUTHS:
        return refusals.BRANCH
    if call.name == "one_hot":
        return refusals.CLASSES
    if call.name in ("__getitem__", "__setitem__"):
        index = call.args[1]
        parts = index if isinstance(index, tuple) else (index,)
        return refusals.SIZE if any(isinstance(x, slice) for x in parts) else refusals.NUMBER
    return refusals.NUMBER if call.name in _NUMBERS else refusals.SIZE


def _line(guard: Any) -> Place | None:
    """The line of the user's code that needs a guard; None if torch itself needs it."""
    found = guard.sloc.framework_loc
    if not isinstance(found, traceback.FrameSummary) or found.filename.startswith(_TORCH):
        return None
    return Place(found.filename, found.lineno or 0)


def _node(error: BaseException) -> Node | None:
    """The node at which the exporter failed: the last one in the variables of the traceback."""
    found = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        for value in frame.f_locals.values():
            if isinstance(value, Node) and value.op == "call_function":
                found = value
    return found


def _untraceable(error: BaseException) -> RefusalError:
    while error.__cause__ is not None:
        error = error.__cause__
    return RefusalError(refusals.TRACING, error=described(error))
