"""Confusions, images, categories and curves: by hand and against slow counts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from lossexport.boxes.boxset import Dataset
from lossexport.scoring import protocol, score
from lossexport.scoring.causes.confusion import cells, place
from tests.boxes.helpers import coco, found, iou_matrix, load, read_json, truth
from tests.scoring.causes.sets import REAL, dataset, drawn, words

REFERENCES = coco(
    [
        truth(1, 1, 0, 0, 10, 10),
        truth(1, 2, 100, 0, 10, 10),
        truth(2, 1, 0, 0, 50, 50),
        truth(2, 1, 100, 100, 100, 100),
        truth(2, 2, 300, 300, 50, 50, iscrowd=1),
    ]
)
DETECTIONS = [
    found(1, 1, 0.9, 0, 0, 10, 8),
    found(1, 1, 0.85, 100, 0, 10, 10),  # a dog taken for a cat
    found(2, 1, 0.8, 0, 0, 50, 40),
    found(2, 2, 0.75, 310, 310, 20, 20),  # in the crowd
    found(2, 1, 0.1, 500, 0, 10, 10),  # below the best cut
]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    read_json(tmp_path, DETECTIONS, REFERENCES)
    score(tmp_path / "pred.json", tmp_path / "ref.json", out=tmp_path / "out", explain=True)
    return tmp_path / "out"


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = parquet.read_table(folder / f"{name}.parquet").to_pylist()
    return found


def test_confusions_by_hand(out: Path) -> None:
    summary = json.loads((out / "summary.json").read_text())
    assert summary["best"]["score"] == 0.8
    cells = [
        {"reference": 1, "prediction": None, "count": 1},
        {"reference": 2, "prediction": 1, "count": 1},
    ]
    assert summary["confusion"] == {"score": 0.8, "right": 2, "confused": 1, "cells": cells}
    assert [tuple(row.values()) for row in rows(out, "confusion")] == [
        ("cat", "cat", 2),
        ("cat", "background", 1),
        ("dog", "cat", 1),
    ]
    page = (out / "report.html").read_text()
    assert " dog cat 1 " in words(page)


def test_images_by_hand(out: Path) -> None:
    names = ("image_id", "file_name", "true_positives", "false_positives", "false_negatives")
    table = rows(out, "images")
    assert [tuple(row[name] for name in names) for row in table] == [
        (1, "1.jpg", 1, 1, 1),
        (2, "2.jpg", 1, 0, 1),
    ]
    assert [row["references"] for row in table] == [2, 2]
    assert [row["iou_mean"] for row in table] == pytest.approx([0.8, 0.8])
    summary = json.loads((out / "summary.json").read_text())
    assert [row["image_id"] for row in summary["worst_images"]] == [1, 2]


def test_categories_and_curves_by_hand(out: Path) -> None:
    summary = json.loads((out / "summary.json").read_text())
    cat, dog = rows(out, "classes")
    row = summary["categories"][0]
    assert cat["category"] == "cat"
    assert (cat["AP50"], cat["APl"]) == (row["AP50"], row["APl"])
    assert cat["best_score"] == row["best"]["score"] == 0.8
    assert cat["lrp_optimal"] == row["lrp"]["optimal"]
    assert dog["best_score"] is None
    assert dog["APm"] is None
    # Right, wrong, right of three references: precision 1 to a recall of 1/3, then 2/3.
    curve = [one for one in rows(out, "curves") if one["category_id"] == 1]
    assert [one["iou_threshold"] for one in curve] == [0.5] * 101 + [0.75] * 101
    assert [one["precision"] for one in curve[:101]] == pytest.approx(
        [1.0] * 34 + [2 / 3] * 33 + [0.0] * 34
    )
    assert {one["score"] for one in curve[1:34]} == {0.9}
    assert curve[66]["score"] == 0.8
    assert curve[67]["score"] is None
    assert np.mean([one["precision"] for one in curve[:101]]) == pytest.approx(cat["AP50"])


def test_reliability_by_hand(out: Path) -> None:
    """Of the four boxes that count, those of 0.9 and 0.8 are right; bins are 0.032 wide."""
    table = rows(out, "reliability")
    summary = json.loads((out / "summary.json").read_text())
    assert table == summary["calibration"]["bins"][::-1]
    assert [row["score"] for row in table] == pytest.approx([0.9, 0.85, 0.8, 0.1])
    assert [row["precision"] for row in table] == [1, 0, 1, 0]
    assert [row["iou"] for row in table] == pytest.approx([0.8, 0, 0.8, 0])
    assert summary["calibration"]["dece"] == pytest.approx((0.1 + 0.85 + 0.2 + 0.1) / 4)
    page = (out / "report.html").read_text()
    assert " 0.850 0.000 +0.850 " in words(page)


@pytest.mark.parametrize("name", ["3", "4", "5", "6", "8", "yolact_base"])
@pytest.mark.parametrize("cut", [0.0, 0.4])
def test_confusions_are_those_of_a_slow_count(
    name: str, cut: float, shared: Path, tmp_path: Path
) -> None:
    data = dataset(name, shared, tmp_path)
    size = len(data.categories)
    matrix = np.zeros((size + 1, size + 1), np.int64)
    keep = data.predictions.score >= cut
    counted = data.references.category[~data.references.ignored]
    references = np.bincount(counted, minlength=size)
    rows, columns, counts = cells(data.predictions.category, place(data, 0.5), keep, references)
    assert (counts > 0).all()
    matrix[rows, columns] = counts
    assert (matrix == slow(data, keep)).all()


def slow(data: Dataset, keep: np.ndarray) -> np.ndarray:
    """The matrix, image by image and box by box."""
    size, predictions, references = len(data.categories), data.predictions, data.references
    matrix = np.zeros((size + 1, size + 1), np.int64)
    for image in range(len(data.images)):
        preds = np.flatnonzero(keep & (predictions.image == image))
        preds = preds[np.argsort(-predictions.score[preds], kind="stable")]
        refs = np.flatnonzero((references.image == image) & ~references.ignored)
        crowds = np.flatnonzero((references.image == image) & references.ignored)
        overlap = iou_matrix(predictions.box[preds], references.box[refs])
        used = np.zeros(len(refs), np.bool_)
        for i, pred in enumerate(preds):
            best, at = 0.5, -1
            for j in range(len(refs)):
                if not used[j] and overlap[i, j] >= best:
                    best, at = overlap[i, j], j
            kind = predictions.category[pred]
            if at >= 0:
                used[at] = True
                matrix[references.category[refs[at]], kind] += 1
            elif not any(_inside(predictions.box[pred], references.box[c]) for c in crowds):
                matrix[size, kind] += 1
        for kind in references.category[refs[~used]]:
            matrix[kind, size] += 1
    return matrix


def _inside(box: np.ndarray, crowd: np.ndarray) -> bool:
    sides = np.minimum(box[:2] + box[2:], crowd[:2] + crowd[2:]) - np.maximum(box[:2], crowd[:2])
    return bool((sides > 0).all() and sides.prod() / box[2:].prod() >= 0.5)


def test_ap_of_sizes_is_the_mean_of_categories(shared: Path) -> None:
    pred, ref = (shared / "data" / part for part in REAL["yolact_base"])
    summary = score(pred, ref)
    for name in ("APs", "APm", "APl"):
        known = [row[name] for row in summary["categories"] if row[name] > -1]
        assert np.mean(known) == pytest.approx(summary[name])


def test_a_table_has_as_many_rows_as_its_image_or_category(tmp_path: Path) -> None:
    detections, references = drawn(3)
    read_json(tmp_path, detections, references)
    files = tmp_path / "pred.json", tmp_path / "ref.json"
    summary = score(*files, out=tmp_path / "out", explain=True)
    sizes = {name: len(rows(tmp_path / "out", name)) for name in ("images", "classes", "curves")}
    present = sum(row["AP50"] > -1 for row in summary["categories"])
    assert sizes == {
        "images": summary["counts"]["images"],
        "classes": summary["counts"]["categories"],
        "curves": present * 2 * len(protocol.RECALLS),
    }
    assert sum(row["true_positives"] for row in rows(tmp_path / "out", "images")) == round(
        summary["best"]["recall"] * (summary["counts"]["matched"] + summary["counts"]["unmatched"])
    )


def test_no_box_at_all(tmp_path: Path) -> None:
    read_json(tmp_path, [], coco([], categories=()))
    files = tmp_path / "pred.json", tmp_path / "ref.json"
    summary = score(*files, out=tmp_path / "out", explain=True)
    assert summary["worst_images"] == summary["confusion"]["cells"] == []
    assert load(tmp_path / "out/summary.json") == summary
    assert rows(tmp_path / "out", "curves") == rows(tmp_path / "out", "classes") == []
    assert rows(tmp_path / "out", "reliability") == []
