"""Time every op of the catalogue in each form that it has, on two threads.

    python benchmarks/op_by_op.py                   # writes benchmarks/results/op_by_op.*
    python benchmarks/op_by_op.py ciou_loss nms     # some ops, printed only

A row is an op on its ordinary inputs in float32, with its default attributes: the torch function in
eager PyTorch, without kernels; the exported graph in onnxruntime; the kernel alone; and the kernel
as a node in onnxruntime. Where the op has a gradient, value and gradient are timed as well. The
forms take turns; a figure is the least of its turns. Before anything is timed, the forms have to
agree.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from kernels import Array, call
from measure import RESULTS, environment, table, take_turns, write

from lossexport import arguments
from lossexport.catalog import BUILTIN
from lossexport.catalog.spec import Op
from lossexport.catalog.variant import Variant
from lossexport.exporter.onnx_file import onnx_bytes
from lossexport.files import write_bytes
from lossexport.ops import native as torch_kernels
from lossexport.parity.cases import Case
from lossexport.parity.oracle import function
from lossexport.runtime import Session, load, native

PACKAGES = ("lossexport", "numpy", "torch", "onnxruntime")
THREADS = 2
EAGER = "eager PyTorch"
BACKENDS = {
    "graph in onnxruntime": "ort",
    "kernel": "native",
    "kernel in onnxruntime": "ort-kernels",
}
SIZES = {"N": 16384, "K": 16384, "C": 80, "D": 4}
MATRIX = {"N": 1024, "M": 1024}
"""For ops on all pairs of two sets of boxes."""
SECONDS, ROUNDS = 5.0, 1000
"""For the turns of one row, and the most turns."""
SEED = 1

Times = dict[str, float]


def sizes(op: Op) -> dict[str, int]:
    """The size of each dimension: the one above, within the op's range, or the one it tunes for."""
    wanted = {} if op.kind == "suppression" else MATRIX if "M" in op.dims else SIZES
    return {
        dim: max(least, min(wanted.get(dim, usual), most))
        for dim, (least, usual, most) in op.dims.items()
    }


def forms(variant: Variant, folder: Path) -> dict[str, Session]:
    """A session for each form of the exported file."""
    file = folder / f"{native.kernel(variant)}.onnx"
    write_bytes(file, onnx_bytes(variant))
    known = native.kernel(variant) in native.kernels()
    return {
        label: load(file, backend)
        for label, backend in BACKENDS.items()
        if known or backend == "ort"
    }


def alike(found: Array, wanted: Array) -> bool:
    """Whether all but a few elements are: which of two equal boxes is best may differ."""
    scale = 1e-4 * (np.abs(wanted).max(initial=0) if wanted.dtype.kind == "f" else 0)
    return bool(np.isclose(found, wanted, 1e-3, scale, equal_nan=True).mean() > 0.999)


def measure(op: Op, gradient: bool, folder: Path, seconds: float) -> Times:
    """Least milliseconds of each form."""
    variant = Variant.make(op, gradient=gradient)
    drawn = Case(next(iter(op.samplers)), tuple(sizes(op).items()), SEED).inputs(variant)
    inputs = {
        tensor.name: drawn[tensor.name].astype(variant.numpy_dtype(tensor))
        for tensor in variant.op.inputs
    }
    tensors = [torch.from_numpy(value) for value in inputs.values()]
    eager = function(variant)
    runners: dict[str, Callable[[], object]] = {EAGER: partial(eager, *tensors)}
    with torch.no_grad(), patch.object(torch_kernels, "attempt", lambda *_: None):
        wanted = [value.numpy() for value in eager(*tensors)]
        for label, session in forms(variant, folder).items():
            for value, (name, found) in zip(wanted, session(**inputs).items(), strict=True):
                if not alike(found, value):
                    raise SystemExit(f"{op.name}: {label}: {name} differs; nothing is timed")
            runners[label] = partial(call, session, inputs)
        times = take_turns(runners, seconds, most=ROUNDS)
    return {label: figure["least_ms"] for label, figure in times.items()}


def row(op: Op, folder: Path, seconds: float) -> dict[str, Any]:
    found: dict[str, Any] = {"op": op.name, "sizes": sizes(op)}
    found["value"] = measure(op, False, folder, seconds)
    if op.gradient:
        found["gradient"] = measure(op, True, folder, seconds)
    return found


def cells(found: Mapping[str, Any]) -> list[str]:
    shape = " ".join(f"{dim}={size}" for dim, size in found["sizes"].items())
    times = [
        found.get(kind, {}).get(label)
        for kind in ("value", "gradient")
        for label in (EAGER, *BACKENDS)
    ]
    return [f"`{found['op']}`", shape, *("-" if ms is None else f"{ms:.3g}" for ms in times)]


def page(rows: list[dict[str, Any]], where: Mapping[str, str], now: str) -> str:
    labels = (EAGER, *BACKENDS)
    columns = ["op", "sizes", *labels, *(f"{label}, with gradient" for label in labels)]
    facts = ", ".join(f"{name} {value}" for name, value in where.items())
    timed = {found["op"] for found in rows}
    others = ", ".join(f"`{name}`" for name in BUILTIN if name not in timed)
    return f"""# Every op in every form

{now}; {facts}. Least milliseconds of turns, {THREADS} threads, float32; "-" where there is no such
form. {f"Not timed in this run: {others}." if others else ""}

{table(columns, [cells(found) for found in rows])}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Time every op.", allow_abbrev=False)
    parser.add_argument("ops", nargs="*", help="default: all, and the results are written")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    given = parser.parse_args()
    for name in given.ops:
        arguments.choice("op", name, list(BUILTIN))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])  # heeded by all runtimes
    torch.set_num_threads(THREADS)
    where = environment(PACKAGES)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in given.ops or BUILTIN:
            rows.append(row(BUILTIN[name], Path(folder), given.seconds))
            print(" | ".join(cells(rows[-1])), flush=True)
    if given.ops:
        return
    record = {"environment": where, "threads": THREADS, "rows": rows}
    write("op_by_op", record, lambda now: page(rows, where, now), given.out)


if __name__ == "__main__":
    main()
