"""The same boxes in each format give the same numbers."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from lossexport.errors import LossexportError
from lossexport.scoring import formats
from lossexport.scoring.boxset import Dataset
from tests.scoring.helpers import (
    Json,
    coco,
    evaluate_data,
    found,
    load,
    pycocotools,
    read_json,
    truth,
)


def write_voc(folder: Path, boxes: Json, names: dict[int, str], scored: bool) -> None:
    folder.mkdir()
    by_image: dict[str, list[str]] = {}
    for image, category, (x, y, w, h), more in boxes:
        corners = {"xmin": x + 1, "ymin": y + 1, "xmax": x + w, "ymax": y + h}
        inner = "".join(f"<{tag}>{value!r}</{tag}>" for tag, value in corners.items())
        extra = f"<score>{more!r}</score>" if scored else f"<difficult>{more}</difficult>"
        item = f"<object><name>{names[category]}</name>{extra}<bndbox>{inner}</bndbox></object>"
        by_image.setdefault(image, []).append(item)
    for image, items in by_image.items():
        (folder / f"{image}.xml").write_text(f"<annotation>{''.join(items)}</annotation>")


def test_voc_equals_coco(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data/voc2007_half"
    references, detections = load(folder / "gt.json"), load(folder / "dets_yolo_v3.json.gz")
    keep = {row["id"] for row in references["images"][:150]}
    for key, name in (("images", "id"), ("annotations", "image_id")):
        references[key] = [row for row in references[key] if row[name] in keep]
    detections = [row for row in detections if row["image_id"] in keep]
    names = {row["id"]: row["name"] for row in references["categories"]}
    stem = {row["id"]: row["file_name"][:-4] for row in references["images"]}
    write_voc(
        tmp_path / "ref",
        [
            (stem[a["image_id"]], a["category_id"], a["bbox"], a["iscrowd"])
            for a in references["annotations"]
        ],
        names,
        scored=False,
    )
    write_voc(
        tmp_path / "pred",
        [(stem[d["image_id"]], d["category_id"], d["bbox"], d["score"]) for d in detections],
        names,
        scored=True,
    )
    data = formats.read(tmp_path / "pred", tmp_path / "ref", "voc")
    assert len(data.predictions) == len(detections) > 2000
    assert int(data.references.ignored.sum()) == sum(
        a["iscrowd"] for a in references["annotations"]
    )
    assert data.images[0] == "000001"
    ours = evaluate_data(data).values
    # Corners cost the last bits of a coordinate; the COCO set has the area of whole pixels.
    assert ours == pytest.approx(pycocotools(references, detections), abs=1e-6)


def test_voc_counts_pixels_from_one_inclusive(tmp_path: Path) -> None:
    write_voc(tmp_path / "ref", [("a", 1, (0, 0, 10, 20), 0)], {1: "cat"}, scored=False)
    write_voc(tmp_path / "pred", [("a", 1, (2.5, 0, 10, 20), 0.25)], {1: "cat"}, scored=True)
    assert "<xmin>1</xmin>" in (tmp_path / "ref/a.xml").read_text()
    assert "<xmax>10</xmax>" in (tmp_path / "ref/a.xml").read_text()
    data = formats.read(tmp_path / "pred", tmp_path / "ref", "voc")
    assert data.references.box.tolist() == [[0, 0, 10, 20]]
    assert data.predictions.box.tolist() == [[2.5, 0, 10, 20]]
    assert data.categories[0].id == "cat"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_voc_refuses_entities_before_they_expand(tmp_path: Path, encoding: str) -> None:
    write_voc(tmp_path / "pred", [("a", 1, (0, 0, 1, 1), 0.5)], {1: "cat"}, scored=True)
    (tmp_path / "ref").mkdir()
    bomb = '<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;&b;&b;">]><annotation>&c;</annotation>'
    (tmp_path / "ref/a.xml").write_text(
        f'<?xml version="1.0" encoding="{encoding}"?>{bomb}', encoding
    )
    with pytest.raises(LossexportError, match=r"a\.xml: DOCTYPE is refused"):
        formats.read(tmp_path / "pred", tmp_path / "ref", "voc")


def write_yolo(folder: Path, files: dict[str, list[str]]) -> None:
    folder.mkdir()
    for name, lines in files.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines))


def test_yolo(tmp_path: Path) -> None:
    write_yolo(
        tmp_path / "ref",
        {
            "a.txt": ["0 0.5 0.5 0.2 0.4", "1 0.25 0.25 0.1 0.1"],
            "b.txt": [],
            "classes.txt": ["cat", "dog"],
        },
    )
    write_yolo(
        tmp_path / "pred",
        {
            "a.txt": ["0 0.5 0.5 0.2 0.4 0.9", "", "1 0.25 0.25 -0.1 0.1 0.5"],
            "c.txt": ["0 0 0 1 1 1"],
        },
    )
    data = formats.read(tmp_path / "pred", tmp_path / "ref", "yolo")
    assert data.images == ["a", "b", "c"]
    assert [(kind.id, kind.name) for kind in data.categories] == [(0, "cat"), (1, "dog")]
    np.testing.assert_allclose(data.references.box[0], [0.4, 0.3, 0.2, 0.4], atol=1e-15)
    assert data.predictions.score.tolist() == [0.9, 0.5, 1.0]
    assert data.predictions.image.tolist() == [0, 0, 2]
    assert "parts of the image" in data.notes[0]
    values = evaluate_data(data).values
    assert values["AP"] == pytest.approx(0.25, abs=1e-12)
    assert values["APm"] == -1


def test_yolo_equals_coco_in_unit_coordinates(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data/images"
    references, detections = load(folder / "gt.json"), load(folder / "dets_yolox_nano.json")
    size = {row["id"]: (row["width"], row["height"]) for row in references["images"]}
    for row in [*references["annotations"], *detections]:
        wide, high = size[row["image_id"]]
        x, y, w, h = row["bbox"]
        row["bbox"] = [x / wide, y / high, w / wide, h / high]
        row["area"] = row["bbox"][2] * row["bbox"][3]
    files: dict[str, dict[str, list[str]]] = {"ref": {}, "pred": {}}
    for side, rows in (("ref", references["annotations"]), ("pred", detections)):
        for row in rows:
            x, y, w, h = row["bbox"]
            numbers = [row["category_id"], x + w / 2, y + h / 2, w, h]
            numbers += [row["score"]] if side == "pred" else []
            lines = files[side].setdefault(f"{row['image_id']}.txt", [])
            lines.append(" ".join(map(repr, numbers)))
        write_yolo(tmp_path / side, files[side])
    data = formats.read(tmp_path / "pred", tmp_path / "ref", "yolo")
    assert data.images == sorted(size)
    wanted = pycocotools(references, detections)
    assert evaluate_data(data).values == pytest.approx(wanted, abs=1e-9)


def mot(tmp_path: Path, pred: str, ref: str) -> Dataset:
    (tmp_path / "det.txt").write_text(pred)
    (tmp_path / "gt.txt").write_text(ref)
    return formats.read(tmp_path / "det.txt", tmp_path / "gt.txt", "mot")


def test_mot_with_classes(tmp_path: Path) -> None:
    ref = "1,1,10,10,20,40,1,1,0.9\r\n1,2,60,10,20,40,0,1,0.5\r\n\r\n2,1,11,10,20,40,1,2,1\r\n"
    pred = "1,-1,10,10,20,40,0.9,1\n1,-1,61,10,20,40,8.5,1\n3,-1,0,0,-5,9,0.1,2\n"
    data = mot(tmp_path, pred, ref)
    assert data.images == [1, 2, 3]
    assert [kind.id for kind in data.categories] == [1, 2]
    assert data.references.ignored.tolist() == [False, True, False]
    assert data.predictions.score.tolist() == [0.9, 8.5, 0.1]
    assert data.predictions.box[2].tolist() == [0, 0, -5, 9]
    assert evaluate_data(data).values["AP50"] == pytest.approx(0.5, abs=1e-12)
    assert data.notes == []


def test_mot_without_classes_ignores_the_class(tmp_path: Path) -> None:
    ref = "1,1,10,10,20,40,1,1,0.9\n1,2,60,10,20,40,1,7,0.5\n"
    data = mot(tmp_path, "1,-1,10,10,20,40,0.9,-1,-1,-1\n1,-1,60,10,20,40,0.8,-1,-1,-1\n", ref)
    assert len(data.categories) == 1
    assert evaluate_data(data).values["AP"] == pytest.approx(1, abs=1e-12)
    assert "no class" in data.notes[0]
    assert evaluate_data(mot(tmp_path, "1,-1,10,10,20,40,0.9\n", ref)).values["AR1"] == 0.5


def test_mot_without_predictions(tmp_path: Path) -> None:
    data = mot(tmp_path, "\n", "1,1,10,10,20,40,1,7,0.9\n")
    assert (len(data.predictions), len(data.references)) == (0, 1)
    assert [kind.id for kind in data.categories] == [7]
    assert data.notes == []
    assert evaluate_data(data).values["AP"] == 0


def test_mot_in_small_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"{i % 7},{i},{i},{2 * i},10,20,{(i % 11) / 10},1" for i in range(300)]
    text = "\n".join(lines)
    whole = mot(tmp_path, text, text)
    monkeypatch.setattr(formats.mot, "BLOCK", 37)
    pieces = mot(tmp_path, text, text)
    assert (whole.predictions.box == pieces.predictions.box).all()
    assert (whole.predictions.image == pieces.predictions.image).all()
    assert whole.inputs == pieces.inputs


def test_gzipped_and_plain_files_are_alike(tmp_path: Path) -> None:
    references, detections = coco([truth(1, 1, 0, 0, 5, 5)]), [found(1, 1, 0.5, 0, 0, 5, 4)]
    plain = read_json(tmp_path, detections, references)
    pred, ref = tmp_path / "p.gz", tmp_path / "r.gz"
    pred.write_bytes(gzip.compress(json.dumps(detections).encode()))
    ref.write_bytes(gzip.compress(json.dumps(references).encode()))
    packed = formats.read(pred, ref, "coco")
    assert packed.predictions.box.tolist() == plain.predictions.box.tolist()
    assert packed.references.area.tolist() == plain.references.area.tolist()


def test_a_prediction_dictionary_joins_by_names(tmp_path: Path) -> None:
    references = coco(
        [truth(20180000001, 7, 0, 0, 5, 5)], images=(20180000001, 20180000002),
        categories=((7, "Cat"), (3, "dog")),
    )  # fmt: skip
    predictions = coco([], images=(0, 1), categories=((0, "DOG"), (1, "cat")))
    predictions["annotations"] = [found(0, 1, 0.5, 0, 0, 5, 5), found(1, 0, 0.4, 0, 0, 5, 5)]
    predictions["images"][0]["file_name"] = "20180000001.jpg"
    predictions["images"][1]["file_name"] = "20180000002.jpg"
    data = read_json(tmp_path, predictions, references)
    assert [data.images[i] for i in data.predictions.image] == [20180000001, 20180000002]
    assert [data.categories[c].id for c in data.predictions.category] == [7, 3]
    assert len(data.notes) == 2


def test_a_prediction_dictionary_without_known_names_joins_by_id(tmp_path: Path) -> None:
    predictions = coco([], images=(1, 2))
    predictions["annotations"] = [found(2, 1, 0.5, 0, 0, 5, 5)]
    for row in predictions["images"]:
        row["file_name"] = f"elsewhere/{row['file_name']}"
    del predictions["categories"]
    data = read_json(tmp_path, predictions, coco([truth(2, 1, 0, 0, 5, 5)]))
    assert data.images[data.predictions.image[0]] == 2
    assert data.notes == []


def test_ids_in_text_and_fractions(tmp_path: Path) -> None:
    references = coco(
        [truth("17", 1, 0, 0, 5, 5), truth(17.0, "1", 0, 0, 5, 5)], images=("17", "x")
    )
    data = read_json(tmp_path, [found(17, 1.0, 0.5, 0, 0, 5, 5)], references)
    assert data.images == [17, "x"]
    assert data.references.image.tolist() == [0, 0]
    assert data.predictions.category.tolist() == [0]
    assert "read as the number" in data.notes[0]


def test_missing_area_is_width_times_height(tmp_path: Path) -> None:
    references = coco([truth(1, 1, 0, 0, 5, 7), truth(1, 1, 0, 0, 5, 7, area=3)])
    del references["annotations"][0]["area"]
    del references["annotations"][0]["iscrowd"]
    data = read_json(tmp_path, [], references)
    assert data.references.area.tolist() == [35, 3]
    assert not data.references.ignored.any()


def test_a_name_of_digits_beyond_63_bits_stays_a_name(tmp_path: Path) -> None:
    first, second, largest = str(2**63), "9" * 19, str(2**63 - 1)
    boxes = [(stem, 1, (0, 0, 5, 5), 0) for stem in (first, second, largest)]
    write_voc(tmp_path / "ref", boxes, {1: second}, scored=False)
    write_voc(tmp_path / "pred", boxes[:1], {1: "cat"}, scored=True)
    data = formats.read(tmp_path / "pred", tmp_path / "ref", "voc")
    assert data.images == [2**63 - 1, first, second]
    assert data.references.image.tolist() == [0, 1, 2]
    kinds = [kind.id for kind in data.categories]
    assert kinds == [second, "cat"]
    assert data.predictions.category.tolist() == [1]
    assert read_json(tmp_path, [], coco([], images=(first, 1))).images == [1, first]
