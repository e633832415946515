"""What is left to decompose after a trace is replaced, or left to torch where that is not safe."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx.experimental.proxy_tensor import make_fx

from lossexport.catalog import CATALOG
from lossexport.catalog.variant import Variant
from lossexport.exporter import decompositions, onnx_file

INPUTS = (torch.arange(12.0).reshape(3, 4), torch.arange(12.0).reshape(3, 4).sqrt())
LEFT = {torch.ops.aten.squeeze.dims, torch.ops.aten.copy_.default}
Call = Callable[[Tensor, Tensor], Tensor]


def exported(call: Call) -> ExportedProgram:
    """As the exporter makes it; its functions return tuples."""
    given = tuple(x.clone() for x in INPUTS)
    table = decompositions.table()
    traced = make_fx(lambda *x: (call(*x),), decomposition_table=table, tracing_mode="symbolic")
    return torch.export.export(traced(*given), given, strict=False)


def finished(program: ExportedProgram) -> bool:
    return decompositions.finish(program, {node.target for node in program.graph.nodes} - LEFT)


def columns(x: Tensor, y: Tensor) -> Tensor:
    a, b, c, d = x.unbind(-1)
    return a * b - c * d


def overwritten(x: Tensor, y: Tensor) -> Tensor:
    return (x * 2).copy_(y + 1) * 3


@pytest.mark.parametrize("call", [columns, overwritten])
def test_it_is_replaced(call: Call) -> None:
    program = exported(call)
    assert LEFT & {node.target for node in program.graph.nodes}
    assert finished(program)
    assert not LEFT & {node.target for node in program.graph.nodes}
    program.graph_module.recompile()
    torch.testing.assert_close(program.graph_module(*INPUTS)[0], call(*INPUTS))


def seen_through_a_view(x: Tensor, y: Tensor) -> Tensor:
    doubled = x * 2
    part = doubled[:, 1:]
    doubled.copy_(y)
    return part + 1


def a_part(x: Tensor, y: Tensor) -> Tensor:
    doubled = x * 2
    doubled[:, 1:].copy_(y[:, 1:])
    return doubled + 1


def of_another_shape(x: Tensor, y: Tensor) -> Tensor:
    return (x * 2).copy_(y[0]) + 1


def of_another_type(x: Tensor, y: Tensor) -> Tensor:
    return (x * 2).copy_(y.to(torch.int64)) + 1


def one_of_two_results(x: Tensor, y: Tensor) -> Tensor:
    return x.topk(4).values.copy_(y + 1) + 1


def an_input(x: Tensor, y: Tensor) -> Tensor:
    return x.copy_(y) + 1


def an_output(x: Tensor, y: Tensor) -> Tensor:
    return (x * 2).copy_(y * 3)


@pytest.mark.parametrize(
    "call",
    [
        *(seen_through_a_view, a_part, of_another_shape, of_another_type),
        *(one_of_two_results, an_input, an_output),
    ],
)
def test_it_is_left_to_torch(call: Call) -> None:
    program = exported(call)
    before = str(program.graph)
    assert not finished(program)
    assert str(program.graph) == before


def test_an_unknown_operator_is_left_to_torch() -> None:
    program = exported(overwritten)
    assert not decompositions.finish(program, {torch.ops.aten.mul.Tensor})


def test_a_loss_and_its_gradient_are_not_traced_again(monkeypatch: pytest.MonkeyPatch) -> None:
    finish, found = decompositions.finish, []

    def watched(*given: Any) -> bool:
        found.append(finish(*given))
        return found[-1]

    monkeypatch.setattr(decompositions, "finish", watched)
    made = onnx_file.onnx_bytes.__wrapped__  # type: ignore[attr-defined]  # not one that is kept
    made(Variant.make(CATALOG["giou_loss"], gradient=True))
    assert found == [True]
