"""From a torch function to the ONNX graph of its value, or of its value and gradient."""

import functools
import gc
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import chain, count
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from lossexport.catalog.spec import Tensor
from lossexport.catalog.variant import Range, Variant
from lossexport.errors import LossexportError
from lossexport.exporter import decompositions
from lossexport.exporter.eager import tensors
from lossexport.exporter.lowering import lower
from lossexport.exporter.simplify import name_axes, optimise, simplify
from lossexport.exporter.untraceable import Subject, asked_for
from lossexport.exporter.versions import OPSET, TRACED_OPSET
from lossexport.kernels import Kernel
from lossexport.parity.oracle import Function, function, stage

# Sizes to trace with, if the range of a dimension has them. They are distinct, so that no two
# dimensions are taken for the same one, and none is 0 or 1, which torch would treat as a constant.
_TRACE_SIZES = (5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43)


def body(variant: Variant, opset: int = OPSET) -> ir.Model:
    """The graph of a variant in standard ONNX operators, its dynamic dimensions named."""
    sampler = next(iter(variant.op.samplers.values()))
    arrays = sampler(np.random.default_rng(0), _sizes(variant), variant.attributes)
    example = tensors(variant, arrays)
    return _graph(function(variant), example, variant.op.inputs, variant.outputs, variant, opset)


def stage_body(kernel: Kernel, variant: Variant, opset: int = OPSET) -> ir.Model:
    """The graph of a stage of a variant likewise."""
    if kernel.parts:
        parts = Range(1, kernel.parts, kernel.parts)
        variant = replace(variant, ranges={**variant.ranges, "P": parts})
    sizes = _sizes(variant)
    example = tuple(
        torch.zeros(
            [sizes[dim] if isinstance(dim, str) else dim for dim in variant.shape(tensor)],
            dtype=getattr(torch, variant.numpy_dtype(tensor)),
        )
        for tensor in kernel.inputs
    )
    call = stage(kernel, variant)
    return _graph(call, example, kernel.inputs, kernel.outputs, variant, opset)


def _sizes(variant: Variant) -> dict[str, int]:
    fixed = {n: r.max for n, r in variant.ranges.items() if r.min == r.max}
    shapes = {dim for tensor in (*variant.op.inputs, *variant.outputs) for dim in tensor.shape}
    taken = {*fixed.values(), *variant.attributes.values(), *shapes}
    sizes: dict[str, int] = {}
    for name, size in variant.ranges.items():
        free = (n for n in chain(_TRACE_SIZES, count(size.min)) if n >= size.min and n not in taken)
        sizes[name] = fixed.get(name) or next(free)
        taken.add(sizes[name])
    return sizes


def _graph(
    call: Function,
    example: tuple[torch.Tensor, ...],
    inputs: tuple[Tensor, ...],
    outputs: tuple[Tensor, ...],
    variant: Variant,
    opset: int,
) -> ir.Model:
    sizes = _sizes(variant)
    asked = {name: asked_for(size, sizes[name]) for name, size in variant.dynamic.items()}
    dims = {name: torch.export.Dim(name, min=x.min, max=x.max) for name, x in asked.items()}
    dynamic_shapes = tuple(
        {i: dims[dim] for i, dim in enumerate(variant.shape(tensor)) if dim in dims}
        for tensor in inputs
    )
    subject = Subject(variant, inputs, outputs, example)

    def model(call: Function) -> ir.Model:
        # Tracing before torch.export is what lets autograd run inside the graph.
        traced = make_fx(
            subject.observed(call),
            tracing_mode="symbolic",
            decomposition_table=decompositions.table(),
            _allow_non_fake_inputs=True,  # tensors of the function's own become constants
        )(*example)
        subject.check(traced)
        exported = torch.export.export(traced, example, dynamic_shapes=dynamic_shapes, strict=False)
        program = torch.onnx.export(
            exported,
            (),
            input_names=[tensor.name for tensor in inputs],
            output_names=[tensor.name for tensor in outputs],
            opset_version=max(opset, TRACED_OPSET),
            dynamo=True,
            external_data=False,
            optimize=False,
            verbose=False,
        )
        assert program is not None
        optimise(program.model)
        simplify(program.model)
        name_axes(program.model)
        _finish(program.model, opset)
        return program.model

    with quiet(), _unburdened(), _decomposed():
        return subject.explained(model, call)


def _finish(model: ir.Model, opset: int) -> None:
    """Bring a model that torch has written to `opset`, if it is not there yet."""
    written = model.opset_imports[""]
    if written != max(opset, TRACED_OPSET):  # torch keeps the older forms where it has no others
        raise LossexportError(f"torch writes it for opset {written}, not {opset}; leave opset out")
    lower(model.graph.all_nodes(), opset)
    model.opset_imports[""] = opset


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's remarks (torchvision is not installed, ...) off the user's terminal."""
    names = ("torch.onnx", "onnxscript", "torch._subclasses.fake_tensor")
    loggers: list[Any] = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)  # an error is raised too
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _unburdened() -> Iterator[None]:
    """Trace without three things that take half of the time: looking for garbage among the millions
    of objects that are all in use, a stack trace for every node, and torch's table of operators,
    which is otherwise made anew for every graph."""
    _keep_table()
    config: Any = torch.fx.config  # not every release has the setting
    traces = getattr(config, "do_not_emit_stack_traces", False)
    collects = gc.isenabled()
    gc.disable()
    config.do_not_emit_stack_traces = True
    try:
        yield
    finally:
        config.do_not_emit_stack_traces = traces
        if collects:
            gc.enable()


@contextmanager
def _decomposed() -> Iterator[None]:
    """Keep torch.onnx from tracing once more where the trace has been decomposed far enough."""
    passes: Any = None
    with suppress(ImportError):  # a module of torch's own
        from torch.onnx._internal.exporter import _decomp
        from torch.onnx._internal.exporter import _fx_passes as passes
    decompose = getattr(passes, "decompose_with_registry", None)
    if decompose is None:
        yield
        return

    def spared(
        program: torch.export.ExportedProgram, registry: Any
    ) -> torch.export.ExportedProgram:
        known = set(_decomp.get_onnx_implemented_overloads(registry))
        return program if decompositions.finish(program, known) else decompose(program, registry)

    passes.decompose_with_registry = spared
    try:
        yield
    finally:
        passes.decompose_with_registry = decompose


@functools.cache
def _keep_table() -> None:
    try:
        from onnxscript._framework_apis import torch_2_11
    except ImportError:  # a module of onnxscript's own, not in every release
        return
    torch_2_11.get_torchlib_ops = functools.cache(torch_2_11.get_torchlib_ops)
