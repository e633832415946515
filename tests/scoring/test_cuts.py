"""The best point to cut the score at, against trying every cut."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lossexport.boxes.boxset import Dataset
from lossexport.boxes.matching import MATCHED, UNMATCHED, Matching
from lossexport.scoring.ranked import Cuts, Ranked
from tests.boxes.helpers import Json, coco, found, read_json, truth
from tests.boxes.test_matching import run


def best(data: Dataset, result: Matching) -> dict[str, float | None]:
    """The cut of all categories with the highest F1."""
    predictions = data.predictions
    iou = np.ones(int((result.status == MATCHED).sum()), np.float32)
    missed = np.array([len(result.unmatched_refs)])
    category = np.zeros_like(predictions.category)
    whole, _ = Ranked.of(category, predictions.score, result.status, iou, missed)
    cuts = Cuts.of(whole)
    return cuts.rates(int(cuts.highest(cuts.f1)[0]))


side = st.integers(1, 6)
box = st.tuples(side, side, side, side)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(box, st.booleans()), max_size=6),
    st.lists(st.tuples(box, st.integers(0, 6)), max_size=12),
)
def test_equals_matching_anew_at_every_cut(references: Json, detections: Json) -> None:
    gt = coco([truth(1, 1, *b, iscrowd=int(crowd)) for b, crowd in references])
    rows = [found(1, 1, s / 6, *b) for b, s in detections]
    tried = []
    with tempfile.TemporaryDirectory() as folder:
        data = read_json(Path(folder), rows, gt)
        result = run(data, 0.5)
        whole = best(data, result)
        for cut in sorted({row["score"] for row in rows}, reverse=True):
            kept = read_json(Path(folder), [row for row in rows if row["score"] >= cut], gt)
            result = run(kept, 0.5)
            hit = int((result.status == MATCHED).sum())
            wrong, missed = int((result.status == UNMATCHED).sum()), len(result.unmatched_refs)
            if hit:
                f1 = 2 * hit / (2 * hit + wrong + missed)
                tried.append((f1, cut, hit / (hit + wrong), hit / (hit + missed)))
    if not tried:
        assert whole == dict.fromkeys(("score", "precision", "recall", "f1"))
        return
    f1, cut, precision, recall = max(tried)
    assert whole == {"score": cut, "precision": precision, "recall": recall, "f1": f1}


def test_by_hand(tmp_path: Path) -> None:
    references = [truth(1, 1, 20 * i, 0, 9, 9) for i in range(4)]
    detections = [
        found(1, 1, 0.9, 0, 0, 9, 9),
        found(1, 1, 0.8, 20, 0, 9, 9),
        found(1, 1, 0.7, 90, 90, 9, 9),
        found(1, 1, 0.6, 40, 0, 9, 9),
        found(1, 1, 0.1, 90, 90, 9, 9),
    ]
    data = read_json(tmp_path, detections, coco(references))
    result = run(data, 0.5)
    found_best = best(data, result)
    assert found_best == {"score": 0.6, "precision": 0.75, "recall": 0.75, "f1": 0.75}
