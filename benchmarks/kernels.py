"""Time the CPU kernels against the exported graphs in onnxruntime and against eager PyTorch.

    python benchmarks/kernels.py                # writes benchmarks/results/kernels.*

Every contender may use all cores. They take turns; a figure is a median. Before anything is timed
the contenders' results are compared.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import RESULTS, environment, table, take_turns, write
from suppression import eager_nms

import lossexport
from lossexport import ops
from lossexport.catalog.draw_boxes import jittered, random_boxes
from lossexport.runtime import Session, load

PACKAGES = ("lossexport", "numpy", "torch", "onnxruntime")
NATIVE, GRAPH, EAGER, OUTPUT = "native", "graph in onnxruntime", "eager PyTorch", "writing it"
MATCHED = (100_000, 1000)

Array = np.ndarray[Any, np.dtype[Any]]
Runner = Callable[[], object]


def boxes(count: int, seed: int) -> Array:
    return random_boxes(np.random.default_rng(seed), count).astype(np.float32)


def clustered(count: int) -> dict[str, Array]:
    """About ten detections of each object on 1280 pixels."""
    rng = np.random.default_rng(0)
    objects = random_boxes(rng, count // 10, 1280)
    near = jittered(rng, objects[rng.integers(0, len(objects), count)], 0.06)
    return {"boxes": near.astype(np.float32), "scores": rng.random(count).astype(np.float32)}


def eager(op: str) -> Callable[..., Any]:
    """The PyTorch code of an op: the function itself would call the kernel."""
    code: Callable[..., Any] = getattr(ops, op).__wrapped__
    return code


def call(session: Session, inputs: dict[str, Array]) -> None:
    session(**inputs)


class Bench:
    """Exports to `folder` and collects rows of (what, times)."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder = folder
        self.seconds = seconds
        self.rows: list[dict[str, Any]] = []

    def sessions(self, op: str, gradient: bool = False, **attributes: Any) -> dict[str, Session]:
        lossexport.export(op, self.folder, gradient=gradient, attributes=attributes)
        file = self.folder / f"{op}{'.grad' if gradient else ''}.onnx"
        return {NATIVE: load(file, "native"), GRAPH: load(file, "ort")}

    def add(
        self, what: str, inputs: dict[str, Array], op: str, *others: Any, **options: Any
    ) -> None:
        """Compare native and graph on `inputs`, then time them and the `others` (name, runner)."""
        sessions = self.sessions(op, **options)
        native, graph = (session(**inputs) for session in sessions.values())
        for name, found in native.items():
            if not np.allclose(found, graph[name], rtol=1e-4, atol=1e-5, equal_nan=True):
                raise SystemExit(f"{what}: {name} differs; nothing is timed")
        del native, graph
        runners: dict[str, Runner] = {
            name: partial(call, session, inputs) for name, session in sessions.items()
        }
        times = take_turns(runners | dict(others), self.seconds)
        self.rows.append({"what": what, "times": times})


def measure(folder: Path, seconds: float) -> list[dict[str, Any]]:
    bench = Bench(folder, seconds)
    for side in (512, 2048, 4096):
        pair = {"pred": boxes(side, 1), "target": boxes(side, 2)}
        tensors = [torch.from_numpy(value) for value in pair.values()]
        written = np.zeros((side, side), np.float32)
        bench.add(
            f"pairwise CIoU {side} x {side}",
            pair,
            "pairwise_ciou",
            (EAGER, partial(eager("pairwise_ciou"), *tensors)),
            (OUTPUT, partial(written.fill, 0.5)),
        )
    near = clustered(10_000)
    greedy = partial(
        eager_nms,
        torch.from_numpy(near["boxes"]),
        torch.from_numpy(near["scores"]),
        len(near["scores"]),
    )
    sessions = bench.sessions("nms", max_output=len(near["scores"]))
    found = sessions[NATIVE](**near)
    kept = greedy().numpy()
    if not np.array_equal(found["indices"][: found["count"]], kept):
        raise SystemExit("nms: keeps other boxes than eager PyTorch; nothing is timed")
    bench.add(
        f"NMS of 10,000 clustered boxes, {len(kept)} kept",
        near,
        "nms",
        (EAGER, greedy),
        max_output=len(near["scores"]),
    )
    rng = np.random.default_rng(3)
    spread = rng.normal(-1.2, 0.5, (2000, 4)).astype(np.float32)
    fewer: dict[str, Array] = {name: value[:2000] for name, value in near.items()}
    fewer["log_variance"] = spread
    bench.add("variance voting of 2,000 boxes", fewer, "variance_voting")
    target = np.where(rng.random(120_000) < 0.004, 1, 0).astype(np.int64)
    ranked: dict[str, Array] = {
        "logits": rng.normal(0, 2, 120_000).astype(np.float32),
        "target": target,
    }
    bench.add("AP loss and gradient, 120,000 logits", ranked, "ap_loss", gradient=True)
    logits = rng.normal(-3, 2, (20_000, 80)).astype(np.float32)
    hard = (rng.random(logits.shape) < 0.01).astype(np.float32)
    harmonised: dict[str, Array] = {
        "logits": logits,
        "target": hard,
        "weight": np.ones_like(hard),
        "bin_count": np.zeros(10, np.float32),
    }
    bench.add("GHM-C loss and gradient, 20,000 x 80", harmonised, "ghm_c_loss", gradient=True)
    return bench.rows


def match_memory(folder: Path) -> float:
    """MiB that best_match needs beyond its inputs, in a process of its own."""
    lossexport.export("best_match", folder, shapes={"N": "1:1000:100000", "M": "1:1000:10000"})
    command = [sys.executable, __file__, "--memory-of", str(folder / "best_match.onnx")]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak_of_match(file: Path) -> float:
    session = load(file, "native")
    pair = {"pred": boxes(MATCHED[0], 1), "target": boxes(MATCHED[1], 2)}
    session(pred=pair["pred"][:1], target=pair["target"][:1])
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is held now
    before = status("VmRSS")
    session(**pair)
    return (status("VmHWM") - before) / 1024


def status(field: str) -> int:
    """KiB of a field of the process's status (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def markdown(rows: list[dict[str, Any]], memory: float, where: dict[str, str], now: str) -> str:
    names = (NATIVE, GRAPH, EAGER, OUTPUT)
    lines = []
    for row in rows:
        times = {name: figure["median_ms"] for name, figure in row["times"].items()}
        cells = [
            f"{times[name]:.3g} ({times[name] / times[NATIVE]:.2g}x)" if name in times else ""
            for name in names
        ]
        lines.append([row["what"], *cells])
    facts = ", ".join(f"{name} {value}" for name, value in where.items())
    return f"""# CPU kernels

{now}; {facts}. Median milliseconds of turns, and how many times the kernel's.

{table(["", *names], lines)}

`best_match` of {MATCHED[0]:,} x {MATCHED[1]:,} boxes raised the peak memory of its process by
{memory:.1f} MiB; the matrix would have been {MATCHED[0] * MATCHED[1] * 4 / 2**20:.0f}.
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--seconds", type=float, default=15.0, help="for each row")
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        print(peak_of_match(options.memory_of))
        return
    where = environment(PACKAGES)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), options.seconds)
        memory = match_memory(Path(folder))
    record = {"environment": where, "rows": rows, "best_match_mib": memory}
    write("kernels", record, lambda now: markdown(rows, memory, where, now), options.out)
    print((options.out / "kernels.md").read_text())


if __name__ == "__main__":
    main()
