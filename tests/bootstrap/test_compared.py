"""Intervals of a comparison."""

from pathlib import Path

import numpy as np
import pytest

from lossexport import compare
from lossexport.bootstrap import compared
from lossexport.comparison import run as comparing
from lossexport.comparison.record import Run
from lossexport.comparison.summary import INTERVALS
from tests.bootstrap.helpers import copied, draws, random_set, same


def test_numbers_are_those_of_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [[r for r in random_set(s)[1] if r["score"] > 0] for s in (1, 1)]
    moved = [
        {**r, "bbox": [v * 1.03 for v in r["bbox"]], "score": r["score"] * 0.9} for r in rows[1]
    ]
    kept: list[Run] = []

    def explain(run: Run) -> list[str]:
        kept.append(run)
        return []

    monkeypatch.setattr(comparing, "_explanations", explain)
    compare(rows[0], moved[3:])
    weights = draws(len(kept[0].sides.images), 3, 0)
    ids = [int(value) for value in kept[0].sides.images]
    numbers = compared.Sample(kept[0]).numbers(weights)
    assert set(numbers) == set(INTERVALS)
    for draw, weight in enumerate(weights):
        every = np.zeros(max(ids), np.int32)
        every[np.array(ids) - 1] = weight
        summary = compare(copied(rows[0], every), copied(moved[3:], every))
        for name, values in numbers.items():
            part, _, statistic = name.partition("_")
            value = summary[part][statistic] if statistic else summary[name]
            assert same(values[draw], value), name


def test_a_report_and_a_gate(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data/coco_val2017_100"
    files = folder / "dets_yolact_base.json", folder / "dets_yolact_resnet50.json"
    gates = {"kept.lower": 0.99, "drift_mean.lower": -1.0}
    summary = compare(*files, bootstrap=50, seed=2, out=tmp_path / "out", fail_below=gates)
    drawn = summary["bootstrap"]
    assert (drawn["draws"], drawn["seed"]) == (50, 2)
    found = drawn["intervals"]["kept"]
    assert found["value"] == summary["kept"]
    assert found["lower"] < summary["kept"] < found["upper"]
    assert [gate["passed"] for gate in summary["gates"]] == [False, True]
    page = (tmp_path / "out/report.html").read_text()
    assert "Error bars" in page
    assert f"{found['lower']:.4f}" in page
    assert "Error bars" not in _plain_page(files, tmp_path)


def _plain_page(files: tuple[Path, Path], folder: Path) -> str:
    compare(*files, out=folder / "plain")
    return (folder / "plain/report.html").read_text()
