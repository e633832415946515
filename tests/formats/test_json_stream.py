"""Cutting JSON into slices finds the same elements as reading it whole."""

import json
import re
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossexport.errors import LossexportError
from lossexport.formats.coco import json_stream, json_text
from lossexport.formats.coco.json_stream import JsonStream
from lossexport.formats.source import Source
from tests.boxes.helpers import Json

RAW = msgspec.json.Decoder(list[msgspec.Raw])

text = st.text(alphabet='{}[],:"\\ aé\n', max_size=6)
leaf = st.none() | st.booleans() | st.integers(-9, 9) | text
value = st.recursive(
    leaf, lambda v: st.lists(v, max_size=4) | st.dictionaries(text, v, max_size=4), max_leaves=12
)
objects = st.lists(st.dictionaries(text, value, max_size=4), max_size=12)
separators = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n ", " :\t")])


def rows(stream: JsonStream, field: str = "") -> Json:
    return [json.loads(bytes(raw)) for block in stream.rows(RAW, field) for raw in block]


def with_block(size: int, path: Path, take: Json) -> Json:
    with pytest.MonkeyPatch.context() as patch, Source(path) as source:
        patch.setattr(json_stream, "BLOCK", size)
        patch.setattr(json_stream, "WINDOW", size)
        return take(JsonStream(source))


@settings(max_examples=60, deadline=None)
@given(st.lists(value, max_size=8) | objects, separators, st.integers(1, 40))
def test_a_list_in_small_blocks(items: Json, marks: tuple[str, str], block: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.json")
        path.write_text(json.dumps(items, separators=marks), "utf-8")
        assert with_block(block, path, rows) == items


@settings(max_examples=60, deadline=None)
@given(objects, objects, value, separators, st.integers(1, 40))
def test_a_dictionary_in_small_blocks(
    first: Json, second: Json, other: Json, marks: tuple[str, str], block: int
) -> None:
    document = {"first": first, 'o"{': other, "second": second}

    def take(stream: JsonStream) -> Json:
        found = {}
        for key in stream.members():
            if key in ("first", "second"):
                found[key] = rows(stream, key)
            else:
                stream.skip()
        stream.end()
        return found

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.json")
        path.write_text("\ufeff" + json.dumps(document, separators=marks, indent=1), "utf-8")
        assert with_block(block, path, take) == {"first": first, "second": second}


@settings(max_examples=60, deadline=None)
@given(objects.filter(bool), st.data(), st.integers(1, 40))
def test_every_cut_file_is_refused(items: Json, data: st.DataObject, block: int) -> None:
    whole = json.dumps(items)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.json")
        path.write_text(whole[:cut])
        with pytest.raises(LossexportError, match=r"x\.json: .*(ends early|not JSON|expected)"):
            with_block(block, path, rows)


@pytest.mark.parametrize(
    "text",
    [
        "[1,]",
        "[,]",
        "[1,,2]",
        '[{"a":1},]',
        '[{"a":1} {"a":2}]',
        "[1]]",
        "[1] x",
        "[tru]",
        "[\x01]",
    ],
)
@pytest.mark.parametrize("block", [1, 1 << 20])
def test_what_is_not_json(tmp_path: Path, text: str, block: int) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)

    def take(stream: JsonStream) -> None:
        rows(stream)
        stream.end()

    with pytest.raises(LossexportError, match=r"x\.json: not JSON"):
        with_block(block, path, take)


class Row(msgspec.Struct):
    """A row of which one field is used."""

    a: float | str | None = None


ROWS = msgspec.json.Decoder(list[Row])
SURROGATE = re.compile("[\ud800-\udfff]")
PIECES = [
    *'[]{}[]{},,::""\\ \t\n\r\f\v\x00\x01\x7f/1230-+.eE',
    *["NaN", "Infinity", "-Infinity", "null", "true", "nul", "01", "1.", "-", "1e5", "1e999"],
    *["\\ud800", "\\udc00\\ud800", "\\ud83d\\ude00", "\\u12", "\\q", "\ufeff", "é", '"a":', '"b":'],
    *["},{", "}, {", "}\f,{", "[]", "{}", '"', "[[", "}}", "]]"],
]
odd = st.sampled_from(
    [float("nan"), float("inf"), -float("inf"), "\ud800", "\udc00x", 10**400, "é"]
)
rich = st.recursive(
    leaf | odd, lambda v: st.lists(v, max_size=3) | st.dictionaries(text, v, max_size=3)
)
documents = st.lists(st.dictionaries(st.sampled_from("abc"), rich, max_size=3), max_size=6)


def python_reads(data: bytes) -> Json:
    """What json.loads makes of `data`, and whether it reads it at all."""
    try:
        return json.loads(data.decode("utf-8-sig")), True
    except (ValueError, RecursionError):
        return None, False


def usable(value: Json) -> bool:
    """Whether the field `a` of `Row` may take `value`."""
    if isinstance(value, str):
        return not SURROGATE.search(value)
    if isinstance(value, bool | list | dict):
        return False
    return value is None or abs(value) < 1e308


def judged(data: bytes, block: int, take: Json) -> Json:
    """What `take` makes of the text, and why it was refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.json")
        path.write_bytes(data)
        try:
            return with_block(block, path, take), ""
        except LossexportError as error:
            message = str(error)
            assert "\n" not in message
            message.encode()  # it can be printed
            return None, message


def skipped(stream: JsonStream) -> bool:
    """Read the whole text and use nothing of it."""
    if stream.peek() == b"{":
        for _ in stream.members():
            stream.skip()
    else:
        stream.skip()
    stream.end()
    return True


def used(stream: JsonStream) -> list[Json]:
    found = [row.a for block in stream.rows(ROWS, "") for row in block]
    stream.end()
    return found


@settings(max_examples=150, deadline=None)
@given(documents, st.booleans(), st.data(), st.sampled_from([1, 7, 256, 1 << 20]))
def test_what_python_reads_is_read_and_nothing_else(
    items: Json, wrapped: bool, data: st.DataObject, block: int
) -> None:
    """A text with pieces put in, taken out or doubled is judged by Python and by us."""
    document = {"first": items, "info": items[0] if items else None} if wrapped else items
    whole = json.dumps(document, ensure_ascii=data.draw(st.booleans())).encode(
        "utf-8", "surrogatepass"
    )
    for _ in range(data.draw(st.integers(0, 3))):
        start = data.draw(st.integers(0, len(whole)))
        stop = data.draw(st.integers(start, min(start + 3, len(whole))))
        piece = data.draw(st.sampled_from(PIECES).map(str.encode) | st.binary(max_size=2))
        whole = whole[:start] + piece + whole[stop:]
    value, reads = python_reads(whole)
    _, refused = judged(whole, block, skipped)
    if "appears twice" not in refused:
        assert (not refused) == reads, refused
    if not isinstance(value, dict):
        found, refused = judged(whole, block, used)
        rows = value if reads and isinstance(value, list) else None  # a file has rows
        fits = all(isinstance(row, dict) and usable(row.get("a")) for row in rows or [])
        assert (not refused) == (rows is not None and fits), refused
        if not refused:
            assert found == [row.get("a") for row in rows or []]


@pytest.mark.parametrize("block", [1, 1 << 20])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'[{"x":"\xff"}]', "not UTF-8 at byte 7"),
        (b'[{"x":"\xed\xa0\x80" 2}]', "not UTF-8 at byte 7"),
        (b'[{"x":"\xc3', "not UTF-8 at byte 7"),
        (b"[}", "not JSON at byte 1: a list ends with }"),
        (b'[{"a":1}}', "not JSON at byte 8: a list ends with }"),
        (b'[{"a":1}\f,{"a":1}]', "not JSON at byte 8: Expecting ',' delimiter"),
        (b'{"k":[1}}', "not JSON at byte 7: a list ends with }"),
        (b'{"k":{"x":1]}', "not JSON at byte 5: a value that is not used cannot be read"),
        (b"{1:2}", "not JSON at byte 1: a key in quotes is missing"),
        (b'{"k":1,}', "not JSON at byte 7: a key in quotes is missing"),
        (b'{"k":1,"k":2}', "key is 'k': appears twice"),
        (b'{"\\ud800":1,"\\ud800":2}', "key is '\\\\ud800': appears twice"),
        (b"[" * 100_000, "the file ends early, at byte 100000"),
        (b"[" + b"[" * 5000 + b"]" * 5001, "not JSON at byte 1: an element is nested too deeply"),
    ],
)
def test_texts_that_are_refused(
    tmp_path: Path, text: bytes, message: str, block: int, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(partial(sys.setrecursionlimit, sys.getrecursionlimit()))
    sys.setrecursionlimit(1000)  # compilers in other tests raise it
    (tmp_path / "x.json").write_bytes(text)
    with pytest.raises(LossexportError) as caught:
        with_block(block, tmp_path / "x.json", skipped)
    assert str(caught.value).partition("x.json: ")[2].startswith(message)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_wide_text_is_called_so(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "x.json").write_text("[]", encoding)
    with pytest.raises(LossexportError, match=r"x\.json: is UTF-16 or UTF-32: save it as UTF-8$"):
        with_block(1 << 20, tmp_path / "x.json", skipped)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("NaN", "[1].a is nan: must be a finite number"),
        ("-Infinity", "[1].a is -inf: must be a finite number"),
        ("1e999", "[1].a is inf: must be a finite number"),
        ('"\\ud800"', "[1].a is '\\ud800': has half of a surrogate pair"),
    ],
)
def test_values_that_no_field_can_use(tmp_path: Path, value: str, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(f'[{{"a":1,"b":{value}}},{{"a":2,"{value.strip(chr(34))}":[{value}]}}]')
    assert with_block(1 << 20, path, used) == [1, 2]
    path.write_text(f'[{{"a":1}},{{"a":{value}}}]')
    with pytest.raises(LossexportError) as caught:
        with_block(1 << 20, path, used)
    assert str(caught.value) == f"{path}: {message}"


def test_one_huge_value_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "MAX_VALUE", 1000)
    path = tmp_path / "x.json"
    path.write_text(json.dumps([{"a": "x" * 5000}]))
    with pytest.raises(LossexportError, match="longer than 1000 bytes"):
        with_block(64, path, rows)


@pytest.mark.parametrize("value", ["{}", "[1]", '[{"a":1},{"b":1}]'])
def test_short_values_are_not_looked_for_in_the_whole_buffer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    document = "{" + ",".join(f'"{key}":{value}' for key in range(5000)) + "}"
    scanned = []
    structure = json_text.structure

    def counted(text: bytes) -> Any:
        scanned.append(len(text))
        return structure(text)

    monkeypatch.setattr(json_text, "structure", counted)

    def take(stream: JsonStream) -> None:
        for _ in stream.members():
            stream.skip()
        stream.end()

    path = tmp_path / "x.json"
    path.write_text(document)
    with Source(path) as source:
        take(JsonStream(source))
    assert sum(scanned) <= 2 * 5000 * json_stream.WINDOW
    monkeypatch.setattr(json_stream, "MAX_KEYS", 4999)
    with Source(path) as source, pytest.raises(LossexportError, match="more than 4999 keys"):
        take(JsonStream(source))
