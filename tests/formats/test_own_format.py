"""Formats of installed packages: found by entry points, read as columns, refused in one line."""

import hashlib
import json
import re
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner

from lossexport.boxes.assemble import dataset
from lossexport.cli import cli
from lossexport.errors import LossexportError
from lossexport.formats import FORMATS, Format, columns, read_side
from lossexport.formats.columns import side_of
from lossexport.registry import Registry
from lossexport.scoring import score
from tests.boxes.helpers import coco, found, truth
from tests.conftest import ROOT
from tests.packages import install

CODE = """
import json
from lossexport.formats import Format

def read(path, scored):
    rows = json.loads(path.read_text("utf-8"))
    columns = {name: [row[name] for row in rows] for name in ("image_id", "category_id", "bbox")}
    return columns | ({"score": [row["score"] for row in rows]} if scored else {})

ROWS = Format(name="rows", title="A list of rows", read=read)
PARTS = Format(name="parts", title="Rows in parts of the image", unit="parts", read=read)
"""
ROWS = "lossexport.formats: rows = rowsfmt:ROWS"
PARTS = "lossexport.formats: parts = rowsfmt:PARTS"
GOOD = [found(1, 1, 0.9, 0, 0, 5, 5), found(2, 2, 0.8, 0, 0, 5, 5)]


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds what another one installed."""
    monkeypatch.setattr(FORMATS, "_found", {})


def written(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


def refused(call: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(LossexportError) as caught:
        call(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_it_scores_like_coco(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, tmp_path / "site", "rowsfmt", CODE, ROWS, PARTS)
    pred = written(tmp_path / "pred", [*GOOD, found(1, 2, 0.7, 1, 1, 5, 5)])
    rows = [truth(1, 1, 0, 0, 5, 4), truth(2, 2, 0, 0, 5, 5)]
    wanted = score(pred, written(tmp_path / "ref.json", coco(rows)))
    ref = written(tmp_path / "ref", rows)
    own = score(pred, ref, format="rows")
    assert (own["AP"], own["iou"], own["counts"]) == (wanted["AP"], wanted["iou"], wanted["counts"])
    assert own["settings"]["format"] == "rows"
    hashes = {side: hashlib.sha256(path.read_bytes()).hexdigest()
              for side, path in (("pred", pred), ("ref", ref))}  # fmt: skip
    assert {side: own["inputs"][side]["sha256"] for side in hashes} == hashes
    mixed = score(pred, tmp_path / "ref.json", pred_format="rows")
    assert (mixed["AP"], mixed["settings"]["format"]) == (wanted["AP"], "rows, coco")


def test_parts_become_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, tmp_path / "site", "rowsfmt", CODE, ROWS, PARTS)
    document = coco([truth(1, 1, 32, 0, 64, 16)])
    document["images"] = [{"id": 1, "file_name": "1.jpg", "width": 128, "height": 32}]
    ref = written(tmp_path / "ref.json", document)
    pred = written(tmp_path / "pred", [found(1, 1, 0.9, 0.25, 0, 0.5, 0.5)])
    summary = score(pred, ref, pred_format="parts")
    assert (summary["counts"]["matched"], summary["iou"]["mean"]) == (1, 1.0)


def test_the_help_and_the_choices_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = "lossexport.formats: broken = nowhere:FORMAT"
    install(monkeypatch, tmp_path, "rowsfmt", CODE, ROWS, broken)
    assert FORMATS.names() == (*FORMATS.builtin, "broken", "rows")
    text = CliRunner().invoke(cli, ["score", "--help"], terminal_width=200).output
    assert [" ".join(line.split()) for line in text.splitlines()[-2:]] == [
        "broken rowsfmt 1.5: entry point 'broken' of lossexport.formats (nowhere:FORMAT) cannot be "
        "loaded: ModuleNotFoundError: No module named 'nowhere'",
        "rows A list of rows: a file.",
    ]
    result = CliRunner().invoke(cli, ["score", "--pred", "a", "--ref", "b", "--format", "row"])
    assert result.output.splitlines()[-1].endswith("'broken', 'rows'; did you mean rows?")


def test_a_name_of_this_package_is_found_without_a_look_at_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "entry_points", None)
    arguments = ["score", "--pred", str(tmp_path / "a"), "--ref", "b", "--format", "coco"]
    result = CliRunner().invoke(cli, arguments)
    assert str(result.exception) == "b: cannot be read: No such file or directory"


def test_a_name_that_exists_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, tmp_path / "1", "rowsfmt", CODE, ROWS)
    install(monkeypatch, tmp_path / "2", "other", "", "lossexport.formats: rows = rowsfmt:ROWS")
    assert refused(FORMATS.find, "rows") in (
        f"{second} 1.5: entry point 'rows' of lossexport.formats (rowsfmt:ROWS) takes the name of "
        f"a format of {first} 1.5"
        for first, second in (("rowsfmt", "other"), ("other", "rowsfmt"))
    )
    install(monkeypatch, tmp_path / "3", "third", "", "lossexport.formats: coco = rowsfmt:ROWS")
    assert refused(FORMATS.find, "rows") == (
        "third 1.5: entry point 'coco' of lossexport.formats (rowsfmt:ROWS) takes the name of a "
        "format of lossexport"
    )
    assert FORMATS.find("coco").title == "COCO json, plain or gzipped"


@pytest.mark.parametrize(
    ("code", "value", "why"),
    [
        ("", "fmt:X", "cannot be loaded: AttributeError: module 'fmt' has no attribute 'X'"),
        ("", "gone:X", "cannot be loaded: ModuleNotFoundError: No module named 'gone'"),
        ("1 +", "fmt:X", "cannot be loaded: SyntaxError: invalid syntax (fmt.py, line 1)"),
        ("raise OSError('no\\nlicence')", "fmt:X", "cannot be loaded: OSError: no licence"),
        ("def X(path, scored): ...", "fmt:X",
         "is a function: a lossexport.formats.Format is expected"),
        ("from lossexport.formats import Format\nX = Format(name='y', title='', read=print)",
         "fmt:X", "is the format 'y': both have to have one name"),
        ("from lossexport.formats import Format\nX = Format(name='x', title='')", "fmt:X",
         "cannot be loaded: LossexportError: format 'x' needs one of read and stream"),
    ],
)  # fmt: skip
def test_an_entry_point_that_is_broken(
    code: str, value: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, tmp_path, "fmt", code, f"lossexport.formats: x = {value}")
    wanted = f"fmt 1.5: entry point 'x' of lossexport.formats ({value}) {why}"
    assert refused(read_side, tmp_path, "x", True) == wanted
    result = CliRunner().invoke(cli, ["score", "--pred", "a", "--ref", "b", "--format", "x"])
    assert str(result.exception) == wanted


def raising(error: Exception) -> Any:
    def read(path: Path, scored: bool) -> Any:
        raise error

    return read


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("line 3\nis bad"), "{path}: cannot be read as own: line 3 is bad"),
        (KeyError("x1"), "{path}: cannot be read as own: KeyError: 'x1'"),
        (LossexportError("line 3 is bad"), "{path}: line 3 is bad"),
        (OSError(5, "Input/output error", "x"), "{path}: cannot be read: Input/output error"),
        (UnicodeDecodeError("utf-8", b"a\xff", 1, 2, "invalid start byte"),
         "{path}: is not text in utf-8: invalid start byte at byte 1"),
    ],
)  # fmt: skip
def test_what_a_reader_raises_names_the_file(
    error: Exception, message: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "d.own", [])
    form = Format(name="own", title="", read=raising(error))
    assert refused(form.side, path, True, lambda part: None) == message.format(path=path)
    named = Format(name="own", title="", read=raising(LossexportError(f"{path}: no")))
    assert refused(named.side, path, True, lambda part: None) == f"{path}: no"


def test_what_a_reader_gives_is_checked(tmp_path: Path) -> None:
    path = written(tmp_path / "d.own", [])
    form = Format(name="own", title="", read=lambda path, scored: {"bbox": [[0, 0, 1]]})
    assert refused(form.side, path, True, lambda part: None) == (
        f"{path}: bbox[0] is [0, 0, 1]: four numbers are expected"
    )
    nothing = Format(name="own", title="", read=cast(Any, lambda path, scored: None))
    assert refused(nothing.side, path, True, lambda part: None) == (
        f"{path}: columns is None: a mapping of names to arrays is expected"
    )


def test_names_without_suffix_are_those_of_images(tmp_path: Path) -> None:
    path = written(tmp_path / "d.own", [])
    rows = {"image_id": [1], "category_id": [1], "bbox": [[0, 0, 1, 1]], "images": {1: "a/b"}}
    form = Format(name="own", title="", stems=True, read=lambda path, scored: rows)
    side = form.side(path, False, lambda part: None)
    data = dataset(side_of(path, rows | {"score": [1]}, True), side, None, "count")
    assert [*data.files] == [("a/b.jpg", "a/b.jpeg", "a/b.png")]


def test_a_folder_is_hashed_file_by_file(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "b.txt").write_text("2")
    (folder / "a.txt").write_text("1")
    (folder / "a.jpg").write_text("not read")
    nothing: dict[str, Any] = {"image_id": [], "category_id": [], "bbox": [], "score": []}
    form = Format(name="own", title="", given="folder", read=lambda path, scored: nothing)
    parts: list[float] = []
    side = form.side(folder, True, parts.append)
    one, two = (hashlib.sha256(text).hexdigest() for text in (b"1", b"2"))
    lines = f"{one}  a.txt\n{two}  b.txt\n".encode()
    assert side.input.sha256 == hashlib.sha256(lines).hexdigest()
    assert (side.input.name, parts) == ("in", [1.0])
    assert (side.parts, side.images.stems) == (False, False)
    (folder / "c.txt").symlink_to(tmp_path / "outside")
    (tmp_path / "outside").write_text("3")
    assert refused(form.side, folder, True, parts.append).endswith(
        f"c.txt: is a link that leaves the folder {folder}: put a copy there"
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": 5, "read": print}, "name is 5: a str is expected"),
        ({"given": "dir", "read": print},
         "given 'dir' is not one of file, folder, file or folder"),
        ({"unit": "inch", "read": print}, "unit 'inch' is not one of pixels, parts"),
        ({"read": "read"}, "read is 'read': a function is expected"),
        ({"read": print, "stream": print}, "format 'own' needs one of read and stream"),
    ],
)  # fmt: skip
def test_a_declaration_is_checked(fields: dict[str, Any], message: str) -> None:
    assert refused(Format, **{"name": "own", "title": "Own"} | fields) == message


def test_a_registry_imports_nothing_before_a_name_is_asked_for() -> None:
    registry = Registry(Format, "format", "lossexport.none", {"x": "nowhere:FORMAT"})
    assert (registry.builtin, registry.names()) == (("x",), ("x",))
    with pytest.raises(ModuleNotFoundError):
        registry.find("x")


PAGE = (ROOT / "docs/scoring.md").read_text("utf-8")
SECTION = PAGE[PAGE.index("### A format of your own") : PAGE.index("## Which image is which")]


def test_the_page_lists_every_column() -> None:
    cells = [line.split("|")[1] for line in SECTION.splitlines() if line.startswith("| `")]
    assert tuple(re.findall(r"`(\w+)`", "".join(cells))) == columns.NAMES


def test_the_reader_of_the_page_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", SECTION, re.M | re.S)
    (point,) = re.findall(r'^\[project\.entry-points\."(.*)"\]$', SECTION, re.M)
    assert '\ncorners = "my_module:FORMAT"\n' in SECTION
    install(monkeypatch, tmp_path, "my_module", code, f"{point}: corners = my_module:FORMAT")
    rows = [{"picture": "a", "kind": "cat", "corners": [1, 2, 4, 6], "confidence": 0.5}]
    side = read_side(written(tmp_path / "d.json", rows), "corners", True)
    boxes = side.boxes.predictions(*side.boxes.codes())
    assert (boxes.box.tolist(), boxes.score.tolist()) == ([[1, 2, 3, 4]], [0.5])
    assert FORMATS.find("corners").title == "A list of boxes by their corners"
