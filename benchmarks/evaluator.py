"""Time `lossexport.Evaluator`: a frame of 100 boxes, and the rest of its life.

    python benchmarks/evaluator.py                  # writes benchmarks/results/evaluator.*

Frames are those of `lossexport.sample --even`: 100 predictions each, of 80 categories or of one,
and 7 or 20 references on average. Arrays are float32 and int64, as detectors give them. The figure
of a frame is that of `update_image` for all frames, and of matching the last of them, divided by
their number. Times are those of the CPU, since all of it but the box quality in `compute` runs in
one thread; other work on the machine still slows down its caches.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measure import RESULTS, environment, table, take_turns, write

from lossexport import Evaluator
from lossexport.sample import Counts, Scenes

FRAMES, BOXES = 500, 100
SCENES = {
    f"{references} references, {kinds}": (references, kinds == "one category")
    for references in (7, 20)
    for kinds in ("80 categories", "one category")
}
SECONDS = 20.0
FEWEST = 5
PACKAGES = ("numpy", "lossexport")

Array = np.ndarray[Any, np.dtype[Any]]
Frame = tuple[int, Array, Array, Array, Array, Array]


def frames(references: int, one: bool) -> list[Frame]:
    """The arguments of `update_image`."""
    found: list[Frame] = []
    counts = Counts(FRAMES, FRAMES * references, FRAMES * BOXES, even=True)
    for image, (refs, preds) in enumerate(Scenes(counts, 0)):
        boxes, labels = zip(*(_boxes(rows, one) for rows in (preds, refs)), strict=True)
        score = np.array([row["score"] for row in preds], np.float32)
        found.append((image, boxes[0], score, labels[0], boxes[1], labels[1]))
    return found


def _boxes(rows: list[dict[str, Any]], one: bool) -> tuple[Array, Array]:
    box = np.array([row["bbox"] for row in rows], np.float32).reshape(-1, 4)
    box[:, 2:] += box[:, :2]
    return box, np.array([1 if one else row["category_id"] for row in rows], np.int64)


def columns(given: list[Frame]) -> tuple[dict[str, Array], dict[str, Array]]:
    """The same as one pair of columns."""
    images, boxes, scores, labels, ref_boxes, ref_labels = zip(*given, strict=True)

    def side(box: Sequence[Array], label: Sequence[Array]) -> dict[str, Array]:
        return {
            "image_id": np.repeat(images, [len(rows) for rows in box]),
            "category_id": np.concatenate(label),
            "box": np.concatenate(box),
        }

    pred = {**side(boxes, labels), "score": np.concatenate(scores)}
    ref: dict[str, Any] = side(ref_boxes, ref_labels)
    return pred, {**ref, "images": dict.fromkeys(images)}


def by_frame(given: list[Frame]) -> Evaluator:
    evaluator = Evaluator()
    for frame in given:
        evaluator.update_image(*frame)
    evaluator.to_bytes()  # matches the last frames
    return evaluator


def at_once(given: list[Frame]) -> Evaluator:
    evaluator = Evaluator()
    evaluator.update(*columns(given))
    return evaluator


def measure(seconds: float) -> dict[str, Any]:
    scenes = {name: frames(*scene) for name, scene in SCENES.items()}
    runners: dict[str, Callable[[], object]] = {}
    for name, given in scenes.items():
        if by_frame(given).to_bytes() != at_once(given).to_bytes():
            raise SystemExit(f"{name}: one update gives other bytes; nothing is timed")
        runners[name] = lambda given=given: by_frame(given)  # type: ignore[misc]
    given = next(iter(scenes.values()))
    whole = by_frame(given)
    data = whole.to_bytes()
    runners |= {
        "update of all": lambda: at_once(given),
        "to_bytes": whole.to_bytes,
        "from_bytes": lambda: Evaluator.from_bytes(data),
        "compute": whole.compute,
    }
    counts = whole.compute()["counts"]
    return {
        "frames": FRAMES,
        "times": take_turns(runners, seconds, FEWEST, clock=time.process_time),
        "bytes": len(data),
        "predictions": counts["predictions"],
        "matched": counts["matched"],
    }


def page(results: dict[str, Any], created: str, where: dict[str, str]) -> str:
    times = results["times"]
    figures = {
        name: [f"{times[name][kind] / FRAMES:.3f}" for kind in ("median_ms", "least_ms")]
        for name in SCENES
    }
    rest = {
        name: [f"{figure[kind]:.2f}" for kind in ("median_ms", "least_ms")]
        for name, figure in times.items()
        if name not in SCENES
    }
    facts = ", ".join(f"{name} {value}" for name, value in where.items())
    size = results["bytes"] / results["predictions"]
    return f"""# Evaluator

{created}; {facts}.

CPU milliseconds of a frame of {BOXES} boxes by `update_image`, matching included:

{table(["frame", "median", "least"], [[name, *row] for name, row in figures.items()])}

CPU milliseconds for all {FRAMES} frames of the first row, {results["predictions"]:,} predictions of
which {results["matched"]:,} match:

{table(["call", "median", "least"], [[f"`{name}`", *row] for name, row in rest.items()])}

Their bytes are {results["bytes"]:,}, {size:.1f} for each prediction.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the evaluator.", allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    given = parser.parse_args()
    where = environment(PACKAGES)
    results = measure(given.seconds)
    record = {"environment": where, "results": results}
    write("evaluator", record, lambda now: page(results, now, where), given.out)
    print((given.out / "evaluator.md").read_text())


if __name__ == "__main__":
    main()
