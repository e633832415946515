"""Draws, intervals and gates on their ends."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lossexport import formats, score, score_pair
from lossexport.bootstrap.draws import Draws, interval
from lossexport.errors import LossexportError
from lossexport.scoring.summary import INTERVALS
from tests.bootstrap.helpers import run_of


@pytest.fixture
def files(shared: Path) -> dict[str, Path]:
    folder = shared / "data/coco_val2017_100"
    return {
        "a": folder / "dets_yolact_resnet50.json",
        "b": folder / "dets_yolact_base.json",
        "ref": folder / "gt.json",
    }


def test_draws_have_half_of_the_images_and_follow_from_the_seed() -> None:
    whole = np.concatenate(list(Draws(30, 5).weights(17)))
    assert whole.shape == (30, 17)
    assert set(np.unique(whole)) == {0, 1}
    assert set(whole.sum(axis=1)) == {8, 9}
    assert (np.concatenate(list(Draws(30, 5).weights(16))).sum(axis=1) == 8).all()
    assert len({row.tobytes() for row in whole}) == 30
    assert (np.concatenate(list(Draws(10, 5).weights(17))) == whole[:10]).all()
    assert (np.concatenate(list(Draws(10, 6).weights(17))) != whole[:10]).any()


def test_an_interval_leaves_a_fortieth_of_the_draws_on_each_side() -> None:
    values = np.random.default_rng(0).permutation(np.append(np.arange(1001.0), np.nan))
    found = interval(values, 480.0)
    assert found["draws"] == 1001
    assert (found["lower"], found["upper"]) == (2 * 480 - 975, 2 * 480 - 25)
    assert found["standard_error"] == pytest.approx(np.arange(1001.0).std(ddof=1), rel=1e-12)
    limited = interval(values, 480.0, (0.0, 900.0))
    assert (limited["lower"], limited["upper"]) == (0.0, 900.0)
    for outside in (-3.0, 1003.0):
        ends = interval(values, outside)
        assert outside in (ends["lower"], ends["upper"])
        assert ends["lower"] < ends["upper"]
    assert interval(values, None)["lower"] is None
    assert interval(np.full(5, np.nan), 1.0)["upper"] is None


def test_the_interval_of_a_mean_is_that_of_theory(files: dict[str, Path]) -> None:
    """The standard error of recall: a ratio of two means over images."""
    summary = score(files["b"], files["ref"], bootstrap=2000)
    found = summary["bootstrap"]["intervals"]["recall"]
    assert found["value"] == summary["recall"]
    # By the delta method, from the matches and misses of each image.
    run = run_of(formats.read(files["b"], files["ref"], "coco"))
    pred, _ = run.matching.pairs()
    hits = np.bincount(run.data.predictions.image[pred], minlength=100)
    missed = run.data.references.image[run.matching.unmatched_refs]
    every = hits + np.bincount(missed, minlength=100)
    rest = hits - summary["recall"] * every
    theory = np.sqrt((rest**2).sum()) / every.sum()
    assert found["standard_error"] == pytest.approx(theory, rel=0.1)
    assert found["lower"] < summary["recall"] < found["upper"]


def test_a_summary_has_every_interval_and_repeats_itself(files: dict[str, Path]) -> None:
    first, second = (score(files["b"], files["ref"], bootstrap=20, seed=3) for _ in range(2))
    assert first == second
    drawn = first["bootstrap"]
    assert (drawn["draws"], drawn["seed"], drawn["images"]) == (20, 3, 100)
    assert tuple(drawn["intervals"]) == INTERVALS
    assert [row["id"] for row in drawn["categories"]] == [row["id"] for row in first["categories"]]
    assert drawn["categories"][0]["AP"]["value"] == first["categories"][0]["AP"]
    other = score(files["b"], files["ref"], bootstrap=20, seed=4)["bootstrap"]
    assert other["intervals"]["AP"]["lower"] != drawn["intervals"]["AP"]["lower"]
    assert "bootstrap" not in score(files["b"], files["ref"])


def test_gates_on_ends(files: dict[str, Path], tmp_path: Path) -> None:
    given: dict[str, Any] = {"bootstrap": 50, "out": tmp_path / "one"}
    ends = score(files["b"], files["ref"], **given)["bootstrap"]["intervals"]["AP"]
    given["out"] = None
    limits = {"AP.lower": ends["lower"] + 0.01, "AP": 0.3}
    summary = score(files["b"], files["ref"], fail_below=limits, **given)
    assert [gate["passed"] for gate in summary["gates"]] == [False, True]
    above = score(files["b"], files["ref"], fail_above={"AP.upper": ends["upper"]}, **given)
    assert above["gate_failures"] == []
    baseline = tmp_path / "one/summary.json"
    same = score(files["b"], files["ref"], baseline=baseline, max_drop={"AP.lower": 0.0}, **given)
    assert same["gates"][0]["passed"]
    worse = score(files["a"], files["ref"], baseline=baseline, max_drop={"AP.lower": 0.0}, **given)
    assert not worse["gates"][0]["passed"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fail_below": {"AP.lower": 0.4}}, "gate 'AP.lower': .* bootstrap is missing"),
        ({"bootstrap": 5, "fail_below": {"AB.lower": 0.4}}, "gate 'AB.lower': no such number"),
        ({"bootstrap": 5, "fail_below": {"matched.lower": 4}}, "matched has no interval"),
        ({"bootstrap": 1}, "bootstrap is 1: a whole number from 2 to 10000"),
        ({"bootstrap": -4}, "bootstrap is -4"),
        ({"bootstrap": 10_001}, "bootstrap is 10001"),
        ({"bootstrap": 2.5}, "bootstrap is 2.5"),
        ({"bootstrap": float("nan")}, "bootstrap is nan"),
        ({"bootstrap": True}, "bootstrap"),
        ({"bootstrap": 5, "seed": -1}, "seed is -1"),
    ],
)
def test_refusals(files: dict[str, Path], options: dict[str, Any], message: str) -> None:
    with pytest.raises(LossexportError, match=message):
        score(files["b"], files["ref"], **options)


def test_one_image_is_too_few() -> None:
    one = {"image_id": [1], "category_id": [1], "bbox": [[0, 0, 9, 9]]}
    with pytest.raises(LossexportError, match="1 image: at least 2"):
        score({**one, "score": [0.5]}, one, bootstrap=10)


def test_a_baseline_without_intervals(files: dict[str, Path], tmp_path: Path) -> None:
    score(files["b"], files["ref"], out=tmp_path / "plain")
    with pytest.raises(LossexportError, match=r"has no number AP.lower: .* with bootstrap"):
        score(
            files["b"], files["ref"], bootstrap=5,
            baseline=tmp_path / "plain/summary.json", max_drop={"AP.lower": 0.1},
        )  # fmt: skip


def test_a_pair_is_drawn_together(files: dict[str, Path]) -> None:
    found = score_pair(files["a"], files["b"], files["ref"], bootstrap=200)
    alone = [score(files[side], files["ref"], bootstrap=200)["bootstrap"] for side in "ab"]
    row = found["differences"]["AP"]
    values = [each["intervals"]["AP"]["value"] for each in alone]
    assert [row["a"], row["b"]] == values
    assert row["difference"] == values[1] - values[0]
    assert row["lower"] < row["difference"] < row["upper"]
    # What is hard for one is hard for the other.
    errors = [each["intervals"]["AP"]["standard_error"] for each in alone]
    assert row["standard_error"] < 0.7 * np.hypot(*errors)
    assert 0.97 < row["better"] <= 1
    assert found["a"]["AP"] == values[0]
    assert found["inputs"].keys() == {"a", "b", "ref"}


def test_a_result_does_not_differ_from_itself(files: dict[str, Path], tmp_path: Path) -> None:
    found = score_pair(
        files["a"], files["a"], files["ref"],
        bootstrap=20, fail_below={"AP.lower": -0.001, "AP": 0.001}, out=tmp_path / "pair",
    )  # fmt: skip
    row = found["differences"]["AP"]
    assert (row["lower"], row["upper"], row["better"]) == (0, 0, 0)
    assert [gate["passed"] for gate in found["gates"]] == [True, False]
    assert [path.name for path in (tmp_path / "pair").iterdir()] == ["summary.json"]
    (tmp_path / "pair/report.html").touch()
    with pytest.raises(LossexportError, match=r"report\.html: is of an earlier run"):
        score_pair(files["a"], files["a"], files["ref"], bootstrap=2, out=tmp_path / "pair")


def test_images_that_one_result_alone_has() -> None:
    ref = {"image_id": [2, 3], "category_id": [1, 1], "bbox": [[0, 0, 9, 9]] * 2}
    right = {**ref, "score": [0.5, 0.6]}
    more = {
        "image_id": [1, 2, 3],
        "category_id": [1] * 3,
        "bbox": [[0, 0, 9, 9]] * 3,
        "score": [0.9, 0.5, 0.6],
    }
    found = score_pair(right, more, ref, bootstrap=100)
    assert found["bootstrap"]["images"] == 3
    row = found["differences"]["precision"]
    assert row["difference"] == pytest.approx(2 / 3 - 1, abs=1e-12)
    assert row["better"] == 0
    # Symmetric, by the standard error: of three images a half tells little.
    assert row["upper"] - row["difference"] == pytest.approx(1.959964 * row["standard_error"])
    assert row["difference"] - row["lower"] == pytest.approx(1.959964 * row["standard_error"])
    assert row["upper"] > 0


@pytest.mark.filterwarnings("error")
def test_sets_in_which_numbers_are_undefined() -> None:
    ref = {"image_id": [1, 2], "category_id": [1, 1], "bbox": [[0, 0, 9, 9]] * 2}
    right = {**ref, "score": [0.5, 0.4]}
    nothing: dict[str, Any] = {"image_id": [], "category_id": [], "bbox": [], "score": []}
    none = score(nothing, ref, bootstrap=5)["bootstrap"]["intervals"]
    assert (none["AP"]["lower"], none["AP"]["upper"], none["AP"]["draws"]) == (0, 0, 5)
    for name in ("precision", "best_f1", "iou_mean", "APl"):
        assert (none[name]["value"], none[name]["lower"], none[name]["draws"]) == (None, None, 0)
    crowds = score(right, {**ref, "iscrowd": [1, 1]}, bootstrap=5)["bootstrap"]["intervals"]
    assert crowds["AP"]["upper"] is None
    whole = score(right, ref, bootstrap=5)["bootstrap"]["intervals"]
    assert (whole["AP"]["lower"], whole["best_f1"]["upper"]) == (1, 1)
    row = score_pair(nothing, right, ref, bootstrap=5)["differences"]["AP"]
    assert (row["lower"], row["upper"], row["better"]) == (1, 1, 1)
