"""Makes detections that look like COCO, `gt.json` and `dets.json`; equal seeds give equal files.

    python -m lossexport.sample --out data

Sides are log-normal, 40 % of the boxes are small, the share of a category is 1/rank, and the number
of objects per image varies as in real scenes. Most predictions are references moved by a random
part of their sides, with scores that rise with the IoU; the others are duplicates and false alarms.
Files are written image by image, so memory does not grow with their size.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lossexport.errors import LossexportError
from lossexport.files import atomic_path

CATEGORIES = 80
SIZES = np.array([(640, 480), (640, 427), (480, 640), (500, 375), (640, 640)])
MEDIAN_SIDE, SPREAD, ASPECT = 55.0, 1.2, 0.45
CROWD, FOUND, CONFUSED, DUPLICATE = 0.01, 0.85, 0.04, 0.3

Array = np.ndarray[Any, np.dtype[Any]]
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Counts:
    """The numbers to draw; with `even`, every image has the same number of predictions."""

    images: int
    references: int
    predictions: int
    even: bool = False
    categories: int = CATEGORIES


class Scenes:
    """Draws images one after the other; can be iterated once."""

    def __init__(self, counts: Counts, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        rank = np.arange(1, counts.categories + 1)
        self.share = (1 / rank) / (1 / rank).sum()
        # Most images hold a few objects, some hold dozens: a gamma-distributed rate.
        rate: Array = self.rng.gamma(1.2, size=counts.images) + 0.05
        self.references = self.rng.multinomial(counts.references, rate / rate.sum())
        if counts.even:
            edges = np.linspace(0, counts.predictions, counts.images + 1).astype(np.int64)
            self.predictions = np.diff(edges)
        else:
            rate = self.references + 2.0
            self.predictions = self.rng.multinomial(counts.predictions, rate / rate.sum())
        self.sizes = SIZES[self.rng.integers(0, len(SIZES), counts.images)]

    def __iter__(self) -> Iterator[tuple[list[Record], list[Record]]]:
        """Annotations of an image, without ids, and its predictions."""
        counts = zip(self.references, self.predictions, self.sizes, strict=True)
        for image, (references, predictions, size) in enumerate(counts, start=1):
            boxes = self.boxes(references, size)
            category = self._categories(references)
            crowd = self.rng.random(references) < CROWD
            filled = self.rng.uniform(0.45, 0.9, references)  # part of the box inside the outline
            annotations = [
                {
                    "image_id": image,
                    "category_id": int(category[i]),
                    "bbox": _xywh(boxes[i]),
                    "area": round(float(_area(boxes[i]) * filled[i]), 2),
                    "iscrowd": int(crowd[i]),
                }
                for i in range(references)
            ]
            found = self._detect(predictions, boxes, category, size)
            yield annotations, [{"image_id": image, **record} for record in found]

    def _categories(self, count: int) -> Array:
        return self.rng.choice(len(self.share), count, p=self.share) + 1

    def boxes(self, count: int, size: Array) -> Array:
        """Boxes xyxy [count,4] inside the image."""
        side = np.exp(self.rng.normal(np.log(MEDIAN_SIDE), SPREAD, (count, 1)))
        stretch = np.exp(self.rng.normal(0.0, ASPECT, (count, 1)) * [0.5, -0.5])
        wide_high = np.clip(side * stretch, 2.0, 0.98 * size)
        low = self.rng.random((count, 2)) * (size - wide_high)
        return np.concatenate((low, low + wide_high), axis=1)

    def _detect(self, count: int, boxes: Array, category: Array, size: Array) -> Iterator[Record]:
        hits = np.flatnonzero(self.rng.random(len(boxes)) < FOUND)[:count]
        rest = count - len(hits)
        copies = min(int(self.rng.binomial(rest, DUPLICATE)), 4 * len(hits))
        again = hits[self.rng.integers(0, len(hits), copies)] if len(hits) else hits
        source = np.concatenate((hits, again))
        blur = self.rng.gamma(2.0, 0.04, (len(source), 1))
        blur[len(hits) :] *= 3
        moved = self._moved(boxes[source], blur, size)
        quality = _iou(moved, boxes[source])
        score = np.clip(quality + self.rng.normal(-0.1, 0.15, len(source)), 0.01, 0.999)
        score[len(hits) :] *= 0.5
        named = category[source]
        confused = self.rng.random(len(source)) < CONFUSED
        named[confused] = self._categories(int(confused.sum()))

        alarms = rest - len(again)
        everything = np.concatenate((moved, self.boxes(alarms, size)))
        named = np.concatenate((named, self._categories(alarms)))
        score = np.concatenate((score, 0.01 + 0.9 * self.rng.beta(0.8, 8.0, alarms)))
        for i in self.rng.permutation(count):
            yield {
                "category_id": int(named[i]),
                "bbox": _xywh(everything[i]),
                "score": round(float(score[i]), 5),
            }

    def _moved(self, boxes: Array, blur: Array, size: Array) -> Array:
        side = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        shifted = boxes + self.rng.normal(0.0, 1.0, boxes.shape) * blur * side
        shifted = np.clip(shifted, 0.0, np.tile(size, 2))
        low, high = (
            np.minimum(shifted[:, :2], shifted[:, 2:]),
            np.maximum(shifted[:, :2], shifted[:, 2:]),
        )
        return np.concatenate((low, high), axis=1)


def _area(boxes: Array) -> Array:
    return np.asarray((boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1]))


def _iou(a: Array, b: Array) -> Array:
    overlap = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    inner = np.prod(np.clip(overlap, 0.0, None), axis=1)
    return np.asarray(inner / np.maximum(_area(a) + _area(b) - inner, 1e-9))


def _xywh(box: Array) -> list[float]:
    x1, y1, x2, y2 = (round(float(value), 2) for value in box)
    return [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)]


def write(counts: Counts, seed: int, out: Path) -> None:
    """Write `gt.json` and `dets.json` to the folder `out`."""
    scenes = Scenes(counts, seed)
    images = [
        {"id": i, "file_name": f"{i:012}.jpg", "width": int(wide), "height": int(high)}
        for i, (wide, high) in enumerate(scenes.sizes, start=1)
    ]
    names = [{"id": i, "name": f"class {i:02}"} for i in range(1, counts.categories + 1)]
    with (
        atomic_path(out / "gt.json") as truth_path,
        atomic_path(out / "dets.json") as found_path,
        truth_path.open("w", encoding="utf-8") as truth,
        found_path.open("w", encoding="utf-8") as found,
    ):
        truth.write(f'{{"images": {json.dumps(images)},\n"categories": {json.dumps(names)},\n')
        truth.write('"annotations": [')
        found.write("[")
        annotations = predictions = 0
        for new_annotations, new_predictions in scenes:
            for record in new_annotations:
                truth.write(",\n" * (annotations > 0))
                annotations += 1
                truth.write(json.dumps({"id": annotations, **record}))
            for record in new_predictions:
                found.write(",\n" * (predictions > 0))
                predictions += 1
                found.write(json.dumps(record))
        truth.write("]}\n")
        found.write("]\n")


def _whole(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 10**8:
        raise argparse.ArgumentTypeError(f"{text}: must be from 0 to 100000000")
    return value


def main() -> None:
    """Write the two files."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--images", type=_whole, default=200)
    parser.add_argument("--references", type=_whole, default=1450)
    parser.add_argument("--predictions", type=_whole, default=6000)
    parser.add_argument(
        "--even",
        action="store_true",
        help="the same number of predictions in every image, as from a detector with a limit",
    )
    parser.add_argument("--seed", type=_whole, default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder; created if it is missing")
    given = parser.parse_args()
    if given.images < 1:
        parser.error("--images 0: must be at least 1")
    counts = Counts(given.images, given.references, given.predictions, given.even)
    try:
        write(counts, given.seed, given.out)
    except LossexportError as error:
        parser.error(str(error))
    print(
        f"{given.out}: gt.json and dets.json, {counts.images:,} images, {counts.references:,} "
        f"references, {counts.predictions:,} predictions, seed {given.seed}"
    )


if __name__ == "__main__":
    main()
