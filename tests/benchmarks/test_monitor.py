"""The benchmark of the watch holds data out where it chooses, and its page has what it measured."""

import json
import sys
from typing import Any

import pytest

from lossexport.monitor import curve
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import monitor
from measure import RESULTS


def shifts(error: float) -> dict[str, Any]:
    return {"random": {number: {"error": error} for number in ("precision", "AP50", "correct")}}


def test_a_ridge_is_chosen_on_the_other_source(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = curve.RIDGE
    errors = {
        "a, VOC": {4.0: 0.1, shipped: 0.2, 64.0: 0.3},
        "b, VOC": {4.0: 0.3, shipped: 0.2, 64.0: 0.4},
        "c, COCO": {4.0: 0.5, shipped: 0.4, 64.0: 0.1},
    }
    monkeypatch.setattr(
        monitor, "summaries", lambda labelled, trials: shifts(errors[labelled][curve.RIDGE])
    )
    given: Any = {name: name for name in errors}
    own = {name: shifts(found[shipped]) for name, found in errors.items()}
    found = monitor.chosen_elsewhere(given, own, 1)
    assert shipped == curve.RIDGE
    assert found["VOC"] == pytest.approx(
        {"ridge": 64.0, "error": 0.35, "shipped": 0.2, "best": 0.2}
    )
    assert found["COCO"]["ridge"] in (4.0, shipped)  # equal on VOC
    assert found["COCO"]["best"] == pytest.approx(0.1)


def test_the_page_is_of_the_record() -> None:
    record = json.loads((RESULTS / "monitor.json").read_text())
    page = monitor.page(record["results"], record["created"], record["environment"])
    assert (RESULTS / "monitor.md").read_text() == page
    assert set(record["results"]["shifts"]) == set(monitor.SETS)
    assert set(record["results"]["held out"]) == set(monitor.HELD_OUT)
