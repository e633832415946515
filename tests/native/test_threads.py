"""Several threads, in the library and outside of it."""

import ctypes
import os
import signal
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from lossexport.runtime import native
from tests.native.calls import KERNELS, OK, UNKNOWN_OP, Call, call, declared

pytestmark = pytest.mark.skipif(not KERNELS, reason="no library of native kernels")
SIZES = {"N": 700, "M": 300, "C": 20, "K": 900}


def results(kernel: str, threads: int = 0, sizes: Mapping[str, int] = SIZES) -> dict[str, bytes]:
    good = replace(call(kernel, sizes), threads=threads)
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


Work = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
Team = ctypes.CFUNCTYPE(None, Work, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)


def on_team(good: Call, team: "ctypes._FuncPointer") -> dict[str, bytes]:
    address = ctypes.cast(team, ctypes.c_void_p).value
    assert good.kernel
    values = [good.arrays[t.name] for t in declared(good.kernel)["inputs"]]
    native.run(good.kernel, {}, values, list(good.written.values()), 3, address)
    return {name: array.tobytes() for name, array in good.written.items()}


@pytest.mark.parametrize("most", [1, 3])
def test_threads_of_the_caller(most: int) -> None:
    """A team may have fewer threads than were asked for; all tasks are done all the same."""
    asked: list[tuple[int, int]] = []

    def team(work: Callable[[int], None], context: int, threads: int, flags: int) -> None:
        asked.append((threads, flags))
        others = [threading.Thread(target=work, args=(context,)) for _ in range(most - 1)]
        for other in others:
            other.start()
        work(context)
        for other in others:
            other.join()

    sizes = {"N": 2000, "C": 80}
    expected = results("sigmoid_focal_loss", sizes=sizes)
    assert on_team(call("sigmoid_focal_loss", sizes), Team(team)) == expected
    assert asked == [(3, 0)]
    expected = results("box_iou")
    assert on_team(call("box_iou", SIZES), Team(team)) == expected
    assert len(asked) == 1, "too little work for two threads"
