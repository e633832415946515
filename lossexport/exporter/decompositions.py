"""Replacements for operators that runtimes compute less exactly than PyTorch does.

ONNX has no log1p and no expm1, and torch writes `Log(1 + x)` and `Exp(x) - 1`, which are 0 below
6e-8. The Sigmoid of onnxruntime is 0 below -18. Its ReduceSum adds a whole tensor into sixteen
accumulators and loses 1 % of ten million equal terms. The exporter replaces them, so that ops can
be written in plain PyTorch.
"""

import math
from collections.abc import Callable, Container
from typing import Any, cast

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Node

aten: Any = torch.ops.aten
prims: Any = torch.ops.prims

# Sums of at most this many elements keep their type: their error is below that of their terms.
_SHORT_SUM = 64


def table() -> dict[Any, Callable[..., Any]]:
    """The decompositions to trace with: torch.export's own, and those of this module."""
    return {
        **torch.export.default_decompositions(),
        aten.log1p.default: _log1p,
        aten.expm1.default: _expm1,
        aten.sigmoid.default: _sigmoid,
        aten.sum.default: _sum,
        aten.sum.dim_IntList: _sum,
    }


def _log1p(x: Tensor) -> Tensor:
    """log(1 + x), good to 5u: the logarithm of the rounded sum, corrected for the rounding."""
    total = 1 + x
    logarithm = total.log()
    corrected = logarithm - ((total - 1) - x) / total
    return torch.where(x.abs() < 1, corrected, logarithm)


def _expm1(x: Tensor) -> Tensor:
    """exp(x) - 1, good to 4u: near 0, corrected for the rounding of the exponential."""
    power = x.exp()
    logarithm = power.log()
    corrected = (power - 1) * (x / torch.where(logarithm == 0, 1, logarithm))
    near = torch.where(logarithm == 0, x, corrected)
    return torch.where(x.abs() < 1, near, power - 1)


def _sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x)), good to 3u in both tails; 0 if exp(-x) overflows."""
    return torch.reciprocal(1 + torch.exp(-x))


def _sum(
    x: Tensor,
    dim: list[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """A float32 sum with a float64 accumulator. TensorRT has no float64 and adds in a tree."""
    if x.dtype is not torch.float32 or dtype not in (None, torch.float32):
        return cast(Tensor, NotImplemented)
    sizes = [x.shape[axis] for axis in (dim or range(x.dim()))]
    if all(isinstance(size, int) for size in sizes) and math.prod(sizes) <= _SHORT_SUM:
        return cast(Tensor, NotImplemented)
    return x.double().sum(dim, keepdim).float()


def finish(program: ExportedProgram, known: Container[object]) -> bool:
    """Replace in place what is left to decompose after a trace with `table`; false if it cannot.

    `known` are the operators that have a translation to ONNX. torch.onnx decomposes a program by
    tracing it all over again, which takes about half of the time of an export. Of the operators
    that are left, this knows what two become. A program with others is left unchanged.
    """
    if any(
        node.op not in ("placeholder", "call_function", "output") for node in program.graph.nodes
    ):
        return False  # it has constants, or graphs within the graph
    replaced: list[tuple[Node, Node | None]] = []
    for node in program.graph.nodes:
        if node.op != "call_function" or node.target in known:
            continue
        if node.target is aten.squeeze.dims and _drops_every_axis(node):
            replaced.append((node, None))
        elif node.target is aten.copy_.default and _overwrites(node):
            replaced.append((node, node.args[1]))
        else:
            return False
    for node, value in replaced:
        if value is None:
            node.target = prims.squeeze.default
        else:
            node.replace_all_uses_with(value)
            program.graph.erase_node(node)
    return True


def _drops_every_axis(node: Node) -> bool:
    """Whether a squeeze has axes, counted from the front, that all have a single element."""
    operand, axes = cast(Any, node.args)
    shape = operand.meta["val"].shape
    return bool(axes) and all(
        axis >= 0 and isinstance(shape[axis], int) and shape[axis] == 1 for axis in axes
    )


def _overwrites(node: Node) -> bool:
    """Whether a copy leaves nothing of its target, and the target is not seen again."""
    target, source = cast(Any, node.args)
    if node.kwargs or not isinstance(source, Node) or target.op != "call_function":
        return False
    old, new = target.meta["val"], source.meta["val"]
    others = [user for user in target.users if user is not node]
    return (
        old.shape == new.shape
        and old.dtype == new.dtype
        and not _shares(target)
        and all(user < node and not _shares(user) for user in others)
        and all(user.op != "output" for user in node.users)
    )


def _shares(node: Node) -> bool:
    """Whether the result may share its memory with an argument."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return True
    return node.target.is_view or node.target._schema.is_mutable
