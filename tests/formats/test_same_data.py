"""The same boxes give the same numbers in every format, and across two formats."""

import itertools
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from lossexport import formats
from lossexport.boxes import matching
from lossexport.boxes.boxset import Dataset
from lossexport.boxes.pairs import find_pairs, sort_boxes
from lossexport.errors import LossexportError
from tests.boxes.helpers import Json, evaluate_data, pycocotools, write

SIDE = 128
"""A power of two: parts of the image are exact, and so is every overlap."""
NAMES = {1: "cat", 2: "Big dog", 3: "kite"}
MARK = "\ufeff"

Row = tuple[int, int, tuple[int, int, int, int], float]


@dataclass(frozen=True)
class Boxes:
    """References on images 1 to 3 and predictions on 1 to 4, of classes 1 and 2, 1 to 3."""

    references: list[Row]
    predictions: list[Row]
    listed: list[int]
    """Images of the references, with boxes or without."""


@st.composite
def boxes(draw: st.DrawFn, most_image: int = 4, most_class: int = 3) -> Boxes:
    corner, size = st.integers(0, 48), st.integers(1, 64)
    box = st.tuples(corner, corner, size, size)
    score = st.sampled_from([0.125, 0.25, 0.5, 0.75, 1.0])

    def rows(images: int, classes: int) -> list[Row]:
        row = st.tuples(st.integers(1, images), st.integers(1, classes), box, score)
        return sorted(draw(st.lists(row, max_size=8)), key=lambda row: row[0])

    first: Row = (1, 1, draw(box), 0.5)
    references = [first, *rows(3, 2)]
    # Copies of references, a little off, so that there are matches.
    near = [
        (i, c, (x + draw(st.integers(0, 3)), y, w, h), 0.75) for i, c, (x, y, w, h), _ in references
    ]
    predictions = sorted([*near, *rows(most_image, most_class)], key=lambda row: row[0])
    listed = sorted({row[0] for row in references} | draw(st.sets(st.integers(1, 3))))
    return Boxes(references, predictions, listed)


def as_coco(folder: Path, data: Boxes, end: str, mark: str) -> tuple[Path, Path]:
    size = {"width": SIDE, "height": SIDE}
    document: Json = {
        "images": [{"id": i, "file_name": f"{i}.jpg", **size} for i in data.listed],
        "categories": [{"id": c, "name": NAMES[c]} for c in (1, 2)],
        "annotations": [
            {"id": n, "image_id": i, "category_id": c, "bbox": b, "area": b[2] * b[3], "iscrowd": 0}
            for n, (i, c, b, _) in enumerate(data.references, 1)
        ],
    }
    results = [
        {"image_id": i, "category_id": c, "bbox": b, "score": s} for i, c, b, s in data.predictions
    ]
    for name, value in (("pred.json", results), ("ref.json", document)):
        write(folder, {name: mark + json.dumps(value, indent=1).replace("\n", end)})
    return folder / "pred.json", folder / "ref.json"


def as_yolo(folder: Path, data: Boxes, end: str, mark: str) -> tuple[Path, Path]:
    names = [f"  {kind}: {name}" for kind, name in NAMES.items()]
    for side, rows in (("pred", data.predictions), ("ref", data.references)):
        files = {f"labels/{i}.txt": [mark] for i in (data.listed if side == "ref" else ())}
        for i, c, (x, y, w, h), s in rows:
            numbers = [(x + w / 2) / SIDE, (y + h / 2) / SIDE, w / SIDE, h / SIDE]
            numbers += [s] if side == "pred" else []
            line = " ".join([str(c), *map(repr, numbers)]) + end
            files.setdefault(f"labels/{i}.txt", [mark]).append(line)
        texts: dict[str, str | bytes] = {name: "".join(lines) for name, lines in files.items()}
        write(folder / side, {**texts, "data.yaml": mark + end.join(["names:", *names])})
    return folder / "pred", folder / "ref"


def as_voc(folder: Path, data: Boxes, end: str, mark: str) -> tuple[Path, Path]:
    size = f"<size><width>{SIDE}</width><height>{SIDE}</height></size>"
    for side, rows in (("pred", data.predictions), ("ref", data.references)):
        files = {f"{i}.xml": [size] for i in (data.listed if side == "ref" else ())}
        for i, c, (x, y, w, h), s in rows:
            corners = {"xmin": x + 1, "ymin": y + 1, "xmax": x + w, "ymax": y + h}
            inner = end.join(f"<{tag}>{value}</{tag}>" for tag, value in corners.items())
            extra = f"<score>{s}</score>" if side == "pred" else ""
            item = f"<object><name>{NAMES[c]}</name>{extra}<bndbox>{inner}</bndbox></object>"
            files.setdefault(f"{i}.xml", [size]).append(item)
        for name, items in files.items():
            write(folder / side, {name: f"{mark}<annotation>{end.join(items)}</annotation>"})
    return folder / "pred", folder / "ref"


def as_mot(folder: Path, data: Boxes, end: str, mark: str) -> tuple[Path, Path]:
    for side, rows in (("pred", data.predictions), ("ref", data.references)):
        lines = [f"{i},-1,{x},{y},{w},{h},{s},{c},1" for i, c, (x, y, w, h), s in rows]
        write(folder, {f"{side}.txt": mark + "".join(line + end for line in lines)})
    return folder / "pred.txt", folder / "ref.txt"


def with_names(results: Path, references: Path) -> Path:
    """The results as a dictionary with the tables of the references."""
    document = json.loads(references.read_text("utf-8-sig"))
    document["annotations"] = json.loads(results.read_text("utf-8-sig"))
    path = results.with_name("named.json")
    path.write_text(json.dumps(document))
    return path


def as_parquet(folder: Path, data: Boxes, end: str, mark: str) -> tuple[Path, Path]:
    folder.mkdir()
    for side, rows in (("pred", data.predictions), ("ref", data.references)):
        images, categories, found, scores = zip(*rows, strict=True) if rows else ((), (), (), ())
        columns = {
            "image_id": pa.array(images, pa.int64()),
            "category_id": pa.array(categories, pa.int32()).dictionary_encode(),
            "bbox": pa.array(found, pa.list_(pa.float64(), 4)),
            "score": pa.array(scores, pa.float64()),
        }
        parquet.write_table(pa.table(columns), folder / f"{side}.parquet", row_group_size=3)
    return folder / "pred.parquet", folder / "ref.parquet"


WRITERS = {
    "coco": as_coco,
    "yolo": as_yolo,
    "voc": as_voc,
    "mot": as_mot,
    "parquet": as_parquet,
}
NAMELESS = ("mot", "parquet")
"""Without names of images and a list of them."""
assert set(WRITERS) == set(formats.FORMATS.builtin), "a new format needs a writer here"
SIZED = ("APs", "APm", "APl", "ARs", "ARm", "ARl")


def counts(data: Dataset) -> dict[str, int]:
    order = sort_boxes(data)
    result = matching.match(data, order, find_pairs(data, order, 0.5), 0.5)
    return {
        "predictions": len(data.predictions),
        "references": len(data.references),
        "matched": int((result.status == matching.MATCHED).sum()),
        "missed": len(result.unmatched_refs),
    }


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("same")


@settings(max_examples=25, deadline=None)
@given(boxes(), st.sampled_from(["\n", "\r\n", "\r"]), st.sampled_from(["", MARK]))
def test_the_formats_agree(folder: Path, data: Boxes, end: str, mark: str) -> None:
    wanted: dict[str, float] = {}
    numbers: dict[str, int] = {}
    for form, writer in WRITERS.items():
        pred, ref = writer(fresh(folder / form), data, end, mark)
        read = formats.read(pred, ref, form)
        values = evaluate_data(read).values
        wanted, numbers = wanted or dict(values), numbers or counts(read)
        if form == "yolo":
            assert {values.pop(name) for name in SIZED} == {-1.0}
        assert values == pytest.approx({name: wanted[name] for name in values}, abs=1e-12), form
        assert counts(read) == numbers, form
        strange = sum(row[0] not in data.listed for row in data.predictions)
        notes = [note for note in read.notes if "images that" in note or "image that" in note]
        if form not in NAMELESS:  # where an image without a box is not known
            assert notes == [] if strange == 0 else notes[0].startswith(f"{strange} prediction")
        unknown = sum(row[1] == 3 for row in data.predictions)
        notes = [note for note in read.notes if "of categories that" in note]
        if form == "coco":  # elsewhere a class without a reference may be unknown too
            assert len(notes) == (unknown > 0)


@settings(max_examples=12, deadline=None)
@given(boxes(most_image=1, most_class=2), st.sampled_from(["", MARK]))
def test_two_formats_agree_with_one(folder: Path, data: Boxes, mark: str) -> None:
    files = {
        form: writer(fresh(folder / form), data, "\n", mark) for form, writer in WRITERS.items()
    }
    wanted = evaluate_data(formats.read(*files["coco"], "coco")).values
    references, results = (
        json.loads(path.read_text("utf-8-sig")) for path in reversed(files["coco"])
    )
    assert wanted == pytest.approx(pycocotools(references, results), abs=1e-9)
    for pred_form, ref_form in itertools.product(WRITERS, WRITERS):
        pair = {pred_form, ref_form}
        pred, ref = files[pred_form][0], files[ref_form][1]
        if pair == {"yolo"}:  # in parts of the image
            continue
        if "voc" in pair and pair & {*NAMELESS}:  # names against numbers
            continue
        if "yolo" in pair and pair & {*NAMELESS}:
            with pytest.raises(LossexportError, match="gives no width and height of image 1"):
                formats.read(pred, ref, pred_form, ref_format=ref_form)
            continue
        if pred_form == "coco" and ref_form in ("yolo", "voc"):
            pred = with_names(*files["coco"])  # a result list has neither names nor sizes
        values = evaluate_data(formats.read(pred, ref, pred_form, ref_format=ref_form)).values
        assert values == pytest.approx(wanted, abs=1e-9), (pred_form, ref_form)


PREDICTED = {
    "yolo": {"labels/000001.txt": "0 0.5 0.25 0.5 0.25 0.9\n", "classes.txt": "CAT\n"},
    "mot": {"det.txt": "1 -1 32 16 64 32 0.9 -1\n"},
    "voc": {
        "comp4_det_val_Cat.txt": "000001 0.9 33 17 96 48\n",
    },
}


@pytest.mark.parametrize("form", PREDICTED)
@pytest.mark.parametrize("name", ["000001.jpg", "video/000001.PNG", "images\\000001.tif"])
def test_frames_and_file_names_find_the_rows_of_a_coco_file(
    tmp_path: Path, form: str, name: str
) -> None:
    row = {"id": 1, "image_id": 77, "category_id": 5, "bbox": [32, 16, 64, 32], "area": 2048}
    size = {"width": 128, "height": 128}
    document: Json = {
        "images": [
            {"id": 77, "file_name": name, **size},
            {"id": 1, "file_name": "000002.jpg", **size},
        ],
        "categories": [{"id": 5, "name": "cat"}, {"id": 0, "name": "dog"}],
        "annotations": [row],
    }
    write(tmp_path, {"ref.json": json.dumps(document)})
    pred = write(tmp_path / "pred", dict(PREDICTED[form]))
    pred = pred / "det.txt" if form == "mot" else pred
    data = formats.read(pred, tmp_path / "ref.json", form, ref_format="coco")
    assert data.predictions.box.tolist() == [[32, 16, 64, 32]]
    assert [data.images[i] for i in data.predictions.image] == [77]
    assert evaluate_data(data).values["AP"] == pytest.approx(1)
    assert any("Ids of images differ" in note for note in data.notes)
    del document["images"][0]["width"]
    write(tmp_path, {"ref.json": json.dumps(document)})
    if form == "yolo":
        with pytest.raises(LossexportError, match=r"pred: boxes are in parts of the image, and"):
            formats.read(pred, tmp_path / "ref.json", form, ref_format="coco")
