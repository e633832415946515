"""Every note is checked on data that needs it and on data that does not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lossexport.comparison import compare
from lossexport.scoring import score
from tests.boxes.helpers import Json, coco, found, truth

WORDS = {
    "category": "with category_id",
    "other": "in another category",
    "corners": "x1, y1, x2, y2.",
    "centre": "the centre of the box",
    "swapped": "changed places",
    "second": "the score came second",
    "next": "on the next image",
    "before": "on the image before",
    "nothing": "overlaps one of the",
    "crowds": "are crowds",
    "equal": "All scores",
    "doubled": "more than once",
    "parts": "are they parts of the image",
    "beyond": "reach out of their image",
    "percent": "in percent",
}


def boxes(count: int = 40, images: int = 10, seed: int = 0) -> np.ndarray:
    """Rows of image, category, x, y, width, height; boxes of neighbouring images are apart."""
    random = np.random.default_rng(seed)
    row = np.arange(count)
    y = 30 + 200 * (row % images % 2) + random.uniform(0, 60, count)
    low = np.stack([50 + 150 * (row // images), y], axis=1)
    size = np.stack([random.uniform(40, 60, count), random.uniform(90, 130, count)], axis=1)
    return np.column_stack([row % images, 1 + row % 2, low, size])


def references(rows: np.ndarray, **more: Json) -> Json:
    data = coco([truth(int(r[0]), int(r[1]), *r[2:], **more) for r in rows], images=range(12))
    for image in data["images"]:
        image |= {"width": 700, "height": 500}
    return data


def detections(rows: np.ndarray, scores: Any = None) -> Json:
    scores = np.linspace(0.95, 0.3, len(rows)) if scores is None else scores
    return [
        found(int(r[0]), int(r[1]), float(s), *r[2:]) for r, s in zip(rows, scores, strict=True)
    ]


def notes(folder: Path, pred: Json, ref: Json, verb: Any = score) -> set[str]:
    """Names of the kinds of note that a run gives."""
    paths = []
    for name, data in (("pred", pred), ("ref", ref)):
        paths.append(folder / f"{name}.json")
        paths[-1].write_text(json.dumps(data))
    given = " ".join(verb(*paths)["notes"])
    return {kind for kind, words in WORDS.items() if words in given}


def changed(rows: np.ndarray, **columns: Any) -> np.ndarray:
    rows = rows.copy()
    for name, value in columns.items():
        rows[:, ("image", "category", "x", "y", "w", "h").index(name)] = value
    return rows


ROWS = boxes()
X, Y, W, H = ROWS[:, 2:].T


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (ROWS, set()),
        (changed(ROWS, category=ROWS[:, 1] + 1), {"category"}),
        (changed(ROWS, category=3 - ROWS[:, 1]), {"other"}),
        (changed(ROWS, w=X + W, h=Y + H), {"corners", "beyond"}),
        (changed(ROWS, x=X + W / 2, y=Y + H / 2), {"centre"}),
        (changed(ROWS, x=Y, y=X, w=H, h=W), {"swapped", "beyond"}),
        (changed(ROWS, image=ROWS[:, 0] + 1), {"before"}),
        (changed(ROWS[ROWS[:, 0] > 0], image=ROWS[ROWS[:, 0] > 0, 0] - 1), {"next"}),
        (changed(ROWS, x=X / 700, y=Y / 500, w=W / 700, h=H / 500), {"parts", "nothing"}),
        (changed(ROWS, x=X + W + 1), {"nothing"}),
        (changed(ROWS, x=X + 700), {"nothing", "beyond"}),
        (np.concatenate([ROWS, ROWS[:3]]), set()),  # other scores: other boxes
    ],
)
def test_wrong_boxes(tmp_path: Path, rows: np.ndarray, expected: set[str]) -> None:
    assert notes(tmp_path, detections(rows), references(ROWS)) == expected


def test_wrong_references_and_scores(tmp_path: Path) -> None:
    fine = detections(ROWS)
    assert notes(tmp_path, fine, references(ROWS, iscrowd=1)) == {"crowds"}
    assert notes(tmp_path, detections(ROWS, [0.5] * len(ROWS)), references(ROWS)) == {"equal"}
    assert notes(tmp_path, [*fine, *fine[:2]], references(ROWS)) == {"doubled"}
    assert notes(tmp_path, fine, references(np.concatenate([ROWS, ROWS[-1:]]))) == {"doubled"}


def test_between_parent_and_child(tmp_path: Path) -> None:
    fine = detections(ROWS)
    percent = [{**row, "score": 100 * row["score"]} for row in fine]
    shifted = detections(changed(ROWS, category=ROWS[:, 1] + 1))
    assert notes(tmp_path, fine, fine, compare) == set()
    assert notes(tmp_path, percent, fine, compare) == {"percent"}
    assert notes(tmp_path, fine, percent, compare) == {"percent"}
    assert notes(tmp_path, fine, shifted, compare) == {"category"}


def test_a_score_in_the_second_column(tmp_path: Path) -> None:
    for folder in ("pred", "ref"):
        (tmp_path / folder).mkdir()
    for image in range(3):
        rows = ROWS[ROWS[:, 0] == image]
        centre = np.stack(
            [(rows[:, 2] + rows[:, 4] / 2) / 700, (rows[:, 3] + rows[:, 5] / 2) / 500]
        )
        cx, cy, w, h = *centre, rows[:, 4] / 700, rows[:, 5] / 500
        line = [f"0 {a} {b} {c} {d}\n" for a, b, c, d in zip(cx, cy, w, h, strict=True)]
        second = [f"0 0.{9 - i} {text[2:]}" for i, text in enumerate(line)]
        (tmp_path / "ref" / f"{image}.txt").write_text("".join(line))
        (tmp_path / "pred" / f"{image}.txt").write_text("".join(second))
    summary = score(tmp_path / "pred", tmp_path / "ref", format="yolo")
    assert summary["AP50"] == 0
    given = " ".join(summary["notes"])
    assert "0 of 12 boxes" in given
    assert "12 would if the score came second" in given


def test_counts_are_those_of_the_boxes(tmp_path: Path) -> None:
    shifted = changed(ROWS, category=ROWS[:, 1] + 1)
    pred, ref = tmp_path / "pred.json", tmp_path / "ref.json"
    pred.write_text(json.dumps(detections(shifted)))
    ref.write_text(json.dumps(references(ROWS)))
    summary = score(pred, ref)
    (note,) = (text for text in summary["notes"] if "category_id" in text)
    matched = sum(1 for row in shifted if row[1] == 2)  # of category 1, read as 2
    assert summary["counts"]["matched"] == 0
    assert matched == 20
    assert "but 40 of 40 would with category_id - 1" in note
