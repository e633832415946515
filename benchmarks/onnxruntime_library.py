"""Time what is attached to YOLOX in onnxruntime, with and without the library of custom ops.

    python benchmarks/onnxruntime_library.py yolox_nano.onnx   # writes benchmarks/results

The detector has one image as its input and gives [1,3549,85]. Decoding of the boxes and `diou_nms`
by class are attached to it. All are plain sessions of onnxruntime on one thread, on the same image
of noise; the contenders take turns, and a figure is a median. The time of the attached part is that
of the whole file less that of the detector; and, as it is a small difference of large numbers, also
that of the part alone, cut out of the file. Before anything is timed, the results with and without
the library have to be the same.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from measure import RESULTS, environment, table, take_turns, write

import lossexport
from lossexport.runtime import onnxruntime_library

SIDE, CELLS = 416, ((52, 8), (26, 16), (13, 32))
"""Of the input; cells per side and stride of each level."""
SECONDS, FEWEST = 60.0, 30
PACKAGES = ("onnx", "onnxruntime", "lossexport")
DETECTOR, WHOLE, PART, NODE = "detector", "detector and attached part", "attached part", "diou_nms"
LIBRARY = " with the library"

Array = np.ndarray[Any, np.dtype[Any]]
Times = dict[str, dict[str, float]]


def anchors() -> Array:
    """Squares [3549,4] xyxy of the side of a stride, centred on the corners of the cells."""
    rows = [
        np.c_[np.tile(np.arange(n), n), np.repeat(np.arange(n), n), np.full(n * n, stride)]
        for n, stride in CELLS
    ]
    grid = np.concatenate(rows)
    centre, half = grid[:, :2] * grid[:, 2:], grid[:, 2:] / 2
    boxes: Array = np.c_[centre - half, centre + half].astype(np.float32)
    return boxes


def attached(detector: Path, folder: Path) -> dict[str, Path]:
    """The detector with the ops behind it; what is behind it alone; and of that the NMS alone."""
    np.save(folder / "anchors.npy", anchors())
    whole, part, node = (folder / f"{name}.onnx" for name in ("whole", "part", "node"))
    inputs = {"deltas": "output[0,:,0:4]", "anchors": f"@{folder / 'anchors.npy'}"}
    lossexport.attach(detector, "decode_boxes", inputs, whole, attributes={"clip": 20.0})
    inputs = {
        "boxes": "per_class(boxes, argmax(output[0,:,5:]), 4096)",
        "scores": "output[0,:,4] * max(output[0,:,5:])",
    }
    lossexport.attach(whole, "diou_nms", inputs, whole, attributes={"iou_threshold": 0.65})
    onnx.utils.extract_model(whole, part, ["output"], ["boxes", "indices", "count"])
    (call,) = (n for n in onnx.load(part).graph.node if n.op_type == "DIoUNMS")
    onnx.utils.extract_model(part, node, list(call.input), list(call.output))
    return {WHOLE: whole, PART: part, NODE: node}


def session(path: Path, library: bool) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if library:
        options.register_custom_ops_library(str(onnxruntime_library()))
    return onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])


def measure(detector: Path, seconds: float) -> Times:
    """Milliseconds of every file, without and with the library. Exits where results differ."""
    images = np.random.default_rng(0).uniform(0, 255, (1, 3, SIDE, SIDE)).astype(np.float32)
    runners: dict[str, Callable[[], list[Array]]] = {}

    def add(label: str, path: Path, library: bool, arrays: Mapping[str, Array]) -> list[Array]:
        found = session(path, library)
        runners[label] = lambda: found.run(None, dict(arrays))
        return runners[label]()

    with tempfile.TemporaryDirectory() as folder:
        (output,) = add(DETECTOR, detector, False, {"images": images})
        feeds: dict[str, Array] = {"images": images, "output": output}
        files = attached(detector, Path(folder))
        feeds |= inner(files[PART], files[NODE], output)
        for label, path in files.items():
            names = [value.name for value in onnx.load(path).graph.input]
            arrays = {name: feeds[name] for name in names}
            plain = add(label, path, False, arrays)
            kernels = add(label + LIBRARY, path, True, arrays)
            if not all(map(alike, plain, kernels)):
                raise SystemExit(f"{label}: another result with the library; nothing is timed")
        return take_turns(runners, seconds, FEWEST, 1000)


def alike(plain: Array, kernels: Array) -> bool:
    """Whether integers are equal, and pixels and scores within their rounding."""
    return np.allclose(plain, kernels, 1e-5, 1e-3 if plain.dtype.kind == "f" else 0)


def inner(part: Path, node: Path, output: Array) -> dict[str, Array]:
    """What the NMS alone takes: tensors inside the attached part."""
    model = onnx.load(part)
    names = [value.name for value in onnx.load(node, load_external_data=False).graph.input]
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    found = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"output": output})
    return dict(zip(names, found, strict=True))


def ratios(times: Times) -> dict[str, tuple[float, float]]:
    """Milliseconds without and with the library, of what the library is for."""
    ms = {label: figure["median_ms"] for label, figure in times.items()}
    return {
        "whole less detector": (ms[WHOLE] - ms[DETECTOR], ms[WHOLE + LIBRARY] - ms[DETECTOR]),
        PART: (ms[PART], ms[PART + LIBRARY]),
        NODE: (ms[NODE], ms[NODE + LIBRARY]),
        WHOLE: (ms[WHOLE], ms[WHOLE + LIBRARY]),
    }


def page(times: Times, created: str, where: Mapping[str, str]) -> str:
    rows = [
        [label, f"{plain:.3g}", f"{kernels:.3g}", f"{plain / kernels:.1f}"]
        for label, (plain, kernels) in ratios(times).items()
    ]
    facts = ", ".join(f"{name} {value}" for name, value in where.items())
    return f"""# Attached ops in onnxruntime, with the library of kernels

YOLOX-nano with `decode_boxes` and `diou_nms` attached: median milliseconds of a call, one thread.
The detector alone takes {times[DETECTOR]["median_ms"]:.3g} ms. {created}; {facts}.

{table(["", "without", "with the library", "ratio"], rows)}

The attached part has standard operators too, such as the ArgMax over the classes, which are the
same in both.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Time attached ops.", allow_abbrev=False)
    parser.add_argument("detector", type=Path, help="YOLOX with a 416 x 416 input, as .onnx")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    given = parser.parse_args()
    where = environment(PACKAGES)
    times = measure(given.detector, given.seconds)
    record = {"environment": where, "results": times, "ratios": ratios(times)}
    write("onnxruntime_library", record, lambda now: page(times, now, where), given.out)
    print((given.out / "onnxruntime_library.md").read_text())


if __name__ == "__main__":
    main()
