"""Cutting JSON into slices finds the same elements as reading it whole."""

import json
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossexport.errors import LossexportError
from lossexport.scoring.formats import json_stream
from lossexport.scoring.formats.json_stream import JsonStream
from lossexport.scoring.formats.source import Source
from tests.scoring.helpers import Json

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
    structure = json_stream._structure
    monkeypatch.setattr(
        json_stream, "_structure", lambda text: scanned.append(len(text)) or structure(text)
    )

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
