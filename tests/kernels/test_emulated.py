"""Every kernel, every thread of its launch, on the CPU: against eager PyTorch in float64."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lossexport.catalog import CATALOG
from lossexport.catalog.launch import Launch
from lossexport.catalog.variant import Variant
from lossexport.kernels import declared
from tests.kernels import launching
from tests.kernels.emulation import LaunchError, emulate
from tests.kernels.launching import BFLOAT16, GUARD, UNWRITTEN, Memory


def parameters(*precisions: Any) -> list[Any]:
    return [
        pytest.param(variant, id=launching.label(variant))
        for precision in precisions
        for variant in launching.variants(precision)
    ]


def narrow() -> list[Any]:
    """Every kernel in a narrow type, in both with its defaults; but for one, in the slow tests."""
    first, *others = (
        case
        for case in parameters("fp16", "bf16")
        if case.values[0].precision == "fp16" or case.values[0] == defaults(case.values[0])
    )
    slow = (pytest.param(*case.values, id=case.id, marks=pytest.mark.slow) for case in others)
    return [first, *slow]


def sizes() -> list[Any]:
    """Every kernel of a value; gradients, and other attributes, in the slow tests."""
    return [
        pytest.param(
            *case.values,
            id=case.id,
            marks=() if case.values[0] == plain(case.values[0]) else pytest.mark.slow,
        )
        for case in parameters("fp32")
    ]


def defaults(variant: Variant) -> Variant:
    return Variant.make(variant.op, {}, variant.precision, variant.gradient)


def plain(variant: Variant) -> Variant:
    return Variant.make(variant.op, {}, variant.precision)


@pytest.mark.parametrize("variant", sizes())
def test_every_size(variant: Variant) -> None:
    for case in launching.cases(variant):
        launching.compare(variant, case, emulate)


@pytest.mark.parametrize("variant", narrow())
def test_narrow_boundaries(variant: Variant) -> None:
    families = list(variant.op.samplers)
    # A little more than one tile, in every family.
    for case in list(launching.cases(variant))[-len(families) - 2 : -2]:
        launching.compare(variant, case, emulate)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_grid_of_one_block_fewer_is_found_out(axis: int) -> None:
    variant = Variant.make(CATALOG["pairwise_iou"])
    kernel = declared()[variant.node_type]
    sizes = {"N": 17, "M": 257}
    boxes = {
        name: np.zeros((size, 4), np.float32)
        for name, size in zip(("pred", "target"), sizes.values(), strict=True)
    }
    grid = list(kernel.launch.grid(sizes))
    whole = launching.launch(kernel, variant, boxes, emulate, tuple(grid))
    assert whole["score"].shape == (17, 257)
    grid[axis] -= 1
    with pytest.raises(AssertionError, match=f"score: {(17, 257)[axis]} elements were not written"):
        launching.launch(kernel, variant, boxes, emulate, tuple(grid))


def test_a_result_may_look_like_what_was_there_before() -> None:
    variant = Variant.make(CATALOG["encode_boxes"], precision="bf16")
    same = np.array([UNWRITTEN * 257], np.uint16).view(BFLOAT16)[0]  # -4.2e37
    boxes = np.array([[-1, -1, 1, 1]], BFLOAT16)
    far = boxes + np.array([2 * same, 0, 2 * same, 0], BFLOAT16)
    deltas = launching.run(variant, {"boxes": far, "anchors": boxes}, emulate)["deltas"]
    assert deltas[0, 0] == same


def launched(folder: Path, text: str) -> Memory:
    """What a kernel of two blocks of four threads leaves of nine floats."""
    source = f"{zlib.crc32(text.encode())}.cuh"
    (folder / source).write_text("LX_KERNEL void probe(int n, float *out) {" + text + "}")
    launch = Launch(source, "probe", lambda n: (2,), 4, lambda n: (9,), lambda given: {})
    out = Memory((9,), np.dtype(np.float32))
    emulate(launch, {}, (2,), [9, out], folder)
    return out


PLACE = "const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);"


def test_every_thread_of_every_block_runs(tmp_path: Path) -> None:
    out = launched(tmp_path, PLACE + "out[i] = i; if (i == 7) out[8] = gridDim.x;")
    assert out.tensor.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 2]
    out.check("out")


def test_threads_wait_for_each_other(tmp_path: Path) -> None:
    out = launched(
        tmp_path,
        PLACE + "LX_SHARED float row[4]; row[threadIdx.x] = i; LX_SYNC();"
        "out[i] = row[3 - threadIdx.x]; if (i == 0) out[8] = -1;",
    )
    assert out.tensor.tolist() == [3, 2, 1, 0, 7, 6, 5, 4, -1]


def test_shared_memory_starts_as_garbage(tmp_path: Path) -> None:
    out = launched(tmp_path, PLACE + "LX_SHARED float row[4]; out[i] = row[threadIdx.x];")
    garbage = np.full(4, 0xA5, np.uint8).view(np.float32)[0]
    assert out.tensor[:8].tolist() == [garbage] * 8


@pytest.mark.parametrize(
    "text",
    [
        "if (threadIdx.x < 2) LX_SYNC();",
        "if (threadIdx.x == 3) return; LX_SYNC();",
        "if (threadIdx.x == 0) {\nLX_SYNC();\n} else {\nLX_SYNC();\n}",
    ],
)
def test_threads_that_part_at_a_barrier_are_found_out(tmp_path: Path, text: str) -> None:
    with pytest.raises(LaunchError, match=r"block 0,0: thread 0 is at line \d, thread \d is at"):
        launched(tmp_path, text)


@pytest.mark.parametrize(
    ("step", "expected"),
    [("+ (i % 4 < 3)", [1, 2, 3, 3, 5, 6, 7, 7]), ("- (i % 4 > 0)", [0, 0, 1, 2, 4, 4, 5, 6])],
)
def test_a_missing_barrier_is_found_out(tmp_path: Path, step: str, expected: list[int]) -> None:
    def rows(before: str, between: str) -> list[float]:
        text = "LX_SHARED float row[4]; row[threadIdx.x] = -1; LX_SYNC();" + before
        text += "row[threadIdx.x] = i;" + between + f"out[i] = row[threadIdx.x {step}];"
        return launched(tmp_path, PLACE + text).tensor[:8].tolist()

    sync = "LX_SYNC();"
    right = rows("", sync)
    assert right == expected
    # Without it right by luck at one parity of the barriers before, wrong at the other.
    assert [rows("", ""), rows(sync, "")].count(right) == 1


@pytest.mark.parametrize("place", [-1, 9])
def test_writing_beside_a_tensor_is_found_out(tmp_path: Path, place: int) -> None:
    out = launched(tmp_path, PLACE + f"out[i] = i; out[8] = 8; out[{place}] = 1;")
    with pytest.raises(AssertionError, match="out: written outside of the tensor"):
        out.check("out")
    assert (out.raw[:GUARD] == UNWRITTEN).all() == (place == 9)
