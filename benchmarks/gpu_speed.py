"""The kernels on a device against PyTorch on the same one, and against the bandwidth of a copy.

Calls of PyTorch are timed one after another as a program makes them, launches included.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from lossexport.catalog.launch import Launch
from lossexport.catalog.variant import Variant
from lossexport.errors import one_line
from lossexport.kernels import kernels
from lossexport.parity.cases import Case
from lossexport.parity.oracle import function, tensors
from tests.kernels import launching
from tests.kernels.device import Device
from tests.kernels.launching import Arguments

ROUNDS = 5
BATCH = 10
_SLOW_MS = 100.0
_COPIED = 2**28
_SIDE, _QUADRATIC, _LINE, _ROWS, _CLASSES = 2048, 4096, 2**20, 2**15, 80


class Stopwatch:
    """A launcher that also adds up how long the launches take on the device."""

    def __init__(self, device: Device) -> None:
        self.device, self.milliseconds = device, 0.0

    def __call__(
        self, launch: Launch, macros: Mapping[str, str], grid: tuple[int, ...], given: Arguments
    ) -> None:
        """Launch once, then as often as is timed: a kernel writes the same again."""
        with self.device.placed(launch, macros, grid, given) as start:
            start()
            self.milliseconds += self.device.milliseconds(start, BATCH)


def speed(variant: Variant, device: Device, small: bool) -> dict[str, Any]:
    """Times of a variant in turns, as ratios: other contenders over the kernel, and of a copy.

    A contender that cannot run has its reason in place of a number.
    """
    wanted = sizes(variant, small)
    case = Case(next(iter(variant.op.samplers)), tuple(wanted.items()), 0)
    inputs = launching.rounded(variant, case.inputs(variant))
    outputs = launching.run(variant, inputs, device)

    def kernel() -> float:
        watch = Stopwatch(device)
        launching.run(variant, inputs, watch)
        return watch.milliseconds

    # Those of PyTorch are on the CPU where no GPU takes part.
    place = "cpu" if small else "cuda"
    contenders: dict[str, Callable[[], float]] = {"kernel": kernel}
    reasons: dict[str, str] = {}
    if place == "cuda" and not torch.cuda.is_available():
        reasons = dict.fromkeys(("eager", "compiled"), "not run here: this torch has no CUDA")
    else:
        given = [x.to(place) for x in tensors(variant, inputs)]
        eager = function(variant)
        contenders["eager"] = lambda: _torch_ms(eager, given)
        if place == "cpu":
            reasons["compiled"] = "not run here: no CUDA"
        else:
            torch.compiler.reset()  # it gives up after some functions of one process
            compiled = torch.compile(eager)
            try:
                compiled(*given)
                contenders["compiled"] = lambda: _torch_ms(compiled, given)
            except Exception as error:  # without a host compiler it says so in many ways
                reasons["compiled"] = f"not run here: {one_line(error)[:200]}"
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, contender in contenders.items():
            times[name].append(contender())
    medians = {name: statistics.median(row) for name, row in times.items()}
    own = medians.pop("kernel")
    moved = sum(array.nbytes for array in (*inputs.values(), *outputs.values()))
    copied = bandwidth(device, small)
    return {
        "sizes": ", ".join(f"{dim} {size:,}" for dim, size in wanted.items()),
        "kernel_ms": own,
        **{name: median / own for name, median in medians.items()},
        **reasons,
        "moved_bytes": moved,
        "copy_gbs": copied,
        "of_copy": moved / own / 1e6 / copied,
    }


def bandwidth(device: Device, small: bool) -> float:
    """GB/s that a copy within the device reads and writes together."""
    size = 2**20 if small else _COPIED
    source, target = (device.allocate(size) for _ in range(2))
    try:
        copy = partial(device.copy, target, source, size)
        return 2 * size / min(device.milliseconds(copy, BATCH) for _ in range(ROUNDS)) / 1e6
    finally:
        device.free(source)
        device.free(target)


def sizes(variant: Variant, small: bool) -> dict[str, int]:
    """Sizes at which a GPU is busy, within what the kernels and the catalogue serve."""
    limits = [kernel.launch.largest for kernel in kernels(variant.op, variant.gradient)]
    others = [dim for dim in variant.ranges if dim != "C"]
    if len(others) > 1:
        side = _SIDE
    elif variant.op.work or any(limits):
        side = _QUADRATIC
    else:
        side = _ROWS if "C" in variant.ranges else _LINE
    found = {}
    for dim, allowed in variant.ranges.items():
        size = 17 if small else _CLASSES if dim == "C" else side
        # A kernel takes more than the catalogue exports for, but others may need N x N.
        own = allowed.max if variant.op.work or dim == "C" else size
        most = min(size, own, *(limit.get(dim, size) for limit in limits))
        found[dim] = max(most, allowed.min)
    return found


def _torch_ms(call: Callable[..., Any], given: list[torch.Tensor]) -> float:
    """Milliseconds of a call, by the device's clock where it has one."""
    if given[0].device.type == "cpu":
        begin = time.perf_counter()
        call(*given)
        return 1e3 * (time.perf_counter() - begin)

    def batch(count: int) -> float:
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        for _ in range(count):
            call(*given)
        last.record()
        last.synchronize()
        return float(first.elapsed_time(last)) / count

    once = batch(1)
    return once if once > _SLOW_MS else batch(BATCH)
