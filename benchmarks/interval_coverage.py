"""How often intervals contain the number of the whole set, on random parts of it.

    python benchmarks/interval_coverage.py --data data/voc2007_half

Takes many random sets of images, without replacement, from a set of detections whose numbers are
known; counts how many of the intervals of each contain the number of the whole set, for basic
intervals (twice the number less the percentiles), which `score` reports, and for percentile ones.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from lossexport import formats
from lossexport.bootstrap.draws import LEVEL, Draws
from lossexport.bootstrap.scored import Sample
from lossexport.boxes.quality import BoxQuality
from lossexport.scoring.record import Run
from lossexport.scoring.run import evaluate

RESULTS = Path(__file__).with_name("results")
SETS = {"Tiny YOLO v2": "dets_tiny_yolo_v2.json.gz", "YOLO v3": "dets_yolo_v3.json.gz"}
NUMBERS = ("AP", "AP50", "AP75", "AR100", "precision", "recall", "f1", "best_f1", "iou_mean")
METHODS = ("percentile", "basic")
IMAGES = (25, 50, 100, 250)


def columns(path: Path, rows: str | None = None) -> dict[str, Any]:
    """A COCO file as columns."""
    import gzip

    data = path.read_bytes()
    found = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    listed = found if rows is None else found[rows]
    names = ["image_id", "category_id", "bbox", *(["score"] if rows is None else ["iscrowd"])]
    return {name: np.array([row[name] for row in listed]) for name in names}


def part(table: dict[str, Any], images: np.ndarray) -> dict[str, Any]:
    """The rows on these images."""
    mask = np.isin(table["image_id"], images)
    return {name: values[mask] for name, values in table.items()}


def run_of(pred: dict[str, Any], ref: dict[str, Any], images: np.ndarray) -> Run:
    """A scoring run over these images."""
    listed = {int(image): f"{image}.jpg" for image in images}
    data = formats.read(part(pred, images), {**part(ref, images), "images": listed}, "coco")
    return evaluate(data, BoxQuality(), None, {"iou_threshold": 0.5}, lambda *_: None).run


def measure(pred: dict[str, Any], ref: dict[str, Any], sets: int, draws: int) -> list[Any]:
    """A row for each number of images and each number: the part of intervals that contain it."""
    every = np.unique(ref["image_id"])
    ones = np.ones((1, len(every)), np.int32)
    whole = {
        name: v[0] for name, v in Sample(run_of(pred, ref, every).results).numbers(ones)[0].items()
    }
    rows = []
    for count in IMAGES:
        rng = np.random.default_rng(count)
        inside = {(name, method): 0 for name in NUMBERS for method in METHODS}
        width = dict.fromkeys(NUMBERS, 0.0)
        for seed in range(sets):
            images = np.sort(rng.choice(every, count, replace=False))
            sample = Sample(run_of(pred, ref, images).results)
            value = sample.numbers(np.ones((1, sample.images), np.int32))[0]
            drawn = sample.drawn(Draws(draws, seed))[0]
            for name in NUMBERS:
                ends = np.nanquantile(drawn[name], ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
                width[name] += float(ends[1] - ends[0]) / sets
                mirrored = 2 * value[name][0] - ends[::-1]
                for method, (low, high) in zip(METHODS, (ends, mirrored), strict=True):
                    inside[name, method] += bool(low <= whole[name] <= high)
        for name in NUMBERS:
            parts = {method: inside[name, method] / sets for method in METHODS}
            rows.append({"images": count, "number": name, "width": width[name], **parts})
        print(rows[-len(NUMBERS) :], flush=True)
    return rows


def page(results: dict[str, Any]) -> str:
    """The results as a page."""
    lines = [
        "# Coverage of the intervals",
        "",
        f"Made by `benchmarks/interval_coverage.py`: {results['sets']} random sets of images of",
        f"voc2007_half ({results['all']} images), without replacement, for each row, with",
        f"{results['draws']} draws each. The part of the 95 % intervals that contain the number of",
        "all images, for percentile intervals and for basic ones, and the mean width.",
    ]
    for name, rows in results["detectors"].items():
        lines += ["", f"## {name}", "", "| images | number | percentile | basic | width |"]
        lines += ["| --- | --- | --- | --- | --- |"]
        lines += [
            f"| {r['images']} | {r['number']} | {r['percentile']:.1%} | {r['basic']:.1%} "
            f"| {r['width']:.3f} |"
            for r in rows
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder voc2007_half")
    parser.add_argument("--sets", type=int, default=200)
    parser.add_argument("--draws", type=int, default=500)
    given = parser.parse_args()
    ref = columns(given.data / "gt.json", "annotations")
    results: dict[str, Any] = {
        "sets": given.sets,
        "draws": given.draws,
        "all": len(np.unique(ref["image_id"])),
        "detectors": {
            name: measure(columns(given.data / file), ref, given.sets, given.draws)
            for name, file in SETS.items()
        },
    }
    (RESULTS / "interval_coverage.json").write_text(json.dumps(results, indent=1) + "\n")
    (RESULTS / "interval_coverage.md").write_text(page(results))


if __name__ == "__main__":
    main()
