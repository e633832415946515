"""Modules made from the catalogue."""

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.multiprocessing.spawn import spawn

from lossexport import nn, ops
from lossexport.catalog import CATALOG
from lossexport.catalog.spec import Tensor as Declared
from lossexport.errors import LossexportError
from lossexport.ops import module as ops_module


def test_module_is_the_op_with_its_attributes() -> None:
    pred, target = torch.rand(5, 2).sort(1).values, torch.rand(5, 2).sort(1).values
    pred, target = torch.cat((pred, pred + 1), 1), torch.cat((target, target + 1), 1)
    module = nn.CIoULoss(reduction="mean")
    assert torch.equal(module(pred, target), ops.ciou_loss(pred, target, reduction="mean"))
    assert repr(module) == "CIoULoss(eps=1e-07, reduction='mean')"
    with pytest.raises(LossexportError, match="reduction='median'"):
        nn.CIoULoss(reduction="median")  # type: ignore[arg-type]


PAIR = (torch.tensor([[0.0, 0.0, 8.0, 8.0]]), torch.tensor([[0.0, 0.0, 8.0, 4.0]]))
WRONG_INPUTS: dict[str, tuple[tuple[torch.Tensor, ...], dict[str, torch.Tensor]]] = {
    "1 by position": (PAIR[:1], {}),
    "3 by position": ((*PAIR, PAIR[0]), {}),
    "2 by position and pred by name": (PAIR, {"pred": PAIR[0]}),
    "2 by position and eps by name": (PAIR, {"eps": PAIR[0]}),
    "0 by position and pred, traget by name": ((), {"pred": PAIR[0], "traget": PAIR[1]}),
}


@pytest.mark.parametrize("given", WRONG_INPUTS)
def test_inputs_that_are_not_those_of_the_op(given: str) -> None:
    inputs, named = WRONG_INPUTS[given]
    message = f"^IoULoss takes the inputs pred, target; it was given {given}$"
    with pytest.raises(TypeError, match=message):
        nn.IoULoss()(*inputs, **named)


def test_constructors_take_attributes_by_keyword_alone() -> None:
    with pytest.raises(TypeError, match="1 positional argument but 2 were given"):
        nn.IoULoss("mean")  # type: ignore[arg-type, call-arg]
    with pytest.raises(LossexportError, match=r"^iou_loss: unknown attribute 'mean'; it has: eps,"):
        nn.IoULoss(mean=True)  # type: ignore[call-arg]


def test_names_of_the_module() -> None:
    assert {op.class_name for op in CATALOG.values()} <= set(dir(nn))
    assert nn.IoULoss is nn.IoULoss
    assert pickle.loads(pickle.dumps(nn.IoULoss(eps=0.5))).attributes["eps"] == 0.5
    with pytest.raises(
        AttributeError, match=r"^module 'lossexport.nn' has no attribute 'EIoULos'$"
    ):
        _ = nn.EIoULos


@pytest.mark.uncounted
def test_a_module_is_one_graph_for_the_compiler() -> None:
    loss = nn.IoULoss(reduction="mean")
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    assert compiled(*PAIR) == compiled(pred=PAIR[0], target=PAIR[1]) == 0.5
    for strict in (False, True):
        exported = torch.export.export(
            loss, (), {"pred": PAIR[0], "target": PAIR[1]}, strict=strict
        )
        assert exported.graph_signature.user_inputs == ("pred", "target")
        assert exported.module()(pred=PAIR[0], target=PAIR[1]) == 0.5


def test_state_anywhere_beside_several_outputs() -> None:
    """Of any op, not of those in the catalogue alone."""

    def counted(
        logits: torch.Tensor, bin_count: torch.Tensor, weight: torch.Tensor, bins: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return logits + weight, bin_count + 1, logits * weight

    spec = CATALOG["ghm_c_loss"]
    logits, _, weight, count = spec.inputs
    module: Any = ops_module.module(
        dataclasses.replace(
            spec,
            name="counted_loss",
            function=counted,
            inputs=(logits, count, weight),
            outputs=(*spec.outputs, Declared("product", ("N", "C"), "real numbers")),
            attributes=(dataclasses.replace(spec.attributes[0], default=3),),
        )
    )()
    assert str(inspect.signature(module.forward)) == (
        "(logits: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]"
    )
    total, product = module(torch.full((2, 2), 3.0), weight=torch.full((2, 2), 4.0))
    assert total.tolist() == [[7, 7], [7, 7]]
    assert product.tolist() == [[12, 12], [12, 12]]
    assert module.bin_count.tolist() == [1, 1, 1]


def test_state_is_kept_in_the_module() -> None:
    module = nn.GHMCLoss(bins=4, momentum=0.5)
    logits = torch.linspace(-4, 4, 24).reshape(6, 4)
    target, weight = (logits > 1).float(), torch.ones_like(logits)
    counts = torch.zeros(4)
    for _ in range(3):
        expected, counts = ops.ghm_c_loss(logits, target, weight, counts, bins=4, momentum=0.5)
        assert torch.equal(module(logits, target, weight), expected)
        assert torch.equal(module.bin_count, counts)
    assert torch.equal(module.state_dict()["bin_count"], counts)


STATEFUL = {
    "GHMCLoss": (torch.linspace(-4, 4, 24).reshape(6, 4), torch.ones(6, 4), torch.ones(6, 4)),
    "GHMRLoss": (torch.linspace(-1, 1, 24).reshape(6, 4), torch.zeros(6, 4), torch.ones(6, 4)),
}
stateful = pytest.mark.parametrize("name", STATEFUL)


def test_every_module_with_state_is_tested() -> None:
    assert list(STATEFUL) == [op.class_name for op in CATALOG.values() if op.state]


def trained(name: str, **attributes: Any) -> nn.GHMCLoss | nn.GHMRLoss:
    module: nn.GHMCLoss | nn.GHMRLoss = getattr(nn, name)(momentum=0.75, **attributes)
    module(*STATEFUL[name])
    assert module.bin_count.sum() == 24 / 4
    return module


@stateful
def test_state_stays_in_eval(name: str) -> None:
    module = trained(name)
    counts = module.bin_count.clone()
    value = copy.deepcopy(module)(*STATEFUL[name])
    module.eval()
    assert torch.equal(module(*STATEFUL[name]), value)
    assert torch.equal(module.bin_count, counts)
    module.train()(*STATEFUL[name])
    assert not torch.equal(module.bin_count, counts)


CASTS: dict[str, Callable[[Any], Any]] = {
    "half": lambda m: m.half(),
    "bfloat16": lambda m: m.bfloat16(),
    "double": lambda m: m.double(),
    "to a type": lambda m: m.to(torch.float16),
    "to a type and device": lambda m: m.to("cpu", torch.bfloat16),
    "type": lambda m: m.type(torch.float16),
    "inside of another": lambda m: torch.nn.Sequential(torch.nn.Linear(2, 2), m).half()[1],
}


@stateful
@pytest.mark.parametrize("cast", CASTS)
def test_state_stays_in_float32(name: str, cast: str) -> None:
    module = trained(name)
    module.bin_count.fill_(100_000.25)  # beyond float16
    module = CASTS[cast](module)
    assert module.bin_count.tolist() == [100_000.25] * 10
    assert module.bin_count.dtype == torch.float32
    narrow = [x.half() for x in STATEFUL[name]]
    assert module(*narrow).dtype == torch.float16
    assert module.bin_count.dtype == torch.float32
    assert list(module.buffers()) == [module.bin_count]


@stateful
def test_state_moves_with_the_module(name: str) -> None:
    assert trained(name).to("meta").bin_count.device.type == "meta"
    assert trained(name).to(torch.device("meta"), torch.float16).bin_count.dtype == torch.float32
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        assert getattr(nn, name)().bin_count.dtype == torch.float32
    finally:
        torch.set_default_dtype(before)


@stateful
def test_state_is_saved_and_loaded(name: str, tmp_path: Path) -> None:
    module = trained(name)
    torch.save(module.state_dict(), tmp_path / "state.pt")
    again = getattr(nn, name)(momentum=0.75)
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(again(*STATEFUL[name]), module(*STATEFUL[name]))
    assert torch.equal(again.bin_count, module.bin_count)


@stateful
def test_training_goes_on_after_inference_mode(name: str) -> None:
    module = trained(name)
    with torch.inference_mode():
        module(*STATEFUL[name])
    x = STATEFUL[name][0].clone().requires_grad_()
    module(x, *STATEFUL[name][1:]).backward()
    assert x.grad is not None


def _rank(rank: int, folder: str) -> None:
    """One of two processes: each counts what it sees, and starts a step from rank 0's counts."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(4, 4)
            self.loss = nn.GHMCLoss(momentum=0.75)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.loss(self.linear(x), torch.ones_like(x), torch.ones_like(x))

    torch.manual_seed(0)
    model = Model()
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    counts = []
    for step in range(2):
        x = torch.linspace(-9, 9, 24).reshape(6, 4) * (1 + rank + step)
        model.loss.bin_count += 1000 * rank  # what a rank has of its own is gone with the step
        parallel(x).sum().backward()
        counts.append(model.loss.bin_count.clone())
    torch.save(counts, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_ranks_start_each_step_from_the_counts_of_the_first(tmp_path: Path) -> None:
    spawn(_rank, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    for counts in (first, second):
        for step in counts:
            assert step.sum() < 100
    # Filled bins move by a quarter of what the rank itself counts, the others stay rank 0's.
    for mine, other in zip(first, second, strict=True):
        assert not torch.equal(mine, other)
    moved = second[1] - 0.75 * first[0]
    stays = torch.isclose(second[1], first[0])
    assert torch.equal(stays | ((4 * moved).round() == 4 * moved) & (moved > 0), torch.ones(10) > 0)
