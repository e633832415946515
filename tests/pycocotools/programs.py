"""Evaluators that others have published, run on pycocotools or on what `patch()` puts in its place.

    python -m tests.pycocotools.programs NAME DATA [--sources FOLDER] [--patched]

DATA is a folder with `gt.json` and `dets.json`. Prints what the evaluator prints, then a line of
JSON with its numbers and the hashes of the tables behind each summary. FOLDER has a folder for each
program, with its sources, unchanged: see PLACES and docs/pycocotools.md. Compiled parts are where
the program looks for them. torchmetrics is run as installed.
"""

import argparse
import hashlib
import json
import sys
import tempfile
import types
from collections import defaultdict
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lossexport.pycocotools import patch

Json = Any
PLACES = {
    "torchvision": "torchvision_references",  # coco_eval.py, coco_utils.py, ...
    "torchvision_0_7": "torchvision_references_0.7.0",  # torchvision_detection/
    "detr": "detr_package",  # datasets/, util/
    "rfdetr": "rfdetr_package",  # rfdetr/
    "detectron2_0_5": "detectron2_05",  # detectron2/
    "detectron2_0_6": "detectron2_06",
    "detectron2_0_6_fast": "detectron2_06",
    "yolox": "yolox_package",  # yolox/
    "effdet": "effdet_package",  # effdet/
    "sahi": "sahi_package",  # sahi/
    "mmdet": "mmdet_package",  # mmdet/
}
NAMES = (*PLACES, "torchmetrics")
BATCH = 3


def corners(rows: list[Json]) -> torch.Tensor:
    box = torch.tensor([row["bbox"] for row in rows], dtype=torch.float64).reshape(-1, 4)
    return torch.cat([box[:, :2], box[:, :2] + box[:, 2:]], dim=1)


def column(rows: list[Json], name: str) -> torch.Tensor:
    """Numbers; whole ones if there are none."""
    return torch.tensor([row[name] for row in rows], dtype=None if rows else torch.int64)


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
        evaluator.update({i: outputs(found[i]) for i in images[start : start + BATCH]})
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


def torchvision_0_7(gt: Json, dets: list[Json], data: Path) -> Json:
    six: Any = types.ModuleType("torch._six")  # gone from torch since
    six.string_classes = str
    sys.modules["torch._six"] = torch._six = six  # type: ignore[attr-defined]
    from pycocotools.coco import COCO
    from torchvision_detection.coco_eval import CocoEvaluator

    return in_batches(CocoEvaluator(COCO(data / "gt.json"), ["bbox"]), gt, dets)


def detr(gt: Json, dets: list[Json], data: Path) -> Json:
    from pycocotools.coco import COCO

    only_module("datasets")
    from datasets.coco_eval import CocoEvaluator

    return in_batches(CocoEvaluator(COCO(data / "gt.json"), ["bbox"]), gt, dets)


def rfdetr(gt: Json, dets: list[Json], data: Path) -> Json:
    from pycocotools.coco import COCO

    only_module("rfdetr")
    from rfdetr.datasets.coco_eval import CocoEvaluator

    return in_batches(CocoEvaluator(COCO(data / "gt.json"), ["bbox"]), gt, dets)


def only_module(name: str) -> None:
    """Let modules of a package be imported without its `__init__.py`, which imports models."""
    package = types.ModuleType(name)
    package.__path__ = [str(Path(sys.path[0], *name.split(".")))]
    sys.modules[name] = package


def detectron2_0_5(gt: Json, dets: list[Json], data: Path) -> Json:
    return detectron2(gt, dets, data, fast=False)


def detectron2_0_6(gt: Json, dets: list[Json], data: Path) -> Json:
    return detectron2(gt, dets, data, fast=False)


def detectron2_0_6_fast(gt: Json, dets: list[Json], data: Path) -> Json:
    """With the evaluation in C++, on the overlaps of `COCOeval.computeIoU`."""
    return detectron2(gt, dets, data, fast=True)


def detectron2(gt: Json, dets: list[Json], data: Path, *, fast: bool) -> Json:
    if not fast:  # the compiled part is imported and not called
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
        evaluator = COCOEvaluator("shown", ("bbox",), False, out, use_fast_impl=fast)
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


def yolox(gt: Json, dets: list[Json], data: Path) -> Json:
    """With the evaluation in C++, on the overlaps of `COCOeval.computeIoU`."""
    from pycocotools.coco import COCO
    from yolox.evaluators.coco_evaluator import COCOEvaluator

    dataset = types.SimpleNamespace(coco=COCO(str(data / "gt.json")))
    loader = types.SimpleNamespace(dataset=dataset, batch_size=1)
    kinds = len(gt["categories"])
    evaluator = COCOEvaluator(loader, 416, 0.01, 0.65, kinds, per_class_AP=True, per_class_AR=True)
    rows = [{**row, "segmentation": []} for row in dets]
    first, second, info = evaluator.evaluate_prediction(rows, torch.tensor([1.0, 1.0, 1.0]))
    return [first, second, info.partition("Average Precision")[2]]


def effdet(gt: Json, dets: list[Json], data: Path) -> Json:
    from pycocotools.coco import COCO

    only_module("effdet")
    sys.modules["effdet.evaluation"] = types.ModuleType("effdet.evaluation")
    other: Any = types.ModuleType("effdet.evaluation.detection_evaluator")  # for other metrics
    other.ObjectDetectionEvaluator = None
    sys.modules["effdet.evaluation.detection_evaluator"] = other
    sys.modules["effdet.evaluation"].detection_evaluator = other  # type: ignore[attr-defined]
    from effdet.evaluator import CocoEvaluator

    ids, found = [image["id"] for image in gt["images"]], by_image(dets)
    parser = types.SimpleNamespace(coco=COCO(str(data / "gt.json")), img_ids=ids)
    evaluator = CocoEvaluator(types.SimpleNamespace(parser=parser))
    for number, image in enumerate(ids):
        rows = sorted(found[image], key=lambda row: -row["score"])
        parts = outputs(rows)
        table = [parts["boxes"], parts["scores"][:, None], parts["labels"][:, None]]
        boxes = torch.cat(table, dim=1) if rows else torch.empty(0, 6)
        evaluator.add_predictions(boxes[None], {"img_idx": torch.tensor([number])})
    return float(evaluator.evaluate())


def sahi(gt: Json, dets: list[Json], data: Path) -> Json:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    only_module("sahi")
    only_module("sahi.utils")
    from sahi.scripts.coco_evaluation import evaluate_core

    files = str(data / "gt.json"), str(data / "dets.json")
    with tempfile.TemporaryDirectory() as out:
        return evaluate_core(*files, COCO, COCOeval, classwise=True, out_dir=out)["eval_results"]


def mmdet(gt: Json, dets: list[Json], data: Path) -> Json:
    """As its CocoMetric does it."""
    for name in ("mmdet", "mmdet.datasets", "mmdet.datasets.api_wrappers"):
        only_module(name)
    from mmdet.datasets.api_wrappers.coco_api import COCO, COCOeval

    coco = COCO(str(data / "gt.json"))
    run = COCOeval(coco, coco.loadRes(str(data / "dets.json")), "bbox")
    run.params.catIds = coco.get_cat_ids(cat_names=[kind["name"] for kind in gt["categories"]])
    run.params.imgIds = coco.get_img_ids()
    run.params.maxDets = [100, 300, 1000]
    run.params.iouThrs = np.linspace(0.5, 0.95, 10)
    run.evaluate()
    run.accumulate()
    run.summarize()
    return [len(coco.get_ann_ids(img_ids=coco.get_img_ids()[:2])), *map(float, run.stats)]


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


def recorded(evaluation: Any) -> list[Json]:
    """The hashes of the tables that `accumulate` of this class makes and `summarize` reads."""
    found: list[Json] = []
    accumulate, summarize = evaluation.accumulate, evaluation.summarize

    def record(run: Any) -> None:
        for name in ("precision", "recall", "scores"):
            table = np.ascontiguousarray(run.eval[name], np.float64)
            found.append([name, table.shape, hashlib.sha256(table.tobytes()).hexdigest()])

    def accumulating(run: Any, p: Any = None) -> None:
        accumulate(run, p)
        record(run)

    def summarizing(run: Any) -> None:
        record(run)
        summarize(run)

    evaluation.accumulate, evaluation.summarize = accumulating, summarizing
    return found


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
        from pycocotools.cocoeval import COCOeval

        assert COCOeval.__module__.startswith("lossexport.") == given.patched
        hashes = recorded(COCOeval)
        numbers = programs[given.name](gt, dets, given.data)
    print(json.dumps({"numbers": numbers, "tables": hashes}, sort_keys=True))


if __name__ == "__main__":
    main()
