"""Types of errors and what they cost: the numbers of tidecv 1.0.1, and small sets by hand.

`tide.json` was made by tidecv 1.0.1 from the sets of `sets.py`, images in the order of their ids.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from lossexport.boxes import pairs
from lossexport.errors import LossexportError
from lossexport.runtime import coco as native_order
from lossexport.runtime import pairs as native
from lossexport.scoring import score
from lossexport.scoring.causes import errors
from tests.boxes.helpers import coco, found, read_json, truth
from tests.scoring.causes.sets import dataset, words

TIDE: dict[str, Any] = json.loads((Path(__file__).parent / "tide.json").read_text())


@pytest.fixture(params=["library", "numpy", "pieces"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Find pairs by the library, without it, and a few at a time."""
    if request.param == "numpy":
        for module in (native, native_order):
            monkeypatch.setattr(module, "available", lambda: False)
    elif not native.available():
        pytest.skip("no library of native kernels")
    if request.param == "pieces":
        monkeypatch.setattr(pairs, "PAIRS_AT_ONCE", 3)
        monkeypatch.setattr(pairs, "MAX_PAIRS", 10)
    return str(request.param)


@pytest.mark.parametrize("name", [name for name in TIDE if name != "yolo_v3"])
def test_equal_to_tidecv(name: str, way: str, shared: Path, tmp_path: Path) -> None:
    check(name, shared, tmp_path)


def test_equal_to_tidecv_on_a_large_set(shared: Path, tmp_path: Path) -> None:
    check("yolo_v3", shared, tmp_path)


def check(name: str, shared: Path, folder: Path) -> None:
    data = dataset(name, shared, folder)
    found = errors.classify(data)
    counts = {kind: int(np.sum(found.kind == k)) for k, kind in enumerate(errors.CAUSES)}
    counts["missed"] = int(found.missed.sum())
    assert counts == TIDE[name]["errors"]
    base, gain = errors.Charges.of(data, found).costs()
    assert base == pytest.approx(TIDE[name]["AP50"], abs=1e-12)
    assert gain == pytest.approx(TIDE[name]["dAP"], abs=1e-12)


REFERENCES = coco(
    [
        truth(1, 1, 0, 0, 10, 10),
        truth(1, 2, 100, 0, 10, 10),
        truth(1, 1, 200, 0, 10, 10),
        truth(1, 1, 300, 0, 10, 10),
        truth(2, 1, 0, 0, 100, 100, iscrowd=1),
    ]
)
DETECTIONS = [
    found(1, 1, 0.9, 0, 0, 10, 10),  # right
    found(1, 1, 0.8, 0, 0, 10, 9),  # duplicate of it
    found(1, 1, 0.7, 100, 0, 10, 10),  # the category is wrong
    found(1, 1, 0.6, 200, 0, 10, 4),  # too loose
    found(1, 2, 0.5, 300, 0, 10, 4),  # neither
    found(1, 2, 0.4, 400, 0, 10, 10),  # background
    found(2, 1, 0.3, 5, 5, 10, 10),  # in a crowd: an error, but in no precision
]


def test_each_type_by_hand(tmp_path: Path) -> None:
    read_json(tmp_path, DETECTIONS, REFERENCES)
    files = tmp_path / "pred.json", tmp_path / "ref.json"
    summary = score(*files, explain=True, out=tmp_path / "out", fail_above={"errors_missed": 0})
    assert summary["errors"] == {
        "classification": 1,
        "localization": 1,
        "both": 1,
        "duplicate": 1,
        "background": 2,
        "missed": 1,
    }
    # One of the three references of cat is found by the first prediction, and none of dog's.
    assert summary["dAP"]["AP50"] == pytest.approx(34 / 101 / 2)
    # The mended box is the fourth of cat, the second right one: precision 1/2 to a recall of 2/3.
    assert summary["dAP"]["localization"] == pytest.approx(33 / 101 / 4)
    # Dog's box is found by the first of dog's three predictions.
    assert summary["dAP"]["classification"] == pytest.approx(1 / 2)
    assert summary["dAP"]["false_negative"] == pytest.approx((101 - 34) / 101 / 2)
    assert summary["gate_failures"] == ["errors_missed is 1, at most 0 is required"]
    rows = parquet.read_table(tmp_path / "out/errors.parquet").to_pylist()
    shown = [(row["pred_index"], row["ref_index"], row["iou"], row["error"]) for row in rows]
    assert shown == [
        (1, 0, pytest.approx(0.9), "duplicate"),
        (2, 1, 1.0, "classification"),
        (3, 2, pytest.approx(0.4), "localization"),
        (4, None, None, "both"),
        (5, None, None, "background"),
        (6, None, None, "background"),
        (None, 3, None, "missed"),
    ]
    assert [row["category"] for row in rows[-2:]] == ["cat", "cat"]
    assert [row["file_name"] for row in rows[-2:]] == ["2.jpg", "1.jpg"]
    page = (tmp_path / "out/report.html").read_text()
    assert ">Errors by type</h2>" in page
    assert f" {summary['dAP']['localization']:.4f} " in words(page)


def test_without_a_box(tmp_path: Path) -> None:
    data = read_json(tmp_path, [], coco([]))
    found = errors.classify(data)
    assert errors.Charges.of(data, found).costs() == (
        None,
        dict.fromkeys((*errors.CAUSES, *errors.SPECIAL)),
    )
    nothing = errors.classify(read_json(tmp_path, [], REFERENCES))
    assert nothing.missed.all()
    assert len(nothing.missed) == 4


def test_a_table_of_an_earlier_run_is_refused(tmp_path: Path) -> None:
    read_json(tmp_path, DETECTIONS, REFERENCES)
    files = tmp_path / "pred.json", tmp_path / "ref.json"
    score(*files, explain=True, out=tmp_path / "out")
    before = (tmp_path / "out/summary.json").read_bytes()
    with pytest.raises(LossexportError, match=r"errors\.parquet: is of an earlier run: delete it"):
        score(*files, out=tmp_path / "out")
    assert (tmp_path / "out/summary.json").read_bytes() == before
    with pytest.raises(LossexportError, match=r"explain is missing \(--explain\)"):
        score(*files, fail_above={"errors_missed": 0})
