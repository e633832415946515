"""YOLO folders as tools write them."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossexport import formats
from lossexport.boxes.side import Side
from lossexport.errors import LossexportError
from lossexport.formats.yolo import names
from tests.boxes.helpers import evaluate_data, refusal, write

REF = "0 0.5 0.5 0.2 0.4\n"
PRED = "0 0.5 0.5 0.2 0.4 0.9\n"
BOX = [0.4, 0.3, 0.2, 0.4]


def read(folder: Path, files: Mapping[str, str | bytes], *, scored: bool = True) -> Side:
    return formats.read_side(write(folder, files), "yolo", scored)


def rows(side: Side) -> np.ndarray:
    image, category = side.boxes.codes()
    return side.boxes.predictions(image, category).box


def test_a_folder(tmp_path: Path) -> None:
    ref = {"a.txt": f"{REF}1 0.25 0.25 0.1 0.1\n", "b.txt": "", "classes.txt": "cat\ndog\n"}
    pred = {"a.txt": f"{PRED}\n1 0.25 0.25 -0.1 0.1 0.5", "c.txt": "0 0 0 1 1 1\n"}
    data = formats.read(write(tmp_path / "pred", pred), write(tmp_path / "ref", ref), "yolo")
    assert data.images == ["a", "b", "c"]
    assert [(kind.id, kind.name) for kind in data.categories] == [(0, "cat"), (1, "dog")]
    np.testing.assert_allclose(data.references.box[0], BOX, atol=1e-15)
    assert data.predictions.score.tolist() == [0.9, 0.5, 1.0]
    assert data.predictions.image.tolist() == [0, 0, 2]
    assert "parts of the image" in data.notes[0]
    assert data.notes[1].startswith("1 prediction on 1 image that the references do not have")
    values = evaluate_data(data).values
    assert values["AP"] == pytest.approx(0.25, abs=1e-12)
    assert values["APs"] == values["APm"] == -1


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("between", [" ", "\t", "  "])
def test_line_ends_separators_and_byte_order_marks(
    tmp_path: Path, mark: bytes, end: str, between: str
) -> None:
    def text(*lines: str) -> bytes:
        return mark + "".join(line.replace(" ", between) + end for line in lines).encode()

    files = {"a.txt": text(PRED.strip(), PRED.strip()), "b.txt": mark, "classes.txt": text("car")}
    side = read(tmp_path / "pred", files)
    assert list(side.images.rows or ()) == ["a", "b"]
    np.testing.assert_allclose(rows(side), [BOX, BOX], atol=1e-15)
    assert side.categories.name(0) == "car"
    assert side.notes == []


POLYGON = "0.25 0.125 0.75 0.25 0.5 0.625"
AROUND = [0.25, 0.125, 0.5, 0.5]
LINES = {
    "box": ("0 0.5 0.375 0.5 0.5", (0, 0)),
    "box and id": ("0 0.5 0.375 0.5 0.5 {score} 12", (0, 1)),
    "polygon": (f"0 {POLYGON}", (1, 0)),
    "polygon and id": (f"0 {POLYGON} {{score}} 3", (1, 1)),
    "four points": ("0 0.25 0.125 0.75 0.125 0.75 0.625 0.25 0.625", (1, 0)),
    "closed": (f"0 {POLYGON} 0.25 0.125", (1, 0)),
}


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("scored", [True, False])
def test_layouts_of_a_line(tmp_path: Path, name: str, scored: bool) -> None:
    line, (polygons, tracks) = LINES[name]
    if "{score}" in line:
        line = line.format(score="0.9") if scored else line.replace("{score} ", "")
    elif scored:
        line += " 0.9"
    if name == "polygon and id" and not scored:
        with pytest.raises(LossexportError, match="8 numbers: class cx cy w h is expected, or a"):
            read(tmp_path / "ref", {"a.txt": line}, scored=False)
        return
    side = read(tmp_path / "side", {"a.txt": f"{line}\n{line}"}, scored=scored)
    np.testing.assert_allclose(rows(side), [AROUND, AROUND], atol=1e-15)
    wanted = ["side: 2 lines are polygons, read as the box around it."] if polygons else []
    wanted += ["side: 2 lines have a track id, which is not used."] if tracks else []
    assert side.notes == wanted


def test_scores_that_are_whole_numbers_may_be_track_ids(tmp_path: Path) -> None:
    side = read(tmp_path / "a", {"a.txt": "0 0.5 0.5 0.1 0.1 1", "b.txt": "0 0.5 0.5 0.1 0.1 7"})
    assert "every score is a whole number, up to 7" in side.notes[0]
    assert read(tmp_path / "b", {"a.txt": "0 0.5 0.5 0.1 0.1 1"}).notes == []
    assert read(tmp_path / "c", {"a.txt": "0 0.5 0.5 0.1 0.1 7.5"}).notes == []


def test_sub_folders_and_upper_case(tmp_path: Path) -> None:
    files = {"cam1/a.txt": PRED, "cam2/a.TXT": PRED, "b.Txt": "", "007.txt": PRED, "7.txt": PRED}
    side = read(tmp_path / "pred", files)
    assert set(side.images.rows or ()) == {"007", 7, "b", "cam1/a", "cam2/a"}
    assert side.boxes.count == 4
    assert side.notes == []
    flat = read(tmp_path / "flat", {"b.txt": "", "a.txt": PRED})
    assert set(flat.images.rows or ()) == {"a", "b"}


def test_sub_folders_join_with_their_namesakes_or_by_the_last_part(tmp_path: Path) -> None:
    ref = write(tmp_path / "ref", {"cam1/a.txt": REF, "cam2/a.txt": REF, "cam2/b.txt": REF})
    pred = write(tmp_path / "pred", {"cam2/a.txt": PRED, "b.txt": PRED})
    data = formats.read(pred, ref, "yolo")
    assert [data.images[i] for i in data.predictions.image] == ["cam2/b", "cam2/a"]


def test_dots_in_names_are_no_suffix(tmp_path: Path) -> None:
    names = ["a_jpg.rf.1", "a_jpg.rf.2", "frame.0001"]
    images = [f"images/{name}.jpg" for name in names]
    ref = {"images": [], "categories": [{"id": 0, "name": "c"}], "annotations": []}
    for key, image in enumerate(images, 7):
        ref["images"].append({"id": key, "file_name": image, "width": 10, "height": 10})
    (tmp_path / "ref.json").write_text(json.dumps(ref))
    pred = write(tmp_path / "pred", {f"sub/{name}.txt": PRED for name in names[::-1]})
    data = formats.read(pred, tmp_path / "ref.json", "yolo", ref_format="coco")
    assert [data.images[i] for i in data.predictions.image] == [7, 8, 9]


def test_the_tree_of_ultralytics(tmp_path: Path) -> None:
    tree: dict[str, str | bytes] = {
        "data.yaml": "path: .\ntrain: images/train\nnames:\n  0: car\n  1: bus\n",
        "labels/train/a.txt": "1 0.5 0.5 0.2 0.4\n",
        "labels/val/b.txt": REF,
        "labels/train.cache": b"\x80\x04",
        "images/train/a.jpg": b"\xff\xd8",
        "train/labels/c.txt": REF,
    }
    side = read(tmp_path / "ref", tree, scored=False)
    assert list(side.images.rows or ()) == ["train/a", "val/b", "train/c"]
    assert [side.categories.name(kind) for kind in (0, 1)] == ["car", "bus"]
    assert side.notes == ["ref: 1 file that holds no labels passed over: labels/train.cache."]
    run: dict[str, str | bytes] = {"labels/a.txt": PRED, "a.jpg": b"\xff\xd8", "args.yaml": "x: 1"}
    predictions = write(tmp_path / "run", run)
    data = formats.read(predictions, tmp_path / "ref", "yolo")
    assert [data.images[i] for i in data.predictions.image] == ["train/a"]


HELPERS: dict[str, str | bytes] = {
    "train.txt": "data/a.jpg\ndata/b.jpg\n",
    "README.roboflow.txt": "My data - v1 2022-01-01\n\nThe data set has 120 images.\n* 640x640\n",
    "notes.TXT": "5 boxes are missing\n",
    "obj.data": "classes = 2\n",
    "labels.cache": b"\x80\x04\x95",
    "._a.txt": b"\0\5\x16\7\0\2\0\0Mac OS X",
    ".DS_Store": b"\0\0\0\1Bud1",
    "__MACOSX/._b.txt": b"\0\5\x16\7",
    ".git/config.txt": PRED,
    "args.yaml": "epochs: 3\n",
    "predictions.json": "[]",
}


@pytest.mark.parametrize("name", HELPERS)
def test_a_helper_file_is_passed_over_with_a_note(tmp_path: Path, name: str) -> None:
    side = read(tmp_path / "pred", {"a.txt": PRED, name: HELPERS[name]})
    assert list(side.images.rows or ()) == ["a"]
    shown = ".git" if name.startswith(".git") else name
    assert side.notes == [f"pred: 1 file that holds no labels passed over: {shown}."]


def test_the_note_counts(tmp_path: Path) -> None:
    side = read(tmp_path / "pred", {"a.txt": PRED, **HELPERS})
    assert side.notes[0].startswith(f"pred: {len(HELPERS)} files that hold no labels passed over")
    assert side.notes[0].endswith(f" and {len(HELPERS) - 3} more.")


@pytest.mark.parametrize(
    "text",
    [
        "car 0.9 10 20 30 40\n",
        "0.5 0.5\n",
        "0,0.5,0.5,0.1,0.1,0.9\n",
        "0 0,5 0,5 0,1 0,1 0,9\n",
        "img.jpg 50,60,70,80,0\n",
        f"hello\n{PRED}",
        "0 0.5 0.5 half 0.1 0.9",
    ],
)
def test_lines_of_numbers_are_never_passed_over(tmp_path: Path, text: str) -> None:
    with pytest.raises(LossexportError, match=r"b\.txt: line 1"):
        read(tmp_path / "pred", {"a.txt": PRED, "b.txt": text})


@pytest.mark.parametrize(
    ("first", "second"),
    [("a.txt", "a.TXT"), ("labels/a.txt", "a.txt"), ("x/labels/a.txt", "labels/x/a.txt")],
)
def test_two_files_of_one_image_are_refused(tmp_path: Path, first: str, second: str) -> None:
    with pytest.raises(LossexportError, match=r"is of the same image as .*: keep one"):
        read(tmp_path / "pred", {first: PRED, second: PRED})


TABLES = {
    "lines": ("classes.txt", "car\nbig bus\n"),
    "mac": ("classes.txt", "\ufeffcar\rbig bus\r"),
    "darknet": ("obj.names", "car\nbig bus\n"),
    "mapping": ("data.yaml", "nc: 2\nnames:\n  0: car\n\n  # two\n  1: big bus  # long\nx: y\n"),
    "order": ("data.yaml", "names:\r\n    1: 'big bus'\r\n    0: \"car\"\r\n"),
    "dashes": ("my.yml", "names:\n- car\n- big bus\ntrain: x\n"),
    "indented": ("data.yaml", "names:\n  - 'car'\n  - \"big bus\"\n"),
    "list": ("data.yaml", "names: [car, 'big bus']  # both\n"),
    "lines of a list": ("data.yaml", "names: [ 'car',\n  big bus,\n]\n"),
    "braces": ("data.yaml", "names: {0: car, 1: \"big bus\"}\n"),
    "json": ("data.yaml", '"names": {"0": "car", "1": "big bus"}\n'),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_names(tmp_path: Path, name: str) -> None:
    file, text = TABLES[name]
    side = read(tmp_path / "ref", {"a.txt": REF, file: text}, scored=False)
    assert {kind: row.name for kind, row in (side.categories.rows or {}).items()} == {
        0: "car",
        1: "big bus",
    }
    assert side.notes == []
    both = {"a.txt": REF, file: text, "sub/classes.txt": "car\nbig bus\nbike\n"}
    assert read(tmp_path / "two", both, scored=False).categories.name(2) == "bike"
    write(tmp_path / "two", {"sub/classes.txt": "car\ntram\n"})
    with pytest.raises(LossexportError, match=r"class 1 is .* here and .* in .*: keep one of"):
        read(tmp_path / "two", {}, scored=False)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("names: coco.names", "line 1, names is 'coco.names': a list or a dictionary"),
        ("x: 1\nnames: [a, b", "line 2, names is '[a, b': a list or a dictionary"),
        ("names: [a: b]", "line 1, names is 'a: b': a list"),
        ("names: {0: a: b}", "line 1, names is '0: a: b': a list"),
        ("names: {a, b}", "line 1, names is 'a': a list"),
        ("names: [[a], b]", "line 1, names is '[[a], b]': a list"),
        ("names:\n  cat\n", "line 2 is '  cat': a list"),
        ("names:\n  x: cat\n", "line 2, names is 'x': a whole number from 0"),
        ("names:\n  0: &a cat\n", "line 2, name of class 0 is '&a cat'"),
        ("names:\n  0:\n", "line 2, name of class 0 is ''"),
        ("names: {1: a, 1: b}", "names has a number twice"),
        ("names: [a]\nnames: [b]", "line 2: a second `names`"),
    ],
)
def test_names_that_are_not_read(tmp_path: Path, text: str, wanted: str) -> None:
    with pytest.raises(LossexportError) as caught:
        read(tmp_path / "ref", {"a.txt": REF, "data.yaml": text}, scored=False)
    assert str(caught.value).startswith(f"{tmp_path}/ref/data.yaml: {wanted}")


@given(st.text(st.characters(codec="ascii"), max_size=60))
def test_no_text_breaks_the_reader_of_names(text: str) -> None:
    try:
        found = names.in_yaml(Path("data.yaml"), f"names: {text}".split("\n"))
    except LossexportError:
        return
    assert found is not None
    assert all(0 <= kind <= names.MAX_CLASS for kind in found)


@pytest.mark.parametrize(
    "files", [{}, {"classes.txt": "car\n"}, {"notes.txt": "none found\n"}, {"._a.xml": ""}]
)
def test_no_predictions(tmp_path: Path, files: dict[str, str | bytes]) -> None:
    ref = write(tmp_path / "ref", {"a.txt": REF})
    data = formats.read(write(tmp_path / "pred", files), ref, "yolo")
    assert evaluate_data(data).values["AP"] == 0
    assert "the folder has no .txt file of labels" in refusal(ref, tmp_path / "pred", "yolo")
    assert "cannot be read: No such file" in refusal(tmp_path / "none", ref, "yolo")


@pytest.mark.parametrize("name", ["a.xml", "pred.json", "pred.csv"])
def test_files_of_another_format_are_not_no_prediction(tmp_path: Path, name: str) -> None:
    ref = write(tmp_path / "ref", {"a.txt": REF})
    message = refusal(write(tmp_path / "pred", {name: "x"}), ref, "yolo")
    assert message.endswith(f"has no .txt file of labels, but {name}: is it of another format?")


BAD: dict[str, tuple[str | bytes, str]] = {
    "nan": ("0 nan 0.5 0.1 0.1 0.9", "line 1, cx is nan"),
    "inf score": ("0 0.5 0.5 0.1 0.1 inf", "line 1, score is inf"),
    "huge score": ("0 0.5 0.5 0.1 0.1 -1e300", "line 1, score is -1e+300: must be at most 1e+09"),
    "no score": (
        "0 0.5 0.5 0.1 0.1\n1 0.5 0.5 0.1 0.1\n1 0.5 0.5 0.1 0.1 0.5",
        "line 1 is '0 0.5 0.5 0.1 0.1': 5 numbers: class cx cy w h score is expected; the score is "
        "missing (Ultralytics: save_conf=True) (2 of 3 lines)",
    ),
    "polygon": (
        "0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.6",
        "line 1 is '0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.6': 9 numbers: class cx cy w h score is "
        "expected; a polygon of 4 points has no score",
    ),
    "few": ("0 0.5", "line 1 is '0 0.5': class cx cy w h score is expected, not 2 fields"),
    "commas": ("0,0.5,0.5,0.1,0.1,0.9", "line 1 is '0,0.5,0.5,0.1,0.1,0.9': class cx cy w h score"),
    "decimal comma": ("0 0,5 0,5 0,1 0,1 0,9", "line 1, cx is '0,5': a number is expected, with"),
    "word": ("\n0 0.5 half 0.1 0.1 0.9", "line 2, cy is 'half'"),
    "grouped digits": ("0 0.5 0_5 0.1 0.1 0.9", "line 1, cy is '0_5'"),
    "class": ("1.5 0.5 0.5 0.1 0.1 0.9", "line 1, class is '1.5'"),
    "class in words": ("car 0.5 0.5 0.1 0.1 0.9", "line 1, class is 'car': a whole number"),
    "negative class": ("-1 0.5 0.5 0.1 0.1 0.9", "line 1, class is '-1'"),
    "pixels": (
        "0 320 0.5 0.1 0.1 0.9\n0 0.5 0.5 64 0.1 0.9",
        "line 1, cx is 320.0: parts of the image, 0 to 1, are expected: divide pixels by width and "
        "height (2 of 2 boxes)",
    ),
    "polygon in pixels": ("0 0.5 0.5 0.6 0.5 0.5 70 0.9", "line 1, y3 is 70.0: parts of the image"),
    "polygon of nothing": ("0 0.5 0.5 nan 0.5 0.5 0.7 0.9", "line 1, x2 is nan"),
    "binary": ("\udcff", "is not a text file in UTF-8"),
    "UTF-16": (PRED.encode("utf-16"), "is text in UTF-16: save it as UTF-8"),
    "UTF-16 without a mark": (PRED.encode("utf-16-le"), "is not a text file: it holds NUL bytes"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_lines(tmp_path: Path, name: str) -> None:
    text, wanted = BAD[name]
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    pred = write(tmp_path / "pred", {"a.txt": data})
    message = refusal(pred, write(tmp_path / "ref", {"a.txt": REF}), "yolo")
    assert message.startswith(f"{tmp_path}/pred/a.txt: {wanted}"), message


def test_bad_references(tmp_path: Path) -> None:
    pred = write(tmp_path / "pred", {"a.txt": PRED})
    for line, wanted in (
        ("0 0.5 0.5 -0.1 0.1", "line 1, w is -0.1: a reference must not"),
        (PRED.strip(), "6 numbers: class cx cy w h is expected; references have no score"),
        ("0 " + "0.5 " * 4 + "0.4 0.4 2", "8 numbers: class cx cy w h is expected, or a polygon"),
    ):
        message = refusal(pred, write(tmp_path / "ref", {"a.txt": line}), "yolo")
        assert wanted in message
    ref = write(tmp_path / "other", {"b.txt": REF})
    assert "no image in common" in refusal(pred, ref, "yolo")


def test_classes_in_another_order_are_joined_by_name(tmp_path: Path) -> None:
    ref = write(tmp_path / "ref", {"a.txt": "1 0.5 0.5 0.2 0.4", "classes.txt": "dog\nCat\n"})
    pred = write(tmp_path / "pred", {"a.txt": PRED, "classes.txt": "cat\nDog\n"})
    data = formats.read(pred, ref, "yolo")
    assert evaluate_data(data).values["AP"] == pytest.approx(1)
    assert any(note.startswith("Ids of categories differ between") for note in data.notes)
    write(pred, {"classes.txt": "dog\n" * 100_001})
    assert "classes.txt: more than 100000 names" in refusal(pred, ref, "yolo")
