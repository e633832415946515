"""`--bootstrap`, and `score A B`."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.fixture
def folder(shared: Path) -> Path:
    return shared / "data/coco_val2017_100"


def test_score_prints_and_writes_intervals(run: Run, folder: Path, tmp_path: Path) -> None:
    file, page = tmp_path / "summary.json", tmp_path / "out/report.html"
    code, shown, error = run(
        "score", "--pred", folder / "dets_yolact_base.json", "--ref", folder / "gt.json",
        "--bootstrap", 20, "--seed", 7, "--json", file, "--out", tmp_path / "out",
        "--fail-below", "AP.lower=0.99",
    )  # fmt: skip
    found = json.loads(file.read_text())["bootstrap"]
    assert (found["draws"], found["seed"]) == (20, 7)
    ap = found["intervals"]["AP"]
    assert code == 1
    assert f"AP.lower is {ap['lower']:.6g}, at least 0.99 is required" in error
    assert "95% intervals, 20 draws of 100 images" in shown
    for text in (shown, page.read_text()):
        assert f"{ap['lower']:.4f}" in text
        assert f"{ap['upper']:.4f}" in text


def test_two_results(run: Run, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "pair.json"
    pair = folder / "dets_yolact_resnet50.json", folder / "dets_yolact_base.json"
    code, shown, error = run(
        "score", *pair, "--ref", folder / "gt.json", "--bootstrap", 30, "--json", file,
        "--fail-below", "AP.lower=-0.05",
    )  # fmt: skip
    assert (code, error) == (0, "")
    row = json.loads(file.read_text())["differences"]["AP"]
    cells = [f"{row[name]:.4f}" for name in ("a", "b", "difference", "lower", "upper")]
    (line,) = [line for line in shown.splitlines() if line.startswith("│ AP ")]
    assert [cell.strip() for cell in line.split("│")[2:7]] == cells
    code, _, error = run("score", *pair, "--ref", folder / "gt.json", "--fail-below", "AP=0.05",
        "--bootstrap", 2)  # fmt: skip
    assert code == 1
    assert f"AP is {row['difference']:.6g}" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bootstrap", "1"], "bootstrap is 1: a whole number from 2"),
        (["--bootstrap", "-5"], "bootstrap is -5"),
        (["--bootstrap", "1000000"], "bootstrap is 1000000"),
        (["--bootstrap", "many"], "'many' is not a valid integer"),
        (["--fail-below", "AP.lower=0.4"], "bootstrap is missing"),
        (["--seed", "-1", "--bootstrap", "5"], "seed is -1"),
    ],
)
def test_refusals(run: Run, folder: Path, arguments: list[str], message: str) -> None:
    base = "score", "--pred", folder / "dets_yolact_base.json", "--ref", folder / "gt.json"
    code, _, error = run(*base, *arguments)
    assert code == 2
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("results", [0, 3])
def test_wrong_numbers_of_results(run: Run, folder: Path, results: int) -> None:
    code, _, error = run("score", *[folder / "gt.json"] * results, "--ref", folder / "gt.json")
    assert code == 2
    assert "one of these is needed" in error


@pytest.mark.parametrize(
    "option", ["--images .", "--explain", "--browse 3", "--at-recall 0.5", "--slice-by file_name"]
)
def test_options_of_one_result_alone(run: Run, folder: Path, option: str) -> None:
    pair = [folder / "dets_yolact_base.json"] * 2
    code, _, error = run("score", *pair, "--ref", folder / "gt.json", *option.split())
    assert code == 2
    assert f"{option.split()[0]}: is for one result, not for two" in error
