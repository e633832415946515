"""Runs one evaluation by pycocotools and by lossexport.pycocotools, and compares everything."""

import contextlib
import copy
import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pycocotools.coco
import pycocotools.cocoeval
import pytest

import lossexport.pycocotools as ours
from lossexport.errors import LossexportError

Json = Any
THEIRS, OURS = (pycocotools.coco.COCO, pycocotools.cocoeval.COCOeval), (ours.COCO, ours.COCOeval)
KEYS = ("precision", "recall", "scores")


def prepared(
    side: tuple[Any, Any], truths: Json, detections: Json, params: Mapping[str, Any]
) -> Any:
    """An evaluation by `side` of copies; detections are a result list or a whole data set."""
    coco, evaluation = side
    with contextlib.redirect_stdout(io.StringIO()):
        gt = coco()
        gt.dataset = copy.deepcopy(truths)
        gt.createIndex()
        if isinstance(detections, dict):
            dt = coco()
            dt.dataset = copy.deepcopy(detections)
            dt.createIndex()
        else:
            dt = gt.loadRes(copy.deepcopy(detections))
    run = evaluation(gt, dt, "bbox")
    for name, value in params.items():
        setattr(run.params, name, copy.deepcopy(value))
    return run


def printed(function: Callable[[], object]) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        function()
    return out.getvalue()


def same_tables(one: Any, two: Any) -> None:
    assert one.eval["counts"] == two.eval["counts"]
    for key in KEYS:
        assert np.array_equal(one.eval[key], two.eval[key]), key


def same_images(one: Any, two: Any) -> None:
    assert len(one.evalImgs) == len(two.evalImgs)
    for wanted, found in zip(one.evalImgs, two.evalImgs, strict=True):
        assert (wanted is None) == (found is None)
        if wanted is not None:
            assert wanted.keys() == found.keys()
            for key, value in wanted.items():
                assert np.array_equal(value, found[key]), key
    assert one.ious.keys() == two.ious.keys()
    for key, value in one.ious.items():
        assert np.array_equal(value, two.ious[key])


def same(truths: Json, detections: Json, **params: Any) -> tuple[Any, Any]:
    """Assert that all results are equal to the last bit; the runs of pycocotools and ours."""
    theirs, mine = (prepared(side, truths, detections, params) for side in (THEIRS, OURS))
    for run in (theirs, mine):
        printed(run.evaluate)
        printed(run.accumulate)
    same_tables(theirs, mine)
    assert theirs.cocoGt.dataset["annotations"] == without_marks(mine, theirs)
    same_images(theirs, mine)
    printed(mine.accumulate)  # now from the images
    same_tables(theirs, mine)
    try:
        lines = printed(theirs.summarize)
    except IndexError:  # fewer than three limits, or a name of several areas
        with pytest.raises((LossexportError, IndexError)):
            printed(mine.summarize)
    else:
        assert printed(mine.summarize) == lines
        assert np.array_equal(theirs.stats, mine.stats)
    return theirs, mine


def without_marks(mine: Any, theirs: Any) -> Json:
    """Our annotations, with the `_ignore` that pycocotools leaves in its own."""
    rows = mine.cocoGt.dataset["annotations"]
    marks = [row.get("_ignore") for row in theirs.cocoGt.dataset["annotations"]]
    return [
        row if mark is None else {**row, "_ignore": mark}
        for row, mark in zip(rows, marks, strict=True)
    ]
