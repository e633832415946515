"""Sets of boxes as COCO dictionaries, and what pycocotools makes of them."""

import contextlib
import copy
import gzip
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lossexport import formats
from lossexport.boxes.boxset import Dataset
from lossexport.boxes.pairs import find_pairs, sort_boxes
from lossexport.errors import LossexportError
from lossexport.names import COCO_NUMBERS
from lossexport.scoring.coco_ap import CocoResult, accumulate, match

Json = Any


def load(path: Path) -> Json:
    data = path.read_bytes()
    return json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)


def pycocotools(references: Json, detections: Json) -> dict[str, float]:
    """The twelve numbers of COCOeval."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(references)
        truth.createIndex()
        run = COCOeval(truth, truth.loadRes(copy.deepcopy(detections)), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return dict(zip(COCO_NUMBERS, map(float, run.stats), strict=True))


def evaluate_data(data: Dataset) -> CocoResult:
    order = sort_boxes(data)
    return accumulate(match(data, order, find_pairs(data, order, 0.5)), parts=data.parts)


def read_json(folder: Path, detections: Json, references: Json) -> Dataset:
    pred, ref = folder / "pred.json", folder / "ref.json"
    pred.write_text(json.dumps(detections))
    ref.write_text(json.dumps(references))
    return formats.read(pred, ref, "coco")


def coco(
    annotations: Json, *, images: Json = (1, 2), categories: Json = ((1, "cat"), (2, "dog"))
) -> Json:
    return {
        "images": [{"id": i, "file_name": f"{i}.jpg"} for i in images],
        "categories": [{"id": i, "name": name} for i, name in categories],
        "annotations": [{"id": n, **a} for n, a in enumerate(annotations, 1)],
    }


def truth(image: Json, category: Json, *bbox: float, **more: Json) -> Json:
    row = {"image_id": image, "category_id": category, "bbox": list(bbox), "iscrowd": 0}
    return {**row, "area": bbox[2] * bbox[3], **more}


def found(image: Json, category: Json, score: float, *bbox: float) -> Json:
    return {"image_id": image, "category_id": category, "bbox": list(bbox), "score": score}


def write(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write `files` by their names below `folder`, whose parents are made."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def refusal(pred: Path, ref: Path, form: str, **options: Json) -> str:
    """The message with which an input is refused: one line, of bounded length."""
    with pytest.raises(LossexportError) as caught:
        formats.read(pred, ref, form, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


def iou_matrix(pred: np.ndarray, ref: np.ndarray) -> np.ndarray:
    """IoU of x, y, width, height, written another way than in the package."""
    out = np.zeros((len(pred), len(ref)))
    for i, (px, py, pw, ph) in enumerate(pred):
        for j, (rx, ry, rw, rh) in enumerate(ref):
            w = min(px + pw, rx + rw) - max(px, rx)
            h = min(py + ph, ry + rh) - max(py, ry)
            if w > 0 and h > 0:
                out[i, j] = w * h / (pw * ph + rw * rh - w * h)
    return out
