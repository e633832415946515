"""Corrupted photos for `monitor.py`, and what two detectors and the watch make of them."""

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from lossexport import Calibration, Watch, calibrate, formats, score
from lossexport.boxes import matching, pairs
from lossexport.monitor.frames import frames_of

DETECTORS = {"YOLOX-nano": "yolox_nano.onnx", "NanoDet-m": "nanodet_m_320.onnx"}
SIDE = 416
"""Longer side of a photo, in pixels."""


def corrupted(folder: Path) -> dict[str, Any]:
    """The photos of the folder, in views, calibrate; corrupted copies of them are watched."""

    def noise(image: Any, level: int) -> Any:
        rng = np.random.default_rng(0)
        array = np.asarray(image, np.float64)
        noisy = np.clip(array + 25 * level * rng.standard_normal(array.shape), 0, 255)
        return Image.fromarray(noisy.astype(np.uint8))

    def coarse(image: Any, level: int) -> Any:
        small = image.resize([max(side // (2**level + 1), 1) for side in image.size])
        return small.resize(image.size)

    kinds: Mapping[str, Callable[[Any, int], Any]] = {
        "noise": noise,
        "blur": lambda image, level: image.filter(ImageFilter.GaussianBlur(2 * level)),
        "contrast": lambda image, level: ImageEnhance.Contrast(image).enhance(0.6 / level),
        "dark": lambda image, level: ImageEnhance.Brightness(image).enhance(0.4 / level),
        "pixels": coarse,
        "levels": lambda image, level: ImageOps.posterize(image, 5 - level),
    }
    conditions: dict[str, Callable[[Any], Any]] = {"clean": lambda image: image}
    for kind, change in kinds.items():
        for level in (1, 2, 3):
            conditions[f"{kind} {level}"] = lambda i, c=change, n=level: c(i, n)  # type: ignore[misc]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        references = _views(folder / "images", Path(place))
        for name, model in DETECTORS.items():
            rows = {}
            calibration: Calibration | None = None
            for condition, corrupt in conditions.items():
                pictures = Path(place) / condition.replace(" ", "_")
                if not pictures.exists():
                    pictures.mkdir()
                    for view in (Path(place) / "views").iterdir():
                        corrupt(Image.open(view)).save(pictures / view.name, compress_level=1)
                out = Path(place) / f"{model}_{pictures.name}"
                truth = score(folder / "models" / model, references, images=pictures, out=out)
                boxes = out / "detections.json"
                calibration = calibration or calibrate(boxes, references)
                rows[condition] = _of_condition(calibration, boxes, references)
                rows[condition]["AP"] = truth["AP50"]
            found[name] = rows
    return found


def _views(folder: Path, place: Path) -> dict[str, Any] | Path:
    """Write each photo, its mirror image and a smaller copy; returns references of all."""
    given = json.loads((folder / "gt.json").read_text())
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    (place / "views").mkdir()
    for row in given["images"]:
        whole = Image.open(folder / row["file_name"]).convert("RGB")
        photo = ImageOps.contain(whole, (SIDE, SIDE))
        small = photo.resize([side // 2 for side in photo.size])
        for kind, view in enumerate((photo, ImageOps.mirror(photo), small)):
            name = f"{kind}_{Path(row['file_name']).stem}.png"
            view.save(place / "views" / name)
            key = len(images) + 1
            images.append(
                {"id": key, "file_name": name, "width": view.width, "height": view.height}
            )
            for label in given["annotations"]:
                if label["image_id"] != row["id"]:
                    continue
                x, y, w, h = label["bbox"]
                scale = view.width / whole.width
                box = [whole.width - x - w if kind == 1 else x, y, w, h]
                annotations.append(
                    {
                        **label,
                        "id": len(annotations) + 1,
                        "image_id": key,
                        "bbox": [side * scale for side in box],
                        "area": w * h * scale**2,
                    }
                )
    path = place / "references.json"
    path.write_text(json.dumps({**given, "images": images, "annotations": annotations}))
    return path


def _of_condition(calibration: Calibration, boxes: Path, references: Any) -> dict[str, Any]:
    """Truth, estimate and drift of the detections of one condition."""
    data = formats.read(boxes, references, "coco")
    order = pairs.sort_boxes(data)
    status = matching.match(data, order, pairs.find_pairs(data, order, 0.5), 0.5).status
    counted = (data.predictions.score >= 0.25) & (status != matching.IGNORED)
    right = status[counted] == matching.MATCHED
    frames = [frame for _, frame in frames_of(str(boxes))]
    watch = Watch(calibration, max(len(frames), 10))
    empty: dict[str, Any] = {"boxes": [], "scores": [], "labels": []}
    for frame in (frames + [empty] * 10)[: max(len(frames), 10)]:
        watch.update(frame)
    state = watch.compute()
    return {
        "truth": float(right.mean()) if len(right) else None,
        "before": calibration.precision,
        **state["estimate"]["precision"],
        "drifted": state["drifted"],
    }
