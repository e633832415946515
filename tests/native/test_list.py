"""The list of ops in the library says of each of them what the catalogue says."""

from dataclasses import replace
from itertools import count, takewhile
from typing import Any

import numpy as np
import pytest

from lossexport.catalog import CATALOG
from lossexport.catalog.spec import Attribute, Tensor
from lossexport.runtime import native
from lossexport.runtime.native import CAttribute
from tests.native.calls import BAD_ARGUMENT, BAD_TENSOR, KERNELS, OK, Call, call, declared, op_of

pytestmark = pytest.mark.skipif(not KERNELS, reason="no library of native kernels")
every_kernel = pytest.mark.parametrize("kernel", KERNELS)

TYPES = {"float": "the float type of the other tensors", "float32": "1", "int64": "4", "bool": "5"}


def tensors_of(kernel: str) -> list[tuple[str, int, Tensor]]:
    return [
        (kind, index, tensor)
        for kind, tensors in declared(kernel).items()
        for index, tensor in enumerate(tensors)
    ]


def attributes_of(kernel: str) -> list[tuple[int, Attribute]]:
    return list(enumerate(op_of(kernel).attributes))


def with_attribute(good: Call, place: int, value: float | CAttribute) -> Call:
    attributes = list(good.attributes)
    attributes[place] = value
    return replace(good, attributes=attributes)


def test_names() -> None:
    """Ops of the catalogue, each once, its gradient right behind it where it has one."""
    entries = map(native.library().lossexport_op, count())
    found = [entry.decode() for entry in takewhile(lambda entry: entry is not None, entries)]
    ops = [name for name in found if not name.endswith(".grad")]
    assert found == [
        name for op in ops for name in [op, f"{op}.grad"][: 2 if CATALOG[op].gradient else 1]
    ]
    assert len(set(ops)) == len(ops)


@every_kernel
def test_tensors_by_name_rank_and_type(kernel: str) -> None:
    good = call(kernel)
    for kind, index, tensor in tensors_of(kernel):
        assert good.with_tensor(kind, index, rank=7).refused() == (
            BAD_TENSOR,
            f"{kernel}: {tensor.name} has rank 7, expected {len(tensor.shape)}",
        )
        assert good.with_tensor(kind, index, type=7).refused() == (
            BAD_TENSOR,
            f"{kernel}: {tensor.name} has type 7, expected {TYPES[tensor.dtype]}",
        )


@every_kernel
def test_dimensions(kernel: str) -> None:
    """Each is a size of its own, one number, or an attribute, in all the tensors that have it."""
    good = call(kernel)
    tensors = tensors_of(kernel)
    attributes = [item.name for item in op_of(kernel).attributes]
    for dim in {dim for _, _, tensor in tensors for dim in tensor.shape}:
        having = [entry for entry in tensors if dim in entry[2].shape]
        kind, index, first = having[0]
        axis = first.shape.index(dim)
        size = getattr(good, kind)[index].shape[axis]
        larger = call(kernel, {dim: size + 1})
        if isinstance(dim, int):
            problem = f"{first.name} has size {dim + 1} on axis {axis}, expected {dim}"
            assert larger.refused() == (BAD_TENSOR, f"{kernel}: {problem}")
        elif dim in attributes:
            problem = f"attribute {dim} is {size}, the tensors have {size + 1}"
            assert larger.refused() == (BAD_ARGUMENT, f"{kernel}: {problem}")
        else:
            assert larger.run() == (OK, "")
        if len(having) == 1:
            continue
        for kind, index, _ in having:
            given = list(getattr(good, kind))
            given[index] = getattr(larger, kind)[index]
            changes: dict[str, Any] = {kind: given}
            code, message = replace(good, **changes).refused()
            assert code == BAD_TENSOR
            assert " has size " in message


@every_kernel
def test_attributes_by_name_and_choices(kernel: str) -> None:
    good = call(kernel)
    sizes = {dim for _, _, tensor in tensors_of(kernel) for dim in tensor.shape}
    for place, item in attributes_of(kernel):
        code, message = with_attribute(good, place, np.nan).refused()
        problem = f"attribute {item.name} is not a finite number"
        assert (code, message) == (BAD_ARGUMENT, f"{kernel}: {problem}")
        if item.choices:
            beyond = len(item.choices)
            problem = f"attribute {item.name} is {beyond}, expected a choice below {beyond}"
            code, message = with_attribute(good, place, beyond).refused()
            assert (code, message) == (BAD_ARGUMENT, f"{kernel}: {problem}")
            for choice, value in enumerate(item.choices):
                named = call(kernel, attributes={item.name: value})
                assert with_attribute(named, place, choice).run() == (OK, "")
        elif item.name not in sizes:
            # Where there may be several numbers, one is for all of them.
            default: Any = item.default
            assert with_attribute(good, place, np.ravel(default)[0] + 0.25).run() == (OK, "")


@pytest.mark.parametrize(
    "kernel", [k for k in KERNELS if any(a.name == "reduction" for a in op_of(k).attributes)]
)
def test_a_reduction_makes_one_number_of_the_values_alone(kernel: str) -> None:
    place = [item.name for item in op_of(kernel).attributes].index("reduction")
    several, single = call(kernel), call(kernel, attributes={"reduction": "mean"})
    value = op_of(kernel).outputs[0]
    assert with_attribute(several, place, 1).refused() == (
        BAD_TENSOR,
        f"{kernel}: {value.name} has rank {len(value.shape)}, expected 0",
    )
    assert with_attribute(single, place, 0).refused() == (
        BAD_TENSOR,
        f"{kernel}: {value.name} has rank 0, expected {len(value.shape)}",
    )


def test_a_list_of_any_length() -> None:
    """Weights of as many models as there are, which no tensor tells."""
    good = call("weighted_boxes_fusion", attributes={"weights": (0.5, 2.0, 1.0)})
    place = [item.name for item in op_of("weighted_boxes_fusion").attributes].index("weights")
    assert good.run() == (OK, "")
    for weights, problem in (
        ((), "has 0 numbers, expected 1"),
        ((1.0, np.inf), "is not of finite numbers"),
    ):
        bad = with_attribute(good, place, CAttribute.of("weights", weights))
        message = f"weighted_boxes_fusion: attribute weights {problem}"
        assert bad.refused() == (BAD_ARGUMENT, message)


@pytest.mark.parametrize("kernel", [name for name in KERNELS if name.startswith("ghm")])
def test_bins_beyond_their_bounds(kernel: str) -> None:
    place, item = attributes_of(kernel)[0]
    assert item.name == "bins"
    for bins in (int(item.minimum) - 1, int(item.maximum) + 1):
        bad = with_attribute(call(kernel, {"bins": bins}), place, bins)
        problem = f"the tensors have {bins} bins, expected {item.minimum} to {item.maximum}"
        assert bad.refused() == (BAD_TENSOR, f"{kernel}: {problem}")
