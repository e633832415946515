"""Sets of oriented boxes as COCO dictionaries, and what hotcoco 1.3.0 makes of them.

`python -m tests.boxes.oriented` writes the numbers of hotcoco to `hotcoco_obb.json`. It needs
hotcoco 1.3.0, which may lie in a folder of its own that PYTHONPATH names.
"""

import contextlib
import importlib.util
import io
import json
import math
import os
import random
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lossexport.names import COCO_NUMBERS

Json = Any
EXPECTED = Path(__file__).with_name("hotcoco_obb.json")
HOTCOCO = importlib.util.find_spec("hotcoco") is not None
FIELD = "obb"
"""The name that hotcoco reads."""
SEEDS = range(24)


def box(row: Json) -> list[float]:
    numbers: list[float] = row[FIELD]
    return numbers


def draw(seed: int) -> tuple[Json, Json]:
    """References and results: ties of scores, crowds, repeated boxes, areas of their own.

    Odd seeds have whole coordinates and no angle, so that overlaps may equal a threshold.
    """
    rng = random.Random(seed)
    images, kinds, count = rng.choice([(1, 1, 150), (6, 4, 60), (20, 40, 400)])
    whole = seed % 2 == 1
    annotations: list[Json] = []
    results: list[Json] = []
    for _ in range(count):
        sides = [math.exp(rng.uniform(1, 5)), math.exp(rng.uniform(1, 5))]
        own = [rng.uniform(0, 300), rng.uniform(0, 300), *sides, rng.uniform(-math.pi, math.pi)]
        place = {"image_id": rng.randint(1, images), "category_id": rng.randint(1, kinds)}
        area = own[2] * own[3] * rng.uniform(0.8, 1)
        row = {**place, FIELD: rounded(own, whole), "iscrowd": int(rng.random() < 0.15)}
        row |= {"area": area} if rng.random() < 0.9 else {}
        annotations += [row] * (2 if rng.random() < 0.1 else 1)
        for _ in range(rng.randint(0, 4)):
            spread = rng.uniform(0, 0.25)
            off = [spread * rng.gauss(0, 1) for _ in range(5)]
            near = [own[k] + off[k] * own[2 + k] for k in (0, 1)]
            near += [own[k] * math.exp(off[k]) for k in (2, 3)]
            near = rounded([*near, own[4] + off[4]], whole)
            if rng.random() < 0.05:
                near[2] = rng.choice([0.0, -near[2]])
            kind = place["category_id"] if rng.random() < 0.9 else rng.randint(1, kinds)
            score = round(rng.random(), 1)
            results.append({**place, "category_id": kind, FIELD: near, "score": score})
    return {
        "images": [{"id": i, "width": 640, "height": 480} for i in range(1, images + 1)],
        "categories": [{"id": k, "name": f"kind {k}"} for k in range(1, kinds + 1)],
        "annotations": [{"id": n, **row} for n, row in enumerate(annotations, 1)],
    }, results


def rounded(numbers: Sequence[float], whole: bool) -> list[float]:
    if not whole:
        return [*numbers[:4], math.remainder(numbers[4], 2 * math.pi)]
    return [*(float(round(number)) for number in numbers[:4]), 0.0]


def hotcoco(references: Json, results: Json) -> dict[str, float]:
    """The twelve numbers of hotcoco."""
    from hotcoco import COCO, COCOeval  # type: ignore[import-not-found]

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        files = Path(folder, "gt.json"), Path(folder, "dt.json")
        for file, content in zip(files, (references, results), strict=True):
            file.write_text(json.dumps(content))
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            truth = COCO(os.fspath(files[0]))
            run = COCOeval(truth, truth.loadRes(os.fspath(files[1])), "obb")
            run.evaluate()
            run.accumulate()
            run.summarize()
    return dict(zip(COCO_NUMBERS, map(float, run.stats), strict=True))


def clipped_overlap(pred: list[float], ref: list[float], crowd: bool) -> float:
    """By clipping one polygon with the edges of the other one, about the centre of `ref`."""

    def corners(x: float, y: float, w: float, h: float, angle: float) -> list[complex]:
        at, axis = complex(x - ref[0], y - ref[1]), complex(math.cos(angle), math.sin(angle))
        return [
            at + axis * complex(a * w, b * h) / 2 for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))
        ]

    polygon, clip = corners(*pred), corners(*ref)
    for a, b in zip(clip, clip[1:] + clip[:1], strict=True):
        sides = [((b - a).conjugate() * (p - a)).imag for p in polygon]
        kept = []
        for k, p in enumerate(polygon):
            q, before, after = polygon[k - 1], sides[k - 1], sides[k]
            if (before < 0) != (after < 0):
                kept.append(q + (p - q) * before / (before - after))
            kept += [p] if after >= 0 else []
        polygon = kept
    turns = zip(polygon, polygon[1:] + polygon[:1], strict=True)
    inside = sum((a.conjugate() * b).imag for a, b in turns) / 2
    area = pred[2] * pred[3]
    return inside / (area if crowd else area + ref[2] * ref[3] - inside)


def main() -> int:
    numbers = {str(seed): list(hotcoco(*draw(seed)).values()) for seed in SEEDS}
    EXPECTED.write_text(json.dumps(numbers, indent=0) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
