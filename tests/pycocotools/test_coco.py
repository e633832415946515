"""The tables and look-ups of `COCO`, and what is refused."""

import contextlib
import copy
import gc
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lossexport.errors import LossexportError
from lossexport.pycocotools import COCO
from tests.boxes.helpers import Json, coco, found, truth
from tests.pycocotools.compared import OURS, THEIRS, printed

GT = coco(
    [
        truth(2, 1, 0, 0, 10, 10, area=50),
        truth(1, 2, 5, 5, 20, 20, iscrowd=1),
        truth(2, 2, 1, 1, 4, 4),
        truth(2, 1, 3, 3, 30, 30),
    ],
    images=(2, 1, 3),
)
GT["info"] = {"year": 2017}
GT["categories"][0]["supercategory"] = GT["categories"][1]["supercategory"] = "animal"
DETS = [found(2, 1, 0.9, 0, 0, 10, 9), found(1, 2, 0.5, 5.5, 5, 20, 20)]


def both(given: Json = GT) -> list[Any]:
    sets = []
    for coco_class, _ in (THEIRS, OURS):
        found = coco_class()
        found.dataset = copy.deepcopy(given)
        printed(found.createIndex)
        sets.append(found)
    return sets


def test_tables() -> None:
    theirs, ours = both()
    for name in ("dataset", "anns", "cats", "imgs", "imgToAnns", "catToImgs"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert COCO(GT).anns == theirs.anns
    assert COCO(GT).dataset is GT
    assert printed(ours.info) == printed(theirs.info) == "year: 2017\n"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("getAnnIds", {}),
        ("getAnnIds", {"imgIds": [1, 2, 9]}),
        ("getAnnIds", {"imgIds": 2, "catIds": 1}),
        ("getAnnIds", {"imgIds": np.array([2]), "areaRng": [16, 100]}),
        ("getAnnIds", {"catIds": [2], "iscrowd": False}),
        ("getAnnIds", {"iscrowd": 1}),
        ("getCatIds", {}),
        ("getCatIds", {"catNms": ["dog", "cow"]}),
        ("getCatIds", {"catNms": ["dog"], "supNms": ["animal"], "catIds": 2}),
        ("getCatIds", {"supNms": "animal"}),
        ("getImgIds", {}),
        ("getImgIds", {"catIds": [1, 2]}),
        ("getImgIds", {"imgIds": [1, 3], "catIds": 2}),
        ("getImgIds", {"imgIds": [5]}),
        ("loadAnns", {"ids": [3, 1]}),
        ("loadAnns", {"ids": 2}),
        ("loadCats", {"ids": [2]}),
        ("loadImgs", {"ids": 3}),
        ("loadImgs", {}),
    ],
)
def test_look_ups(name: str, arguments: dict[str, Any]) -> None:
    theirs, ours = both()
    if isinstance(arguments.get("supNms"), str):  # pycocotools takes its letters for names
        assert ours.getCatIds(**arguments) == [1, 2]
        return
    result = getattr(theirs, name)(**arguments)
    assert getattr(ours, name)(**arguments) == result


def test_results_of_every_kind(tmp_path: Path) -> None:
    path = tmp_path / "dets.json"
    path.write_text(json.dumps(DETS))
    rows = [[2, 0, 0, 10, 9, 0.9, 1], [1, 5.1, 5, 20.3, 20.7, 0.5, 2]]
    arrays = [np.array(rows, dtype) for dtype in (np.float64, np.float32)]
    outline = [{**DETS[0], "segmentation": [[1, 2, 3, 4, 5, 6]]}]
    for given in (str(path), DETS, outline, *arrays):
        theirs, ours = both()
        with contextlib.redirect_stdout(io.StringIO()):
            wanted = theirs.loadRes(copy.deepcopy(given))
        mine = ours.loadRes(copy.deepcopy(given))
        assert mine.dataset == wanted.dataset
        assert mine.anns == wanted.anns
    assert COCO(GT).loadRes(path).anns[2]["area"] == 400
    assert gc.isenabled()


def test_no_detection_at_all() -> None:
    """pycocotools stops with an IndexError."""
    assert COCO(GT).loadRes([]).getAnnIds() == []


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({}, "results: a dict instead of a list"),
        ([{**DETS[0], "image_id": 9}], r"image_id is 9: the annotations have no such image \(1 "),
        (np.zeros((3, 6)), r"results: \(3, 6\) instead of an array \[n,7\]"),
    ],
)
def test_refused_like_an_assertion(rows: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message) as caught:
        COCO(GT).loadRes(rows)
    assert isinstance(caught.value, LossexportError)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"image_id": 1, "caption": "a dog"}], "use pycocotools itself for masks, keypoints"),
        ([{"image_id": 1, "segmentation": {}}], "use pycocotools itself for masks, keypoints"),
        ([{"image_id": 1, "bbox": [], "keypoints": []}], "use pycocotools itself for masks"),
        ([DETS[0], {**DETS[1], "bbox": [1, 2]}], r"results\[1\]: bbox is \[1, 2\]: x, y, width"),
        ([{"bbox": [1, 2, 3, 4]}], "results: a row has no image_id"),
    ],
)
def test_refused_results(rows: Any, message: str) -> None:
    with pytest.raises(LossexportError, match=message):
        COCO(GT).loadRes(rows)


def test_refused_files(tmp_path: Path) -> None:
    path = tmp_path / "gt.json"
    with pytest.raises(LossexportError, match=r"gt.json: No such file"):
        COCO(path)
    path.write_text("{")
    with pytest.raises(LossexportError, match=r"gt.json: not a JSON file"):
        COCO(path)
    path.write_text("[]")
    with pytest.raises(AssertionError, match=r"gt.json: a list instead of a dictionary"):
        COCO(path)
    path.write_text('{"annotations": [], "categories": [{"name": "cat"}]}')
    with pytest.raises(LossexportError, match="categories: a row has no id"):
        COCO(path)
    path.write_text('{"annotations": [{"id": 1, "image_id": 2, "score": NaN}]}')
    assert list(COCO(path).imgToAnns) == [2]


def test_masks_are_those_of_pycocotools() -> None:
    given = copy.deepcopy(GT)
    given["images"][0] |= {"height": 20, "width": 30}
    given["annotations"][0]["segmentation"] = [[1, 1, 12, 1, 12, 9, 1, 9]]
    theirs, ours = both(given)
    row = given["annotations"][0]
    assert ours.annToRLE(row) == theirs.annToRLE(row)
    mask = ours.annToMask(row)
    assert np.array_equal(mask, theirs.annToMask(row))
    assert mask.sum() == 88


@pytest.mark.parametrize("call", ["showAnns", "download"])
def test_refused_by_name(call: str) -> None:
    with pytest.raises(LossexportError, match=f"{call}: use pycocotools itself"):
        getattr(COCO(GT), call)([])


def test_imports_no_torch() -> None:
    code = "import sys, lossexport.pycocotools; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
