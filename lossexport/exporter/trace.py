"""From a torch function to the ONNX graph of its value, or of its value and gradient."""

import gc
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch.fx.experimental.proxy_tensor import make_fx

import lossexport.ops
from lossexport.exporter import decompositions
from lossexport.exporter.simplify import simplify
from lossexport.exporter.variant import Variant
from lossexport.ops._common import NARROW

OPSET = 20
# Sizes to trace with: distinct, so that no two dimensions are taken for one, and none is 0 or 1,
# which torch would bake in.
_TRACE_SIZES = (5, 7, 11, 13)


def function(variant: Variant) -> Callable[..., tuple[torch.Tensor, ...]]:
    """The variant as a function of its inputs in order, in eager torch, of any float type."""
    op = getattr(lossexport.ops, variant.op.name)
    names = [tensor.name for tensor in variant.op.inputs]

    def value(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        result = op(*inputs, **variant.attributes)
        return result if isinstance(result, tuple) else (result,)

    def value_and_gradient(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.enable_grad():
            # Leaves in the type that the op computes in: a gradient is rounded once, at the end.
            wide = [x.float() if x.dtype in NARROW else x.detach() for x in inputs]
            wanted = [wide[names.index(name)].requires_grad_() for name in variant.op.gradient]
            outputs = value(*wide)
            results = outputs + torch.autograd.grad(outputs[0].sum(), wanted)
        boundary = inputs[names.index(variant.op.gradient[0])].dtype
        return tuple(
            x.detach().to(boundary) if tensor.dtype == "float" else x.detach()
            for x, tensor in zip(results, variant.outputs, strict=True)
        )

    return value_and_gradient if variant.gradient else value


def body(variant: Variant, opset: int = OPSET) -> ir.Model:
    """The graph of a variant in standard ONNX operators, its dynamic dimensions named."""
    sizes = dict(zip(variant.ranges, _TRACE_SIZES, strict=False))
    sizes |= {n: r.max for n, r in variant.ranges.items() if r.min == r.max}
    inputs = _example(variant, sizes)
    dims = {
        name: torch.export.Dim(name, min=size.min, max=size.max)
        for name, size in variant.dynamic.items()
    }
    dynamic_shapes = tuple(
        {i: dims[dim] for i, dim in enumerate(variant.shape(tensor)) if dim in dims}
        for tensor in variant.op.inputs
    )
    with quiet(), _unburdened():
        # Tracing before torch.export is what lets autograd run inside the graph.
        traced = make_fx(
            function(variant),
            tracing_mode="symbolic",
            decomposition_table=decompositions.table(),
        )(*inputs)
        exported = torch.export.export(traced, inputs, dynamic_shapes=dynamic_shapes, strict=False)
        program = torch.onnx.export(
            exported,
            (),
            input_names=[tensor.name for tensor in variant.op.inputs],
            output_names=[tensor.name for tensor in variant.outputs],
            opset_version=opset,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    simplify(program.model)
    return program.model


def _example(variant: Variant, sizes: dict[str, int]) -> tuple[torch.Tensor, ...]:
    sampler = next(iter(variant.op.samplers.values()))
    arrays = sampler(np.random.default_rng(0), sizes, variant.attributes)
    return tuple(
        torch.tensor(arrays[tensor.name]).to(getattr(torch, variant.numpy_dtype(tensor)))
        for tensor in variant.op.inputs
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's remarks (torchvision is not installed, ...) off the user's terminal."""
    loggers: list[Any] = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
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
