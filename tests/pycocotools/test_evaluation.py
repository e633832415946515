"""Evaluation as programs use it: in their own steps, with other parameters, with bad input."""

import contextlib
import copy
import io
from typing import Any

import numpy as np
import pytest

from lossexport.errors import LossexportError
from lossexport.pycocotools import COCO, COCOeval, Params
from tests.boxes.helpers import Json, coco, found, truth
from tests.pycocotools.compared import (
    OURS,
    THEIRS,
    prepared,
    printed,
    same,
    same_images,
    same_tables,
)
from tests.pycocotools.test_same_numbers import cloud

GT = coco([truth(1, 1, 0, 0, 10, 10), truth(1, 2, 20, 0, 10, 10)])
DETS = [found(1, 1, 0.9, 0, 0, 10, 9), found(1, 2, 0.5, 20, 0, 10, 5)]


def evaluated(side: Any, **params: Any) -> Any:
    run = prepared(side, *cloud(2), params)
    printed(run.evaluate)
    return run


def test_steps_of_a_program() -> None:
    """Batches of images in a loop of their own, joined afterwards, as in DETR."""
    runs = []
    for side in (THEIRS, OURS):
        run = prepared(side, *cloud(3), {})
        images, parts = run.params.imgIds, []
        for start in (0, 3, 6):
            p = run.params
            p.imgIds = images[start : start + 3]
            run._prepare()
            run.ious = {(i, k): run.computeIoU(i, k) for i in p.imgIds for k in p.catIds}
            found = [
                run.evaluateImg(i, k, area, p.maxDets[-1])
                for k in p.catIds
                for area in p.areaRng
                for i in p.imgIds
            ]
            parts.append(np.asarray(found).reshape(len(p.catIds), len(p.areaRng), len(p.imgIds)))
        run.evalImgs = list(np.concatenate(parts, 2).flatten())
        run.params.imgIds = images
        run._paramsEval = copy.deepcopy(run.params)
        printed(run.accumulate)
        runs.append(run)
    same_tables(*runs)
    printed(runs[1].summarize)
    assert runs[1].stats[0] == runs[0].eval["precision"][..., 0, 2].mean() > 0.05


@pytest.mark.parametrize(
    "changed",
    [
        {"maxDets": [1, 10]},
        {"maxDets": [10, 7, 100]},
        {"recThrs": np.linspace(0, 1, 11)},
        {"areaRng": [[0, 1e10], [0, 32**2]]},
        {"catIds": [1, 2]},
        {"imgIds": [1, 2, 3]},
        {"catIds": [1, 2, 9], "imgIds": [1, 99], "areaRng": [[0, 1e10], [5, 6]]},
    ],
    ids=str,
)
def test_parameters_of_accumulate(changed: dict[str, Any]) -> None:
    runs = []
    for side in (THEIRS, OURS):
        run = evaluated(side)
        p = copy.deepcopy(run.params)
        for name, value in changed.items():
            setattr(p, name, copy.deepcopy(value))
        with contextlib.redirect_stdout(io.StringIO()):
            run.accumulate(p)
        assert run.eval["params"] is p
        runs.append(run)
    same_tables(*runs)


class Halved(COCOeval):
    """Overlaps of a program's own."""

    def computeIoU(self, imgId: Any, catId: Any) -> Any:  # noqa: N802, N803
        overlap = super().computeIoU(imgId, catId)
        return overlap * 0.5 if len(overlap) else overlap


class Hidden(COCOeval):
    """References of category 1 are not counted."""

    def _prepare(self) -> None:
        super()._prepare()
        for (_, category), rows in self._gts.items():
            for row in rows:
                row["ignore"] |= category == 1


def test_steps_of_a_subclass_are_called() -> None:
    halved = prepared((COCO, Halved), GT, DETS, {})
    printed(halved.evaluate)
    printed(halved.accumulate)
    printed(halved.summarize)
    assert halved.stats[0] == 0
    assert halved.ious[1, 1] == pytest.approx(np.array([[0.45]]))
    hidden = prepared((COCO, Hidden), GT, DETS, {})
    printed(hidden.evaluate)
    printed(hidden.accumulate)
    assert (hidden.eval["precision"][:, :, 0] == -1).all()
    assert (hidden.eval["precision"][0, :, 1, 0] > 0.999).all()


def test_references_get_ignore() -> None:
    gt = coco([truth(1, 1, 0, 0, 9, 9), truth(1, 1, 0, 0, 9, 9, iscrowd=1, ignore=0)])
    run = prepared(OURS, gt, DETS, {})
    assert printed(run.evaluate) == ""
    rows = run.cocoGt.dataset["annotations"]
    assert [row["ignore"] for row in rows] == [0, 1]
    assert run.cocoDt.dataset["annotations"] == COCO(gt).loadRes(copy.deepcopy(DETS)).loadAnns(
        [1, 2]
    )


def test_missing_fields() -> None:
    """Area and iscrowd may be missing, where pycocotools stops with a KeyError."""
    bare = copy.deepcopy(GT)
    for row in bare["annotations"]:
        del row["area"], row["iscrowd"]
    runs = [prepared(OURS, gt, DETS, {}) for gt in (GT, bare)]
    for run in runs:
        printed(run.evaluate)
        printed(run.accumulate)
    same_tables(*runs)
    same_images(*runs)


def test_no_detections() -> None:
    """An empty `COCO`, as programs pass it for a batch without detections."""
    runs = []
    for side in (THEIRS, OURS):
        run = prepared(side, GT, DETS, {})
        run.cocoDt = side[0]()
        printed(run.evaluate)
        printed(run.accumulate)
        runs.append(run)
    same_tables(*runs)
    same_images(*runs)
    assert runs[1].eval["recall"].max() == 0


def test_many_areas() -> None:
    """More ranges than the engine has bits for."""
    areas = [[n, n + 50] for n in range(0, 3500, 50)]
    same(*cloud(4, images=2, refs=30, dets=100), areaRng=areas, areaRngLbl=["all"] * len(areas))


@pytest.mark.parametrize("kind", ["segm", "keypoints", "other"])
def test_other_kinds_are_refused(kind: str) -> None:
    with pytest.raises(LossexportError, match=f"iouType is '{kind}'.*use pycocotools itself"):
        COCOeval(COCO(GT), COCO(GT), kind)
    with pytest.raises(LossexportError, match=r"iouType is 'segm'.*use pycocotools itself"):
        COCOeval()  # pycocotools' default
    run = prepared(OURS, GT, DETS, {"iouType": kind})
    with pytest.raises(LossexportError, match="use pycocotools itself"):
        run.evaluate()
    assert Params("bbox").iouType == "bbox"


def test_use_segm() -> None:
    run = prepared(OURS, GT, DETS, {"useSegm": 0, "iouType": "segm"})
    run.evaluate()
    assert run.params.iouType == "bbox"
    run.params.useSegm = 1
    with pytest.raises(LossexportError, match="iouType is 'segm'"):
        run.evaluate()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("score", float("nan"), "annotation 2: score is nan: a number is expected"),
        ("score", None, "annotation 2: score is None: a number is expected"),
        ("bbox", [0, 0, float("inf"), 1], "annotation 2: bbox is .*: four finite numbers"),
    ],
)
def test_bad_detections(field: str, value: Json, message: str) -> None:
    run = prepared(OURS, GT, [DETS[0], {**DETS[1], field: value}], {})
    with pytest.raises(LossexportError, match=message):
        run.evaluate()


def test_bad_references_and_parameters() -> None:
    gt = copy.deepcopy(GT)
    gt["annotations"][1]["bbox"] = [1, 2, 3]
    with pytest.raises(LossexportError, match=r"annotation 2: bbox is \[1, 2, 3\]: four finite"):
        prepared(OURS, gt, DETS, {}).evaluate()
    with pytest.raises(LossexportError, match=r"params.iouThrs is \[nan\]: numbers"):
        prepared(OURS, GT, DETS, {"iouThrs": [float("nan")]}).evaluate()
    run = prepared(OURS, GT, DETS, {"maxDets": [100]})
    with pytest.raises(LossexportError, match=r"accumulate\(\) has not run"):
        run.summarize()
    run.evaluate()
    run.accumulate()
    with pytest.raises(LossexportError, match=r"params.maxDets is \[100\]: summarize prints"):
        run.summarize()
