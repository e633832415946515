"""Pictures of drawn shapes, which the small detector is trained on."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

Array = np.ndarray[Any, np.dtype[Any]]

NAMES = ("ellipse", "rectangle", "triangle")
SIDE, STRIDE = 128, 8
"""Of a picture, and of the cells of the detector, in pixels."""
CELLS = SIDE // STRIDE


def scene(rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """A picture [SIDE,SIDE,3], its boxes xyxy [N,4] and their labels [N]."""
    ground = rng.normal(rng.uniform(60, 200), 12, (SIDE, SIDE, 3))
    picture = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    count = int(rng.integers(1, 5))
    boxes, labels = np.zeros((0, 4)), rng.integers(0, len(NAMES), count)
    for label in labels:
        while True:
            side = rng.integers(16, 56, 2)
            low = rng.integers(0, SIDE - side)
            box = np.concatenate((low, low + side))
            apart = (box[:2] >= boxes[:, 2:]) | (box[2:] <= boxes[:, :2])
            if apart.any(1).all():
                break
        x1, y1, x2, y2 = map(int, box)
        colour = tuple(map(int, rng.integers(0, 256, 3)))
        edge = (x1, y1, x2 - 1, y2 - 1)
        if NAMES[label] == "triangle":
            draw.polygon([((x1 + x2) // 2, y1), (x1, y2 - 1), (x2 - 1, y2 - 1)], fill=colour)
        elif NAMES[label] == "ellipse":
            draw.ellipse(edge, fill=colour)
        else:
            draw.rectangle(edge, fill=colour)
        boxes = np.concatenate((boxes, box[None]))
    return np.asarray(picture), boxes, labels


def photos(folder: Path, count: int, rng: np.random.Generator) -> dict[str, Any]:
    """Write pictures; returns their COCO dictionary."""
    folder.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(1, count + 1):
        picture, boxes, labels = scene(rng)
        name = f"{number:03}.png"
        Image.fromarray(picture).save(folder / name)
        images.append({"id": number, "file_name": name, "width": SIDE, "height": SIDE})
        for box, label in zip(boxes, labels, strict=True):
            x1, y1, x2, y2 = map(int, box)
            place = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
            own = {"id": len(annotations) + 1, "image_id": number, "category_id": int(label)}
            annotations.append({**own, **place, "iscrowd": 0})
    categories = [{"id": index, "name": name} for index, name in enumerate(NAMES)]
    return {"images": images, "categories": categories, "annotations": annotations}
