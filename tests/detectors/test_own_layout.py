"""Layouts: one declaration for each, those of installed packages among them."""

import re
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from lossexport.comparison import compare
from lossexport.detectors import LAYOUTS, Keys, Layout, Name
from lossexport.detectors.detector import Detector, describe
from lossexport.errors import LossexportError
from tests.conftest import ROOT
from tests.detectors.test_detector import PICTURE, floats, network
from tests.packages import install

PAGE = (ROOT / "docs/compare.md").read_text("utf-8")
SECTION = PAGE[PAGE.index("### A layout of your own") : PAGE.index("## What it shows")]
(CODE,) = re.findall(r"^```python\n(.*?)^```$", SECTION, re.M | re.S)
DECLARED = [LAYOUTS.find(name) for name in LAYOUTS.builtin]
# Rows of the layout of the page: centre, size, score and label.
ROWS = floats([8, 8, 16, 16, 0.5, 1], [48, 20, 32, 24, 0.75, 0], [9, 9, 2, 2, 0.0005, 1])


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds what another one installed."""
    monkeypatch.setattr(LAYOUTS, "_found", {})


def described(folder: Path, output: str) -> Path:
    path = folder / "d.toml"
    path.write_text(f"{PICTURE}[output]\n{output}")
    return path


def test_a_layout_is_found_by_its_own_name() -> None:
    assert [layout.name for layout in DECLARED] == list(LAYOUTS.builtin)


def test_the_page_lists_every_layout() -> None:
    rows = PAGE[PAGE.index("| kind | keys | tensors |") :].splitlines()[2:]
    assert len(DECLARED) >= 13
    common = set(Keys.__struct_fields__)
    for layout, row in zip(DECLARED, rows, strict=False):
        own = [f"`{key}`" for key in layout.keys.__struct_fields__ if key not in common]
        assert row == f"| `{layout.name}` | {', '.join(own)} | {layout.title} |"
    assert rows[len(DECLARED)] == ""


def test_the_outputs_that_are_read_are_those_of_the_keys(tmp_path: Path) -> None:
    nanodet = 'kind = "nanodet"\nstrides = [8]\nscores = ["s"]\ndistances = ["d"]\n'
    for output, wanted in (
        ('kind = "yolox"\nstrides = [8]\ntensor = "t"\nboxes = "b"', {"t", "b"}),
        (nanodet, {"s", "d"}),
        (nanodet + 'boxes = "b"\nindices = "i"\nnew_boxes = "n"', {"s", "b", "i", "n"}),
        ('kind = "boxes"\nboxes = "b"\nscores = "s"\nunits = "parts"', {"b", "s"}),
        ('kind = "boxes"\nboxes = "b"\nscores = "s"\nlabels = "l"\ncount = "c"',
         {"b", "s", "l", "c"}),
    ):  # fmt: skip
        assert set(describe(described(tmp_path, output))[0].output.names()) == wanted


POINT = "lossexport.detectors: rows = my_module:LAYOUT"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert '\n[project.entry-points."lossexport.detectors"]\nrows = "my_module:LAYOUT"\n' in SECTION
    install(monkeypatch, tmp_path / "site", "my_module", CODE, POINT)


def detect(folder: Path, outputs: dict[str, Any], more: str = "") -> list[tuple[Any, ...]]:
    """What a constant detector finds on an image of 128 x 64, twice its input."""
    description = described(folder, f'kind = "rows"\ntensor = "out"\n{more}')
    detector = Detector(network(folder / "d.onnx", outputs), description)
    result = detector(np.zeros((64, 128, 3), np.uint8))
    columns = result.label.tolist(), result.score.tolist(), result.box.tolist()
    return [(detector.kinds[k].id, score, *box) for k, score, box in zip(*columns, strict=True)]


@pytest.mark.usefixtures("installed")
def test_it_decodes(tmp_path: Path) -> None:
    near, far = (9, 0.5, 0, 0, 32, 32), (4, 0.75, 64, 16, 128, 64)
    assert detect(tmp_path, {"out": ROWS[None]}) == [far, near]
    # What attach puts behind a detector goes for every layout.
    outputs = {"out": ROWS[None], "i": np.array([0, 1, -1]), "s": floats(0.25, 0.125, 0)}
    assert detect(tmp_path, outputs, 'indices = "i"\nnew_scores = "s"') == [
        (9, 0.25, *near[2:]),
        (4, 0.125, *far[2:]),
    ]


@pytest.mark.usefixtures("installed")
def test_compare_runs_it(tmp_path: Path) -> None:
    Image.new("RGB", (128, 64)).save(tmp_path / "a.png")
    description = described(tmp_path, 'kind = "rows"\ntensor = "out"')
    parent = network(tmp_path / "p.onnx", {"out": ROWS[None]})
    child = network(tmp_path / "c.onnx", {"out": ROWS[None, :1]})
    counts = compare(parent, child, images=tmp_path, detector=description)["counts"]
    assert (counts["matched"], counts["lost"], counts["new"]) == (1, 1, 0)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("outputs", "more", "message"),
    [
        ({"out": ROWS}, "", "output 'out' has shape [3,6], expected is [1,N,6]"),
        ({"other": ROWS}, "", "no output 'out', the outputs are other"),
        ({"out": ROWS[None]}, 'count = "c"', "no output 'c', the outputs are out"),
        (
            {"out": ROWS[None] * np.float32(1e10)},
            "",
            "output 'out' gives a score of 5000000",
        ),
        ({"out": ROWS[None] * np.float32(4)}, "", "a box has label 4, there are 2 categories"),
    ],
)
def test_outputs_that_do_not_fit(outputs: Any, more: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(LossexportError) as caught:
        detect(tmp_path, outputs, more)
    assert str(caught.value).startswith(f"{tmp_path / 'd.onnx'}: {message}")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("output", "message"),
    [
        ('kind = "row"', "layout 'row' is not one of yolox, nanodet, boxes, yolov8, "),
        ('kind = "rows"', "Object missing required field `tensor`"),
        ('kind = "rows"\ntensor = "t"\nstrides = [8]', "Object contains unknown field `strides`"),
        ('kind = "rows"\ntensor = ""', "Expected `str` of length >= 1 - at `$.tensor`"),
    ],
)
def test_descriptions_that_do_not_fit(output: str, message: str, tmp_path: Path) -> None:
    path = described(tmp_path, output)
    with pytest.raises(LossexportError) as caught:
        describe(path)
    assert str(caught.value).startswith(f"{path}: [output]: {message}")


class ToyKeys(Keys, frozen=True):
    tensor: Name


def toy(decode: Any) -> Layout:
    return Layout(name="toy", title="", keys=ToyKeys, scores="tensor", decode=decode)


BOX, SCORE, LABEL = np.ones((3, 4)), np.ones(3), np.zeros(3, np.int64)


@pytest.mark.parametrize(
    ("decoded", "message"),
    [
        ((BOX, SCORE), "gives no tuple of boxes, scores and labels"),
        ([BOX, SCORE, LABEL], "gives no tuple of boxes, scores and labels"),
        ((BOX[:, :3], SCORE, LABEL), "gives boxes [3,3], expected is [3,4]"),
        ((BOX, SCORE[:2], LABEL), "gives scores [2], expected is [3]"),
        ((BOX, BOX[:, :3], None), "gives scores [3,3], expected is [3,2]"),
        ((BOX, SCORE, None), "gives scores [3], expected is [3,2]"),
        ((BOX, SCORE, LABEL[:2]), "gives labels [2], expected is [3]"),
        ((BOX, SCORE, SCORE), "gives labels of float64, not integers"),
        ((BOX, [1, 1, 1], LABEL),
         "cannot decode: AttributeError: 'list' object has no attribute 'shape'"),
    ],
)  # fmt: skip
def test_what_a_layout_gives_is_checked(decoded: Any, message: str) -> None:
    layout = toy(lambda *_: decoded)
    with pytest.raises(ValueError, match=f"^layout 'toy' {re.escape(message)}$"):
        layout.find(ToyKeys(tensor="t"), {}, (64, 32), 2, 0.1)


def test_what_a_layout_raises_is_named() -> None:
    layout = toy(lambda keys, outputs, size, classes: outputs["elsewhere"])
    with pytest.raises(ValueError, match=r"^layout 'toy' cannot decode: KeyError: 'else"):
        layout.find(ToyKeys(tensor="t"), {}, (64, 32), 2, 0.1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": None}, "name is None: a str is expected"),
        ({"keys": dict}, "a subclass of lossexport.detectors.Keys is expected"),
        ({"scores": "score"}, "scores 'score' is not one of tensor, indices, count, new_scores, "),
        ({"decode": None}, "decode is None: a function is expected"),
    ],
)
def test_a_declaration_is_checked(fields: dict[str, Any], message: str) -> None:
    good = {"name": "toy", "title": "", "keys": ToyKeys, "scores": "tensor", "decode": print}
    with pytest.raises(LossexportError) as caught:
        Layout(**cast(Any, good | fields))
    assert message in str(caught.value)
