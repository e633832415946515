"""Rows of COCO json that the library reads: the same columns and messages as without it."""

import gzip
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lossexport.boxes.side import Side
from lossexport.errors import LossexportError
from lossexport.formats.coco import json_stream, plain, reader
from lossexport.formats.source import ignore_progress
from lossexport.runtime.rows import CLOSED, CUT, ODD, Reader, number_ids

pytestmark = pytest.mark.skipif(not plain.available(), reason="no library of native kernels")

HEAD = '{"images": [{"id": 1}, {"id": 2}], "categories": [{"id": 1}, {"id": 7}], "annotations": '
NUMBERS = (
    *("0", "-0", "-0.0", "7", "12345678", "-3.25", "1e3", "1E-7", "2.5e+2", "0.1", "100.10"),
    *("0.30000000000000004", "9007199254740993", "123456789012345678901", "5e-324", "1e-400"),
    *(
        "179769313486231570000",
        "1.7976931348623157e308",
        "1e400",
        "01",
        "1.",
        ".5",
        "+1",
        "-",
        "1e",
    ),
    *("NaN", "Infinity", "null", "true", '"3"', "[1]", "12345678.12345678", "4.35", "2.675"),
    "0.000000000000000000000000000012345678901234567890",
)
KEYS = (
    "image_id",
    "category_id",
    "bbox",
    "score",
    "id",
    "area",
    "iscrowd",
    "ignore",
    "log_variance",
)
EXTRA = (
    *('"segmentation": [[1.5, 2], []]', '"x": {"a": [null, true, {"b": "c"}]}', '"k": "\\u00e9"'),
    *('"caption": "plain \u00e9 text"', '"caption": "a\\"b"', '"caption": "tab\there"'),
    *(
        '"deep": ' + "[" * 40 + "]" * 40,
        '"image_id": 2',
        '"score": 0.5',
        '"": 1',
        '"y": 01',
        '"y": tru',
    ),
)
WRONG = (b"", b",", b"}", b"]", b'"', b"\x00", b"\xff", b"9", b"\\")


def columns(side: Side) -> list[bytes]:
    image, category = side.boxes.codes()
    kept = [image.tobytes(), category.tobytes(), repr(side.images.ids.ids).encode()]
    kept += [repr((side.categories.ids.ids, side.notes, side.input)).encode()]
    if side.annotation_ids is None:
        pred = side.boxes.predictions(image, category)
        variance = b"" if pred.log_variance is None else pred.log_variance.tobytes()
        return [*kept, pred.box.tobytes(), pred.score.tobytes(), variance]
    ref = side.boxes.references(image, category, side.annotation_ids)
    kept += [side.annotation_ids.tobytes(), repr(side.images.rows).encode()]
    return [*kept, ref.box.tobytes(), ref.area.tobytes(), ref.ignored.tobytes()]


def result(path: Path, scored: bool) -> list[bytes] | str:
    try:
        return columns(reader.read(path, scored, ignore_progress))
    except LossexportError as error:
        return str(error)


def both(path: Path, scored: bool, block: int = json_stream.BLOCK) -> list[bytes] | str:
    """What is read, after checking that it does not depend on the library."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "BLOCK", block)
        with_library = result(path, scored)
        patch.setattr(plain, "available", lambda: False)
        assert result(path, scored) == with_library
    return with_library


def is_plain(path: Path, scored: bool) -> bool:
    return reader._read_plain(path, scored, ignore_progress) is not None


@st.composite
def rows(draw: st.DrawFn, scored: bool) -> str:
    """A list that is mostly sound."""
    usual = st.sampled_from(["1", "2", "7", "0.5", "12.25", "300.125"])
    number = st.one_of(*[usual] * 9, st.sampled_from(NUMBERS))
    whole = st.one_of(*[st.sampled_from(["1", "2"])] * 12, st.sampled_from(NUMBERS))
    space = st.sampled_from(["", "", " ", "\n", " \t\r\n "])
    found = []
    for place in range(draw(st.integers(0, 6))):
        sides = draw(st.sampled_from([4] * 9 + [3]))
        fields = {
            "image_id": draw(whole),
            "category_id": draw(whole),
            "bbox": f"[{', '.join(draw(number) for _ in range(sides))}]",
        }
        if scored:
            fields["score"] = draw(number)
        else:
            fields |= {"id": str(place), "area": draw(number), "iscrowd": draw(whole)}
        for key in draw(st.lists(st.sampled_from(KEYS), max_size=1)):
            fields[key] = draw(number)
        for key in draw(st.lists(st.sampled_from([*fields, *[""] * 40]), max_size=1)):
            fields.pop(key, None)
        texts = [f'"{key}":{draw(space)}{value}' for key, value in fields.items()]
        texts += draw(st.lists(st.sampled_from(EXTRA), max_size=1))
        if draw(st.booleans()):
            texts = draw(st.permutations(texts))
        found.append("{" + f"{draw(space)},{draw(space)}".join(texts) + draw(space) + "}")
    return "[" + draw(space) + f"{draw(space)},{draw(space)}".join(found) + draw(space) + "]"


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_text_gives_the_same_columns_or_message(data: st.DataObject) -> None:
    scored = data.draw(st.booleans())
    text = data.draw(rows(scored))
    if not scored or data.draw(st.sampled_from([False, False, True])):
        text = HEAD + text + data.draw(st.sampled_from(["}", "}", ', "info": {}}', "", "]"]))
    raw = text.encode()
    for _ in range(data.draw(st.sampled_from([0, 0, 1, 2]))):
        at = data.draw(st.integers(0, len(raw)))
        cut = data.draw(st.integers(0, 3))
        new = data.draw(
            st.sampled_from([b"", b",", b"}", b"]", b'"', b"\x00", b"\xff", b"9", b"\\"])
        )
        raw = raw[:at] + new + raw[at + cut :]
    block = data.draw(st.sampled_from([1, 7, 60, 1 << 20]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "case.json")
        path.write_bytes(raw)
        both(path, scored, block)


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers(text: str, tmp_path: Path) -> None:
    path = tmp_path / "dets.json"
    row = f'{{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, {text}], "score": {text}}}'
    path.write_text(f"[{row}, {row}]")
    both(path, True)


def test_random_numbers_are_read_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**63, 20_000, dtype=np.int64).view(np.float64)
    wanted = np.concatenate(
        [bits[np.isfinite(bits)], rng.random(20_000), rng.normal(size=9) * 1e18]
    )
    short = np.round(rng.random(20_000) * 1000, 3)
    for values in (wanted, short):
        texts = [
            f'{{"image_id":1,"category_id":1,"bbox":[{v!r},{-v!r},1,2],"score":{v!r}}}'
            for v in values.tolist()
        ]
        given_rows = ",".join(texts).encode() + b"]"
        found, used, end = Reader(scored=True).read(given_rows, 0, 0.0)
        assert (used, end) == (len(given_rows), CLOSED)
        assert found.score.tobytes() == values.tobytes()
        assert found.box[:, 1].tobytes() == (-values).tobytes()


def test_which_files_are_plain(tmp_path: Path) -> None:
    row = {"image_id": 1, "category_id": 7, "bbox": [1, 2.5, 3, 4], "score": 0.5}
    path = tmp_path / "dets.json"
    for more, expected in (
        ({}, True),
        ({"segmentation": {"size": [2, 2], "counts": "abc"}, "area": 3, "id": 4}, True),
        ({"log_variance": None}, True),
        ({"log_variance": [0.0] * 4}, False),
        ({"image_id": "1"}, False),
        ({"note": "a\nb"}, False),
    ):
        path.write_text(json.dumps([row, row | more]))
        assert is_plain(path, True) is expected, more
        assert not isinstance(both(path, True), str)
    packed = tmp_path / "dets.json.gz"
    packed.write_bytes(gzip.compress(json.dumps([row] * 5000).encode()))
    assert is_plain(packed, True)
    truth = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4]}
    path.write_text(
        HEAD + json.dumps([truth | {"id": i, "iscrowd": i % 2} for i in range(9)]) + "}"
    )
    assert is_plain(path, False)
    assert not isinstance(both(path, False), str)


def test_columns_grow(tmp_path: Path) -> None:
    """Rows of very different lengths, so that what is expected of the rest of a file is wrong."""
    rng = np.random.default_rng(1)
    long = {"segmentation": [0.125] * 400}
    rows = [
        {"image_id": i, "category_id": 1, "bbox": rng.random(4).tolist(), "score": 0.5}
        | (long if i < 300 else {})
        for i in range(30_000)
    ]
    path = tmp_path / "dets.json"
    path.write_text(json.dumps(rows))
    assert is_plain(path, True)
    found = both(path, True, 1 << 12)
    assert found[4] == np.array([row["bbox"] for row in rows]).tobytes()


def test_reader_says_why_it_stops() -> None:
    row = b'{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5}'
    for text, count, used, end in (
        (b"]", 0, 1, CLOSED),
        (b"", 0, 0, CUT),
        (row, 0, 0, CUT),
        (row + b" ,", 1, len(row) + 2, CUT),
        (row + b"," + row[:-4], 1, len(row) + 1, CUT),
        (row + b", ]", 1, len(row) + 1, ODD),
        (row + b"," + row + b"]", 2, 2 * len(row) + 2, CLOSED),
        (row + b",[]", 1, len(row) + 1, ODD),
    ):
        found, taken, why = Reader(scored=True).read(text, 0, 0.0)
        assert (len(found), taken, why) == (count, used, end), text


def test_ids_are_numbered_by_appearance() -> None:
    rng = np.random.default_rng(2)
    ids = np.concatenate([rng.integers(-(2**62), 2**62, 3000), np.arange(5000) % 700])
    rng.shuffle(ids)
    number, distinct = number_ids(ids)
    assert distinct.tolist() == list(dict.fromkeys(ids.tolist()))
    assert (distinct[number] == ids).all()
