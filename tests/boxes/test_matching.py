"""The matching behind boxes.parquet, against a plain greedy loop."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossexport.boxes import pairs
from lossexport.boxes.boxset import Dataset
from lossexport.boxes.matching import IGNORED, MATCHED, UNMATCHED, Matching, match
from tests.boxes.helpers import Json, coco, found, iou_matrix, read_json, truth


def run(data: Dataset, threshold: float) -> Matching:
    order = pairs.sort_boxes(data)
    return match(data, order, pairs.find_pairs(data, order, threshold), threshold)


def greedy(data: Dataset, threshold: float) -> list[int]:
    """The reference of each prediction, without ignored references."""
    pred, ref = data.predictions, data.references
    iou = iou_matrix(pred.box, ref.box)
    taken: set[int] = set()
    result = [-1] * len(pred)
    for p in np.argsort(-pred.score, kind="stable"):
        best, best_iou = -1, threshold
        for r in range(len(ref)):
            alike = pred.image[p] == ref.image[r] and pred.category[p] == ref.category[r]
            if alike and r not in taken and iou[p, r] >= best_iou:
                best, best_iou = r, iou[p, r]
        if best >= 0:
            taken.add(best)
            result[p] = best
    return result


side = st.integers(1, 10)
box = st.tuples(side, side, side, side)
place = st.tuples(st.integers(1, 2), st.integers(1, 2))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.builds(lambda p, b: truth(*p, *b), place, box), max_size=12),
    st.lists(
        st.builds(lambda p, b, s: found(*p, s / 4, *b), place, box, st.integers(0, 4)), max_size=16
    ),
    st.sampled_from([0.1, 0.3, 0.5, 0.75, 1.0]),
)
def test_equals_a_plain_loop(references: Json, detections: Json, threshold: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = read_json(Path(folder), detections, coco(references))
    result = run(data, threshold)
    wanted = greedy(data, min(threshold, 1 - 1e-10))
    assert result.ref.tolist() == wanted
    assert result.status.tolist() == [MATCHED if r >= 0 else UNMATCHED for r in wanted]
    free = sorted(set(range(len(references))) - set(wanted))
    assert result.unmatched_refs.tolist() == free


def test_small_blocks_change_nothing(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lossexport import formats

    folder = shared / "data/coco_val2014_crowd"
    data = formats.read(folder / "dets_synthetic.json", folder / "gt.json", "coco")
    whole = run(data, 0.5)
    monkeypatch.setattr(pairs, "PAIRS_AT_ONCE", 3)
    monkeypatch.setattr(pairs, "ASSIGNED_AT_ONCE", 5)
    pieces = run(data, 0.5)
    assert (whole.ref == pieces.ref).all()
    assert (whole.status == pieces.status).all()
    assert np.count_nonzero(whole.status == MATCHED) > 300


def test_a_crowd_takes_what_no_reference_takes(tmp_path: Path) -> None:
    references = [
        truth(1, 1, 0, 0, 100, 100, iscrowd=1),
        truth(1, 1, 10, 10, 20, 20),
        truth(1, 2, 0, 0, 9, 9, iscrowd=1),
    ]
    detections = [
        found(1, 1, 0.9, 10, 10, 20, 20),  # the box, although the crowd holds all of it
        found(1, 1, 0.8, 11, 10, 20, 20),  # the box is gone: the crowd
        found(1, 1, 0.7, 50, 50, 20, 20),  # the crowd again
        found(1, 1, 0.6, 90, 90, 40, 40),  # mostly outside of the crowd
        found(1, 2, 0.5, 40, 40, 5, 5),
    ]
    result = run(read_json(tmp_path, detections, coco(references)), 0.5)
    assert result.status.tolist() == [MATCHED, IGNORED, IGNORED, UNMATCHED, UNMATCHED]
    assert result.ref.tolist() == [1, -1, -1, -1, -1]
    assert result.unmatched_refs.tolist() == []


def test_identical_boxes_match_at_threshold_one(tmp_path: Path) -> None:
    third = 1 / 3
    data = read_json(
        tmp_path, [found(1, 1, 0.5, third, third, third, third)],
        coco([truth(1, 1, third, third, third, third)]),
    )  # fmt: skip
    assert run(data, 1.0).status.tolist() == [MATCHED]


def test_inverted_boxes_match_nothing(tmp_path: Path) -> None:
    data = read_json(
        tmp_path,
        [found(1, 1, 0.9, 10, 10, -10, -10), found(1, 1, 0.8, 0, 10, 10, -10)],
        coco([truth(1, 1, 0, 0, 10, 10)]),
    )
    assert run(data, 0.01).status.tolist() == [UNMATCHED, UNMATCHED]


def test_order_keeps_that_of_the_files(tmp_path: Path) -> None:
    """Groups in order, ties of score and the references of a group as the file has them."""
    rng = np.random.default_rng(0)
    images, categories = rng.integers(1, 3, (2, 1500))  # enough that an unstable sort shows
    levels = rng.integers(0, 3, 1500) / 4
    rows = list(zip(images.tolist(), categories.tolist(), levels.tolist(), strict=True))
    references = [truth(i, c, 0, 0, 9, 9) for i, c, _ in rows]
    detections = [found(i, c, s, 0, 0, 9, 9) for i, c, s in rows]
    data = read_json(tmp_path, detections, coco(references))
    order = pairs.sort_boxes(data)
    places = range(len(rows))
    assert order.ref.tolist() == sorted(places, key=lambda n: (rows[n][1], rows[n][0]))
    assert order.pred.tolist() == sorted(
        places, key=lambda n: (rows[n][1], rows[n][0], -rows[n][2])
    )


def test_of_equal_references_the_last_of_the_file_is_taken(tmp_path: Path) -> None:
    references = [truth(1 + n % 2, 1, 0, 0, 9, 9) for n in range(600)]
    detections = [found(image, 1, 0.5, 0, 0, 9, 9) for image in (1, 2)]
    result = run(read_json(tmp_path, detections, coco(references)), 0.5)
    assert result.ref.tolist() == [598, 599]


def test_a_pair_of_exactly_the_threshold_is_one(tmp_path: Path) -> None:
    """8 x 4 inside of 8 x 8: the overlap is one half, in binary too."""
    data = read_json(
        tmp_path, [found(1, 1, 0.5, 0, 0, 8, 4)], coco([truth(1, 1, 0, 0, 8, 8)])
    )  # fmt: skip
    above = np.nextafter(0.5, 1)
    order = pairs.sort_boxes(data)
    every, kept = np.ones(1, np.bool_), np.zeros((1, 1), np.bool_)
    for threshold, count in ((0.5, 1), (above, 0)):
        assert run(data, threshold).status.tolist() == [MATCHED if count else UNMATCHED]
        assert len(pairs.find_pairs(data, order, threshold).iou) == count
        near = pairs.find_pairs(data, order, 0.1)
        assert len(near.at_least(threshold, every).iou) == count
        blocks = pairs.assign(near, order, kept[:, 0], kept, np.array([threshold]))
        assert [winner.tolist() for _, winner in blocks] == [[[[0 if count else -1]]]]
