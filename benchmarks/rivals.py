"""Time NMS and pairwise IoU on a CPU against the fastest packages that do the same.

    python benchmarks/rivals.py                 # writes benchmarks/results/rivals.*

Every contender may use all cores. They take turns, so that what else the machine does falls on all
of them; a figure is the least time, which it falls on least. Before anything is timed the results
are compared: the boxes that NMS keeps and their order, every element of the matrices. A package
that is not installed is named as not run; benchmarks/README.md says how all are installed.
"""

import argparse
import importlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from kernels import OUTPUT, eager
from measure import RESULTS, environment, table, take_turns, write
from suppression import A_CLUSTER, IOU_THRESHOLD, clustered, node_alone

import lossexport
from lossexport import ops
from lossexport.catalog.draw_boxes import random_boxes
from lossexport.runtime import load

Array = np.ndarray[Any, np.dtype[Any]]
Runner = Callable[[], Any]
Row = dict[str, Any]

COUNTS = (1000, 10_000, 100_000)
SIDES = (1000, 4096)
MOST = 65536
"""Room for more boxes than are kept of any of these."""
PATIENCE = 2.0
"""Seconds from which a call is repeated only once."""
FEWEST = 7
SCENES: dict[str, Callable[[int], float]] = {
    "1280 pixels": lambda count: 1280.0,
    "a scene that grows": lambda count: max(40.0 * count**0.5, 640.0),
}
KERNEL, OPS = "lossexport.runtime", "lossexport.ops"
OURS = (KERNEL, OPS)
NODE, EAGER = "onnxruntime, NonMaxSuppression", "eager PyTorch"
# The packages that are compared with, and the modules that are imported of them.
RIVALS = {
    "powerboxes": "powerboxes",
    "lsnms": "lsnms",
    "fastbbox": "fastbbox",
    "opencv-python-headless": "cv2",
}
PACKAGES = ("lossexport", "numpy", "torch", "onnxruntime")


def installed() -> tuple[dict[str, Any], list[str]]:
    """The modules by the name of their package, and the packages that are not there."""
    found, missing = {}, []
    for package, module in RIVALS.items():
        try:
            version(package)
            found[package] = importlib.import_module(module)
        except (ImportError, PackageNotFoundError):
            missing.append(package)
    return found, missing


def nms_contenders(
    folder: Path, modules: Mapping[str, Any], boxes: Array, scores: Array
) -> dict[str, Runner]:
    """A function for each contender, with room for as many boxes as there are, or MOST."""
    most = min(len(boxes), MOST)
    lossexport.export("nms", folder, formats=["onnx"], attributes={"max_output": most})
    session = load(folder / "nms.onnx", "native")
    node_alone(folder / "node.onnx", most)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the node uses no more, and waking others takes time
    node = onnxruntime.InferenceSession(folder / "node.onnx", options)
    tensors = torch.from_numpy(boxes), torch.from_numpy(scores)
    wide = scores.astype(np.float64)
    sides = np.concatenate((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), axis=1)

    def kernel() -> Array:
        found = session(boxes=boxes, scores=scores)
        chosen: Array = found["indices"][: found["count"]]
        return chosen

    def function() -> Array:
        indices, count = ops.nms(*tensors, max_output=most)
        chosen: Array = indices[: int(count)].numpy()
        return chosen

    def operator() -> Array:
        feeds = {"boxes": boxes[None], "scores": scores[None, None]}
        chosen: Array = node.run(None, feeds)[0][:, 2]
        return chosen

    runners: dict[str, Runner] = {KERNEL: kernel, OPS: function, NODE: operator}
    if module := modules.get("powerboxes"):
        for name in ("nms", "rtree_nms"):
            call = partial(getattr(module, name), boxes, wide, IOU_THRESHOLD, 0.0)
            runners[f"powerboxes.{name}"] = call
    if module := modules.get("lsnms"):
        runners["lsnms.nms"] = partial(module.nms, boxes, scores, IOU_THRESHOLD, 0.0)
    if module := modules.get("opencv-python-headless"):
        call = partial(module.dnn.NMSBoxes, sides, scores, 0.0, IOU_THRESHOLD)
        runners["cv2.dnn.NMSBoxes"] = call
    return runners


def pair_contenders(
    folder: Path, modules: Mapping[str, Any], metric: str, pred: Array, target: Array
) -> dict[str, Runner]:
    """As `nms_contenders`, of the matrix of "iou" or "giou"; distances are 1 less the metric."""
    op = f"pairwise_{metric}"
    lossexport.export(op, folder, formats=["onnx"])
    session = load(folder / f"{op}.onnx", "native")
    tensors = torch.from_numpy(pred), torch.from_numpy(target)
    written = np.zeros((len(pred), len(target)), np.float32)
    code, function = eager(op), getattr(ops, op)
    runners: dict[str, Runner] = {
        KERNEL: lambda: session(pred=pred, target=target)["score"],
        OPS: lambda: function(*tensors).numpy(),
        EAGER: lambda: code(*tensors).numpy(),
        OUTPUT: partial(written.fill, 0.5),
    }
    if module := modules.get("powerboxes"):
        for name in (f"{metric}_distance", f"parallel_{metric}_distance"):
            runners[f"powerboxes.{name}"] = partial(getattr(module, name), pred, target)
    if module := modules.get("fastbbox"):
        name = {"iou": "bbox_overlaps", "giou": "generalized_iou"}[metric]
        runners[f"fastbbox.{name}"] = partial(getattr(module, name), pred, target)
    return runners


def compared(
    what: str, runners: Mapping[str, Runner], equal: Callable[[str, Any, Any], bool]
) -> dict[str, float]:
    """Seconds of one call of each. Exits where one is not `equal` to the first."""
    seconds, wanted = {}, None
    for name, runner in runners.items():
        begin = time.perf_counter()
        found = runner()
        seconds[name] = time.perf_counter() - begin
        wanted = found if wanted is None else wanted
        if not equal(name, found, wanted):
            raise SystemExit(f"{what}: {name} differs from {KERNEL}; nothing is timed")
    return seconds


def timed(runners: Mapping[str, Runner], once: Mapping[str, float], seconds: float) -> Row:
    """The turns of all, but of those that took longer than PATIENCE that call and another."""
    quick = {name: runner for name, runner in runners.items() if once[name] <= PATIENCE}
    times = take_turns(quick, seconds, FEWEST)
    for name in runners.keys() - quick.keys():
        begin = time.perf_counter()
        runners[name]()
        both = 1e3 * once[name], 1e3 * (time.perf_counter() - begin)
        times[name] = {"median_ms": sum(both) / 2, "least_ms": min(both), "rounds": 2}
    return {name: times[name] for name in runners}


def same_boxes(name: str, found: Any, wanted: Any) -> bool:
    return np.array_equal(np.asarray(found), wanted)


def same_matrix(name: str, found: Any, wanted: Any) -> bool:
    if name == OUTPUT:
        return True
    values = 1 - found if name.startswith("powerboxes") else found
    return bool(np.allclose(values, wanted, rtol=0, atol=1e-5))


def measure(counts: Sequence[int], sides: Sequence[int], seconds: float) -> dict[str, Any]:
    modules, missing = installed()
    suppressed, pairs = [], []
    with tempfile.TemporaryDirectory() as given:
        folder = Path(given)
        for scene, side in SCENES.items():
            for count in counts:
                boxes, scores = clustered(count, side=side(count))
                runners = nms_contenders(folder, modules, boxes, scores)
                what = f"NMS of {count:,} boxes, {scene}"
                once = compared(what, runners, same_boxes)
                kept = len(runners[KERNEL]())
                row = {"n": count, "scene": scene, "kept": kept}
                suppressed.append(row | {"times": timed(runners, once, seconds)})
        for metric in ("iou", "giou"):
            for number in sides:
                rng = np.random.default_rng(number)
                pred, target = (random_boxes(rng, number).astype(np.float32) for _ in range(2))
                runners = pair_contenders(folder, modules, metric, pred, target)
                once = compared(f"pairwise {metric} of {number:,}", runners, same_matrix)
                row = {"n": number, "metric": metric}
                pairs.append(row | {"times": timed(runners, once, seconds)})
    return {"nms": suppressed, "pairwise": pairs, "not_run": missing}


def rivals_of(row: Row) -> dict[str, float]:
    """Least milliseconds of the others."""
    return {
        name: figures["least_ms"]
        for name, figures in row["times"].items()
        if name not in (*OURS, OUTPUT)
    }


def leads(row: Row) -> dict[str, float]:
    """How many times as long as each of ours the fastest other takes."""
    fastest = min(rivals_of(row).values())
    return {name: fastest / row["times"][name]["least_ms"] for name in OURS}


def cells(row: Row, names: Sequence[str]) -> list[str]:
    """Milliseconds of each and, of the others, how many times those of our runtime."""
    own = row["times"][KERNEL]["least_ms"]
    found = []
    for name in names:
        figures = row["times"][name]
        mark = " of two" if figures["rounds"] == 2 else ""
        ratio = "" if name in OURS else f" ({figures['least_ms'] / own:.3g}x)"
        found.append(f"{figures['least_ms']:.3g}{ratio}{mark}")
    return found


def section(rows: Sequence[Row], titles: Sequence[str]) -> str:
    """A table with a column for each contender of the rows."""
    names = list(rows[0]["times"])
    lines = [[title, *cells(row, names)] for title, row in zip(titles, rows, strict=True)]
    return table(["", *names], lines)


def sentence(rows: Sequence[Row]) -> str:
    """How far ahead ours are of the fastest other, or behind it, at the least and at the most."""
    parts = []
    for name in OURS:
        found = [leads(row)[name] for row in rows]
        parts.append(f"`{name}` is {min(found):.3g} to {max(found):.3g} times")
    return f"{' and '.join(parts)} as fast as the fastest other in its row."


def page(record: Mapping[str, Any], created: str, where: Mapping[str, str]) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in where.items())
    suppressed, pairs = record["nms"], record["pairwise"]
    absent = ", ".join(record["not_run"]) or "none"
    titles = [f"{row['n']:,} on {row['scene']}, {row['kept']:,} kept" for row in suppressed]
    matrices: list[str] = []
    for metric, name in (("iou", "IoU"), ("giou", "GIoU")):
        rows = [row for row in pairs if row["metric"] == metric]
        matrices.append(section(rows, [f"{name} {row['n']:,} x {row['n']:,}" for row in rows]))
    return f"""# Against other packages

Least milliseconds of a call and how many times those of `{KERNEL}`, on a machine that others
share. All take turns, two calls each, of which the second is timed. A contender whose first call
took more than {PATIENCE:g} s was called only once more: "of two".

{created}; {facts}. Not installed, and not run: {absent}.

## NMS

IoU above {IOU_THRESHOLD}, about {A_CLUSTER} boxes around each object, no two scores equal, room
for all that are kept. All keep the same boxes in the same order. Ours runs on one thread.

{section(suppressed, titles)}

{sentence(suppressed)}

## Pairwise metrics

All float32 but powerboxes, which returns a float64 distance. "{OUTPUT}" fills a matrix of the size
of the output that is there already. A session writes to the memory of a result that was released,
`{OPS}` and the others to new memory.

{matrices[0]}

{matrices[1]}

{sentence(pairs)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each row")
    options = parser.parse_args()
    modules, _ = installed()
    where = environment((*PACKAGES, *modules))
    record = measure(COUNTS, SIDES, options.seconds)
    whole = {"environment": where, **record}
    write("rivals", whole, lambda now: page(record, now, where), options.out)
    print((options.out / "rivals.md").read_text())


if __name__ == "__main__":
    main()
