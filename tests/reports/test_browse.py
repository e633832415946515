"""The box browser: which images it shows, and where their boxes lie."""

from pathlib import Path

import numpy as np
import pytest

from lossexport.boxes.boxset import Dataset
from lossexport.errors import LossexportError
from lossexport.images import ImageFolder
from lossexport.reports.browse import BOXES, SIDE, Findings, scenes
from lossexport.scoring import score
from lossexport.scoring.cases import WELL_PLACED
from tests.boxes.helpers import Json, coco, found, read_json, truth
from tests.cli.conftest import call
from tests.reports.structure import Page
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
    assert (fault.category, fault.score) == ("dog", 0.6)
    assert fault.text == "dog for cat, score 0.6, IoU 0.33"
    assert scene.fine == []
    (scene,) = scenes(data, findings((0, 1, 1, -1, 1.0)), None, 1)
    assert scene.faults[0].text == "cat"
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
    assert scene.remark == "7 more faults are not drawn"
    assert max(jpeg(scene.uri).shape) <= max(SIDE)
    assert scene.width <= SIDE[0]
    assert scene.height <= SIDE[1]


@pytest.mark.parametrize("number", [-1, 201, 1.5, "many", True])
def test_refused_numbers(number: Json, tmp_path: Path) -> None:
    with pytest.raises(LossexportError, match=r"^browse is .*expected$"):
        score(tmp_path / "pred.json", tmp_path / "ref.json", browse=number)


def test_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read_json(tmp_path, [found(1, 1, 0.5, 0, 0, 5, 5)], coco([truth(2, 2, 0, 0, 5, 5)]))
    files = ["--pred", f"{tmp_path}/pred.json", "--ref", f"{tmp_path}/ref.json"]

    def run(*options: str) -> tuple[int, str]:
        code, _, err = call(["score", *files, *options], capsys, monkeypatch)
        return code, err

    for number in range(3):
        assert run("--out", f"{tmp_path}/out", "--browse", str(number))[0] == 0
        page = Page((tmp_path / "out/report.html").read_text("utf-8"))
        assert len(page.all("ol")) == number
    code, err = run("--browse", "201")
    assert (code, err) == (2, "error: browse is 201: a whole number from 0 to 200 is expected\n")
    code, err = run("--browse", "3", "--workers", "ray")
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
