"""Small sets of boxes that are hard to diagnose: many categories, ties, crowds, near misses."""

import random
import re
from pathlib import Path
from typing import Any

from lossexport import formats
from lossexport.boxes.boxset import Dataset
from tests.boxes.helpers import coco, found, read_json, truth

REAL = {
    "yolact_base": ("coco_val2017_100/dets_yolact_base.json", "coco_val2017_100/gt.json"),
    "yolact_resnet50": ("coco_val2017_100/dets_yolact_resnet50.json", "coco_val2017_100/gt.json"),
    "crowd": ("coco_val2014_crowd/dets_synthetic.json", "coco_val2014_crowd/gt.json"),
    "yolox_nano": ("images/dets_yolox_nano.json", "images/gt.json"),
    "yolo_v3": ("voc2007_half/dets_yolo_v3.json.gz", "voc2007_half/gt.json"),
}


def drawn(seed: int) -> tuple[Any, Any]:
    """Detections and a dictionary of references, on a grid so that scores and overlaps tie.

    Only `random.Random.random` is used, whose numbers Python promises to keep.
    """
    draw = random.Random(seed)

    def whole(low: int, high: int) -> int:
        return low + int(draw.random() * (high - low))

    def box() -> list[float]:
        return [float(whole(*limits)) for limits in ((0, 30), (0, 30), (4, 14), (4, 14))]

    images, kinds = range(1, whole(2, 7)), range(1, whole(2, 5))
    references = [
        truth(
            whole(1, len(images) + 1),
            whole(1, len(kinds) + 1),
            *box(),
            iscrowd=int(draw.random() < 0.1),
        )
        for _ in range(whole(1, 40))
    ]
    detections = []
    for _ in range(whole(1, 250)):
        score = whole(0, 20) / 20 if draw.random() < 0.5 else draw.random()
        image, kind, place = whole(1, len(images) + 1), whole(1, len(kinds) + 1), box()
        if draw.random() < 0.5:
            near = references[whole(0, len(references))]
            image = near["image_id"]
            moved = [value + whole(-2, 3) for value in near["bbox"]]
            place = [max(value, 0.0 if i < 2 else 1.0) for i, value in enumerate(moved)]
            kind = near["category_id"] if draw.random() < 0.7 else kind
        detections.append(found(image, kind, score, *place))
    names = tuple((k, f"kind {k}") for k in kinds)
    return detections, coco(references, images=tuple(images), categories=names)


def dataset(name: str, shared: Path, folder: Path) -> Dataset:
    """A real set by its name, or the one drawn for the seed that the name is."""
    if name in REAL:
        pred, ref = (shared / "data" / part for part in REAL[name])
        return formats.read(pred, ref, "coco")
    return read_json(folder, *drawn(int(name)))


def words(page: str) -> str:
    """What a page says, without its tags."""
    return " ".join(re.sub("<[^>]*>", " ", page).split())
