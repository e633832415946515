"""The suppression benchmark compares what is the same, and its page says what was measured."""

import json
import sys

import numpy as np
import pytest
import torch

from lossexport import ops
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import suppression


def test_eager_is_greedy_nms_on_clustered_boxes() -> None:
    boxes, scores = suppression.clustered(400)
    assert len(np.unique(scores)) == 400
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    found = suppression.eager_nms(torch.from_numpy(boxes), torch.from_numpy(scores))
    indices, count = ops.nms(torch.from_numpy(boxes), torch.from_numpy(scores))
    assert found.tolist() == indices[:count].tolist()
    assert 30 <= count < 100  # about forty objects
    many, ranks = map(torch.from_numpy, suppression.clustered(2000))
    assert suppression.eager_nms(many, ranks).shape == (100,)


def test_all_contenders_take_part_and_agree() -> None:
    (row,) = suppression.measure([60], seconds=0)
    assert row["n"] == 60
    assert 1 < row["kept"] < 60
    contenders = (*suppression.KERNELS, *suppression.EXPORTED, suppression.EAGER, suppression.NODE)
    assert tuple(row["times"]) == contenders
    for times in row["times"].values():
        assert times["rounds"] == suppression.FEWEST
        assert 0 < times["least_ms"] <= times["median_ms"]


def test_disagreement_stops_it() -> None:
    boxes, scores = suppression.clustered(50)
    right = suppression.eager_nms(torch.from_numpy(boxes), torch.from_numpy(scores)).numpy()
    runners = {suppression.EAGER: lambda: right, "nms": lambda: right[::-1]}
    with pytest.raises(SystemExit, match="nms: chooses other boxes at N = 50; nothing is timed"):
        suppression.check(runners, boxes, scores)


def test_the_sentence_follows_from_the_medians() -> None:
    times = {"diou_nms": 2.0, "diou_nms, native": 0.5, suppression.EAGER: 5, suppression.NODE: 0.1}
    row = {"n": 7, "times": {name: {"median_ms": value} for name, value in times.items()}}
    text = suppression.sentence([row])
    assert "at N = 7 the graph is 2.5 times as fast as eager greedy NMS and 20 times as s" in text
    assert "the kernel 10 times as fast and 5.0 times as slow" in text


def test_the_committed_page_is_that_of_the_committed_numbers() -> None:
    folder = ROOT / "benchmarks" / "results"
    record = json.loads((folder / "suppression.json").read_text())
    page = suppression.page(record["results"], record["created"], record["environment"])
    assert (folder / "suppression.md").read_text() == page
    assert [row["n"] for row in record["results"]] == list(suppression.SIZES)
