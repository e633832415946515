"""Pairwise CIoU in every form a user could run it, timed side by side in one process."""

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from lossexport import ops
from lossexport.catalog import find
from lossexport.catalog.draw_boxes import random_boxes
from lossexport.catalog.variant import Variant
from lossexport.exporter.onnx_file import onnx_bytes
from lossexport.exporter.trace import quiet
from lossexport.files import write_bytes
from lossexport.runtime import available, load

SIZES = (64, 512, 2048, 4096)
# Seconds that one contender may take at one size, after its warm-up run.
_BUDGET_S = 3.0
_MIN_RUNS, _MAX_RUNS = 3, 50

Runner = Callable[[], Any]


def naive_pairwise_ciou(pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Pairwise CIoU over [N,M,2] tensors, the way most repositories write it: a baseline only."""
    eps = 1e-7
    low = torch.max(pred[:, None, :2], target[None, :, :2])
    high = torch.min(pred[:, None, 2:], target[None, :, 2:])
    size = (high - low).clamp(min=0)
    inter = size[..., 0] * size[..., 1]
    area_p = (pred[:, 2] - pred[:, 0]) * (pred[:, 3] - pred[:, 1])
    area_t = (target[:, 2] - target[:, 0]) * (target[:, 3] - target[:, 1])
    iou = inter / (area_p[:, None] + area_t[None] - inter)
    outer_low = torch.min(pred[:, None, :2], target[None, :, :2])
    outer_high = torch.max(pred[:, None, 2:], target[None, :, 2:])
    outer = (outer_high - outer_low).clamp(min=0)
    diagonal = (outer**2).sum(-1) + eps
    centre_p = (pred[:, None, :2] + pred[:, None, 2:]) / 2
    centre_t = (target[None, :, :2] + target[None, :, 2:]) / 2
    distance = ((centre_p - centre_t) ** 2).sum(-1)
    side_p = pred[:, None, 2:] - pred[:, None, :2]
    side_t = target[None, :, 2:] - target[None, :, :2]
    turn = torch.atan(side_t[..., 0] / side_t[..., 1]) - torch.atan(side_p[..., 0] / side_p[..., 1])
    v = 4 / torch.pi**2 * turn**2
    return iou - distance / diagonal - v / (1 - iou + v + eps) * v


@dataclass(frozen=True, slots=True)
class Row:
    """Median milliseconds of every contender at one size; None where it cannot run."""

    size: int
    milliseconds: dict[str, float | None]


def environment() -> dict[str, str]:
    """The machine and the versions that the figures depend on."""
    return {
        "machine": platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }


def run(
    sizes: Sequence[int] = SIZES, progress: Callable[[int, int, str], None] | None = None
) -> list[Row]:
    """Time pairwise CIoU at N = M = size: eager, compiled, native, a naive export and ours."""
    with tempfile.TemporaryDirectory() as folder:
        contenders = _contenders(Path(folder))
        rows = []
        for index, size in enumerate(sizes):
            rng = np.random.default_rng(size)
            pred, target = (random_boxes(rng, size).astype(np.float32) for _ in range(2))
            times: dict[str, float | None] = {}
            for name, make in contenders.items():
                if progress:
                    progress(index, len(sizes), f"{name} {size}")
                runner = make(pred, target)
                times[name] = None if runner is None else 1e3 * _median(runner)
            rows.append(Row(size, times))
    return rows


def _contenders(folder: Path) -> dict[str, Callable[[Any, Any], Runner | None]]:
    def torch_runner(function: Callable[..., Any]) -> Callable[[Any, Any], Runner | None]:
        def make(pred: Any, target: Any) -> Runner | None:
            p, t = torch.from_numpy(pred), torch.from_numpy(target)

            def call() -> Any:
                with torch.no_grad():
                    return function(p, t)

            try:
                call()
            except Exception:  # torch.compile needs a C++ compiler, and says so in many ways
                return None
            return call

        return make

    def file_runner(path: Path, backend: str) -> Callable[[Any, Any], Runner | None]:
        if not available()[backend].runs:
            return lambda pred, target: None
        session = load(path, backend)

        def call(pred: Any, target: Any) -> None:
            session(pred=pred, target=target)

        return lambda pred, target: partial(call, pred, target)

    naive, ours = folder / "naive.onnx", folder / "ours.onnx"
    write_bytes(ours, onnx_bytes(Variant.make(find("pairwise_ciou"))))
    dims = {"pred": {0: torch.export.Dim("N")}, "target": {0: torch.export.Dim("M")}}
    with quiet():
        program = torch.onnx.export(
            _Naive(),
            (torch.rand(5, 4), torch.rand(7, 4)),
            input_names=["pred", "target"],
            output_names=["score"],
            dynamic_shapes=dims,
            verbose=False,
        )
    assert program is not None
    program.save(str(naive))
    return {
        "eager, naive": torch_runner(naive_pairwise_ciou),
        # The function itself would call the kernel.
        "eager": torch_runner(cast(Any, ops.pairwise_ciou).__wrapped__),
        "torch.compile": torch_runner(torch.compile(ops.pairwise_ciou, dynamic=True)),
        "native kernel": file_runner(ours, "native"),
        "naive export, onnxruntime": file_runner(naive, "ort"),
        "our export, onnxruntime": file_runner(ours, "ort"),
    }


class _Naive(torch.nn.Module):
    def forward(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return naive_pairwise_ciou(pred, target)


def _median(runner: Runner) -> float:
    runner()
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < _MIN_RUNS or (
        time.perf_counter() - start < _BUDGET_S and len(times) < _MAX_RUNS
    ):
        begin = time.perf_counter()
        runner()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)
