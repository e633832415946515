"""Time the exported NMS ops on a CPU against eager greedy NMS and onnxruntime's NonMaxSuppression.

    python benchmarks/suppression.py                # writes benchmarks/results/suppression.*

All stop at 100 boxes, which is what detectors keep and the default of the ops, at an IoU above 0.5,
with no least score. Boxes are clustered: about ten detections of each object. Each has one thread:
the steps are too small to share. The contenders take turns, so that what else the machine does
falls on all of them; a figure is a median. Before anything is timed, all that go by IoU have to
choose the same boxes in the same order, and `diou_nms` those of eager PyTorch in float64.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from measure import RESULTS, environment, table, take_turns, write
from onnx import TensorProto, helper, numpy_helper

import lossexport
from lossexport import ops
from lossexport.files import write_bytes
from lossexport.runtime import load

SIZES = (100, 1000, 5000)
MAX_OUTPUT, IOU_THRESHOLD = 100, 0.5
A_CLUSTER = 10
SECONDS = 20.0
"""For the rounds of one size."""
FEWEST = 7

EAGER, NODE = "eager greedy, PyTorch", "NonMaxSuppression, onnxruntime"
EXPORTED = ("nms", "diou_nms", "cluster_nms")
KERNELS = {f"{name}, native": name for name in EXPORTED[:2]}
PACKAGES = ("torch", "onnx", "onnxruntime", "lossexport")

Array = np.ndarray[Any, np.dtype[Any]]
Runner = Callable[[], Array]
Results = list[dict[str, Any]]


def clustered(count: int, seed: int = 0, side: float = 1280) -> tuple[Array, Array]:
    """Boxes [count,4] xyxy about a tenth as many objects, and distinct scores.

    They lie on a square of `side` pixels, at least 320.
    """
    rng = np.random.default_rng([seed, count])
    objects = max(count // A_CLUSTER, 1)
    sides = np.exp(rng.uniform(np.log(16), np.log(320), (objects, 2)))
    low = rng.uniform(0, side - sides)
    which = rng.integers(0, objects, count)
    corners = np.concatenate((low, low + sides), axis=1)[which]
    corners += rng.normal(0, 0.06, (count, 4)) * np.tile(sides, 2)[which]
    scores = (rng.permutation(count) + 1) / (count + 1)
    return corners.astype(np.float32), scores.astype(np.float32)


def eager_nms(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    most: int = MAX_OUTPUT,
    threshold: float = IOU_THRESHOLD,
) -> torch.Tensor:
    """Greedy NMS as torchvision defines it, in the usual vectorised form; at most `most` boxes."""
    order = scores.argsort(descending=True, stable=True)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[torch.Tensor] = []
    while len(order) and len(kept) < most:
        best, rest = order[0], order[1:]
        kept.append(best)
        low = torch.maximum(boxes[best, :2], boxes[rest, :2])
        high = torch.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = (high - low).clamp(min=0).prod(1)
        order = rest[shared / (area[best] + area[rest] - shared) <= threshold]
    return torch.stack(kept)


def node_alone(
    path: Path,
    most: int = MAX_OUTPUT,
    threshold: float = IOU_THRESHOLD,
    floor: float | None = None,
) -> None:
    """Write a model of the standard operator and nothing else, for at most `most` boxes."""
    constants: dict[str, Array] = {
        "most": np.array([most], np.int64),
        "threshold": np.array([threshold], np.float32),
    }
    if floor is not None:
        constants["floor"] = np.array([floor], np.float32)
    graph = helper.make_graph(
        [helper.make_node("NonMaxSuppression", ["boxes", "scores", *constants], ["selected"])],
        "nms",
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, "N", 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 1, "N"]),
        ],
        [helper.make_tensor_value_info("selected", TensorProto.INT64, ["K", 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    write_bytes(path, model.SerializeToString())


def contenders(folder: Path) -> Callable[[Array, Array], dict[str, Runner]]:
    """Load everything once; the result gives a function for each contender on given boxes."""
    attributes = {"max_output": MAX_OUTPUT, "iou_threshold": IOU_THRESHOLD}
    lossexport.export(EXPORTED, folder, formats=["onnx"], attributes=attributes)
    node_alone(folder / "node.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    torch.set_num_threads(1)
    sessions = {
        name: onnxruntime.InferenceSession(folder / f"{name}.onnx", options)
        for name in (*EXPORTED, "node")
    }

    kernels = {label: load(folder / f"{name}.onnx", "native") for label, name in KERNELS.items()}

    def bind(boxes: Array, scores: Array) -> dict[str, Runner]:
        tensors = torch.from_numpy(boxes), torch.from_numpy(scores)

        def exported(name: str) -> Runner:
            def call() -> Array:
                indices, count = sessions[name].run(None, {"boxes": boxes, "scores": scores})
                chosen: Array = indices[:count]
                return chosen

            return call

        def native(label: str) -> Runner:
            def call() -> Array:
                found = kernels[label](boxes=boxes, scores=scores)
                chosen: Array = found["indices"][: found["count"]]
                return chosen

            return call

        def node() -> Array:
            feeds = {"boxes": boxes[None], "scores": scores[None, None]}
            chosen: Array = sessions["node"].run(None, feeds)[0][:, 2]
            return chosen

        return {
            **{label: native(label) for label in KERNELS},
            **{name: exported(name) for name in EXPORTED},
            EAGER: lambda: eager_nms(*tensors).numpy(),
            NODE: node,
        }

    return bind


def check(runners: dict[str, Runner], boxes: Array, scores: Array) -> int:
    """How many boxes are kept. Exits where the contenders do not agree on them."""
    exact = torch.from_numpy(boxes).double(), torch.from_numpy(scores).double()
    indices, count = ops.diou_nms(*exact, iou_threshold=IOU_THRESHOLD, max_output=MAX_OUTPUT)
    wanted = runners[EAGER]()
    for name, runner in runners.items():
        by_diou = KERNELS.get(name, name) == "diou_nms"
        expected = indices[: int(count)].numpy() if by_diou else wanted
        if not np.array_equal(runner(), expected):
            raise SystemExit(f"{name}: chooses other boxes at N = {len(boxes)}; nothing is timed")
    return len(wanted)


def measure(sizes: Sequence[int], seconds: float) -> Results:
    with tempfile.TemporaryDirectory() as folder:
        bind = contenders(Path(folder))
        results = []
        for size in sizes:
            boxes, scores = clustered(size)
            runners = bind(boxes, scores)
            kept = check(runners, boxes, scores)
            results.append({"n": size, "kept": kept, "times": take_turns(runners, seconds, FEWEST)})
    return results


def times_as_long(ratio: float) -> str:
    """Another's time over ours in words: `3.1 times as fast`, `2 times as slow`."""
    factor = max(ratio, 1 / ratio)
    return f"{factor:.{0 if factor >= 10 else 1}f} times as {'fast' if ratio >= 1 else 'slow'}"


def sentence(results: Results) -> str:
    """What the medians say, for and against us."""
    parts = []
    for row in results:
        times = {name: figure["median_ms"] for name, figure in row["times"].items()}
        graph, kernel = times["diou_nms"], times["diou_nms, native"]
        parts.append(
            f"at N = {row['n']:,} the graph is {times_as_long(times[EAGER] / graph)} as eager "
            f"greedy NMS and {times_as_long(times[NODE] / graph)} as onnxruntime's own node, the "
            f"kernel {times_as_long(times[EAGER] / kernel)} and "
            f"{times_as_long(times[NODE] / kernel)}"
        )
    return (
        f"By the medians of `diou_nms`, {'; '.join(parts)}. Where IoU, a CPU and a graph are all "
        "that is needed, that node is the better choice; it has no DIoU, and TensorRT-RTX does not "
        "take it."
    )


def page(results: Results, created: str, where: dict[str, str]) -> str:
    names = list(results[0]["times"])
    rows = [
        [f"{row['n']:,}, {row['kept']} kept"]
        + [
            f"{row['times'][name]['median_ms']:.3g} ({row['times'][name]['least_ms']:.3g})"
            for name in names
        ]
        for row in results
    ]
    facts = ", ".join(f"{name} {value}" for name, value in where.items())
    return f"""# Suppression on a CPU

Milliseconds of a call, median (least), one thread; clustered boxes, IoU above {IOU_THRESHOLD}, at
most {MAX_OUTPUT} boxes out. {created}; {facts}.

{table(["boxes", *names], rows)}

{sentence(results)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Time NMS on a CPU.", allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each size")
    given = parser.parse_args()
    where = environment(PACKAGES)
    results = measure(SIZES, given.seconds)
    record = {"environment": where, "results": results}
    write("suppression", record, lambda now: page(results, now, where), given.out)
    print((given.out / "suppression.md").read_text())


if __name__ == "__main__":
    main()
