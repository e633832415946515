"""Bad input is one line that names file, field and value, and leaves nothing behind."""

import gzip
import json
import os
from pathlib import Path

import pytest

from lossexport.boxes import boxset
from lossexport.errors import LossexportError
from lossexport.formats import source
from lossexport.formats.coco import file as coco_file
from lossexport.formats.coco import reader as coco_format
from lossexport.scoring import score
from tests.boxes.helpers import Json, coco, found, truth

GOOD_REF = coco([truth(1, 1, 0, 0, 5, 5)])
GOOD_PRED = [found(1, 1, 0.9, 0, 0, 5, 5), found(2, 2, 0.8, 0, 0, 5, 5)]


def refused(tmp_path: Path, pred: Path, ref: Path, form: str = "coco") -> str:
    out = tmp_path / "out"
    with pytest.raises(LossexportError) as caught:
        score(pred, ref, format=form, out=out)
    assert not out.exists()
    assert not list(tmp_path.glob(".*"))
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


def refused_text(tmp_path: Path, pred: str, ref: str = json.dumps(GOOD_REF)) -> str:
    (tmp_path / "pred.json").write_text(pred)
    (tmp_path / "ref.json").write_text(ref)
    message = refused(tmp_path, tmp_path / "pred.json", tmp_path / "ref.json")
    return message.removeprefix(f"{tmp_path}/")


def changed(**fields: Json) -> str:
    row = {**GOOD_PRED[1], **fields}
    return json.dumps([GOOD_PRED[0], {k: v for k, v in row.items() if v != "gone"}])


EXPECTED = "a list, or a dictionary with 'annotations', is expected; this one has"
PREDICTIONS = {
    "nan box": (changed(bbox=[0, float("nan"), 1, 1]), "[1].bbox[1] is nan"),
    "inf box": (changed(bbox=[0, 0, 1, float("inf")]), "[1].bbox[3] is inf"),
    "nan score": (changed(score=float("nan")), "[1].score is nan"),
    "beyond floats": (changed(score="?").replace('"?"', "1e999"), "[1].score is inf"),
    "huge box": (changed(bbox=[0, 0, 1e12, 1]), "[1].bbox[2] is 1000000000000.0"),
    "three numbers": (changed(bbox=[1, 2, 3]), "[1].bbox is [1, 2, 3]"),
    "huge score": (changed(score=1e10), "[1].score is 10000000000.0: must be at most 1e+09"),
    "text number": (changed(bbox=[1, 2, "3", 4]), "[1].bbox[2] is '3'"),
    "text score": (changed(score="0.5"), "[1].score is '0.5'"),
    "no score": (
        changed(score="gone"),
        "[1].score is missing (in 1 of 2 rows): the row has image_id, category_id, bbox",
    ),
    "no box": (
        changed(bbox="gone"),
        "[1].bbox is missing (in 1 of 2 rows): the row has image_id, category_id, score",
    ),
    "no image": (changed(image_id="gone"), "[1].image_id is missing (in 1 of 2 rows)"),
    "no category": (changed(category_id="gone"), "[1].category_id is missing (in 1 of 2 rows)"),
    "masks": (
        changed(bbox="gone", segmentation={"counts": "abc"}),
        "[1].bbox is missing (in 1 of 2 rows): a box is needed; masks are not scored",
    ),
    "keypoints": (
        changed(bbox="gone", keypoints=[1, 2, 3]),
        "[1].bbox is missing (in 1 of 2 rows): a box is needed; keypoints are not scored",
    ),
    **{
        f"id {value}": (
            changed(image_id=value),
            f"[1].image_id is {value}: an id is a string or a whole number, at least -2^63 and at "
            "most 2^63 - 1",
        )
        for value in (2**63, 2**64, 10**30, -(2**63) - 1, 1.5)
    },
    "null image": (changed(image_id=None), "[1].image_id is None"),
    "true for an id": (changed(category_id=True), "[1].category_id is True"),
    "a number for a row": ("[5]", "[0] is 5"),
    "cut": (json.dumps(GOOD_PRED)[:-30], "the file ends early, at byte"),
    "cut in a string": ('[{"image_id": "12', "the file ends early"),
    "empty file": ("", "is empty: no prediction at all is written as []"),
    "spaces": (" \n", "is empty"),
    "a web page": ("<!DOCTYPE html>\n<html>", "is a page of HTML: was a download refused?"),
    "XML": ('<?xml version="1.0"?><x/>', "is XML: COCO json is expected"),
    "VOC": ("<annotation><object/></annotation>", "is an annotation of VOC: --format voc reads"),
    "CSV": ("image_id,score\n1,0.5\n", "is a table of columns (CSV): COCO json is expected"),
    "MOT": ("1,-1,10,20,30,40,0.9,-1,-1,-1\n", "is a table of numbers: --format mot reads"),
    "YOLO": ("0 0.5 0.5 0.1 0.1 0.9\n", "is a table of numbers: --format yolo reads"),
    "bad syntax": ('[{"image_id": 1 "category_id": 1}]', "not JSON at byte"),
    "text behind": (json.dumps(GOOD_PRED) + "x", "not JSON at byte"),
    "deep": ('[{"x":' + "[" * 99_999 + "]" * 99_999 + "}]", "not JSON at byte"),
    "an empty dictionary": ("{}", f"{EXPECTED} nothing"),
    "results": ('{"results": [], "info": {}}', f"{EXPECTED} 'results', 'info' (rows are {{"),
    "by image": (
        json.dumps({str(i): {"boxes": [[1, 2, 3, 4]], "scores": [0.9]} for i in range(300)}),
        f"{EXPECTED} '0', '1', '2', '3', '4', '5', ... (rows are {{",
    ),
    "columns": ('{"boxes": [], "scores": []}', f"{EXPECTED} 'boxes', 'scores' (rows are {{"),
    "JSON Lines": (
        "\n".join(map(json.dumps, GOOD_PRED)),
        "one object a line (JSON Lines) is not read: write the rows as one list, [{",
    ),
    "one row": (json.dumps(GOOD_PRED[0]), f"{EXPECTED} 'image_id', 'category_id', 'bbox'"),
    "no scores": (
        json.dumps(GOOD_REF),
        "annotations[0].score is missing (in 1 of 1 rows): predictions have scores; is this a "
        "file of references?",
    ),
    "a key twice": ('{"a": 1, "a": 2}', "key is 'a': appears twice"),
    "an object for a list": ('{"annotations": {}}', "annotations is '{}}'"),
}


@pytest.mark.parametrize("name", PREDICTIONS)
def test_predictions(tmp_path: Path, name: str) -> None:
    text, wanted = PREDICTIONS[name]
    message = refused_text(tmp_path, text)
    assert message.startswith(f"pred.json: {wanted}"), message


def with_(part: str, index: int, **fields: Json) -> str:
    document = json.loads(json.dumps(coco([truth(1, 1, 0, 0, 5, 5), truth(2, 2, 1, 1, 5, 5)])))
    row = document[part][index]
    row.update(fields)
    for key in [key for key, value in row.items() if value == "gone"]:
        del row[key]
    return json.dumps(document)


REFERENCES = {
    "duplicate annotation": (with_("annotations", 1, id=1), "annotations[1].id is 1"),
    "duplicate image": (with_("images", 1, id="1"), "images[1].id is '1': the id appears twice"),
    "duplicate category": (with_("categories", 1, id=1), "categories[1].id is 1"),
    "named annotation": (with_("annotations", 0, id="a"), "annotations[0].id is 'a'"),
    "no id": (with_("annotations", 1, id="gone"), "annotations[1].id is missing"),
    "no image": (with_("annotations", 1, image_id="gone"), "annotations[1].image_id is missing"),
    "inverted": (with_("annotations", 1, bbox=[1, 1, -2, 3]), "annotations[1].bbox[2] is -2.0"),
    "nan": (with_("annotations", 1, bbox=[1, 1, float("nan"), 3]), "annotations[1].bbox[2] is nan"),
    "negative area": (with_("annotations", 0, area=-1), "annotations[0].area is -1.0"),
    "crowd of two": (with_("annotations", 0, iscrowd=2), "annotations[0].iscrowd is 2"),
    "name": (with_("categories", 0, name=[]), "categories[0].name is []"),
    "file name": (with_("images", 0, file_name=[]), "images[0].file_name is []"),
    "a list": (
        json.dumps(GOOD_PRED),
        "is a list: references are a COCO dictionary of images, categories and annotations; is "
        "this a file of predictions?",
    ),
    "no images": ('{"annotations":[],"categories":[]}', "images is missing"),
    "no categories": ('{"annotations":[],"images":[]}', "categories is missing"),
    "no annotations": (
        '{"images":[],"categories":[]}',
        "a dictionary with 'images', 'categories', 'annotations' is expected; this one has "
        "'images', 'categories'",
    ),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_references(tmp_path: Path, name: str) -> None:
    text, wanted = REFERENCES[name]
    message = refused_text(tmp_path, json.dumps(GOOD_PRED), text)
    assert message.startswith(f"ref.json: {wanted}"), message


def test_the_index_counts_from_the_start_of_the_file(tmp_path: Path) -> None:
    rows = [found(1, 1, 0.5, 0, 0, 5, 5)] * 40_000
    rows[31_234] = found(1, 1, 0.5, 0, 0, 5)
    assert refused_text(tmp_path, json.dumps(rows)).startswith(
        "pred.json: [31234].bbox is [0, 0, 5]"
    )
    rows[31_234] = found(1, 1, 0.5, 0, 0, 5, float("-inf"))
    assert "[31234].bbox[3] is -inf" in refused_text(tmp_path, json.dumps(rows))


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("start", "wanted"),
    [
        *((json.dumps(GOOD_PRED).encode(f"utf-{bits}"), f"is text in UTF-{bits[:2]}: save it as ")
          for bits in ("16", "16-le", "16-be", "32", "32-le", "32-be")),
        (b"PK\x03\x04\x14\0", "is a zip archive"),
        (b"\x93NUMPY\x01\0v\0{'descr'", "is a numpy array"),
        (b"\x80\x04\x95\x05\0", "is a pickle, which is never read"),
        (b"PAR1\x15\x04", "is a Parquet file"),
        (b"\x28\xb5\x2f\xfd\x24", "is compressed"),
    ],
)  # fmt: skip
def test_what_is_no_json(tmp_path: Path, start: bytes, wanted: str, packed: bool) -> None:
    ref = tmp_path / "ref.json"
    ref.write_text(json.dumps(GOOD_REF))
    pred = tmp_path / "pred.json"
    pred.write_bytes(gzip.compress(start) if packed else start)
    assert refused(tmp_path, pred, ref).startswith(f"{pred}: {wanted}")


def test_rows_that_lack_a_field_are_counted(tmp_path: Path) -> None:
    rows = [found(1, 1, 0.5, 0, 0, 5, 5)] * 3000 + [{"image_id": 1, "category_id": 1}] * 7
    rows[-1] = {**rows[-1], "bbox": [0, 0, 5, 5]}
    assert refused_text(tmp_path, json.dumps(rows)) == (
        "pred.json: [3000].bbox is missing (in 6 of 3007 rows): the row has image_id, category_id"
    )
    assert refused_text(tmp_path, json.dumps({"info": [], "annotations": rows})).startswith(
        "pred.json: annotations[3000].bbox is missing (in 6 of 3007 rows)"
    )


def test_damaged_gzip(tmp_path: Path) -> None:
    ref = tmp_path / "ref.json"
    ref.write_text(json.dumps(GOOD_REF))
    pred = tmp_path / "pred.json.gz"
    packed = gzip.compress(json.dumps(GOOD_PRED * 100).encode())
    pred.write_bytes(packed[:-20])
    assert "damaged gzip file" in refused(tmp_path, pred, ref)
    pred.write_bytes(packed[:20] + b"\xff\xff\xff" + packed[23:])
    assert "damaged gzip file" in refused(tmp_path, pred, ref)


def test_what_is_no_file(tmp_path: Path) -> None:
    ref = tmp_path / "ref.json"
    ref.write_text(json.dumps(GOOD_REF))
    assert "No such file" in refused(tmp_path, tmp_path / "none.json", ref)
    assert refused(tmp_path, tmp_path, ref) == (
        f"{tmp_path}: is a folder, and coco reads a file; --format yolo or voc or parquet reads a "
        "folder"
    )
    os.mkfifo(tmp_path / "pipe")
    assert "is not a regular file" in refused(tmp_path, tmp_path / "pipe", ref)


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = json.dumps(GOOD_PRED)
    with monkeypatch.context() as patch:
        patch.setattr(boxset, "MAX_PREDICTIONS", 1)
        assert "more than 1 predictions" in refused_text(tmp_path, good)
    with monkeypatch.context() as patch:
        patch.setattr(coco_format, "MAX_IMAGES", 1)
        assert "ref.json: more than 1 images" in refused_text(tmp_path, good)
    with monkeypatch.context() as patch:
        patch.setattr(coco_file, "MAX_CATEGORIES", 2)
        for names in ("abc", (1, 2, 3)):
            rows = json.dumps([found(1, name, 0.9, 0, 0, 5, 5) for name in names])
            assert "pred.json: more than 2 different category ids" in refused_text(tmp_path, rows)
    with monkeypatch.context() as patch:
        patch.setattr(boxset, "MAX_REFERENCES", 0)
        assert "more than 0 references" in refused_text(tmp_path, good)
    with monkeypatch.context() as patch:
        patch.setattr(source, "MAX_BYTES", 100)
        assert "more than the limit of 100 bytes" in refused_text(tmp_path, good)
    assert boxset.MAX_PREDICTIONS >= 5_000_000


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({"format": "csv"}, "format 'csv' is not one of"),
        ({"iou_threshold": 0}, "IoU threshold is 0"),
        ({"iou_threshold": -0.1}, "IoU threshold is -0.1"),
        ({"iou_threshold": float("nan")}, "IoU threshold is nan"),
        ({"iou_threshold": 1.5}, "IoU threshold is 1.5"),
        ({"backend": "abacus"}, "abacus"),
        ({"fail_below": {"mAP": 0.5}}, "gate 'mAP': no such number; there are AP, AP50"),
        ({"fail_below": {"AP": float("nan")}}, "gate AP: the bound is nan"),
    ],
)
def test_arguments(tmp_path: Path, arguments: Json, wanted: str) -> None:
    (tmp_path / "pred.json").write_text(json.dumps(GOOD_PRED))
    (tmp_path / "ref.json").write_text(json.dumps(GOOD_REF))
    with pytest.raises(LossexportError, match=wanted):
        score(tmp_path / "pred.json", tmp_path / "ref.json", out=tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()
