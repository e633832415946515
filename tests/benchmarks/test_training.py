"""The usual losses are those of the package, and the page says what was measured."""

import json
import sys

import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import training

RESULTS = ROOT / "benchmarks" / "results"


@pytest.mark.parametrize("row", training.rows()[::2], ids=lambda row: f"{row.name} {row.what}")
def test_the_usual_code_has_the_same_loss_and_gradient(row: training.Row) -> None:
    given, other = row.inputs
    few = training.Row(row.name, row.what, row.usual, (given[:200], other[:200]))
    times = training.measure(few, seconds=0)
    assert list(times) == [training.USUAL, training.OURS]
    assert all(figure["rounds"] == 5 for figure in times.values())


def test_another_loss_stops_it() -> None:
    row = training.rows()[0]
    other = training.Row(row.name, row.what, lambda x, _: x.square().sum(), row.inputs)
    with pytest.raises(SystemExit, match="sigmoid_focal_loss: not what the usual code gives"):
        training.measure(other, seconds=0)


def test_the_committed_page_is_that_of_the_committed_numbers() -> None:
    record = json.loads((RESULTS / "training.json").read_text())
    page = training.page(record["results"], record["environment"], record["created"])
    assert page == (RESULTS / "training.md").read_text()
    names = [(row.name, row.what) for row in training.rows()]
    assert [(row["op"], row["what"]) for row in record["results"]] == names
