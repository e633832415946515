"""Cuts of the score, LRP errors and calibration: equal to what their definitions give, slowly.

`causes/peers.json` has the numbers of uq-detr 0.1.1 (greedy matching) and of vernier 0.5.4 (with
all scores as its grid, no limit of predictions) for the sets of `causes/sets.py`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lossexport.boxes.matching import IGNORED, MATCHED
from lossexport.errors import LossexportError
from lossexport.scoring import calibration, score
from lossexport.scoring.ranked import Cuts, Ranked, mean_lrp, optimal_lrp, whole_lrp
from tests.scoring.causes.sets import REAL, drawn

PEERS: dict[str, Any] = json.loads((Path(__file__).parent / "causes/peers.json").read_text())


class Outcomes:
    """Drawn outcomes of 300 predictions of 4 categories, of which one has no reference."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.category = rng.integers(0, 3, 300).astype(np.int32)
        self.score = rng.integers(0, 40, 300) / 40
        self.status = rng.integers(0, 3, 300).astype(np.int8)
        self.iou = rng.uniform(0.5, 1, int(np.sum(self.status == MATCHED))).astype(np.float32)
        self.missed = rng.integers(1, 60, 4) * np.array([1, 1, 1, 0])

    def ranked(self, rows: np.ndarray | None = None) -> tuple[Ranked, Ranked]:
        rows = np.arange(300) if rows is None else rows
        overlap = np.zeros(300, np.float32)
        overlap[self.status == MATCHED] = self.iou
        status = self.status[rows]
        iou = overlap[rows][status == MATCHED]
        return Ranked.of(self.category[rows], self.score[rows], status, iou, self.missed)

    def at(self, k: int | None, cut: float) -> tuple[int, int, float, int]:
        """Predictions and matches from a score on, the sum of 1 - IoU, and all references."""
        own = np.ones(300, np.bool_) if k is None else self.category == k
        kept = own & (self.score >= cut)
        overlap = np.zeros(300)
        overlap[self.status == MATCHED] = self.iou
        hits = kept & (self.status == MATCHED)
        missed = int(self.missed.sum() if k is None else self.missed[k])
        positives = int(np.sum(own & (self.status == MATCHED))) + missed
        seen = int(np.sum(kept & (self.status != IGNORED)))
        return seen, int(hits.sum()), float((1 - overlap[hits]).sum()), positives


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("pooled", [False, True])
def test_each_cut_is_the_best_of_all_scores(seed: int, pooled: bool) -> None:
    outcomes = Outcomes(seed)
    whole, each = outcomes.ranked()
    cuts = Cuts.of(whole if pooled else each)
    for k in [0] if pooled else [0, 1, 2]:
        scores = np.unique(outcomes.score)[::-1]
        found = [outcomes.at(None if pooled else k, cut) for cut in scores]
        rows = [(cut, *row) for cut, row in zip(scores, found, strict=True) if row[0]]
        precision = np.array([h / s for _, s, h, _, _ in rows])
        recall = np.array([h / p for _, _, h, _, p in rows])
        f1 = np.array([2 * h / (s + p) for _, s, h, _, p in rows])
        error = [(s + p - 2 * h + loss / 0.5) / (s + p - h) for _, s, h, loss, p in rows]

        def score_of(where: np.ndarray, k: int = k) -> float:
            return float(cuts.score[where[k]])

        at = {row[0]: i for i, row in enumerate(rows)}
        assert score_of(cuts.highest(cuts.f1)) == rows[int(np.argmax(f1))][0]
        assert f1[at[score_of(cuts.highest(cuts.f1))]] == f1.max()
        lrp = cuts.lrp(0.5)[cuts.category == k]
        assert lrp.min() == pytest.approx(min(error), abs=1e-12)
        wanted = float(np.median(precision))
        lowest = score_of(cuts.least_precise(wanted))
        assert lowest == max(
            row[0] for row, p in zip(rows, precision, strict=True) if p >= wanted
            and recall[at[row[0]]] == recall[precision >= wanted].max()
        )  # fmt: skip
        strict = score_of(cuts.most_strict(0.3))
        assert strict == max(row[0] for row, r in zip(rows, recall, strict=True) if r >= 0.3)
        rates = cuts.rates(int(cuts.most_strict(0.3)[k]))
        i = at[strict]
        assert rates == {
            "score": strict,
            "precision": precision[i],
            "recall": recall[i],
            "f1": f1[i],
        }


def test_no_bit_depends_on_the_order_of_rows() -> None:
    outcomes = Outcomes(9)
    first = outcomes.ranked()
    for seed in range(5):
        other = outcomes.ranked(np.random.default_rng(seed).permutation(300))
        assert calibration.block(*other) == calibration.block(*first)
        for one, same in zip(other, first, strict=True):
            assert optimal_lrp(Cuts.of(one), 0.5) == optimal_lrp(Cuts.of(same), 0.5)
            assert whole_lrp(one, 0.5) == whole_lrp(same, 0.5)


def test_parts_by_hand() -> None:
    """A match of IoU 0.8, two wrong boxes of which one is ranked lower, a reference missed."""
    whole, ranked = Ranked.of(
        np.zeros(3, np.int32),
        np.array([0.9, 0.8, 0.1]),
        np.array([0, 1, 0], np.int8),
        np.array([0.8], np.float32),
        np.array([1, 3, 0]),
    )
    assert whole_lrp(whole, 0.5) == pytest.approx((2 + 4 + 0.4) / 7)
    first, second, third = optimal_lrp(Cuts.of(ranked), 0.5)
    assert first == pytest.approx(
        {
            "optimal": 2.4 / 3,
            "localization": 0.2,
            "false_positive": 0.5,
            "false_negative": 0.5,
            "score": 0.8,
        }
    )
    assert list(second.values()) == [1.0, None, 0.0, 1.0, None]
    assert set(third.values()) == {None}
    assert mean_lrp([first, second, third]) == pytest.approx(
        {
            "optimal": 0.9,
            "localization": 0.2,
            "false_positive": 0.25,
            "false_negative": 0.75,
        }
    )
    assert optimal_lrp(Cuts.of(ranked), 1.0)[0]["optimal"] == pytest.approx(2 / 3)
    assert Cuts.of(ranked).least_precise(0.6).tolist() == [-1, -1, -1]


@pytest.mark.parametrize("name", PEERS)
def test_equal_to_peers(name: str, shared: Path, tmp_path: Path) -> None:
    if name in REAL:
        files = [shared / "data" / part for part in REAL[name]]
    else:
        files = [tmp_path / "pred.json", tmp_path / "ref.json"]
        for path, data in zip(files, drawn(int(name)), strict=True):
            path.write_text(json.dumps(data))
    summary = score(*files)
    found = {**summary["calibration"], **summary["lrp"]}
    # The overlaps of a summary are in float32.
    assert {key: found[key] for key in PEERS[name]["numbers"]} == pytest.approx(
        PEERS[name]["numbers"], abs=1e-7
    )
    cuts = {str(row["id"]): row["lrp"]["score"] for row in summary["categories"]}
    assert cuts == PEERS[name]["cuts"]


def test_scores_that_are_no_probabilities_have_no_calibration() -> None:
    outcomes = Outcomes(0)
    outcomes.score *= 100
    assert calibration.block(*outcomes.ranked()) == {
        "dece": None,
        "laece": None,
        "mce": None,
        "bins": [],
    }
    outcomes.score[:] = 0.5
    block = calibration.block(*outcomes.ranked())
    (row,) = block["bins"]
    assert row["low"] == row["high"] == row["score"] == 0.5
    assert block["dece"] == block["mce"] == abs(0.5 - row["precision"])


def test_bins_are_those_of_numpy() -> None:
    """Scores at the edges and just beside them, in two categories of other ranges."""
    rng = np.random.default_rng(1)
    scores, kinds = [], []
    for kind, (low, high) in enumerate(((0.05, 0.99), (0.1, 0.7))):
        edges = np.linspace(low, high, calibration.BINS + 1)
        near = [edges, np.nextafter(edges, -1), np.nextafter(edges, 2), rng.uniform(low, high, 99)]
        scores.append(np.clip(np.concatenate(near), low, high))
        kinds.append(np.full(len(scores[-1]), kind, np.int32))
    status = rng.integers(0, 2, sum(map(len, scores))).astype(np.int8)
    iou = rng.uniform(0.5, 1, int(status.sum())).astype(np.float32)
    columns = np.concatenate(kinds), np.concatenate(scores)
    _, each = Ranked.of(*columns, status, iou, np.zeros(2, np.int64))
    count, right, sums, overlaps, _ = calibration._bins(each)
    accuracy = np.zeros(len(status))
    accuracy[status == 1] = iou
    hits, real = np.split(status, [len(scores[0])]), np.split(accuracy, [len(scores[0])])
    for k, values in enumerate(scores):
        edges = np.linspace(values.min(), values.max(), calibration.BINS + 1)
        place = np.clip(np.digitize(values, edges, right=True), 1, calibration.BINS) - 1
        assert (count[k] == np.bincount(place, minlength=calibration.BINS)).all()
        assert (right[k] == np.bincount(place[hits[k] == 1], minlength=calibration.BINS)).all()
        for found, weight in ((sums, values), (overlaps, real[k])):
            assert found[k] == pytest.approx(np.bincount(place, weight, calibration.BINS))


def test_wanted_rates(shared: Path) -> None:
    files = [shared / "data" / part for part in REAL["yolact_base"]]
    summary = score(*files, at_precision=0.9, at_recall=0.6, slices={"first": [885]})
    assert summary["settings"]["at_precision"] == 0.9
    rows = [summary, *summary["categories"], *summary["slices"]]
    for row in rows:
        assert row["at_precision"]["precision"] is None or row["at_precision"]["precision"] >= 0.9
        assert row["at_recall"]["recall"] is None or row["at_recall"]["recall"] >= 0.6
    assert summary["at_precision"]["score"] == pytest.approx(0.8, abs=0.2)
    assert summary["best"]["f1"] >= max(summary[f"at_{x}"]["f1"] for x in ("precision", "recall"))
    for wrong in (0, 1.5, float("nan"), "high"):
        with pytest.raises(LossexportError, match="at_recall is"):
            score(*files, at_recall=wrong)  # type: ignore[arg-type]
