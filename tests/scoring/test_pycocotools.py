"""AP and AR are those of pycocotools, which reads the very same files by itself.

Images, ties, repeated rows and tables are as users have them; wherever pycocotools gives numbers,
ours are the same to the last bit.
"""

import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lossexport import formats
from lossexport.errors import LossexportError
from lossexport.names import COCO_NUMBERS
from lossexport.scoring import score
from tests.boxes.helpers import Json, coco, evaluate_data, found, truth


def numbers_of_pycocotools(pred: Path, ref: Path) -> dict[str, float]:
    with contextlib.redirect_stdout(io.StringIO()):
        truths = COCO(str(ref))
        run = COCOeval(truths, truths.loadRes(str(pred)), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return dict(zip(COCO_NUMBERS, map(float, run.stats), strict=True))


def write(folder: Path, detections: Json, references: Json) -> tuple[Path, Path]:
    pred, ref = folder / "pred.json", folder / "ref.json"
    pred.write_text(json.dumps(detections))
    ref.write_text(json.dumps(references))
    return pred, ref


def same(folder: Path, detections: Json, references: Json, extra: Any = "count") -> list[str]:
    """Assert that both give the same twelve numbers; our notes."""
    pred, ref = write(folder, detections, references)
    data = formats.read(pred, ref, "coco", extra_categories=extra)
    wanted = numbers_of_pycocotools(pred, ref)
    assert evaluate_data(data).values == wanted
    return data.notes


SPELLINGS: dict[str, Any] = {
    "numbers": [10, 9, 2],
    "negative": [-10, 9, -2],
    "floats": [10.0, 9.0, 2.0],
    "large": [2**63 - 1, -(2**63), 0],
    "text": ["10", "9", "2"],
    "names": ["b10", "a9", "B2"],
    "mixed text": ["010", "9", "x"],
    "text of negative numbers": ["-10", "-9", "10"],
    "accents": ["é", "z", "Z"],
}


# Whole numbers on a small grid and three scores: ties in every place.
side = st.integers(0, 9)
box = st.tuples(side, side, side, side)
place = st.tuples(st.integers(0, 2), st.integers(0, 1))
reference = st.tuples(place, box, st.sampled_from([0, 0, 1]), st.sampled_from([0, 30, 1025, 9217]))
detection = st.tuples(place, box, st.sampled_from([0.1, 0.5, 0.5, 1]))


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(list(SPELLINGS)),
    st.sampled_from([[1, 2], [2, 1], [-3, 0], [1.0, 5], ["dog", "cat"]]),
    st.lists(reference, max_size=12),
    st.lists(detection, min_size=1, max_size=16),
    st.permutations([0, 1, 2]),
    st.integers(-2, 1),
    st.data(),
)
def test_random_files(
    spelling: str,
    kinds: Json,
    references: Json,
    detections: Json,
    order: list[int],
    first_id: int,
    data: st.DataObject,
) -> None:
    images = SPELLINGS[spelling]
    gt = coco(
        [
            truth(images[i], kinds[k], *corners, iscrowd=crowd, area=area)
            for (i, k), corners, crowd, area in references
        ],
        images=[images[i] for i in order],
        categories=[(kind, f"kind {kind}") for kind in kinds],
    )
    for row in gt["annotations"]:
        row["id"] += first_id
    for table in ("images", "categories", "annotations"):  # equal rows twice, or thrice
        rows = gt[table]
        if rows:
            rows += data.draw(st.lists(st.sampled_from(rows), max_size=2), label=table)
    dets = [found(images[i], kinds[k], score, *corners) for (i, k), corners, score in detections]
    with tempfile.TemporaryDirectory() as folder:
        same(Path(folder), dets, gt)


TIE = [found("10", 1, 0.5, 10, 10, 50, 50), found("9", 1, 0.5, 300, 10, 50, 50)]
TIE += [found("2", 1, 0.5, 10, 10, 50, 50)]


def of_three(images: Json) -> Json:
    rows = [truth(i, 1, 10, 10, 50, 50) for i in images]
    return coco(rows, images=images, categories=[(1, "cat")])


def test_text_ids_are_ordered_as_text(tmp_path: Path) -> None:
    """'10' < '2' < '9': the wrong box of the three equal scores comes last, for numbers second."""
    notes = same(tmp_path, TIE, of_three(["10", "2", "9"]))
    summary = score(tmp_path / "pred.json", tmp_path / "ref.json")
    assert summary["AP"] == pytest.approx(0.6633663366336634, abs=1e-15)
    assert any("read as the number" in note for note in notes)
    numbers = [{**row, "image_id": int(row["image_id"])} for row in TIE]
    same(tmp_path, numbers, of_three([10, 2, 9]))
    summary = score(tmp_path / "pred.json", tmp_path / "ref.json")
    assert summary["AP"] == pytest.approx(0.5544554455445545, abs=1e-15)


def test_the_references_decide_the_order(tmp_path: Path) -> None:
    """The spelling of the predictions counts for matching only."""
    numbers = [{**row, "image_id": int(row["image_id"])} for row in TIE]
    write(tmp_path, numbers, of_three(["10", "2", "9"]))
    summary = score(tmp_path / "pred.json", tmp_path / "ref.json")
    assert summary["AP"] == pytest.approx(0.6633663366336634, abs=1e-15)
    write(tmp_path, TIE, of_three([10, 2, 9]))
    summary = score(tmp_path / "pred.json", tmp_path / "ref.json")
    assert summary["AP"] == pytest.approx(0.5544554455445545, abs=1e-15)


GT = coco(
    [
        truth(1, 1, 10, 10, 100, 100),
        truth(1, 2, 200, 50, 80, 60),
        truth(2, 1, 30, 40, 50, 50),
        truth(2, 2, 5, 5, 40, 90),
    ]
)
DETS = [
    found(1, 1, 0.9, 12, 11, 99, 98),
    found(1, 2, 0.8, 205, 52, 78, 60),
    found(2, 1, 0.7, 30, 60, 50, 50),
    found(2, 2, 0.6, 5, 5, 40, 90),
]


def changed(**tables: Json) -> Json:
    return {**json.loads(json.dumps(GT)), **tables}


def test_annotations_outside_of_the_tables_are_left_out(tmp_path: Path) -> None:
    strange = [
        truth(99, 1, 0, 0, 9, 9, id=5),
        truth(1, 7, 0, 0, 9, 9, id=6),
        truth(98, 7, 0, 0, 9, 9, id=7),
    ]
    notes = same(tmp_path, DETS, changed(annotations=GT["annotations"] + strange))
    assert notes == [
        "ref.json: 2 annotations left out, as in pycocotools: images has no row of the id "
        "(the first: 99).",
        "ref.json: 2 annotations left out, as in pycocotools: categories has no row of the id "
        "(the first: 7).",
    ]
    summary = score(tmp_path / "pred.json", tmp_path / "ref.json")
    assert (summary["counts"]["images"], summary["counts"]["references"]) == (2, 4)


def test_annotations_twice_count_twice(tmp_path: Path) -> None:
    rows = GT["annotations"]
    notes = same(tmp_path, DETS, changed(annotations=[*rows, rows[0], rows[0]]))
    assert notes == [
        "ref.json: annotations are repeated in 2 rows, which count again, as in pycocotools."
    ]


@pytest.mark.parametrize(
    "other",
    [{"bbox": [1, 1, 9, 9]}, {"image_id": 2}, {"category_id": 2}, {"iscrowd": 1}, {"area": 5}],
)
def test_another_annotation_of_the_same_id_is_refused(tmp_path: Path, other: Json) -> None:
    rows = GT["annotations"]
    pred, ref = write(tmp_path, DETS, changed(annotations=[*rows, {**rows[0], **other}]))
    message = r"annotations\[4\]\.id is 1: the id appears twice with other values"
    with pytest.raises(LossexportError, match=message):
        score(pred, ref)


@pytest.mark.parametrize(
    ("table", "row"),
    [("images", {"id": 1, "file_name": "b.jpg"}), ("categories", {"id": 1, "name": "cow"})],
)
def test_rows_of_tables_twice(tmp_path: Path, table: str, row: Json) -> None:
    again = {**GT[table][0], "license": 3, "supercategory": "x"}
    assert same(tmp_path, DETS, changed(**{table: [*GT[table], again]})) == []
    pred, ref = write(tmp_path, DETS, changed(**{table: [*GT[table], row]}))
    with pytest.raises(LossexportError, match=rf"{table}\[2\]\.id is 1: the id appears twice with"):
        score(pred, ref)


@pytest.mark.parametrize("value", [0, 0.0, False, None, "gone"])
@pytest.mark.parametrize("area", [None, "gone", 1])
def test_crowd_and_area_in_every_harmless_form(tmp_path: Path, value: Json, area: Json) -> None:
    wanted = score(*write(tmp_path, DETS, GT))
    rows = [{**row, "iscrowd": value, "area": area} for row in GT["annotations"]]
    for row in rows:
        row["area"] = row["bbox"][2] * row["bbox"][3] if area == 1 else area
        for key in ("iscrowd", "area"):
            if row[key] == "gone":
                del row[key]
    summary = score(*write(tmp_path, DETS, changed(annotations=rows)))
    assert [summary[name] for name in COCO_NUMBERS] == [wanted[name] for name in COCO_NUMBERS]


@pytest.mark.parametrize("value", [1, 1.0, True])
def test_crowd(tmp_path: Path, value: Json) -> None:
    rows = [{**row, "iscrowd": value if i else 0} for i, row in enumerate(GT["annotations"])]
    same(tmp_path, DETS, changed(annotations=rows))
    assert score(tmp_path / "pred.json", tmp_path / "ref.json")["counts"]["ignored_references"] == 3


def test_the_ignore_flag_has_no_effect(tmp_path: Path) -> None:
    rows = GT["annotations"]
    flagged = [{**rows[0], "ignore": 1}, {**rows[1], "ignore": True}, {**rows[2], "ignore": 0}]
    notes = same(tmp_path, DETS, changed(annotations=[*flagged, rows[3]]))
    assert notes == [
        "ref.json: `ignore` is not read, as in pycocotools; 2 references with it set count."
    ]
    assert same(tmp_path, DETS, changed(annotations=[*rows[:2], flagged[2], rows[3]])) == []


@pytest.mark.parametrize("name", ["neg_category_ids", "not_exhaustive_category_ids"])
def test_lists_of_lvis_are_not_applied(tmp_path: Path, name: str) -> None:
    images = [{**row, name: []} for row in GT["images"]]
    assert same(tmp_path, DETS, changed(images=images)) == [
        "ref.json: neg_category_ids and not_exhaustive_category_ids are not applied: AP is that of "
        "COCO, not of LVIS."
    ]


def test_extra_categories(tmp_path: Path) -> None:
    extra = [found(1, 62, 0.4, 1, 1, 5, 5)] * 2 + [found(2, "kite", 0.99, 1, 1, 5, 5)]
    notes = same(tmp_path, DETS + extra, GT)
    assert notes == [
        "3 predictions of categories that the references do not have (62: 2, 'kite': 1): counted "
        "as wrong."
    ]
    notes = same(tmp_path, DETS + extra, GT, "ignore")
    assert notes[0].endswith("(62: 2, 'kite': 1): left out.")
    pred, ref = tmp_path / "pred.json", tmp_path / "ref.json"
    counted, left_out = score(pred, ref), score(pred, ref, extra_categories="ignore")
    assert counted["counts"]["unmatched_predictions"] == 4
    assert left_out["counts"]["unmatched_predictions"] == 1
    assert (counted["counts"]["predictions"], left_out["counts"]["predictions"]) == (7, 4)


def test_predictions_on_images_that_the_references_lack(tmp_path: Path) -> None:
    """pycocotools stops here; AP counts them where the category has references."""
    strange = [found(77, 1, 0.99, 0, 0, 5, 5), found(-8, 1, 0.99, 0, 0, 5, 5)]
    summary = score(*write(tmp_path, DETS + strange, GT))
    assert summary["counts"]["unmatched_predictions"] == 3
    assert summary["notes"] == [
        "2 predictions on 2 images that the references do not have (the first: -8): counted as "
        "wrong."
    ]
    with_images = changed(images=[*GT["images"], {"id": 77}, {"id": -8}])
    assert summary["AP"] == score(*write(tmp_path, DETS + strange, with_images))["AP"]
    same(tmp_path, DETS + strange, with_images)
