"""The table of ops has what each op has, and its page says what was measured."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lossexport.catalog import BUILTIN, CATALOG
from lossexport.runtime import native
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import op_by_op

RESULTS = ROOT / "benchmarks" / "results"


def test_sizes_are_within_the_ranges_of_every_op() -> None:
    for op in BUILTIN.values():
        found = op_by_op.sizes(op)
        assert found.keys() == op.dims.keys()
        for dim, (least, _, most) in op.dims.items():
            assert least <= found[dim] <= most
    assert op_by_op.sizes(CATALOG["sigmoid_focal_loss"]) == {"N": 16384, "C": 80}
    assert op_by_op.sizes(CATALOG["pairwise_iou"]) == {"N": 1024, "M": 1024}
    assert op_by_op.sizes(CATALOG["nms"]) == {"N": 1024}


@pytest.mark.skipif(not native.kernels(), reason="no library of native kernels")
def test_forms_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(op_by_op, "SIZES", {"N": 30})
    found = op_by_op.row(CATALOG["iou_loss"], tmp_path, 0)
    assert found["sizes"] == {"N": 30}
    for kind in ("value", "gradient"):
        assert list(found[kind]) == [op_by_op.EAGER, *op_by_op.BACKENDS]
        assert all(ms > 0 for ms in found[kind].values())


def test_a_form_that_does_not_exist_is_a_dash() -> None:
    found = {"op": "nms", "sizes": {"N": 5}, "value": {op_by_op.EAGER: 1.5, "kernel": 0.25}}
    assert op_by_op.cells(found) == ["`nms`", "N=5", "1.5", "-", "0.25", *["-"] * 5]


@pytest.mark.parametrize(
    ("found", "same"),
    [([1.0, 2.0], True), ([1.0, 2.1], False), ([1.0, np.nan], False)],
)
def test_results_have_to_agree(found: Any, same: bool) -> None:
    wanted = np.array([1.0, 2.0], np.float32)
    assert op_by_op.alike(np.array(found, np.float32), wanted) is same


def test_the_committed_page_is_that_of_the_committed_numbers() -> None:
    record = json.loads((RESULTS / "op_by_op.json").read_text())
    page = op_by_op.page(record["rows"], record["environment"], record["created"])
    assert page == (RESULTS / "op_by_op.md").read_text()
    timed = [row["op"] for row in record["rows"]]
    assert timed == [name for name in BUILTIN if name in timed]
