"""The CPU kernels as torch custom ops: the same numbers, and never where a graph is made."""

import os
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from lossexport import nn, ops
from lossexport.catalog import CATALOG
from lossexport.catalog.variant import Variant
from lossexport.errors import LossexportError
from lossexport.exporter.trace import body
from lossexport.names import Precision
from lossexport.ops import native as torch_kernels
from lossexport.parity import oracle as reference
from lossexport.parity.cases import Case
from lossexport.parity.error import Errors
from lossexport.runtime import native

NAMES = [name for name in CATALOG if name in native.kernels()]
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

pytestmark = pytest.mark.skipif(not NAMES, reason="no library of native kernels")
every_op = pytest.mark.parametrize("name", NAMES)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kernels that ran."""
    seen = []
    run = native.run

    def recorded(kernel: str, *rest: Any) -> None:
        seen.append(kernel)
        run(kernel, *rest)

    monkeypatch.setattr(native, "run", recorded)
    return seen


def drawn(name: str, precision: Precision = "fp32") -> tuple[Variant, Case, dict[str, Any]]:
    """A variant, its first case of any size, and the inputs as tensors of the precision."""
    variant = Variant.make(CATALOG[name], precision=precision)
    family = next(iter(variant.op.samplers))
    sizes = tuple((dim, 33 if dim != "M" else 21) for dim in variant.ranges)
    case = Case(family, sizes, 1)
    tensors = {}
    for tensor in variant.op.inputs:
        value = torch.from_numpy(case.inputs(variant)[tensor.name])
        kind = {"float": DTYPES[precision], "float32": torch.float32}.get(tensor.dtype)
        tensors[tensor.name] = value if kind is None else value.to(kind)
    return variant, case, tensors


def results(name: str, tensors: dict[str, Any], **attributes: Any) -> tuple[torch.Tensor, ...]:
    found = getattr(ops, name)(**tensors, **attributes)
    return found if isinstance(found, tuple) else (found,)


def box_pairs(count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0]]).repeat(count, 1)
    return boxes, boxes + 1


@every_op
@pytest.mark.parametrize("precision", DTYPES)
def test_eager_runs_the_kernel_within_the_tolerance(
    name: str, precision: Precision, calls: list[str]
) -> None:
    variant, case, tensors = drawn(name, precision)
    found = results(name, tensors)
    assert calls == [name]
    inputs = case.inputs(variant)
    expected, roundings = reference.judged(variant, inputs)
    assert calls == [name], "float64 is the oracle"
    for tensor, value in zip(variant.outputs, found, strict=True):
        declared = variant.numpy_dtype(tensor)
        assert str(value.dtype) == f"torch.{declared}"
        errors = Errors(variant.op.output_tolerance(tensor.name, precision), declared)
        numbers = value.float().numpy() if declared == "bfloat16" else value.numpy()
        if declared == "bfloat16":
            numbers = numbers.astype(pytest.importorskip("ml_dtypes").bfloat16)
        errors.add(str(case), numbers, expected[tensor.name], roundings[tensor.name])
        assert errors.elements == value.numel()
        assert errors.breaches == 0, errors.worst


@every_op
def test_the_oracle_never_sees_the_library(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: Any) -> None:
        raise AssertionError("the oracle asked the library")

    variant, case, _ = drawn(name)
    monkeypatch.setattr(native, "run", absent)
    assert reference.oracle(variant, case.inputs(variant))


@every_op
def test_schema_fake_and_kernel_agree(name: str) -> None:
    _, _, tensors = drawn(name)
    attributes = [item.default for item in CATALOG[name].attributes]
    overload = getattr(torch.ops.lossexport, name).default
    assert str(overload._schema).startswith(
        f"lossexport::{torch_kernels.schema(CATALOG[name])[:20]}"
    )
    torch.library.opcheck(overload, (*tensors.values(), *attributes))


LOSSES = [
    name for name in NAMES if f"{name}.grad" in native.kernels() and CATALOG[name].kind == "loss"
]


def differentiated(
    name: str,
    tensors: dict[str, Any],
    attributes: dict[str, Any],
    weight: torch.Tensor | None = None,
) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
    """The loss, the gradients of its weighted sum, and the weights."""
    given = dict(tensors)
    for leaf in CATALOG[name].gradient:
        given[leaf] = tensors[leaf].detach().requires_grad_()
    loss = results(name, given, **attributes)[0]
    if weight is None:
        weight = torch.rand(loss.shape, generator=torch.Generator().manual_seed(5)) + 0.5
    (loss * weight.to(loss.dtype)).sum().backward()
    return loss, {leaf: given[leaf].grad for leaf in CATALOG[name].gradient}, weight


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("precision", DTYPES)
def test_a_loss_has_its_gradient_from_the_kernel(
    name: str, precision: Precision, calls: list[str]
) -> None:
    """Weighted row by row, against autograd in float64 on the same numbers."""
    _, _, tensors = drawn(name, precision)
    choices = [item.choices for item in CATALOG[name].attributes if item.name == "reduction"]
    for reduction in choices[0] if choices else [None]:
        attributes = {} if reduction is None else {"reduction": reduction}
        calls.clear()
        loss, found, weight = differentiated(name, tensors, attributes)
        assert calls == [f"{name}.grad"]
        exact = {k: v.double() if v.is_floating_point() else v for k, v in tensors.items()}
        _, wanted, _ = differentiated(name, exact, attributes, weight.double())
        assert calls == [f"{name}.grad"], "float64 takes the torch code"
        # The assignment of a YOLO raises overlaps to the sixth power.
        unit = torch.finfo(DTYPES[precision]).eps * (8 if name.startswith("yolo") else 1)
        for leaf, gradient in found.items():
            assert gradient.dtype == DTYPES[precision]
            scale = wanted[leaf].abs().max().clamp(min=1e-30)
            torch.testing.assert_close(
                gradient.double() / scale, wanted[leaf] / scale, rtol=8 * unit, atol=8 * unit
            )
        assert loss.dtype == DTYPES[precision]


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "ap_loss"])
def test_a_gradient_of_the_kernel_is_differentiated_again(
    name: str, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the torch code, which gives the same without a kernel."""
    _, _, tensors = drawn(name)
    leaf = CATALOG[name].gradient[0]
    seconds = []
    for _ in range(2):
        given = tensors | {leaf: tensors[leaf].clone().requires_grad_()}
        loss = results(name, given)[0].sum()
        (first,) = torch.autograd.grad(loss, given[leaf], create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), given[leaf])
        seconds.append(second)
        monkeypatch.setattr(torch_kernels, "attempt", lambda *_: None)
    assert calls == [f"{name}.grad"]
    torch.testing.assert_close(*seconds, rtol=1e-6, atol=0.0)


def test_a_large_gradient_that_comes_in_is_multiplied_before_it_is_rounded() -> None:
    """As the scaler of mixed precision makes it: the gradient alone is nothing in float16."""
    pred = torch.zeros(1 << 16, 4, dtype=torch.float16, requires_grad=True)
    target = torch.full_like(pred, 2.0**-10, requires_grad=False)
    loss = ops.smooth_l1_loss(pred, target, reduction="mean")
    loss.float().mul(2.0**15).backward()
    assert pred.grad is not None
    assert torch.equal(pred.grad, torch.full_like(pred, -(2.0**-13)))


def test_a_target_that_needs_a_gradient_takes_the_torch_code(calls: list[str]) -> None:
    pred, target = (torch.rand(3, 4, requires_grad=True) for _ in range(2))
    ops.smooth_l1_loss(pred, target, reduction="sum").backward()
    assert calls == []
    assert target.grad is not None
    assert pred.grad is not None
    assert torch.equal(target.grad, -pred.grad)


def test_strided_and_shaped_inputs() -> None:
    boxes, target = box_pairs()
    wide = torch.cat((boxes, target), 1)
    assert ops.box_iou(wide[:, :4], wide[:, 4:]).tolist() == ops.box_iou(boxes, target).tolist()
    logits = torch.tensor([[0.5, 2.0], [1.0, -1.0]])
    labels = torch.tensor([[1, 0], [0, 1]])
    flat = ops.ap_loss(logits.reshape(-1), labels.reshape(-1))
    assert ops.ap_loss(logits.T, labels.T) == flat
    assert flat == pytest.approx(float(ops.ap_loss(logits.double(), labels)), rel=1e-6)


def test_gradients_still_flow(calls: list[str]) -> None:
    pred, target = box_pairs()
    pred.requires_grad_()
    ops.box_ciou(pred, target).sum().backward()
    assert calls == []
    assert pred.grad is not None
    assert pred.grad.abs().sum() > 0
    with torch.no_grad():
        ops.box_ciou(pred, target)
    assert calls == ["box_ciou"]
    logits = torch.tensor([0.5, 2.0, 1.0], requires_grad=True)
    nn.APLoss()(logits, torch.tensor([1, 0, 1])).backward()
    assert logits.grad is not None
    assert logits.grad.abs().sum() > 0


def test_forward_and_functional_derivatives(calls: list[str]) -> None:
    pred, target = box_pairs()
    move = torch.ones_like(pred) * torch.tensor([0.0, 0.0, 1.0, 1.0])
    slope = torch.func.jvp(lambda x: ops.box_iou(x, target), (pred,), (move,))[1]
    assert (slope.abs() > 0).all()
    gradient = torch.func.grad(lambda x: ops.box_iou(x, target).sum())(pred)
    assert (gradient * move).sum(1) == pytest.approx(slope)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(pred, move)
        found = torch.autograd.forward_ad.unpack_dual(ops.box_iou(dual, target))
    assert found.tangent == pytest.approx(slope)
    rows = torch.func.vmap(lambda a, b: ops.box_iou(a[None], b[None]))(pred, target)
    assert rows.squeeze(1).tolist() == ops.box_iou(pred.double(), target.double()).float().tolist()
    assert calls == []


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # shapes are looked at
@pytest.mark.uncounted
def test_traces_hold_the_torch_code(calls: list[str]) -> None:
    pair = box_pairs()
    for mode in ("real", "fake", "symbolic"):
        graph = make_fx(lambda a, b: ops.pairwise_giou(a, b), tracing_mode=mode)(*pair)
        assert "lossexport" not in graph.code
    exported = torch.export.export(_Module(), pair)
    assert "lossexport" not in exported.graph_module.code
    # Its check would run the module once more, eagerly.
    assert "lossexport" not in torch.jit.trace(_Module(), pair, check_trace=False).code
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: object) -> Callable[..., Any]:
        graphs.append(graph.code)
        return graph.forward

    compiled = torch.compile(_Module(), backend=backend, fullgraph=True)(*pair)
    assert graphs
    assert "lossexport" not in graphs[0]
    assert calls == []
    assert (compiled - ops.pairwise_giou(*pair)).abs().max() < 1e-6
    nodes = body(Variant.make(CATALOG["pairwise_giou"])).graph
    assert {node.domain for node in nodes} == {""}


class _Module(torch.nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return ops.pairwise_giou(a, b)


def test_what_the_kernels_do_not_take(calls: list[str]) -> None:
    pred, target = box_pairs()
    ops.box_iou(pred.double(), target.double())
    ops.box_iou(pred.half(), target)
    assert ops.box_iou(pred.to("meta"), target.to("meta")).is_meta
    ops.ap_loss(torch.ones(2), torch.tensor([1, 0], dtype=torch.int32))
    assert calls == []
    box_iou: Any = ops.box_iou
    for wrong in ({"target": target, "scale": 2}, {}):
        with pytest.raises(TypeError, match=r"box_iou\(\)"):
            box_iou(pred, **wrong)


def test_errors_are_those_of_the_torch_code(calls: list[str]) -> None:
    pred, target = box_pairs()
    with pytest.raises(LossexportError, match=r"box_iou: target has shape \[2, 4\]"):
        ops.box_iou(pred, target[:2])
    with pytest.raises(LossexportError, match="eps=-1: must be in"):
        ops.box_iou(pred, target, eps=-1)
    assert calls == []
    with pytest.raises(LossexportError, match="box_iou: target has size 2 on axis 0, expected 3"):
        torch.ops.lossexport.box_iou(pred, target[:2])


def test_modules_with_state_and_empty_inputs(calls: list[str]) -> None:
    module = nn.GHMCLoss(bins=4, momentum=0.5)
    logits, hit = torch.tensor([[0.1, 3.0]]), torch.tensor([[1.0, 0.0]])
    with torch.no_grad():
        module(logits, hit, torch.ones(1, 2))
        first = module.bin_count.clone()
        module(logits, hit, torch.ones(1, 2))
    assert calls == ["ghm_c_loss"] * 2
    assert module.bin_count.tolist() == (1.5 * first).tolist()
    assert first.sum() == 1
    indices, count = ops.nms(torch.zeros(0, 4), torch.zeros(0), max_output=2)
    assert (indices.tolist(), int(count)) == ([-1, -1], 0)


def test_torch_bounds_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(native, "run", lambda *given: seen.append(given[4]))
    before = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            ops.pairwise_iou(*box_pairs())
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 3]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_leaves_the_threads_of_torch() -> None:
    """OpenMP would wait there for threads that were not forked."""
    boxes = torch.rand(2000, 4)
    expected = ops.pairwise_iou(boxes, boxes)
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # ends a child that hangs
        equal = np.array_equal(ops.pairwise_iou(boxes, boxes).numpy(), expected.numpy())
        os._exit(0 if equal else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("view", ["strided", "negated", "unaligned"])
def test_memory_that_kernels_cannot_read_is_copied(view: str, calls: list[str]) -> None:
    boxes, target = box_pairs()
    expected = ops.box_iou(boxes, target)
    if view == "strided":
        given = torch.cat((boxes, target), 1)[:, :4]
    elif view == "negated":
        given = torch._neg_view(-boxes)
    else:
        memory = np.zeros(boxes.numel() * 4 + 1, np.uint8)[1:]
        memory[:] = boxes.numpy().view(np.uint8).ravel()
        given = torch.from_numpy(memory.view(np.float32).reshape(-1, 4))
    assert torch.equal(ops.box_iou(given, target), expected)
    assert calls == ["box_iou"] * 2


def test_a_sum_of_losses_needs_no_product_for_its_gradient() -> None:
    """Of a gradient that is one number for all elements, whatever the number is."""
    slopes = []
    for factor in (1.0, 2.0):
        pred = torch.tensor([[0.5, -2.0]], requires_grad=True)
        loss = ops.smooth_l1_loss(pred, torch.zeros(1, 2))
        loss.backward(torch.tensor(factor).expand(1, 2))
        slopes.append(pred.grad)
    assert slopes[0] is not None
    assert slopes[1] is not None
    assert slopes[0].tolist() == [[0.5, -1.0]]
    assert slopes[1].tolist() == [[1.0, -2.0]]


def test_bfloat16() -> None:
    """bfloat16 travels as its bits in both directions."""
    boxes = torch.tensor([[0, 0, 2, 2], [1, 0, 3, 2]], dtype=torch.bfloat16)
    found = torch.ops.lossexport.pairwise_iou(boxes, boxes)
    third = np.float32(1 / 3)
    assert found.dtype == torch.bfloat16
    assert found.tolist() == torch.tensor([[1, third], [third, 1]]).bfloat16().tolist()


PARTED = [
    name
    for name in NAMES
    if CATALOG[name].kind == "loss" and len(CATALOG[name].outputs) > 1 and not CATALOG[name].state
]


@pytest.mark.parametrize("name", PARTED)
def test_each_part_of_a_loss_has_its_gradient(name: str) -> None:
    """The kernel has that of their total alone."""
    variant, _, tensors = drawn(name)
    leaves = [tensors[key].requires_grad_() for key in variant.op.gradient]
    loss, parts = results(name, tensors)
    assert loss.grad_fn is not None
    wide = {k: v.detach().double() if v.is_floating_point() else v for k, v in tensors.items()}
    exact = [wide[key].requires_grad_() for key in variant.op.gradient]
    weights = torch.linspace(0.5, 2.0, parts.numel())
    found = torch.autograd.grad((parts * weights).sum() + loss, leaves)
    (_, wanted) = results(name, wide)
    total = (wanted * weights.double()).sum() + results(name, wide)[0]
    for got, expected in zip(found, torch.autograd.grad(total, exact), strict=True):
        torch.testing.assert_close(got.double(), expected, rtol=1e-3, atol=1e-5)
