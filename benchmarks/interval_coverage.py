"""Measure how often the 95 % intervals contain the number that they are about.

    python benchmarks/interval_coverage.py --data data/voc2007_half

Draws sets of few images, without replacement, from two sets of detections whose numbers are known;
counts how many of the intervals of each number contain that of the whole set, and how many of those
of the difference of both detectors. `half` are the intervals that `score` reports; beside them
stand those of a bootstrap, whose draws have as many images as the set, with replacement: basic ones
(twice the number less the percentiles) and percentile ones. Intervals of differences are symmetric,
of draws of halves (those that `score A B` reports) and of the bootstrap, and percentile ones.
"""

import argparse
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lossexport import formats
from lossexport.bootstrap.draws import LEVEL, PARTS, Draws, interval, symmetric
from lossexport.bootstrap.scored import Sample
from lossexport.boxes.boxset import Float64, Int32
from lossexport.boxes.quality import BoxQuality
from lossexport.scoring.run import evaluate

RESULTS = Path(__file__).with_name("results")
SETS = {"Tiny YOLO v2": "dets_tiny_yolo_v2.json.gz", "YOLO v3": "dets_yolo_v3.json.gz"}
PAIR = "YOLO v3 less Tiny YOLO v2"
NUMBERS = ("AP", "AP50", "AP75", "AR100", "precision", "recall", "f1", "best_f1", "iou_mean")
METHODS = {
    **dict.fromkeys(SETS, ("half", "bootstrap, basic", "bootstrap, percentile")),
    PAIR: ("half", "bootstrap, symmetric", "bootstrap, percentile"),
}
IMAGES = (25, 50, 100, 250)


def columns(path: Path, rows: str | None = None) -> dict[str, Any]:
    """A COCO file as columns."""
    data = path.read_bytes()
    found = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    listed = found if rows is None else found[rows]
    names = ["image_id", "category_id", "bbox", *(["score"] if rows is None else ["iscrowd"])]
    return {name: np.array([row[name] for row in listed]) for name in names}


def part(table: dict[str, Any], images: np.ndarray) -> dict[str, Any]:
    """The rows on these images."""
    mask = np.isin(table["image_id"], images)
    return {name: values[mask] for name, values in table.items()}


def sample_of(pred: dict[str, Any], ref: dict[str, Any], images: np.ndarray) -> Sample:
    """What the numbers of these images are made of."""
    listed = {int(image): f"{image}.jpg" for image in images}
    data = formats.read(part(pred, images), {**part(ref, images), "images": listed}, "coco")
    run = evaluate(data, BoxQuality(), None, {"iou_threshold": 0.5}, lambda *_: None).run
    return Sample(run.results)


def bootstrapped(images: int, draws: int, seed: int) -> Int32:
    """Weights [D,I] of draws with replacement."""
    rng = np.random.default_rng((seed, draws))
    return rng.multinomial(images, np.full(images, 1 / images), draws).astype(np.int32)


def ends(values: Float64, value: float, method: str) -> tuple[float, float]:
    """The interval of a number with these `values` [D] in draws with replacement."""
    low, high = np.nanquantile(values, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    if method == "bootstrap, basic":
        return 2 * value - high, 2 * value - low
    if method == "bootstrap, percentile":
        return low, high
    found = symmetric(values, value)
    return found["lower"], found["upper"]


def measure(
    preds: Sequence[dict[str, Any]], ref: dict[str, Any], sets: int, draws: int
) -> dict[str, list[Any]]:
    """For each detector and the pair a row for each number of images and each number."""
    every = np.unique(ref["image_id"])
    ones = np.ones((1, len(every)), np.int32)
    whole = [sample_of(pred, ref, every).numbers(ones)[0] for pred in preds]
    rows: dict[str, list[Any]] = {name: [] for name in METHODS}
    for count in IMAGES:
        rng = np.random.default_rng(count)
        inside = {(w, n, m): 0 for w, methods in METHODS.items() for n in NUMBERS for m in methods}
        width = dict.fromkeys(inside, 0.0)
        for seed in range(sets):
            images = np.sort(rng.choice(every, count, replace=False))
            samples = [sample_of(pred, ref, images) for pred in preds]
            values, halves, boots = (
                [sample.numbers(weight)[0] for sample in samples]
                for weight in (
                    np.ones((1, count), np.int32),
                    np.concatenate(list(Draws(draws, seed).weights(count))),
                    bootstrapped(count, draws, seed),
                )
            )
            for name in NUMBERS:
                each = [[one[name] for one in found] for found in (whole, values, halves, boots)]
                for which, (truth, value, half, boot) in zip(
                    METHODS, [*zip(*each, strict=True), [b - a for a, b in each]], strict=True
                ):
                    at = float(value[0])
                    own = symmetric(half, at) if which == PAIR else interval(half, at, PARTS)
                    for method in METHODS[which]:
                        given = own["lower"], own["upper"]
                        low, high = given if method == "half" else ends(boot, at, method)
                        width[which, name, method] += (high - low) / sets
                        inside[which, name, method] += bool(low <= truth[0] <= high)
        for which, methods in METHODS.items():
            for name in NUMBERS:
                keys = {method: (which, name, method) for method in methods}
                coverage = {method: inside[key] / sets for method, key in keys.items()}
                widths = {method: width[key] for method, key in keys.items()}
                row = {"images": count, "number": name, "coverage": coverage, "width": widths}
                rows[which].append(row)
        print(count, flush=True)
    return rows


def page(results: dict[str, Any]) -> str:
    """The results as a page."""
    lines = [
        "# Coverage of the intervals",
        "",
        f"Made by `benchmarks/interval_coverage.py`: {results['sets']} random sets of images of",
        f"voc2007_half ({results['all']} images), without replacement, for each row, with",
        f"{results['draws']} draws each. The part of the 95 % intervals that contain the number of",
        "all images, and the mean width. `half` are those that `score` reports.",
    ]
    for name, rows in results["detectors"].items():
        methods = METHODS[name]
        header = [*methods, *(f"width, {method}" for method in methods)]
        lines += ["", f"## {name}", "", "| images | number | " + " | ".join(header) + " |"]
        lines += ["| --- " * (2 + len(header)) + "|"]
        for row in rows:
            cells = [f"{row['coverage'][method]:.1%}" for method in methods]
            cells += [f"{row['width'][method]:.3f}" for method in methods]
            lines += [f"| {row['images']} | {row['number']} | " + " | ".join(cells) + " |"]
    return "\n".join(lines) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder voc2007_half")
    parser.add_argument("--sets", type=int, default=200)
    parser.add_argument("--draws", type=int, default=500)
    given = parser.parse_args()
    ref = columns(given.data / "gt.json", "annotations")
    preds = [columns(given.data / file) for file in SETS.values()]
    results: dict[str, Any] = {
        "sets": given.sets,
        "draws": given.draws,
        "all": len(np.unique(ref["image_id"])),
        "detectors": measure(preds, ref, given.sets, given.draws),
    }
    (RESULTS / "interval_coverage.json").write_text(json.dumps(results, indent=1) + "\n")
    (RESULTS / "interval_coverage.md").write_text(page(results))


if __name__ == "__main__":
    main()
