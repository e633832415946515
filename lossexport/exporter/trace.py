"""From a torch function to the ONNX graph of its value, or of its value and gradient."""

import gc
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from lossexport.catalog.spec import Tensor
from lossexport.catalog.variant import MAX_ELEMENTS, Range, Variant
from lossexport.exporter import decompositions
from lossexport.exporter.eager import tensors
from lossexport.exporter.simplify import optimise, simplify
from lossexport.exporter.untraceable import Subject
from lossexport.kernels import Kernel
from lossexport.parity.oracle import Function, function, stage

OPSET = 20
# Sizes to trace with, whatever range a dimension has: distinct, so that no two dimensions are taken
# for one, and none is 0 or 1, which torch would bake in.
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
    free = (n for n in _TRACE_SIZES if n not in taken)
    return {
        name: n if n >= size.min else min(size.min + n, size.max)
        for (name, size), n in zip(variant.ranges.items(), free, strict=False)
    } | fixed


def _graph(
    call: Function,
    example: tuple[torch.Tensor, ...],
    inputs: tuple[Tensor, ...],
    outputs: tuple[Tensor, ...],
    variant: Variant,
    opset: int,
) -> ir.Model:
    dims = {
        name: torch.export.Dim(name, min=max(size.min, 1), max=MAX_ELEMENTS)
        for name, size in variant.dynamic.items()
    }
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
            opset_version=opset,
            dynamo=True,
            external_data=False,
            optimize=False,
            verbose=False,
        )
        assert program is not None
        optimise(program.model)
        simplify(program.model)
        return program.model

    with quiet(), _unburdened():
        return subject.explained(model, call)


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
    """Trace without two things that take a third of the time: looking for garbage among the
    millions of objects that are all in use, and a stack trace for every node."""
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
