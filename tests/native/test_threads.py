"""Several threads, in the library and outside of it."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.native.calls import KERNELS, OK, UNKNOWN_OP, call

pytestmark = pytest.mark.skipif(not KERNELS, reason="no library of native kernels")
SIZES = {"N": 700, "M": 300, "C": 20, "K": 900}


def results(kernel: str, threads: int = 0) -> dict[str, bytes]:
    good = replace(call(kernel, SIZES), threads=threads)
    assert good.run() == (OK, "")
    return {name: array.tobytes() for name, array in good.written.items()}


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_number_of_threads_changes_no_bit(kernel: str) -> None:
    expected = results(kernel)
    for count in (1, 2, 7, 64, -1, 2**31 - 1, -(2**31)):
        assert results(kernel, count) == expected, count


def test_callers_do_not_disturb_each_other() -> None:
    expected = {kernel: results(kernel) for kernel in KERNELS}
    workers = 6

    def work(offset: int) -> None:
        for kernel in KERNELS[offset:] + KERNELS[:offset]:
            code, message = replace(call("box_iou"), kernel=f"thread {offset}").run()
            assert results(kernel) == expected[kernel]
            assert code == UNKNOWN_OP
            assert f"thread {offset}:" in message

    with ThreadPoolExecutor(workers) as pool:
        assert len(list(pool.map(work, range(workers)))) == workers


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_computes_too() -> None:
    """As in the workers of a data loader, whose parent has used the library."""
    expected = results("pairwise_ciou")
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # ends a child that hangs
        os._exit(0 if results("pairwise_ciou") == expected else 1)
    assert os.waitpid(child, 0)[1] == 0
