"""Evaluators that others have published, run on pycocotools or on what `patch()` puts in its place.

    python -m tests.pycocotools.programs NAME DATA [--sources FOLDER] [--patched]

DATA is a folder with `gt.json` and `dets.json`. Prints what the evaluator prints, then a line of
JSON with its numbers. FOLDER has the sources of the programs, unchanged:

    torchvision_references/         coco_eval.py, coco_utils.py, transforms.py, utils.py of
    torchvision_references_2020/    references/detection (the second from 2020, coco_eval and utils)
    rfdetr_package/rfdetr/          RF-DETR, with the datasets/coco_eval.py of DETR
    detectron2_package/detectron2/  detectron2

torchmetrics is run as installed.
"""

import argparse
import json
import sys
import tempfile
import types
from collections import defaultdict
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from lossexport.pycocotools import patch

Json = Any
NAMES = ("torchvision", "torchvision_2020", "rfdetr", "detectron2", "torchmetrics")
PLACES = {
    "torchvision": "torchvision_references",
    "torchvision_2020": "torchvision_references_2020",
    "rfdetr": "rfdetr_package",
    "detectron2": "detectron2_package",
}
BATCH = 3


def corners(rows: list[Json]) -> torch.Tensor:
    box = torch.tensor([row["bbox"] for row in rows], dtype=torch.float64).reshape(-1, 4)
    return torch.cat([box[:, :2], box[:, :2] + box[:, 2:]], dim=1)


def column(rows: list[Json], name: str) -> torch.Tensor:
    return torch.tensor([row[name] for row in rows])


def by_image(rows: list[Json]) -> dict[int, list[Json]]:
    found = defaultdict(list)
    for row in rows:
        found[row["image_id"]].append(row)
    return found


def outputs(dets: list[Json]) -> dict[str, torch.Tensor]:
    return {
        "boxes": corners(dets),
        "scores": column(dets, "score"),
        "labels": column(dets, "category_id"),
    }


def in_batches(evaluator: Any, gt: Json, dets: list[Json]) -> list[float]:
    """As the training scripts of torchvision and DETR do it."""
    images, found = [image["id"] for image in gt["images"]], by_image(dets)
    for start in range(0, len(images), BATCH):
        evaluator.update({i: outputs(found[i]) for i in images[start : start + BATCH] if found[i]})
    evaluator.synchronize_between_processes()
    evaluator.accumulate()
    evaluator.summarize()
    return list(map(float, evaluator.coco_eval["bbox"].stats))


def torchvision(gt: Json, dets: list[Json], data: Path) -> Json:
    import coco_eval
    import coco_utils

    truths = by_image(gt["annotations"])
    targets = [
        (
            torch.empty(3, image["height"], image["width"]),
            {
                "image_id": torch.tensor(image["id"]),
                "boxes": corners(rows),
                "labels": column(rows, "category_id"),
                "area": column(rows, "area"),
                "iscrowd": column(rows, "iscrowd"),
            },
        )
        for image in gt["images"]
        for rows in [truths[image["id"]]]
    ]
    coco = coco_utils.get_coco_api_from_dataset(targets)
    return in_batches(coco_eval.CocoEvaluator(coco, ["bbox"]), gt, dets)


def torchvision_2020(gt: Json, dets: list[Json], data: Path) -> Json:
    six: Any = types.ModuleType("torch._six")  # gone from torch since
    six.string_classes = str
    sys.modules["torch._six"] = torch._six = six  # type: ignore[attr-defined]
    import coco_eval
    from pycocotools.coco import COCO

    return in_batches(coco_eval.CocoEvaluator(COCO(data / "gt.json"), ["bbox"]), gt, dets)


def rfdetr(gt: Json, dets: list[Json], data: Path) -> Json:
    from pycocotools.coco import COCO
    from rfdetr.datasets.coco_eval import CocoEvaluator

    return in_batches(CocoEvaluator(COCO(data / "gt.json"), ["bbox"]), gt, dets)


def detectron2(gt: Json, dets: list[Json], data: Path) -> Json:
    # The compiled part, which this evaluation without `use_fast_impl` does not call.
    sys.modules["detectron2._C"] = types.ModuleType("detectron2._C")
    import detectron2

    detectron2._C = sys.modules["detectron2._C"]
    from detectron2.data import MetadataCatalog
    from detectron2.evaluation.coco_evaluation import COCOEvaluator
    from detectron2.structures import Boxes, Instances

    meta = MetadataCatalog.get("shown")
    meta.json_file = str(data / "gt.json")
    ids = [kind["id"] for kind in gt["categories"]]
    meta.thing_dataset_id_to_contiguous_id = {number: i for i, number in enumerate(ids)}
    meta.thing_classes = [kind["name"] for kind in gt["categories"]]
    found = by_image(dets)
    with tempfile.TemporaryDirectory() as out:
        evaluator = COCOEvaluator("shown", ("bbox",), False, out, use_fast_impl=False)
        evaluator.reset()
        for image in gt["images"]:
            rows = found[image["id"]]
            size = image["height"], image["width"]
            kinds = [meta.thing_dataset_id_to_contiguous_id[row["category_id"]] for row in rows]
            instances = Instances(
                size,
                pred_boxes=Boxes(corners(rows)),
                scores=column(rows, "score"),
                pred_classes=torch.tensor(kinds),
            )
            evaluator.process([{"image_id": image["id"]}], [{"instances": instances}])
        return evaluator.evaluate()


def torchmetrics(gt: Json, dets: list[Json], data: Path) -> Json:
    from torchmetrics.detection import MeanAveragePrecision

    truths, found = by_image(gt["annotations"]), by_image(dets)
    metric = MeanAveragePrecision(backend="pycocotools", class_metrics=True, extended_summary=True)
    for image in gt["images"]:
        rows = truths[image["id"]]
        target = {
            "boxes": corners(rows),
            "labels": column(rows, "category_id").long(),
            "iscrowd": column(rows, "iscrowd").long(),
            "area": column(rows, "area").float(),
        }
        output = outputs(found[image["id"]])
        metric.update([{**output, "labels": output["labels"].long()}], [target])
    return {key: plain(value) for key, value in metric.compute().items()}


def plain(value: Any) -> Json:
    if isinstance(value, dict):
        return [plain(item) for item in value.values()]
    return value.tolist() if hasattr(value, "tolist") else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sources", type=Path)
    parser.add_argument("--patched", action="store_true")
    given = parser.parse_args()
    if given.name in PLACES:
        sys.path.insert(0, str(given.sources / PLACES[given.name]))
    gt = json.loads((given.data / "gt.json").read_text())
    dets = json.loads((given.data / "dets.json").read_text())
    programs: dict[str, Callable[..., Json]] = {name: globals()[name] for name in NAMES}
    with patch() if given.patched else nullcontext():
        numbers = programs[given.name](gt, dets, given.data)
        module = sys.modules["pycocotools.cocoeval"].COCOeval.__module__
    assert module.startswith("lossexport.") == given.patched
    print(json.dumps(numbers, sort_keys=True))


if __name__ == "__main__":
    main()
