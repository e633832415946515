"""Every field that a program sets, as None, as numpy's scalars and arrays: taken or refused."""

import contextlib
import copy
import io
from typing import Any

import numpy as np
import pytest

from lossexport.errors import LossexportError
from lossexport.pycocotools import COCO, COCOeval
from tests.pycocotools.test_evaluation import DETS, GT

ODD: dict[str, Any] = {
    "None": None,
    "text": "1",
    "list": [1],
    "dict": {},
    "nan": float("nan"),
    "no array": np.array([]),
    "array of one": np.array([1]),
    "array of two": np.array([1, 2]),
    "array without axes": np.array(1),
    "int64": np.int64(1),
    "float32": np.float32(1),
    "bool": np.bool_(True),
}
PARAMETERS = (
    *("useCats", "useSegm", "iouType", "imgIds", "catIds"),
    *("maxDets", "iouThrs", "recThrs", "areaRng", "areaRngLbl"),
)
FIELDS = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "score", "ignore")


def evaluation() -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(GT)
        truth.createIndex()
        return COCOeval(truth, truth.loadRes(copy.deepcopy(DETS)), "bbox")


def taken_or_refused(run: COCOeval, value: Any) -> None:
    refusal = ""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            run.evaluate()
            run.accumulate()
            run.summarize()
    except LossexportError as error:
        refusal = str(error)
    if refusal:
        assert len(refusal.splitlines()) == 1
        return
    assert len(run.stats) == 12
    assert all(-1 <= number <= 1 for number in run.stats), value


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name: str, value: Any) -> None:
    run = evaluation()
    setattr(run.params, name, value)
    taken_or_refused(run, value)


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("side", ["cocoGt", "cocoDt"])
def test_annotations(side: str, name: str, value: Any) -> None:
    run = evaluation()
    getattr(run, side).dataset["annotations"][0][name] = value
    taken_or_refused(run, value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("iscrowd", r"annotation 1: iscrowd is array\(\[1, 2\]\): 0 or 1 is expected"),
        ("image_id", r"annotation 1: image_id is array\(\[1, 2\]\): a number or a text is"),
        ("category_id", r"annotation 1: category_id is array\(\[1, 2\]\): a number or a text"),
    ],
)
def test_messages(name: str, message: str) -> None:
    run = evaluation()
    run.cocoGt.dataset["annotations"][0][name] = np.array([1, 2])
    with pytest.raises(LossexportError, match=message):
        run.evaluate()
    run = evaluation()
    run.params.useCats = np.array([1, 2])
    with pytest.raises(LossexportError, match=r"params.useCats is array\(\[1, 2\]\): 0 or 1 is"):
        run.evaluate()
    with pytest.raises(LossexportError, match=r"^iscrowd is array\(\[1, 2\]\): 0 or 1 is expected"):
        run.cocoGt.getAnnIds(iscrowd=np.array([1, 2]))
