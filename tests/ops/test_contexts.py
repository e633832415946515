"""Whatever types, devices and modes the surrounding code has chosen, an op computes the same."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import pytest
import torch

from lossexport import nn, ops
from lossexport.catalog import CATALOG
from tests.ops.inputs import Inputs, draw, leaves, run

every_op = pytest.mark.parametrize("name", CATALOG)
NARROW = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])


@contextmanager
def switched(switch: Callable[[Any], None], value: Any, before: Any) -> Iterator[None]:
    switch(value)
    try:
        yield
    finally:
        switch(before)


CONTEXTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "autocast to bfloat16": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast to float16": lambda: torch.autocast("cpu", torch.float16),
    "autocast without a cache": lambda: torch.autocast("cpu", torch.bfloat16, cache_enabled=False),
    "autocast of another device": lambda: torch.autocast("cuda", torch.float16),
    **{
        f"default dtype {dtype}": partial(switched, torch.set_default_dtype, dtype, torch.float32)
        for dtype in (torch.float64, torch.float16, torch.bfloat16)
    },
    "default device": lambda: torch.device("meta"),
    "float32 products in bfloat16": lambda: switched(
        torch.set_float32_matmul_precision, "medium", "highest"
    ),
    "deterministic": lambda: switched(torch.use_deterministic_algorithms, True, False),
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True),
}


def everything(name: str, inputs: Inputs, moving: bool) -> list[torch.Tensor]:
    """The outputs of an op, from its kernel or, with the gradients, from the torch code."""
    if not moving:
        return list(run(name, inputs))
    x = {key: inputs[key].clone().requires_grad_() for key in leaves(name)}
    results = run(name, inputs | x)
    moved = [y.float().sum() for y in results if y.requires_grad]
    if not moved:
        return list(results)
    total = torch.stack(moved).sum()
    return [*results, *torch.autograd.grad(total, list(x.values()), materialize_grads=True)]


@pytest.mark.filterwarnings("ignore:Anomaly Detection", "ignore:User provided device_type of")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
@every_op
def test_a_context_changes_nothing(name: str, dtype: torch.dtype) -> None:
    inputs = draw(name, dtype=dtype)
    for moving in (False, True):
        wanted = everything(name, inputs, moving)
        for title, context in CONTEXTS.items():
            with context():
                found = everything(name, inputs, moving)
            for x, y in zip(found, wanted, strict=True):
                assert x.dtype == y.dtype, title
                assert torch.equal(x.nan_to_num(7), y.nan_to_num(7)), title


@every_op
def test_modes_without_a_gradient(name: str) -> None:
    inputs = draw(name, dtype=torch.float32)
    wanted = run(name, inputs)
    moving = inputs | {key: inputs[key].clone().requires_grad_() for key in leaves(name)}
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            for given in (inputs, moving):
                for x, y in zip(run(name, given), wanted, strict=True):
                    assert not x.requires_grad
                    assert torch.equal(x, y)


@NARROW
@every_op
def test_modules_under_autocast(name: str, dtype: torch.dtype) -> None:
    spec = CATALOG[name]
    inputs = draw(name, dtype=torch.float32)
    given = [inputs[tensor.name] for tensor in spec.inputs if tensor.name not in spec.state]
    wanted = getattr(nn, spec.class_name)()(*given)
    with torch.autocast("cpu", dtype):
        found = getattr(nn, spec.class_name)()(*given)
    for x, y in zip(*((r if isinstance(r, tuple) else (r,)) for r in (found, wanted)), strict=True):
        assert x.dtype == y.dtype
        assert torch.equal(x, y)


def disjoint(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    corner = torch.stack((10.0 * torch.arange(count), torch.zeros(count)), dim=1)
    scores = torch.linspace(1, 0.1, count)
    return torch.cat((corner, corner + 5), dim=1), scores


@pytest.mark.parametrize("name", ["nms", "diou_nms", "cluster_nms", "soft_nms", "variance_voting"])
@pytest.mark.parametrize(("dtype", "count"), [(torch.bfloat16, 600), (torch.float16, 2100)])
def test_more_boxes_than_a_narrow_type_can_count(name: str, dtype: torch.dtype, count: int) -> None:
    if name != "cluster_nms":
        count = 300  # picked one at a time
    boxes, scores = disjoint(count)
    more = {"log_variance": torch.zeros(count, 4)} if name == "variance_voting" else {}
    with torch.autocast("cpu", dtype):
        for given in (scores, scores.clone().requires_grad_()):
            found = getattr(ops, name)(boxes, given, **more, max_output=count)
            assert found[0].tolist() == list(range(count))
            assert int(found[-1]) == count
