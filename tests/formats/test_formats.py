"""The same boxes in each format give the same numbers."""

import gzip
import json
from pathlib import Path

import pytest

from lossexport import formats
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


def write_yolo(folder: Path, files: dict[str, list[str]]) -> None:
    folder.mkdir()
    for name, lines in files.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines))


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
    # Sizes by area are not those of pixels.
    wanted |= dict.fromkeys(("APs", "APm", "APl", "ARs", "ARm", "ARl"), -1.0)
    assert evaluate_data(data).values == pytest.approx(wanted, abs=1e-9)


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
