"""Fine-tune the head of a deployed detector on other pictures: onnxruntime and numpy alone.

`small_detector.py` made the detector. The pictures here have half of the contrast, and their boxes
are drawn three pixels wider on each side.
The last convolution of `detector.onnx` is its head. The features before it come from onnxruntime,
and so do the loss of the head's outputs and its gradient, from `yolo_detection_loss.grad.onnx`;
numpy has the chain rule through the head and the steps. Writes to `--out`: `tuned.onnx`, the
detector with its new head, `results.json` and `curves.svg`.
"""

import argparse
import io
import json
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import onnx
import onnxruntime
from drawn_shapes import CELLS, NAMES, SIDE, STRIDE, Array, scene
from matplotlib.figure import Figure
from onnx import numpy_helper
from PIL import Image

import lossexport
from lossexport.files import write_bytes
from lossexport.runtime import Session, load

LOSS = "yolo_detection_loss"
TUNE, TEST, BATCH, ROOM = 96, 96, 16, 4
LOOSE = 3
RATE, BETAS, SMALL = 1e-2, (0.9, 0.99), 1e-8
LARGEST = 4.0  # of a logarithm of a side, as the detector was trained
INK, GREY, LINE = "#1f2430", "#6a7282", "#d8dde6"
BEFORE, AFTER = "#d1500f", "#0b6bb8"


class Data(NamedTuple):
    """Pictures and the targets of each, padded to ROOM."""

    pictures: list[Array]
    labels: Array
    targets: Array
    valid: Array

    def told(self, rows: Any) -> dict[str, Array]:
        """The targets of some pictures, as the loss takes them."""
        return {
            "labels": self.labels[rows],
            "targets": self.targets[rows],
            "valid": self.valid[rows],
        }


def shifted(picture: Array, boxes: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """The picture at half of its contrast, and its boxes drawn more loosely."""
    flat = 0.5 * picture + 60 + rng.normal(0, 2, picture.shape)
    loose = np.concatenate((boxes[:, :2] - LOOSE, boxes[:, 2:] + LOOSE), 1).clip(0, SIDE)
    return flat.clip(0, 255).astype(np.uint8), loose


def draw(count: int, rng: np.random.Generator) -> Data:
    """New pictures, shifted."""
    data = Data(
        [],
        np.zeros((count, ROOM), np.int64),
        np.zeros((count, ROOM, 4), np.float32),
        np.zeros((count, ROOM), bool),
    )
    for index in range(count):
        picture, boxes, labels = scene(rng)
        picture, boxes = shifted(picture, boxes, rng)
        data.pictures.append(picture)
        data.labels[index, : len(boxes)] = labels
        data.targets[index, : len(boxes)] = boxes
        data.valid[index, : len(boxes)] = True
    return data


class Head:
    """The last convolution of a detector, 1 x 1, and what comes before it."""

    def __init__(self, path: Path) -> None:
        """Read a file of `small_detector.py`."""
        self.model = onnx.load(path)
        conv = [node for node in self.model.graph.node if node.op_type == "Conv"][-1]
        self.features, *self.names = conv.input
        stored = {tensor.name: tensor for tensor in self.model.graph.initializer}
        weight, self.bias = (numpy_helper.to_array(stored[name]).copy() for name in self.names)
        self.shape, self.weight = weight.shape, weight.reshape(len(weight), -1)

    def before(self, pictures: list[Array], folder: Path) -> Array:
        """What the head gets [N,K,cells], from the detector cut before it."""
        body = onnx.ModelProto()
        body.CopyFrom(self.model)
        del body.graph.output[:]
        body.graph.output.append(onnx.helper.make_empty_tensor_value_info(self.features))
        path = folder / "body.onnx"
        onnx.save(onnx.shape_inference.infer_shapes(body), path)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        images = (np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32) - 127.5) / 64
        found = [session.run(None, {"images": image[None]})[0] for image in images]
        return np.concatenate(found).reshape(len(images), self.weight.shape[1], -1)

    def save(self, path: Path) -> None:
        """Write the detector with the head as it is now."""
        new = {self.names[0]: self.weight.reshape(self.shape), self.names[1]: self.bias}
        for tensor in self.model.graph.initializer:
            if tensor.name in new:
                tensor.CopyFrom(numpy_helper.from_array(new[tensor.name], tensor.name))
        onnx.save(self.model, path)


def decoded(raw: Array) -> tuple[dict[str, Array], tuple[Array, Array, Array]]:
    """Head outputs [B,5+C,cells] as the loss takes them, and what `pulled` needs of them.

    Distances from the centre of the cell, and for every class the logit of the detector's score,
    the product of two sigmoids.
    """
    shift, size, seen, named = np.split(raw, (2, 4, 5), axis=1)
    half = np.exp(np.minimum(size, LARGEST)) / 2
    boxes = np.concatenate((half - shift + 0.5, half + shift - 0.5), 1)
    both = np.logaddexp(np.logaddexp(-seen, -named), -(seen + named))
    logits = {"box_logits": boxes, "class_logits": -both}
    by_seen = np.exp(-seen - both) + np.exp(-(seen + named) - both)
    by_named = np.exp(-named - both) + np.exp(-(seen + named) - both)
    return logits, (np.where(size < LARGEST, half, 0), by_seen, by_named)


def pulled(boxes: Array, classes: Array, kept: tuple[Array, Array, Array]) -> Array:
    """The gradient with respect to the raw outputs, from those of `decoded`."""
    half, by_seen, by_named = kept
    near, far = np.split(boxes, 2, axis=1)
    parts = (
        far - near,
        (near + far) * half,
        (classes * by_seen).sum(1, keepdims=True),
        classes * by_named,
    )
    return np.concatenate(parts, 1)


def grid() -> dict[str, Array]:
    """The cells of the detector."""
    y, x = np.mgrid[:CELLS, :CELLS] + 0.5
    points = np.stack((x.ravel(), y.ravel()), 1).astype(np.float32)
    return {"points": points, "stride": np.full(len(points), STRIDE, np.float32)}


def step(loss: Session, head: Head, features: Array, told: dict[str, Array]) -> tuple[float, Any]:
    """The loss of a picture of a batch, and the gradients of the weight and the bias."""
    heads, kept = decoded(head.weight @ features + head.bias[:, None])
    found = loss(**{k: np.ascontiguousarray(v, np.float32) for k, v in heads.items()}, **told)
    raw = pulled(found["grad_box_logits"], found["grad_class_logits"], kept)
    weight = np.einsum("bok,bck->oc", raw, features)
    return float(found["parts"].sum()), (weight, raw.sum((0, 2)))


class Adam:
    """Steps of Adam on arrays, in place."""

    def __init__(self, arrays: list[Array]) -> None:
        """Start without a past."""
        self.arrays, self.count = arrays, 0
        self.past = [(np.zeros_like(x), np.zeros_like(x)) for x in arrays]

    def move(self, grads: Any, rate: float) -> None:
        """One step against the gradients."""
        self.count += 1
        for array, grad, (mean, square) in zip(self.arrays, grads, self.past, strict=True):
            mean += (1 - BETAS[0]) * (grad - mean)
            square += (1 - BETAS[1]) * (grad * grad - square)
            fair = [1 - beta**self.count for beta in BETAS]
            array -= rate * (mean / fair[0]) / (np.sqrt(square / fair[1]) + SMALL)


def average_precision(detector: Path, description: Path, data: Data, folder: Path) -> float:
    """AP of the detector on pictures, from `lossexport.score`."""
    images: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    (folder / "images").mkdir(exist_ok=True)
    for number, picture in enumerate(data.pictures):
        name = f"{number:03}.png"
        Image.fromarray(picture).save(folder / "images" / name)
        images.append({"id": number, "file_name": name, "width": SIDE, "height": SIDE})
        for place in np.flatnonzero(data.valid[number]):
            x1, y1, x2, y2 = map(float, data.targets[number, place])
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
            kind = int(data.labels[number, place])
            rows.append({"id": len(rows) + 1, "image_id": number, "category_id": kind, **box})
    kinds = [{"id": index, "name": name} for index, name in enumerate(NAMES)]
    truth = {"images": images, "categories": kinds, "annotations": rows}
    (folder / "gt.json").write_text(json.dumps(truth))
    summary = lossexport.score(
        detector, folder / "gt.json", images=folder / "images", detector=description
    )
    return float(summary["AP"])


def graph(given: Path | None, folder: Path) -> Path:
    """The loss with its gradient; exported here, with PyTorch, where none is given."""
    if given is None:
        shape: dict[str, str | int] = {
            "D": 4,
            "C": len(NAMES),
            "A": CELLS * CELLS,
            "T": ROOM,
            "B": f"1:{BATCH}:{TEST}",
        }
        lossexport.export(LOSS, folder, gradient=True, shapes=shape)
        given = folder / f"{LOSS}.grad.onnx"
    return given


def finetune(folder: Path, loss: Session, steps: int, seed: int, out: Path) -> dict[str, Any]:
    """Tune the head; returns the curves and the numbers."""
    rng = np.random.default_rng(seed)
    tune, test = draw(TUNE, rng), draw(TEST, rng)
    head, cells = Head(folder / "detector.onnx"), grid()
    description = folder / "detector.toml"
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        before = average_precision(folder / "detector.onnx", description, test, scratch)
        begin = time.perf_counter()
        seen, held = (head.before(data.pictures, scratch) for data in (tune, test))
        adam = Adam([head.weight, head.bias])
        curves: dict[str, list[list[float]]] = {"tuned on": [], "held out": []}
        for number in range(steps + 1):
            rows = rng.choice(TUNE, BATCH, replace=False)
            value, grads = step(loss, head, seen[rows], tune.told(rows) | cells)
            curves["tuned on"].append([number, value])
            if number % 20 == 0 or number == steps:
                held_out = step(loss, head, held, test.told(slice(None)) | cells)[0]
                curves["held out"].append([number, held_out])
            if number < steps:
                adam.move(grads, RATE * (1 - number / steps))
        seconds = time.perf_counter() - begin
        head.save(out / "tuned.onnx")
        after = average_precision(out / "tuned.onnx", description, test, scratch)
    return {
        "pictures": {"tuned on": TUNE, "held out": TEST},
        "steps": steps,
        "AP": {"before": round(before, 4), "after": round(after, 4)},
        "loss": {
            "before": round(curves["held out"][0][1], 4),
            "after": round(curves["held out"][-1][1], 4),
        },
        "seconds": round(seconds, 1),
        "curves": {k: [[int(n), round(x, 4)] for n, x in v] for k, v in curves.items()},
    }


def plot(results: dict[str, Any]) -> bytes:
    """The loss by step, and AP before and after, as SVG."""
    with mpl.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "",  # equal input gives equal text
            "font.sans-serif": ["DejaVu Sans", "Arial"],
            "font.size": 9,
        }
    ):
        figure = Figure(figsize=(7.2, 2.8), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(2.2, 1))
        for name, colour, width in (("tuned on", LINE, 1.0), ("held out", AFTER, 1.8)):
            x, y = zip(*results["curves"][name], strict=True)
            left.plot(x, y, color=colour, linewidth=width, label=f"pictures {name}")
        left.set_xlabel("step")
        left.set_ylabel("loss, parts summed")
        left.legend(frameon=False)
        values = [results["AP"][key] for key in ("before", "after")]
        bars = right.bar(["before", "after"], values, color=[BEFORE, AFTER], width=0.6)
        right.bar_label(bars, fmt="%.3f", color=INK)
        right.set_ylim(0, 1)
        right.set_ylabel("AP on held out pictures")
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(colors=GREY)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def main() -> None:
    """Tune and write, from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("folder", type=Path, help="what small_detector.py has written")
    parser.add_argument("--loss", type=Path, help=f"{LOSS}.grad.onnx; exported if not given")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, required=True, help="folder; created if missing")
    given = parser.parse_args()
    if given.steps < 1:
        parser.error("--steps: must be at least 1")
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        loss = load(graph(given.loss, Path(name)))
        results = finetune(given.folder, loss, given.steps, given.seed, given.out)
    write_bytes(given.out / "results.json", (json.dumps(results) + "\n").encode())
    write_bytes(given.out / "curves.svg", plot(results))
    print(f"AP {results['AP']['before']:.3f} -> {results['AP']['after']:.3f}", end=", ")
    print(f"loss {results['loss']['before']:.2f} -> {results['loss']['after']:.2f}", end=", ")
    print(f"{results['seconds']} s")


if __name__ == "__main__":
    main()
