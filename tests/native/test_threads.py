"""Several threads, in the library and outside of it."""

import os
import signal
import threading
from dataclasses import replace

import pytest

from lossexport.runtime import native
from tests.native.calls import KERNELS, OK, UNKNOWN_OP, call

pytestmark = pytest.mark.skipif(not KERNELS, reason="no library of native kernels")
SIZES = {"N": 700, "M": 300, "C": 20, "K": 900}


def results(kernel):
    good = call(kernel, SIZES)
    assert good.run() == (OK, "")
    return {name: array.tobytes() for name, array in good.written.items()}


@pytest.fixture
def threads():
    """Set the number of threads; all of them afterwards."""
    yield native.library().lossexport_set_threads
    native.library().lossexport_set_threads(0)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_number_of_threads_changes_no_bit(kernel, threads):
    expected = results(kernel)
    for count in (1, 2, 7, 64, -1, 2**31 - 1, -(2**31)):
        threads(count)
        assert results(kernel) == expected, count


def test_callers_do_not_disturb_each_other():
    expected = {kernel: results(kernel) for kernel in KERNELS}
    wrong = []

    def work(offset):
        for kernel in KERNELS[offset:] + KERNELS[:offset]:
            code, message = replace(call("box_iou"), kernel=f"thread {offset}").run()
            if results(kernel) != expected[kernel]:
                wrong.append(kernel)
            if code != UNKNOWN_OP or f"thread {offset}:" not in message:
                wrong.append(message)

    workers = [threading.Thread(target=work, args=(offset,)) for offset in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_computes_too():
    """As in the workers of a data loader, whose parent has used the library."""
    expected = results("pairwise_ciou")
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # ends a child that hangs
        os._exit(0 if results("pairwise_ciou") == expected else 1)
    assert os.waitpid(child, 0)[1] == 0
