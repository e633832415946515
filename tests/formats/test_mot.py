"""MOT text as the challenges and tools write it."""

from pathlib import Path

import pytest

from lossexport import formats
from lossexport.boxes.boxset import Dataset
from lossexport.boxes.side import Side
from lossexport.errors import LossexportError
from lossexport.formats import mot as mot_format
from lossexport.scoring import score
from tests.boxes.helpers import evaluate_data, refusal


def mot(tmp_path: Path, pred: str | bytes, ref: str | bytes) -> Dataset:
    for name, text in (("det.txt", pred), ("gt.txt", ref)):
        (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return formats.read(tmp_path / "det.txt", tmp_path / "gt.txt", "mot")


def read(tmp_path: Path, text: str | bytes, *, scored: bool = True) -> Side:
    (tmp_path / "a.txt").write_bytes(text.encode() if isinstance(text, str) else text)
    return formats.read_side(tmp_path / "a.txt", "mot", scored)


def test_with_classes(tmp_path: Path) -> None:
    ref = "1,1,10,10,20,40,1,1,0.9\r\n1,2,60,10,20,40,0,1,0.5\r\n\r\n2,1,11,10,20,40,1,2,1\r\n"
    pred = "1,-1,10,10,20,40,0.9,1\n1,-1,61,10,20,40,8.5,1\n3,-1,0,0,-5,9,0.1,2\n"
    data = mot(tmp_path, pred, ref)
    assert data.images == [1, 2, 3]
    assert [kind.id for kind in data.categories] == [1, 2]
    assert data.references.ignored.tolist() == [False, True, False]
    assert data.predictions.score.tolist() == [0.9, 8.5, 0.1]
    assert data.predictions.box[2].tolist() == [0, 0, -5, 9]
    assert evaluate_data(data).values["AP50"] == pytest.approx(0.5, abs=1e-12)
    assert len(data.notes) == 1
    assert "1 prediction on 1 image that the references do not have" in data.notes[0]


def test_without_classes_the_class_is_ignored(tmp_path: Path) -> None:
    ref = "1,1,10,10,20,40,1,1,0.9\n1,2,60,10,20,40,1,7,0.5\n"
    data = mot(tmp_path, "1,-1,10,10,20,40,0.9,-1,-1,-1\n1,-1,60,10,20,40,0.8,-1,-1,-1\n", ref)
    assert len(data.categories) == 1
    assert evaluate_data(data).values["AP"] == pytest.approx(1, abs=1e-12)
    assert "no class" in data.notes[0]
    assert evaluate_data(mot(tmp_path, "1,-1,10,10,20,40,0.9\n", ref)).values["AR1"] == 0.5


@pytest.mark.parametrize("text", ["", "\n", "\ufeff", " \r\n"])
def test_without_predictions(tmp_path: Path, text: str) -> None:
    ref = "1,1,10,10,20,40,1,7,0.9\n"
    data = mot(tmp_path, text, ref)
    assert (len(data.predictions), len(data.references)) == (0, 1)
    assert [kind.id for kind in data.categories] == [7]
    assert data.notes == []
    assert evaluate_data(data).values["AP"] == 0
    assert refusal(tmp_path / "gt.txt", tmp_path / "det.txt", "mot").endswith("file has no box")


@pytest.mark.parametrize("block", [1 << 20, 64])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("between", [",", " ", "\t", ", ", "  ", " , "])
def test_separators_line_ends_marks_and_blocks(
    tmp_path: Path, block: int, end: str, between: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [[i % 7, i, i, 2 * i, 10, 20, (i % 11) / 10, 1] for i in range(60)]
    whole = read(tmp_path, "\n".join(",".join(map(str, row)) for row in rows))
    monkeypatch.setattr(mot_format, "BLOCK", block)
    text = "".join(between.join(map(str, row)) + end for row in rows)
    side = read(tmp_path, b"\xef\xbb\xbf" + text.encode())
    wanted, found = (s.boxes.predictions(*s.boxes.codes()) for s in (whole, side))
    assert (found.box == wanted.box).all()
    assert (found.image == wanted.image).all()
    assert (found.score == wanted.score).all()
    assert side.images.ids.ids == whole.images.ids.ids
    broken = f"{text}1,1,x,1,1,1,1,1{end}"
    with pytest.raises(LossexportError, match=r"line 61, x is 'x'"):
        read(tmp_path, broken)


@pytest.mark.parametrize("end", ["", ",", ", ", ",0.5,", ",-1,-1,-1", ",-1,car"])
def test_the_end_of_a_line(tmp_path: Path, end: str) -> None:
    side = read(tmp_path, f"1.0,1,2,3,4,5,0.5{end}\n2,1,2,3,4,5,0.5,-1\n")
    assert side.images.ids.ids == [1, 2]
    assert side.boxes.count == 2


def test_a_heading_is_passed_over_with_a_note(tmp_path: Path) -> None:
    side = read(tmp_path, "frame,id,x,y,w,h,conf\n1,1,2,3,4,5,0.5\n")
    assert side.boxes.count == 1
    assert side.notes == ["a.txt: line 1, 'frame,id,x,y,w,h,conf', is read as a heading."]


ROW = "1,1,2,3,4,5,0.5"


@pytest.mark.parametrize("value", ["-1.52", "2.25", "-2", "-3.0", "1e-3", "-1e9"])
@pytest.mark.parametrize("place", [0, 1, 40])
@pytest.mark.parametrize("others", ["3", "-1", "200000", "nan"])
def test_world_coordinates_are_no_classes_wherever_they_are(
    tmp_path: Path, value: str, place: int, others: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mot_format, "BLOCK", 64)
    lines = [f"{ROW},{others}"] * 41
    lines[place] = f"{ROW},{value}"
    side = read(tmp_path, "\n".join(lines))
    assert side.boxes.count == 41
    assert side.classes is False
    assert side.notes == [
        "a.txt: column 8 has fractions or negative numbers, as the world coordinates of MOT15: it "
        "is read as no class."
    ]


def test_world_coordinates_of_references_match_without_class(tmp_path: Path) -> None:
    ref = "1,1,10,10,100,100,1,-1.52,3.4,0\n2,1,12,10,100,100,1,2.25,3.4,0\n"
    pred = "1,-1,12,11,99,98,0.9,4\n1,-1,205,52,78,60,0.8,4\n2,-1,12,12,99,99,0.7,5\n"
    data = mot(tmp_path, pred, ref)
    assert evaluate_data(data).values["AR1"] > 0.8
    assert data.notes[1] == "gt.txt has no class: boxes are matched without regard to class."


@pytest.mark.parametrize(
    ("line", "noted"),
    [
        ("1,1,10,10,20,40,1,3,4,0", True),
        ("1 1 10 10 20 40 1 3 4 0", True),
        ("frame,id,x,y,w,h,conf,a,b,c\n1,1,10,10,20,40,1,3,4,0", True),
        ("1,1,10,10,20,40,1,3,0.9", False),
        ("1,1,10,10,20,40,1,-1,-1,-1", False),
        ("1,1,10,10,20,40,1,0.5,4,0", False),
    ],
)
def test_whole_coordinates_are_read_as_classes_with_a_note(
    tmp_path: Path, line: str, noted: bool
) -> None:
    wanted = (
        "a.txt: lines have 10 fields, as those of MOT15, where column 8 is a coordinate: it is "
        "read as the class."
    )
    assert (wanted in read(tmp_path, line, scored=False).notes) == noted


def test_a_region_that_does_not_count_acts_on_every_class(tmp_path: Path) -> None:
    ref = "1,1,10,10,100,100,1,1,1\n1,3,400,50,50,60,0,7,0.2\n1,4,600,50,50,60,0,8,0.2\n"
    pred = "1,-1,10,10,100,100,0.9,1\n1,-1,400,50,50,60,0.6,1\n1,-1,600,50,50,60,0.6,2\n"
    mot(tmp_path, pred, ref)
    counts = score(tmp_path / "det.txt", tmp_path / "gt.txt", format="mot")
    assert counts["precision"] == 1
    assert counts["counts"]["ignored_predictions"] == 2
    assert counts["counts"]["ignored_references"] == 2


BAD: dict[str, tuple[str | bytes, str]] = {
    "few fields": ("1,1,2,3,4,5", "line 1 is '1,1,2,3,4,5'"),
    "semicolons": (
        "1;1;2;3;4;5;1",
        "line 1 is '1;1;2;3;4;5;1': frame,id,x,y,w,h,conf are expected, with commas, not semi",
    ),
    "word": ("1,1,2,3,4,5,0.5,1\n1,1,2,x,4,5,0.5,1", "line 2, y is 'x'"),
    "nothing": ("1,1,,3,4,5,0.5,1", "line 1, x is ''"),
    "nan": ("1,1,2,3,4,5,0.5,1\n\n1,1,nan,3,4,5,0.5,1", "line 3, x is nan"),
    "score": ("1,1,2,3,4,5,inf,1", "line 1, conf is inf"),
    "frame": ("1.5,1,2,3,4,5,0.5,1", "line 1, frame is 1.5"),
    "negative frame": ("-1,1,2,3,4,5,0.5,1", "line 1, frame is -1.0"),
    "class": ("1,1,2,3,4,5,0.5,100000", "line 1, class is 100000.0: a whole number from 0 to"),
    "no class": ("1,1,2,3,4,5,0.5,1\n1,1,2,3,4,5,0.5,nan", "line 2, class is nan"),
    "some classes": (
        "1,1,2,3,4,5,0.5,1\n1,1,2,3,4,5,0.5,-1\n1,1,2,3,4,5,0.5,1",
        "line 2, class is -1: some lines have a class and some do not (1 of 3 have none)",
    ),
    "other frames": ("9,1,2,3,4,5,0.5,1", "no image in common"),
    "binary": ("1,1,2,3,4,5,0.5,é", "is not a text file"),
    "UTF-16": ("1,1,2,3,4,5,0.5".encode("utf-16"), "is text in UTF-16: save it as UTF-8"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_lines(tmp_path: Path, name: str) -> None:
    text, wanted = BAD[name]
    (tmp_path / "pred.txt").write_bytes(text.encode() if isinstance(text, str) else text)
    (tmp_path / "ref.txt").write_text("1,1,2,3,4,5,1,1,1\n")
    message = refusal(tmp_path / "pred.txt", tmp_path / "ref.txt", "mot")
    assert message.startswith(f"{tmp_path}/pred.txt: {wanted}"), message
