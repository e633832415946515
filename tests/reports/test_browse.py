"""The box browser: which images it shows, and where their boxes lie."""

import json
from pathlib import Path

import numpy as np
import pytest

from lossexport.boxes.boxset import Dataset
from lossexport.comparison import compare
from lossexport.comparison.cases import MOVED
from lossexport.errors import LossexportError
from lossexport.images import ImageFolder
from lossexport.reports.browse import BOXES, SIDE, Findings, scenes
from lossexport.scoring import score
from lossexport.scoring.cases import WELL_PLACED
from tests.boxes.helpers import Json, coco, found, read_json, truth
from tests.cli.conftest import call
from tests.reports.structure import Page, Tag
from tests.reports.test_pictures import jpeg, picture


def findings(*rows: tuple[int, int, int, int, float], kinds: Json = ("odd", "rare")) -> Findings:
    """Rows of kind, image, reference, prediction and weight."""
    kind, image, first, second, weight = zip(*rows, strict=True)
    return Findings(
        kinds,
        np.array(kind, np.int8),
        np.array(image, np.int32),
        np.array(first),
        np.array(second),
        np.array(weight, np.float64),
    )


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """Four images with a reference and a prediction each, 0 without a size."""
    references = coco([truth(i, 1, 10, 20, 40, 30) for i in range(4)], images=range(4))
    for image in references["images"][1:]:
        image |= {"width": 320, "height": 160}
    detections = [found(i, 2, 0.5 + i / 10, 30, 20, 40, 30) for i in range(4)]
    return read_json(tmp_path, detections, references)


def test_the_worst_images_of_each_kind_in_turn(data: Dataset) -> None:
    rows = [(0, 0, 0, 0, 0.5), (0, 1, 1, -1, 0.3), (0, 1, -1, 1, 0.3), (1, 1, 1, -1, 9.0),
            (1, 3, 3, 3, 0.1), (1, 2, 2, 2, 0.0)]  # fmt: skip
    shown = scenes(data, findings(*rows), None, 9)
    assert [scene.name for scene in shown] == ["1.jpg", "0.jpg", "3.jpg"]
    assert [[fault.kind for fault in scene.faults] for scene in shown] == [
        ["rare", "odd", "odd"], ["odd"], ["rare"],
    ]  # fmt: skip
    assert [scene.name for scene in scenes(data, findings(*rows), None, 2)] == ["1.jpg", "0.jpg"]
    assert scenes(data, findings(*rows), None, 0) == []


def test_boxes_on_an_empty_canvas(data: Dataset) -> None:
    (scene,) = scenes(data, findings((0, 1, 1, 1, 1.0)), None, 1)
    assert (scene.uri, scene.width, scene.height) == ("", 640, 320)  # twice the size
    (fault,) = scene.faults
    assert (fault.first, fault.second) == ((20, 40, 80, 60), (60, 40, 80, 60))
    assert (fault.names, fault.score) == (("dog", "cat"), 0.6)
    assert fault.text == "score 0.6, IoU\N{NO-BREAK SPACE}0.33"
    assert scene.fine == []
    (scene,) = scenes(data, findings((0, 1, 1, -1, 1.0)), None, 1)
    assert (scene.faults[0].names, scene.faults[0].text) == (("cat",), "")
    assert scene.fine == [("two", (60, 40, 80, 60))]
    # Around both boxes, which end at x 70 and y 50, if no input states a size.
    (scene,) = scenes(data, findings((0, 0, -1, 0, 1.0)), None, 1)
    assert scene.width / scene.height == pytest.approx(70 / 50, rel=0.01)
    assert "no input states the size" in scene.remark
    assert scene.fine == [("one", (91.4, 182.9, 365.7, 274.2))]


def test_boxes_on_images(data: Dataset, tmp_path: Path) -> None:
    picture(tmp_path / "photos/1.jpg", (1000, 500), (10, 20, 40, 30))
    rows = findings((0, 1, 1, -1, 1.0), (0, 2, 2, -1, 0.5))
    first, second = scenes(data, rows, ImageFolder(tmp_path / "photos"), 2)
    assert (first.width, first.height) == (640, 320)
    pixels = jpeg(first.uri)
    assert pixels.shape == (320, 640, 3)
    rows_seen, columns = np.nonzero((pixels[..., 0] > 170) & (pixels[..., 1] < 110))
    x, y, w, h = first.faults[0].first or ()
    seen = columns.min(), rows_seen.min(), columns.max() + 1, rows_seen.max() + 1
    np.testing.assert_allclose(seen, [x, y, x + w, y + h], atol=1.5)
    assert second.uri == ""
    assert second.remark == "'2.jpg' is missing"


def test_sizes_are_bounded(tmp_path: Path) -> None:
    many = [found(1, 1, 0.1 + n / 1000, n, 0, 9, 9) for n in range(BOXES + 7)]
    data = read_json(tmp_path, many, coco([truth(1, 1, 500, 500, 9, 9)]))
    rows = findings(*((0, 0, -1, n, float(n)) for n in range(BOXES + 7)))
    picture(tmp_path / "1.jpg", (1500, 1500))
    (scene,) = scenes(data, rows, ImageFolder(tmp_path), 5)
    assert [fault.score for fault in scene.faults] == [m["score"] for m in many[:6:-1]]
    assert scene.remark == "7 more are not drawn"
    assert max(jpeg(scene.uri).shape) <= max(SIDE)
    assert scene.width <= SIDE[0]
    assert scene.height <= SIDE[1]


@pytest.mark.parametrize("number", [-1, 201, 1.5, "many", True])
def test_refused_numbers(number: Json, tmp_path: Path) -> None:
    for verb in (score, compare):
        with pytest.raises(LossexportError, match=r"^browse is .*expected$"):
            verb(tmp_path / "pred.json", tmp_path / "ref.json", browse=number)


def test_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read_json(tmp_path, [found(1, 1, 0.5, 0, 0, 5, 5)], coco([truth(2, 2, 0, 0, 5, 5)]))
    (tmp_path / "child.json").write_text(json.dumps([found(i, 1, 0.5, 9, 9, 5, 5) for i in (1, 2)]))
    verbs = (
        ["score", "--pred", f"{tmp_path}/pred.json", "--ref", f"{tmp_path}/ref.json"],
        ["compare", f"{tmp_path}/pred.json", f"{tmp_path}/child.json"],
    )

    def run(verb: list[str], *options: str) -> tuple[int, str]:
        code, _, err = call([*verb, *options], capsys, monkeypatch)
        return code, err

    for verb in verbs:
        for number in range(3):
            out = tmp_path / verb[0]
            assert run(verb, "--out", str(out), "--browse", str(number))[0] == 0
            page = Page((out / "report.html").read_text("utf-8"))
            assert len(page.all("ol")) == number
        code, err = run(verb, "--browse", "201")
        assert code == 2
        assert err == "error: browse is 201: a whole number from 0 to 200 is expected\n"
    code, err = run(verbs[0], "--browse", "3", "--workers", "ray")
    assert code == 2
    assert err.startswith("error: --browse: is not for --workers")


def page_of(folder: Path, detections: Json, references: Json, **options: Json) -> Page:
    read_json(folder, detections, references)
    score(folder / "pred.json", folder / "ref.json", out=folder / "out", **options)
    return Page((folder / "out/report.html").read_text("utf-8"))


def test_faults_of_a_run(tmp_path: Path) -> None:
    """A missed box, a false one, a badly placed one, and one that is good enough."""
    references = [truth(1, 1, 0, 0, 10, 10), truth(1, 2, 50, 50, 10, 10), truth(2, 1, 0, 0, 10, 10),
                  truth(2, 2, 50, 50, 100, 100)]  # fmt: skip
    detections = [found(1, 1, 0.7, 80, 80, 5, 5), found(1, 2, 0.9, 50, 50, 10, 6),
                  found(2, 1, 0.6, 0, 0, 10, 10),
                  found(2, 2, 0.8, 50, 50, 100, 100 * WELL_PLACED)]  # fmt: skip
    page = page_of(tmp_path, detections, coco(references))
    faults = [tag for tag in page.all("li") if "data-kind" in tag.attributes]
    assert [(f.attributes["data-kind"], f.attributes["data-class"]) for f in faults] == [
        ("missed", "cat"), ("false", "cat"), ("badly placed", "dog"),
    ]  # fmt: skip
    assert [f.attributes.get("data-score") for f in faults] == [None, "0.7", "0.9"]
    assert [f.attributes["value"] for f in faults] == ["1", "2", "3"]
    (scene,) = [tag for tag in page.all("figure") if "scene" in (tag.attributes["class"] or "")]
    assert [text.text for text in scene.all("text")] == ["1", "2", "3"]
    values = [tag.attributes.get("value") for tag in page.all("input")]
    assert values[:3] == ["missed", "false", "badly placed"]
    assert page_of(tmp_path, detections, coco(references), browse=0).all("fieldset") == []


def scene_of(tag: Tag) -> tuple[list[tuple[str | None, ...]], list[str]]:
    """Kind, class, score and text of the numbered boxes of an image, and the styles of all."""
    names = ("data-kind", "data-class", "data-score")
    items = [(*map(item.attributes.get, names), item.text.strip()) for item in tag.all("li")]
    return items, [rect.attributes["class"] or "" for rect in tag.all("rect")]


def test_differences_of_a_comparison(tmp_path: Path) -> None:
    """A lost box, one that fell below the threshold, a new one, a moved one, and one that stayed.

    Boxes below the threshold that nothing matches are not part of it.
    """
    parent = [found(1, 1, 0.9, 0, 0, 10, 10), found(1, 2, 0.8, 50, 50, 10, 10),
              found(2, 1, 0.7, 0, 0, 10, 10), found(2, 2, 0.6, 50, 50, 100, 100),
              found(2, 2, 0.1, 300, 300, 10, 10)]  # fmt: skip
    child = [found(1, 2, 0.2, 50, 50, 10, 10), found(1, 1, 0.1, 90, 90, 9, 9),
             found(2, 1, 0.5, 0, 0, 10, 8), found(2, 2, 0.65, 50, 50, 100, 100 * MOVED),
             found(2, 1, 0.3, 200, 0, 10, 10)]  # fmt: skip
    names = coco([], images=(1, 2))
    for name, value in (("parent", parent), ("child", child), ("names", names)):
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    files = tmp_path / "parent.json", tmp_path / "child.json"
    compare(*files, names=tmp_path / "names.json", out=tmp_path / "out")
    page = Page((tmp_path / "out/report.html").read_text("utf-8"))
    first, second = [
        tag for tag in page.all("figure") if "scene" in (tag.attributes["class"] or "")
    ]
    assert scene_of(first) == (
        [("lost", "cat", "0.9", "lost cat, score 0.9"),
         ("lost", "dog", "0.8", "lost dog, score 0.8 \u2192 0.2, IoU\u00a01.00")],
        ["canvas", "under", "one", "under", "one", "under", "two"],
    )  # fmt: skip
    assert scene_of(second) == (
        [("new", "cat", "0.3", "new cat, score 0.3"),
         ("moved", "cat", "0.7", "moved cat, score 0.7 \u2192 0.5, IoU\u00a00.80")],
        ["canvas", "fine one", "fine two", "under", "two", "under", "one", "under", "two"],
    )  # fmt: skip
    values = [tag.attributes.get("value") for tag in page.all("input")]
    assert values == ["lost", "new", "moved", None]  # no score is hidden at first
    compare(*files, out=tmp_path / "out", browse=0)
    assert Page((tmp_path / "out/report.html").read_text("utf-8")).all("fieldset") == []


def test_a_comparison_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "parent.json").write_text(json.dumps([found(1, 1, 0.1, 0, 0, 10, 10)]))
    compare(tmp_path / "parent.json", tmp_path / "parent.json", out=tmp_path / "out")
    assert "Box browser" not in (tmp_path / "out/report.html").read_text("utf-8")


def test_names_keep_to_themselves(tmp_path: Path) -> None:
    """A name that turns the direction of text around does not turn that of its score."""
    turned = "\N{RIGHT-TO-LEFT OVERRIDE}x"
    kinds = ((1, turned), (2, "\N{ARABIC LETTER ALEF}"))
    references = coco([truth(1, 1, 0, 0, 9, 9)], categories=kinds)
    page = page_of(tmp_path, [found(1, 2, 0.5, 90, 0, 9, 9)], references)
    items = [tag for tag in page.all("li") if "data-kind" in tag.attributes]
    names = [[bdi.text for bdi in item.all("bdi")] for item in items]
    assert names == [[turned], [kinds[1][1]]]
    assert items[1].text == f"false {kinds[1][1]}, score 0.5"


def test_logits_and_parts(tmp_path: Path) -> None:
    rows = [found(1, 1, -3.0, 0, 0, 5, 5), found(2, 1, -1.0, 0, 0, 5, 5)]
    page = page_of(tmp_path, rows, coco([truth(1, 2, 0, 0, 5, 5)]))
    scores = [tag.attributes.get("data-score") for tag in page.all("li")]
    assert [score for score in scores if score] == ["-3", "-1"]
    for name, line in (("p", "0 0.5 0.5 0.5 0.25 0.9"), ("r", "1 0.5 0.5 0.5 0.25")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(line)
    score(tmp_path / "p", tmp_path / "r", format="yolo", out=tmp_path / "parts")
    page = Page((tmp_path / "parts/report.html").read_text("utf-8"))
    boxes = [tag.attributes for tag in page.all("rect") if tag.attributes.get("class") == "two"]
    assert ("120.0", "180.0", "240.0", "120.0") in [
        tuple(box[name] for name in ("x", "y", "width", "height")) for box in boxes
    ]
