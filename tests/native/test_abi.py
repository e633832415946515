"""The C ABI: whatever comes in, a code and a message come out, and never a crash."""

import ctypes
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossexport.runtime import native
from lossexport.runtime.native import CAttribute
from tests.native.calls import (
    BAD_ARGUMENT,
    BAD_TENSOR,
    BOOL,
    KERNELS,
    OK,
    SENTINEL,
    TOO_LARGE,
    UNKNOWN_OP,
    Call,
    call,
    op_of,
)

pytestmark = pytest.mark.skipif(not KERNELS, reason="no library of native kernels")
every_kernel = pytest.mark.parametrize("kernel", KERNELS)

BIG = 2**31
NUMBERS = (0.0, -1.0, 0.5, 1e-300, 1e300, -1e300, 2.0**31, 2.0**63, 2.0**64)


def tensors_of(good: Call) -> list[tuple[str, int]]:
    return [("inputs", i) for i in range(good.counts[1])] + [
        ("outputs", i) for i in range(good.counts[2])
    ]


def test_the_library_says_what_it_is() -> None:
    library = native.library()
    assert library.lossexport_abi() == native.ABI
    level = library.lossexport_level().decode()
    assert level in ("x86-64-v4", "x86-64-v3", "x86-64", "aarch64", "generic")
    assert all(library.lossexport_op(i) is None for i in (-1, -BIG, len(KERNELS), BIG - 1))
    assert {op_of(kernel).name for kernel in KERNELS} >= {"box_ciou", "pairwise_ciou", "nms"}


@every_kernel
def test_a_right_call_writes_every_output(kernel: str) -> None:
    good = call(kernel)
    assert good.run() == (OK, "")
    for name, array in good.written.items():
        assert not (array == SENTINEL).any(), name


@every_kernel
def test_no_elements(kernel: str) -> None:
    """N of 0, without memory behind it."""
    op = op_of(kernel)
    empty = call(kernel, dict.fromkeys(("N", "M", "K"), 0) if op.dims.keys() - {"C"} else {})
    for kind, index in tensors_of(empty):
        if getattr(empty, kind)[index].bytes == 0:
            empty = empty.with_tensor(kind, index, data=None)
    assert empty.run() == (OK, "")
    for name, array in empty.written.items():
        assert not (array == SENTINEL).any(), name


def test_ops_that_are_not_there() -> None:
    good = call("box_iou")
    for name in ("", "box_iou ", "BOX_IOU", "box_iou.grad", "x" * 100_000, "%s%n"):
        code, message = replace(good, kernel=name).refused()
        assert code == UNKNOWN_OP
        assert len(message) < 512
    assert replace(good, kernel=None).refused()[0] == BAD_ARGUMENT


@every_kernel
def test_null_pointers(kernel: str) -> None:
    good = call(kernel)
    # An op without attributes looks at none.
    for name in ("attributes", "inputs", "outputs")[not good.counts[0] :]:
        null: dict[str, Any] = {name: None}
        code, message = replace(good, **null).refused()
        assert code == BAD_ARGUMENT
        assert message.startswith(f"{kernel}: ")
    for kind, index in tensors_of(good):
        assert good.with_tensor(kind, index, data=None).refused()[0] == BAD_ARGUMENT


@every_kernel
def test_too_few_and_too_many(kernel: str) -> None:
    good = call(kernel)
    for place in range(3):
        right = good.counts[place]
        fewer = {0, right - 1} if place else set()  # attributes have defaults
        for count in {*fewer, right + 1, -1, -BIG, BIG - 1} - {right}:
            counts = list(good.counts)
            counts[place] = count
            assert replace(good, counts=tuple(counts)).refused()[0] == BAD_ARGUMENT


@every_kernel
def test_memory_that_is_short_or_misaligned(kernel: str) -> None:
    good = call(kernel)
    for kind, index in tensors_of(good):
        tensor = getattr(good, kind)[index]
        for room in (0, 1, tensor.bytes - 1):
            code, message = good.with_tensor(kind, index, bytes=room).refused()
            assert code == BAD_TENSOR
            assert f"{room} bytes" in message
        for off in (1, 2, 3) if tensor.type != BOOL else ():
            moved = good.with_tensor(kind, index, data=tensor.data + off)
            assert moved.refused()[0] == BAD_TENSOR


@every_kernel
def test_types_and_ranks(kernel: str) -> None:
    good = call(kernel)
    for kind, index in tensors_of(good):
        tensor = getattr(good, kind)[index]
        for number in {0, 1, 2, 3, 4, 5, -1, -BIG, BIG - 1} - {tensor.type}:
            assert good.with_tensor(kind, index, type=number).refused()[0] == BAD_TENSOR
        for rank in {0, 1, 2, 3, 64, -1, -BIG, BIG - 1} - {tensor.rank}:
            assert good.with_tensor(kind, index, rank=rank).refused()[0] == BAD_TENSOR


@every_kernel
def test_strides(kernel: str) -> None:
    good = call(kernel)
    for kind, index in tensors_of(good):
        tensor = getattr(good, kind)[index]
        for axis in range(tensor.rank):
            for stride in (0, -1, tensor.strides[axis] + 1, 2**32 + tensor.strides[axis], 2**62):
                strides = list(tensor.strides)
                strides[axis] = stride
                assert good.with_tensor(kind, index, strides=strides).refused()[0] == BAD_TENSOR


@every_kernel
def test_shapes(kernel: str) -> None:
    good = call(kernel)
    for kind, index in tensors_of(good):
        tensor = getattr(good, kind)[index]
        for axis in range(tensor.rank):
            size = tensor.shape[axis]
            for wrong in (-1, -(2**31), -(2**63), size + 2**31, size + 2**32, 2**62, 2**63 - 1):
                shape = list(tensor.shape)
                shape[axis] = wrong
                bad = good.with_tensor(kind, index, shape=shape, bytes=2**64 - 1)
                assert bad.refused()[0] in (BAD_TENSOR, TOO_LARGE)


OVERFLOWS = [("best_match", 2**29, 4)] + [
    (kernel, *sizes)
    for kernel in KERNELS
    if kernel.startswith("pairwise")
    for sizes in ((2**16, 2**16), (2**29 - 1, 2**29 - 1), (2**29, 4))
]


@pytest.mark.parametrize(("kernel", "n", "m"), OVERFLOWS)
def test_products_that_overflow(kernel: str, n: int, m: int) -> None:
    """Each size is possible, or nearly; not all that has to be counted, in 32 or 64 bits."""
    bad = call(kernel)
    for kind, index in tensors_of(bad):
        tensor = getattr(bad, kind)[index]
        sizes = {5: n, 3: m}
        counted = 1 if kind == "inputs" else 2  # columns of boxes are no sizes
        shape = [sizes.get(x, x) if i < counted else x for i, x in enumerate(tensor.shape)]
        strides = [shape[1], 1, 0] if tensor.rank == 2 else [1, 0, 0]
        bad = bad.with_tensor(kind, index, shape=shape, strides=strides, bytes=2**64 - 1)
    assert bad.refused()[0] == TOO_LARGE


@every_kernel
def test_attributes_that_are_no_numbers(kernel: str) -> None:
    good = call(kernel)
    for place in range(good.counts[0]):
        for value in (np.nan, np.inf, -np.inf):
            attributes = list(good.attributes)
            attributes[place] = value
            assert replace(good, attributes=attributes).refused()[0] == BAD_ARGUMENT


@every_kernel
def test_attributes_beyond_their_bounds_do_no_harm(kernel: str) -> None:
    good = call(kernel)
    for place in range(good.counts[0]):
        for value in NUMBERS:
            attributes = list(good.attributes)
            attributes[place] = value
            code, message = replace(good, attributes=attributes).run()
            assert (code == OK) == (message == "")


def named(good: Call, **given: Any) -> Call:
    """The same call with these attributes alone."""
    attributes = [CAttribute.of(name, value) for name, value in given.items()]
    return replace(good, attributes=attributes, counts=(len(attributes), *good.counts[1:]))


@every_kernel
def test_attributes_by_name_in_any_order(kernel: str) -> None:
    """By position, by name and left out where they have their defaults: the same bits."""
    op = op_of(kernel)
    values = op.resolve({"max_output": 6} if "max_output" in op.resolve({}) else {})
    results = []
    for order in (None, list(values), list(reversed(values)), []):
        good = call(kernel)
        if order is not None:
            good = named(good, **{name: values[name] for name in order})
        assert good.run() == (OK, "")
        results.append({name: array.tobytes() for name, array in good.written.items()})
    assert all(result == results[0] for result in results)


def test_attributes_that_are_wrong_by_name() -> None:
    voting = call("variance_voting", attributes={"max_output": 6})
    for values, problem in (
        ({"threshold": 0.5}, "there is no attribute threshold"),
        ({"%s%n": 0.5}, "there is no attribute %s%n"),
        ({"x" * 9999: 0.5}, f"there is no attribute {'x' * 64}"),
        ({"sigma_t": "soft"}, 'attribute sigma_t is "soft", which is no choice'),
        ({"method": "Soft"}, 'attribute method is "Soft", which is no choice'),
        ({"method": 2.0}, "attribute method is 2, expected a choice below 2"),
        ({"sigma_t": (0.1, 0.2)}, "attribute sigma_t is a list, expected a number"),
        ({"sigma_t": np.nan}, "attribute sigma_t is not a finite number"),
        ({"max_output": 7.0}, "attribute max_output is 7, the tensors have 6"),
    ):
        code, message = named(voting, **values).refused()
        assert (code, message) == (BAD_ARGUMENT, f"variance_voting: {problem}")
    twice = [CAttribute(None, 0.0), CAttribute.of("method", "hard")]
    bad = replace(voting, attributes=twice, counts=(2, *voting.counts[1:]))
    assert bad.refused() == (BAD_ARGUMENT, "variance_voting: attribute method is given twice")


def test_a_choice_by_its_name_is_that_choice() -> None:
    op = op_of("best_match")
    choices = op.attributes[0].choices
    assert choices == ("iou", "giou", "diou", "ciou")
    for place, name in enumerate(choices):
        by_name, by_place = (call("best_match") for _ in range(2))
        assert named(by_name, metric=name).run() == (OK, "")
        assert replace(by_place, attributes=[float(place), 1e-7]).run() == (OK, "")
        for output, array in by_name.written.items():
            assert array.tobytes() == by_place.written[output].tobytes()


@pytest.mark.parametrize("kernel", [k for k in KERNELS if "max_output" in {
    item.name for item in op_of(k).attributes}])  # fmt: skip
@pytest.mark.parametrize("room", [0.0, -1.0, 5.0, 7.0, 5.5, 1e300])
def test_room_for_the_output_is_what_the_attribute_says(kernel: str, room: float) -> None:
    good = call(kernel, {"N": 9})
    place = [item.name for item in op_of(kernel).attributes].index("max_output")
    attributes = list(good.attributes)
    attributes[place] = room
    assert replace(good, attributes=attributes).refused()[0] in (BAD_ARGUMENT, BAD_TENSOR)


@pytest.mark.parametrize("value", [-1.0, 0.5, 2.0, 4.0, 1e300])
def test_choices_that_there_are_not(value: float) -> None:
    good = call("cluster_nms")
    attributes = [*good.attributes[:-1], value]
    assert replace(good, attributes=attributes).refused()[0] == BAD_ARGUMENT


floats = st.one_of(
    st.floats(width=32), st.sampled_from([0.0, -0.0, 1.0, 1e-45, 3e38, -3e38, 0.5, 100.0])
)


@every_kernel
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_bits_in_the_inputs(kernel: str, data: st.DataObject) -> None:
    """NaN, infinity, labels out of range: no crash, nothing beside the outputs is written."""
    dims = {name: data.draw(st.integers(0, 40)) for name in op_of(kernel).dims}
    dtype = data.draw(st.sampled_from(["float32", "float16", "uint16"]))
    good = call(kernel, {name: max(size, 1) for name, size in dims.items()}, dtype=dtype)
    seed = data.draw(st.integers(0, 2**32 - 1))
    pool = np.array(data.draw(st.lists(floats, min_size=1, max_size=8)), np.float32)
    rng = np.random.default_rng(seed)
    for array in good.arrays.values():
        if array.dtype == np.int64:
            array[...] = rng.choice([-(2**63), -2, -1, 0, 1, 2, 2**63 - 1], array.shape)
        elif array.dtype == np.uint16:
            array[...] = rng.integers(0, 2**16, array.shape)
        else:
            with np.errstate(over="ignore"):
                array[...] = rng.choice(pool, array.shape)
    before = {name: array.tobytes() for name, array in good.arrays.items()}
    guarded = []
    for index, (name, array) in enumerate(good.written.items()):
        padded = np.full(array.size + 64, SENTINEL, array.dtype)
        guarded.append(padded)
        address = padded.ctypes.data + 32 * padded.itemsize
        good = good.with_tensor("outputs", index, data=address)
        assert good.outputs[index].bytes == array.nbytes, name
    code, message = good.run()
    assert (code, message) == (OK, "")
    for padded in guarded:
        assert (padded[:32] == SENTINEL).all()
        assert (padded[-32:] == SENTINEL).all()
    assert {name: array.tobytes() for name, array in good.arrays.items()} == before


def test_the_structures_are_those_of_the_header() -> None:
    """8 + 8 + 4 + 4 + 24 + 24 bytes and five of 8, as C lays them out."""
    assert ctypes.sizeof(native.CTensor) == 72
    assert native.CTensor.shape.offset == 24
    assert ctypes.sizeof(native.CAttribute) == 40
