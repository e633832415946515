"""Time `batched_nms` on a CPU, for one image of a detector, against what else there is.

    python benchmarks/batched_suppression.py    # writes benchmarks/results/batched_suppression.*

One image has 8,400 boxes with 80 scores each, of which up to 300 are to be kept, at an IoU above
0.7 and a score from 0.25: what a detector of 640 x 640 pixels gives. The contenders are the kernel,
the kernel in onnxruntime, the exported graph in onnxruntime, onnxruntime's `NonMaxSuppression` and
the choice of the best in NumPy behind it, and torchvision's `batched_nms` in eager PyTorch, which
moves boxes apart by class. They have two threads each and take turns; a figure is a median. Before
anything is timed, all have to choose the same boxes with the same classes in the same order.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from measure import RESULTS, environment, table, take_turns, write
from suppression import Array, clustered, eager_nms, node_alone, times_as_long

import lossexport
from lossexport.files import write_bytes
from lossexport.runtime import load

BOXES, CLASSES, MAX_OUTPUT = 8400, 80, 300
IOU_THRESHOLD, SCORE_THRESHOLD, MAX_CANDIDATES = 0.7, 0.25, 30000
HOT, FEW = 400, 3
"""Boxes over the threshold in an ordinary image, and their classes."""
SECONDS = 15.0
"""For the rounds of one image."""
FEWEST = 5
THREADS = 2

KERNEL, IN_RUNTIME, GRAPH = "kernel", "kernel, onnxruntime", "graph, onnxruntime"
NODE, EAGER = "NonMaxSuppression, onnxruntime", "by offsets, eager PyTorch"
KINDS = {
    "ordinary": f"{HOT} boxes of {FEW} classes over the threshold, about a tenth as many objects",
    "crowded": "all scores over the threshold",
}
PACKAGES = ("torch", "onnx", "onnxruntime", "lossexport")

Runner = Callable[[], Array]
Results = list[dict[str, Any]]


def image(kind: str, boxes: int = BOXES, classes: int = CLASSES) -> tuple[Array, Array]:
    """Boxes [N,4] in clusters and scores [N,C], of which no two over the threshold are equal."""
    rng = np.random.default_rng([boxes, classes])
    ranks = (rng.permutation(boxes * classes) + 1).reshape(boxes, classes)
    distinct = ranks / (boxes * classes + 1)
    if kind == "crowded":
        scores = SCORE_THRESHOLD + (1 - SCORE_THRESHOLD) * distinct
        return clustered(boxes)[0], scores.astype(np.float32)
    hot = min(HOT, boxes)
    scores = SCORE_THRESHOLD * distinct**8
    rows, first = np.arange(hot), rng.integers(0, min(classes, FEW), hot)
    scores[rows, first] = SCORE_THRESHOLD + (0.95 - SCORE_THRESHOLD) * distinct[rows, first]
    scores[rows, (first + 1) % classes] = 0.618 * scores[rows, first]
    corners = np.concatenate((clustered(hot)[0], clustered(boxes - hot, seed=1)[0]))
    order = rng.permutation(boxes)
    return corners[order], scores[order].astype(np.float32)


def of_all_classes(path: Path) -> None:
    """Write a model of the standard operator for the image, [1,N,4] and [1,C,N]."""
    node_alone(path, MAX_OUTPUT, IOU_THRESHOLD, SCORE_THRESHOLD)
    model = onnx.load(path)
    model.graph.input[1].type.tensor_type.shape.dim[1].dim_param = "C"
    write_bytes(path, model.SerializeToString())


def candidates(scores: Array, multi_label: bool) -> Array:
    """Pairs [K,2] of a box and a class, over the threshold and by falling score."""
    known = scores >= SCORE_THRESHOLD
    if not multi_label:
        known &= scores == scores.max(1, keepdims=True)
    pairs = np.argwhere(known)
    order = np.argsort(-scores[pairs[:, 0], pairs[:, 1]], kind="stable")
    ranked: Array = pairs[order[:MAX_CANDIDATES]]
    return ranked


def by_offsets(boxes: torch.Tensor, scores: torch.Tensor, pairs: torch.Tensor) -> Array:
    """What torchvision's `batched_nms` does: greedy NMS of boxes that no two classes share."""
    which, label = pairs.unbind(1)
    apart = boxes[which] + (label * (boxes.max() + 1)).unsqueeze(1).to(boxes.dtype)
    chosen: Array = pairs[eager_nms(apart, scores[which, label], MAX_OUTPUT, IOU_THRESHOLD)].numpy()
    return chosen


def contenders(folder: Path, multi_label: bool, boxes: Array, scores: Array) -> dict[str, Runner]:
    """A function for each, which gives the pairs of a box and a class that it keeps."""
    given = {"max_output": MAX_OUTPUT, "iou_threshold": IOU_THRESHOLD, "multi_label": multi_label}
    attributes = {**given, "score_threshold": SCORE_THRESHOLD, "max_candidates": MAX_CANDIDATES}
    lossexport.export(["batched_nms"], folder, formats=["onnx"], attributes=attributes)
    of_all_classes(folder / "node.onnx")
    path, options = folder / "batched_nms.onnx", onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    torch.set_num_threads(THREADS)
    session = onnxruntime.InferenceSession(folder / "node.onnx", options)
    ours = {
        KERNEL: load(path, "native"),
        IN_RUNTIME: load(path, "ort-kernels"),
        GRAPH: load(path, "ort"),
    }
    # Not timed: the scores of other classes are taken out for the node, which knows no best class.
    known = scores
    if not multi_label:
        known = np.where(scores == scores.max(1, keepdims=True), scores, 0)
    feeds = {"boxes": boxes[None], "scores": np.ascontiguousarray(known.T)[None]}

    def exported(name: str) -> Runner:
        def call() -> Array:
            found = ours[name](boxes=boxes[None], scores=scores[None])
            count = int(found["count"][0])
            labels = found["detections"][0, :count, 5].astype(np.int64)
            return np.stack((found["indices"][0, :count], labels), 1)

        return call

    def node() -> Array:
        pairs = session.run(None, feeds)[0][:, [2, 1]]
        best = np.argsort(-scores[pairs[:, 0], pairs[:, 1]], kind="stable")[:MAX_OUTPUT]
        chosen: Array = pairs[best]
        return chosen

    def eager() -> Array:
        pairs = torch.from_numpy(candidates(scores, multi_label))
        return by_offsets(torch.from_numpy(boxes), torch.from_numpy(scores), pairs)

    return {**{name: exported(name) for name in ours}, NODE: node, EAGER: eager}


def check(runners: dict[str, Runner], boxes: Array, scores: Array, multi_label: bool) -> int:
    """How many are kept. Exits where the contenders do not agree on them.

    For eager PyTorch in float64, as the offsets change the last bits of float32.
    """
    exact = torch.from_numpy(boxes).double(), torch.from_numpy(scores).double()
    wanted = by_offsets(*exact, torch.from_numpy(candidates(scores, multi_label)))
    for name, runner in runners.items():
        if name != EAGER and not np.array_equal(runner(), wanted):
            raise SystemExit(f"{name}: chooses other boxes; nothing is timed")
    return len(wanted)


def measure(seconds: float, boxes: int = BOXES, classes: int = CLASSES) -> Results:
    results = []
    for kind in KINDS:
        corners, scores = image(kind, boxes, classes)
        for multi_label in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                runners = contenders(Path(folder), multi_label, corners, scores)
                kept = check(runners, corners, scores, multi_label)
                results.append(
                    {
                        "image": kind,
                        "multi_label": multi_label,
                        "candidates": len(candidates(scores, multi_label)),
                        "kept": kept,
                        "times": take_turns(runners, seconds, FEWEST),
                    }
                )
    return results


def sentence(results: Results) -> str:
    """What the medians say, for and against us."""
    parts = []
    for row in results:
        times = {name: figure["median_ms"] for name, figure in row["times"].items()}
        classes = "all classes" if row["multi_label"] else "best class"
        parts.append(
            f"{row['image']}, {classes}: the graph is "
            f"{times_as_long(times[NODE] / times[GRAPH])} as the node and "
            f"{times_as_long(times[EAGER] / times[GRAPH])} as eager PyTorch, the kernel "
            f"{times_as_long(times[NODE] / times[KERNEL])} and "
            f"{times_as_long(times[EAGER] / times[KERNEL])}"
        )
    return "By the medians: " + "; ".join(parts) + "."


def page(results: Results, created: str, where: dict[str, str]) -> str:
    names = list(results[0]["times"])
    rows = [
        [
            f"{row['image']}, {'all classes' if row['multi_label'] else 'best class'}",
            f"{row['candidates']:,}",
            str(row["kept"]),
            *(
                f"{row['times'][name]['median_ms']:.3g} ({row['times'][name]['least_ms']:.3g})"
                for name in names
            ),
        ]
        for row in results
    ]
    facts = ", ".join(f"{name} {value}" for name, value in where.items())
    kinds = "; ".join(f"{name}: {meaning}" for name, meaning in KINDS.items())
    return f"""# Suppression of many classes on a CPU

Milliseconds of a call, median (least), {THREADS} threads. {BOXES:,} boxes x {CLASSES} classes, at
most {MAX_OUTPUT} out, IoU above {IOU_THRESHOLD}, scores from {SCORE_THRESHOLD}, class-aware, at
most {MAX_CANDIDATES:,} candidates. {created}; {facts}.

Images: {kinds}. Candidates: boxes with their best class, or all pairs of a box and a class.

{table(["image", "candidates", "kept", *names], rows)}

{sentence(results)}

The time of the graph grows with the candidates that it looks at until the output is full, in
blocks of 128. Where thousands of candidates leave fewer than {MAX_OUTPUT}, it looks at all of them.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Time batched NMS.", allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each image")
    given = parser.parse_args()
    where = environment(PACKAGES)
    results = measure(given.seconds)
    record = {"environment": where, "results": results}
    write("batched_suppression", record, lambda now: page(results, now, where), given.out)
    print((given.out / "batched_suppression.md").read_text())


if __name__ == "__main__":
    main()
