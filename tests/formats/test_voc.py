"""VOC folders as tools write them, and the results of the development kit."""

from pathlib import Path

import pytest

from lossexport import formats
from lossexport.boxes.side import Side
from lossexport.errors import LossexportError
from lossexport.scoring import score
from tests.boxes.helpers import evaluate_data, refusal, write

CORNERS = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
OTHER = CORNERS.replace(">1<", ">21<").replace(">9<", ">40<")


def voc(body: str, name: str = "cat") -> str:
    return f"<annotation><object><name>{name}</name>{body}</object></annotation>"


PRED = voc(f"<score>0.5</score>{CORNERS}")
REF = voc(CORNERS)


def read(folder: Path, files: dict[str, str | bytes], *, scored: bool = False) -> Side:
    return formats.read_side(write(folder, files), "voc", scored)


def boxes(side: Side) -> list[list[float]]:
    codes = side.boxes.codes()
    found = side.boxes.references(*codes).box.tolist()
    assert isinstance(found, list)
    return found


def test_pixels_count_from_one_with_both_ends(tmp_path: Path) -> None:
    half = PRED.replace("<xmin>1<", "<xmin>3.5<").replace("<xmax>9<", "<xmax>12.5<")
    data = formats.read(
        write(tmp_path / "pred", {"a.xml": half}), write(tmp_path / "ref", {"a.xml": REF}), "voc"
    )
    assert data.references.box.tolist() == [[0, 0, 9, 9]]
    assert data.predictions.box.tolist() == [[2.5, 0, 10, 9]]
    assert data.categories[0].id == "cat"


def test_each_bndbox_of_an_object_is_a_box(tmp_path: Path) -> None:
    marked = voc(f"{CORNERS}<difficult>1</difficult>{OTHER}")
    side = read(tmp_path / "ref", {"a.xml": marked, "b.xml": voc(OTHER, "dog")})
    assert boxes(side) == [[0, 0, 9, 9], [20, 20, 20, 20], [20, 20, 20, 20]]
    side = read(tmp_path / "ref", {})
    references = side.boxes.references(*side.boxes.codes())
    assert references.ignored.tolist() == [True, True, False]
    assert references.category.tolist() == [0, 0, 1]
    side = read(tmp_path / "pred", {"a.xml": voc(f"<score>7</score>{OTHER}{CORNERS}")}, scored=True)
    found = side.boxes.predictions(*side.boxes.codes())
    assert found.score.tolist() == [7, 7]
    assert found.box.tolist() == [[20, 20, 20, 20], [0, 0, 9, 9]]


def test_the_boxes_of_parts_are_not_those_of_the_object(tmp_path: Path) -> None:
    body = f"<part><name>head</name>{OTHER}</part>{CORNERS}"
    assert boxes(read(tmp_path / "ref", {"a.xml": voc(body)})) == [[0, 0, 9, 9]]


READ_ALIKE: dict[str, str | bytes] = {
    "namespace": REF.replace("<annotation", '<annotation xmlns="http://example.org/voc"'),
    "prefix": REF.replace("<annotation", '<v:annotation xmlns:v="u:x"').replace("</a", "</v:a"),
    "upper case": REF.replace("bndbox", "BndBox").replace("object", "Object"),
    "empty objects": REF.replace("<object>", "<object/><object> \n</object><object>", 1),
    "UTF-16": f'<?xml version="1.0" encoding="UTF-16"?>{REF}'.encode("utf-16"),
    "Latin-1": f'<?xml version="1.0" encoding="iso-8859-1"?><!--\xe9-->{REF}'.encode("latin-1"),
    "mark": b"\xef\xbb\xbf" + REF.encode(),
    "line ends": REF.replace("><", ">\r\n<"),
    "old line ends": REF.replace("><", ">\r<"),
    "spaces": REF.replace(">1<", "> 1.0\n<").replace(">cat<", "> cat <"),
}


@pytest.mark.parametrize("name", READ_ALIKE)
def test_ways_to_write_the_same(tmp_path: Path, name: str) -> None:
    side = read(tmp_path / "ref", {"a.xml": READ_ALIKE[name]})
    assert boxes(side) == [[0, 0, 9, 9]]
    assert side.categories.ids.ids == ["cat"]
    empty = ["ref: 2 empty objects were passed over."]
    assert side.notes == (empty if name == "empty objects" else [])


@pytest.mark.parametrize(
    ("word", "wanted"),
    [(w, True) for w in ("1", "true", "True", "YES", " 1 ")]
    + [(w, False) for w in ("0", "false", "No", "Unspecified", " 0 ", "", " ")],
)
def test_words_for_difficult(tmp_path: Path, word: str, wanted: bool) -> None:
    side = read(tmp_path / "ref", {"a.xml": voc(f"<difficult>{word}</difficult>{CORNERS}")})
    assert side.boxes.references(*side.boxes.codes()).ignored.tolist() == [wanted]


def test_sub_folders_suffixes_and_what_is_passed_over(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "Annotations/a.xml": REF,
        "cam1/a.XML": REF,
        "cam2/a.Xml": "<annotation/>",
        "ImageSets/Main/train.txt": "a",
        "JPEGImages/a.jpg": b"\xff\xd8",
        "._a.xml": b"\0\5\x16\7",
    }
    side = read(tmp_path / "ref", files)
    assert list(side.images.rows or ()) == ["a", "cam1/a", "cam2/a"]
    assert side.boxes.count == 2
    assert side.notes == [
        "ref: 2 files that hold no annotations passed over: ._a.xml, ImageSets/Main/train.txt."
    ]
    with pytest.raises(LossexportError, match=r"a\.xml: is of the same image as .*: keep one"):
        read(tmp_path / "ref", {"a.xml": REF})


def test_no_predictions(tmp_path: Path) -> None:
    ref, empty = write(tmp_path / "ref", {"a.xml": REF}), write(tmp_path / "pred", {})
    data = formats.read(empty, ref, "voc")
    assert evaluate_data(data).values["AP"] == 0
    assert refusal(ref, empty, "voc").endswith("the folder has no .xml file")
    assert "No such file" in refusal(tmp_path / "none", ref, "voc")
    message = refusal(write(empty, {"a.txt": "0 0.5 0.5 0.1 0.1 0.9"}), ref, "voc")
    assert message.endswith(
        "the folder has no .xml file and no comp3_ or comp4_det_SET_CLASS.txt, but a.txt: is it of "
        "another format?"
    )


def test_images_and_classes_that_the_references_lack_are_wrong(tmp_path: Path) -> None:
    ref = write(tmp_path / "ref", {"a.xml": REF})
    files: dict[str, str | bytes] = {
        "a.xml": PRED,
        "b.xml": PRED,
        "c.xml": "<annotation/>",
        "sub/a.xml": PRED.replace("cat", "kite"),
    }
    summary = score(write(tmp_path / "pred", files), ref, format="voc")
    assert summary["precision"] == pytest.approx(1 / 3)
    assert any("2 predictions on 2 images that the references" in n for n in summary["notes"])
    assert any("('kite': 1): counted as wrong" in n for n in summary["notes"])


DEVKIT: dict[str, str | bytes] = {
    "comp4_det_test_cat.txt": b"\xef\xbb\xbfa 0.9 1 1 9 9\r\nb 0.25 3.5 1 12.5 9\r\n",
    "comp4_det_test_traffic_light.txt": "a\t0.5 1 1 9 9\n\nmy image 0.125 1 1 9 9",
    "comp4_det_test_dog.txt": "",
}


def test_results_of_the_development_kit(tmp_path: Path) -> None:
    side = read(tmp_path / "pred", DEVKIT, scored=True)
    found = side.boxes.predictions(*side.boxes.codes())
    assert [side.images.ids.ids[i] for i in found.image] == ["a", "b", "a", "my image"]
    kinds = [side.categories.ids.ids[i] for i in found.category]
    assert kinds == ["cat", "cat", "traffic_light", "traffic_light"]
    assert found.score.tolist() == [0.9, 0.25, 0.5, 0.125]
    assert found.box.tolist() == [[0, 0, 9, 9], [2.5, 0, 10, 9], [0, 0, 9, 9], [0, 0, 9, 9]]
    one = formats.read_side(tmp_path / "pred/comp4_det_test_cat.txt", "voc", True)
    assert one.boxes.count == 2
    ref = write(tmp_path / "ref", {"a.xml": REF, "b.xml": "<annotation/>"})
    data = formats.read(tmp_path / "pred/comp4_det_test_cat.txt", ref, "voc")
    assert evaluate_data(data).values["AP"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("comp3_det_val_dog.txt", "dog"),
        ("comp4_5a1c-uuid_det_test_diningtable.txt", "diningtable"),
        ("results_comp4_det_test2007_car.TXT", "car"),
        ("out/COMP4_DET_test_car.txt", "car"),
    ],
)
def test_names_of_results(tmp_path: Path, name: str, kind: str) -> None:
    side = read(tmp_path / "pred", {name: "a 1 1 1 9 9"}, scored=True)
    assert side.categories.ids.ids == [kind]


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"comp3_det_test_cat.txt": ""}, "is of the same class as comp3_det_test_cat.txt: keep"),
        ({"a.xml": PRED}, "a.xml and comp4_det_test_cat.txt are two kinds of predictions"),
        ({"comp4_det_test_cat.txt": "a 0.9 1 1 9"}, "line 1 is 'a 0.9 1 1 9': image score xmin"),
        ({"comp4_det_test_cat.txt": "a x 1 1 9 9"}, "line 1, score is 'x': a number"),
        ({"comp4_det_test_cat.txt": "a 1 1 1 9 9\na 1 nan 1 9 9"}, "line 2, xmin is nan"),
        ({"comp4_det_test_cat.txt": "a inf 1 1 9 9"}, "line 1, score is inf"),
        ({"comp4_det_test_cat.txt": "a 1 1 1 9 9".encode("utf-16")}, "is text in UTF-16"),
    ],
)
def test_bad_results(tmp_path: Path, files: dict[str, str | bytes], wanted: str) -> None:
    with pytest.raises(LossexportError) as caught:
        read(tmp_path / "pred", {**DEVKIT, **files}, scored=True)
    assert wanted in str(caught.value)


def test_a_file_that_is_no_result(tmp_path: Path) -> None:
    write(tmp_path, {"cat.txt": "a 1 1 1 9 9"})
    message = refusal(tmp_path / "cat.txt", tmp_path, "voc", ref_format="voc")
    assert "cat.txt" in message
    with pytest.raises(LossexportError, match="a folder, or a file of results"):
        formats.read_side(tmp_path / "cat.txt", "voc", True)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(
    "doctype", ["<!DOCTYPE annotation>", '<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;&b;">]>']
)
def test_a_document_type_is_refused_with_one_path_and_reason(
    tmp_path: Path, encoding: str, doctype: str
) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?>{doctype}<annotation/>'
    ref = write(tmp_path / "ref", {"a.xml": text.encode(encoding)})
    message = refusal(write(tmp_path / "pred", {"a.xml": PRED}), ref, "voc")
    assert message == f"{ref}/a.xml: DOCTYPE is refused: it could declare entities"


BAD = {
    "no score": (REF, "object[0]/score is missing; there is name, bndbox"),
    "no box": (voc("<score>1</score><robndbox/>"), "object[0]/bndbox is missing; there is name, "),
    "no corner": (voc("<score>1</score><bndbox/>"), "object[0]/bndbox/xmin is missing"),
    "two corners": (
        PRED.replace("<xmin>", "<xmin>5</xmin><xmin>"),
        "object[0]/bndbox has 2 xmin: one is expected",
    ),
    "second box": (
        voc(f"<score>1</score>{CORNERS}{OTHER.replace('>40<', '>x<')}"),
        "object[0]/bndbox[1]/xmax is 'x'",
    ),
    "two names": (PRED.replace("<name>", "<name>dog</name><name>"), "object[0] has 2 name"),
    "word": (voc(f"<score>high</score>{CORNERS}"), "object[0]/score is 'high'"),
    "nan": (voc(f"<score>nan</score>{CORNERS}"), "object[0]/score is nan"),
    "inf": (PRED.replace(">9<", ">inf<"), "object[0]/bndbox/xmax is inf"),
    "not xml": ("<annotation>", "not XML"),
    "binary": ("\x00\x01", "not XML"),
    "two roots": (f"{PRED}{PRED}", "not XML: junk after document element"),
    "unknown encoding": ('<?xml version="1.0" encoding="x"?><annotation/>', "not XML"),
    "another root": ("<html/>", "root element is 'html'"),
    "objects within": (
        PRED.replace("<object>", "<all><object>").replace("</object>", "</object></all>"),
        "an object lies within another element than annotation",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(tmp_path: Path, name: str) -> None:
    text, wanted = BAD[name]
    pred = write(tmp_path / "pred", {"a.xml": text})
    message = refusal(pred, write(tmp_path / "ref", {"a.xml": REF}), "voc")
    assert message.startswith(f"{pred}/a.xml: {wanted}"), message


def test_bad_references(tmp_path: Path) -> None:
    pred = write(tmp_path / "pred", {"a.xml": PRED})
    for body, wanted in (
        (
            f"<difficult>maybe</difficult>{CORNERS}",
            "object[0]/difficult is 'maybe': one of 1, true",
        ),
        (
            CORNERS.replace("<xmax>9<", "<xmax>-9<"),
            "object[0]/bndbox/width (xmax - xmin + 1) is -9",
        ),
    ):
        ref = write(tmp_path / "ref", {"a.xml": voc(body)})
        assert wanted in refusal(pred, ref, "voc")


def test_a_large_file(tmp_path: Path) -> None:
    pred = write(tmp_path / "pred", {"a.xml": PRED})
    deep = 80_000
    text = f"<annotation>{'<a>' * deep}{'</a>' * deep}</annotation>"
    ref = write(tmp_path / "ref", {"a.xml": text})
    assert len(formats.read(pred, ref, "voc").references) == 0
    write(ref, {"a.xml": f"<annotation>{' ' * (1 << 20)}</annotation>"})
    message = refusal(pred, ref, "voc")
    assert "a.xml: 1048601 bytes, more than the limit of 1048576" in message
