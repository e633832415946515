"""`patch()` puts our classes in pycocotools' place and takes them out without a trace."""

import importlib
import importlib.util
import sys

import numpy as np
import pycocotools
import pycocotools.coco
import pycocotools.cocoeval
import pycocotools.mask
import pytest

import lossexport.pycocotools as ours
from lossexport.errors import LossexportError

NAMES = ("pycocotools", "pycocotools.coco", "pycocotools.cocoeval", "pycocotools.mask")
REAL = (pycocotools.coco.COCO, pycocotools.cocoeval.COCOeval, pycocotools.cocoeval.Params)


def classes() -> tuple[object, ...]:
    """By modules that were imported before."""
    return pycocotools.coco.COCO, pycocotools.cocoeval.COCOeval, pycocotools.cocoeval.Params


def test_every_form_of_import() -> None:
    before = [sys.modules[name] for name in NAMES]
    with ours.patch():
        from pycocotools import coco, cocoeval
        from pycocotools import mask as mask_utils
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval, maskUtils

        assert (COCO, COCOeval) == (ours.COCO, ours.COCOeval)
        assert (coco.COCO, cocoeval.COCOeval) == (ours.COCO, ours.COCOeval)
        assert importlib.import_module("pycocotools.cocoeval").Params is ours.Params
        assert classes() == (ours.COCO, ours.COCOeval, ours.Params)
        assert mask_utils is pycocotools.mask is maskUtils is coco.maskUtils
        assert mask_utils.encode(np.ones((2, 2), np.uint8, order="F"))["size"] == [2, 2]
        assert importlib.util.find_spec("pycocotools") is not None
    assert classes() == REAL
    assert all(sys.modules[name] is old for name, old in zip(NAMES, before, strict=True))


def test_a_call_is_undone_once() -> None:
    replaced = ours.patch()
    with ours.patch():
        assert classes()[0] is ours.COCO
    assert classes()[0] is ours.COCO
    replaced.undo()
    replaced.undo()
    assert classes() == REAL


def test_an_error_undoes_it() -> None:
    with pytest.raises(ZeroDivisionError), ours.patch():
        raise ZeroDivisionError
    assert classes() == REAL


def test_without_pycocotools(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "meta_path", [])
    with ours.patch():
        from pycocotools import mask
        from pycocotools.coco import COCO

        assert COCO is ours.COCO
        assert not hasattr(mask, "__wrapped__")
        with pytest.raises(LossexportError, match=r"pycocotools.mask.decode: install pycocotools"):
            mask.decode({})
    assert not [name for name in NAMES if name in sys.modules]


def test_no_other_attribute() -> None:
    with pytest.raises(AttributeError, match=r"lossexport.pycocotools.coco.*no attribute 'other'"):
        _ = importlib.import_module("lossexport.pycocotools.coco").other
