"""AP and AR are those of pycocotools to 1e-9: on every set of the shared data, on random ones."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossexport import formats
from lossexport.boxes import greedy, pairs
from tests.boxes.helpers import (
    Json,
    coco,
    evaluate_data,
    found,
    load,
    pycocotools,
    read_json,
    truth,
)

SETS = [
    ("coco_val2017_100/dets_yolact_base.json", "coco_val2017_100/gt.json"),
    ("coco_val2017_100/dets_yolact_resnet50.json", "coco_val2017_100/gt.json"),
    ("voc2007_half/dets_tiny_yolo_v2.json.gz", "voc2007_half/gt.json"),
    ("voc2007_half/dets_yolo_v3.json.gz", "voc2007_half/gt.json"),
    ("coco_val2014_crowd/dets_synthetic.json", "coco_val2014_crowd/gt.json"),
    ("images/dets_yolox_nano.json", "images/gt.json"),
    ("oddities/string_id_dets.json", "oddities/string_id_gt.json"),
    ("voc2012_100/dets.json", "voc2012_100/gt_v1.json"),
    ("voc2012_100/dets.json", "voc2012_100/gt_v2.json"),
    ("voc2012_100/dets.json", "voc2012_100/dets.json"),
]


def same(ours: dict[str, float], theirs: dict[str, float]) -> None:
    assert ours.keys() == theirs.keys()
    worst = max(abs(ours[name] - theirs[name]) for name in ours)
    assert worst <= 1e-9, (ours, theirs)


def for_pycocotools(detections: Json, references: Json) -> Json:
    """A result list in the references' ids; string ids, on which pycocotools stops, as numbers."""
    for row in references["images"]:
        row["id"] = int(row["id"])
    for row in references["annotations"]:
        row["image_id"] = int(row["image_id"])
    if isinstance(detections, list):
        return detections
    image_of = {row["file_name"]: row["id"] for row in references["images"]}
    category_of = {row["name"].lower(): row["id"] for row in references["categories"]}
    image = {row["id"]: image_of[row["file_name"]] for row in detections["images"]}
    category = {row["id"]: category_of[row["name"].lower()] for row in detections["categories"]}
    return [
        found(image[a["image_id"]], category[a["category_id"]], a["score"], *a["bbox"])
        for a in detections["annotations"]
    ]


@pytest.mark.parametrize(("pred", "ref"), SETS)
def test_every_shared_set(shared: Path, pred: str, ref: str) -> None:
    folder = shared / "data"
    result = evaluate_data(formats.read(folder / pred, folder / ref, "coco"))
    references = load(folder / ref)
    detections = for_pycocotools(load(folder / pred), references)
    same(result.values, pycocotools(references, detections))


def test_assignments_in_parts_change_nothing(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shared / "data/coco_val2014_crowd"
    data = formats.read(folder / "dets_synthetic.json", folder / "gt.json", "coco")
    whole = evaluate_data(data)
    monkeypatch.setattr(pairs, "ASSIGNED_AT_ONCE", 5)
    monkeypatch.setattr(greedy, "CELLS_AT_ONCE", 50)
    pieces = evaluate_data(data)
    assert pieces.values == whole.values
    assert (pieces.category_ap == whole.category_ap).all()


def test_published_numbers_of_the_shared_sets(shared: Path) -> None:
    folder = shared / "data"
    data = formats.read(
        folder / "voc2007_half/dets_tiny_yolo_v2.json.gz", folder / "voc2007_half/gt.json", "coco"
    )
    wanted = load(folder / "reference_scores.json")["voc2007_half/tiny_yolo_v2"]["coco"]
    assert list(evaluate_data(data).values.values()) == pytest.approx(wanted, abs=5.1e-5)


# Whole numbers on a small grid: many equal overlaps, equal scores and boxes of size 0.
side = st.integers(0, 12)
place = st.tuples(st.integers(1, 3), st.integers(1, 2))
box = st.tuples(side, side, side, side)
wild_box = st.tuples(side, side, st.integers(-4, 12), st.integers(-4, 12))
area = st.sampled_from([0, 30, 1024, 1025, 9216, 9217, 1e10, 2e10])
reference = st.builds(
    lambda p, b, crowd, size: truth(*p, *b, iscrowd=int(crowd), area=size, ignore=1),
    place,
    box,
    st.sampled_from([False, False, True]),
    area,
)
detection = st.builds(
    lambda p, b, score: found(*p, score, *b), place, wild_box, st.sampled_from([0.1, 0.5, 0.5, 0.9])
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(reference, max_size=14), st.lists(detection, min_size=1, max_size=20), st.booleans()
)
def test_random_sets(references: Json, detections: Json, from_zero: bool) -> None:
    gt = coco(references, images=(3, 1, 2))
    if from_zero:
        for annotation in gt["annotations"]:
            annotation["id"] -= 1
    with tempfile.TemporaryDirectory() as folder:
        data = read_json(Path(folder), detections, gt)
    same(evaluate_data(data).values, pycocotools(gt, detections))


@settings(max_examples=12, deadline=None)
@given(
    st.integers(1, 6),
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 30)),
        min_size=95,
        max_size=130,
    ),
)
def test_more_than_a_hundred_predictions_in_an_image(scale: int, rows: Json) -> None:
    gt = coco([truth(1, 1, x, x, 5 * scale, 6 * scale) for x in range(0, 6, 2)])
    detections = [found(1, 1, s / 30, x, y, 5 * scale, 6 * scale) for x, y, s in rows]
    with tempfile.TemporaryDirectory() as folder:
        data = read_json(Path(folder), detections, gt)
    same(evaluate_data(data).values, pycocotools(gt, detections))


def test_no_prediction_is_zero_and_no_reference_is_minus_one(tmp_path: Path) -> None:
    nothing_found = evaluate_data(read_json(tmp_path, [], coco([truth(1, 1, 0, 0, 50, 50)])))
    assert nothing_found.values["AP"] == 0
    assert nothing_found.values["AR100"] == 0
    assert nothing_found.values["APs"] == -1
    nothing_there = evaluate_data(read_json(tmp_path, [found(1, 1, 0.5, 0, 0, 5, 5)], coco([])))
    assert set(nothing_there.values.values()) == {-1.0}
    assert (nothing_there.precision == -1).all()


def test_annotation_id_zero_counts_no_match(tmp_path: Path) -> None:
    """pycocotools marks "no match" by id 0, so the perfect prediction of that box is false."""
    gt = coco([truth(1, 1, 0, 0, 50, 50), truth(2, 1, 0, 0, 50, 50)])
    detections = [found(1, 1, 0.9, 0, 0, 50, 50), found(2, 1, 0.8, 0, 0, 50, 50)]
    assert evaluate_data(read_json(tmp_path, detections, gt)).values["AP"] == 1
    gt["annotations"][0]["id"] = 0
    data = read_json(tmp_path, detections, gt)
    assert evaluate_data(data).values == pycocotools(gt, detections)
    assert evaluate_data(data).values["AR100"] == 0.5
    assert "annotation id 0" in data.notes[0]


def test_category_ap_averages_to_ap(shared: Path) -> None:
    folder = shared / "data/coco_val2017_100"
    result = evaluate_data(
        formats.read(folder / "dets_yolact_base.json", folder / "gt.json", "coco")
    )
    present = result.category_ap[:, 0] > -1
    assert result.category_ap[present].mean() == pytest.approx(result.values["AP"], abs=1e-12)
    assert result.precision.mean() == pytest.approx(result.values["AP"], abs=1e-12)
    assert result.precision[5].mean() == pytest.approx(result.values["AP75"], abs=1e-12)
