"""The package that adds a format: installed, it scores CSV like COCO, with pictures."""

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from PIL import Image

from lossexport.errors import LossexportError
from lossexport.formats import FORMATS, read_side
from lossexport.scoring import score
from tests.boxes.helpers import coco
from tests.conftest import ROOT
from tests.formats.test_own_format import written
from tests.packages import pip_install

EXAMPLE = ROOT / "examples/own_format"
# One worker installs the package that all of these use.
pytestmark = pytest.mark.xdist_group("own_format")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    before = {path: path.stat().st_mtime_ns for path in EXAMPLE.rglob("*")}
    target = pip_install(EXAMPLE, tmp_path_factory.mktemp("site"))
    assert {path: path.stat().st_mtime_ns for path in EXAMPLE.rglob("*")} == before
    return target


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FORMATS, "_found", {})
    monkeypatch.syspath_prepend(site)


def rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((EXAMPLE / name).read_text().splitlines()))


def as_coco(folder: Path) -> tuple[Path, Path]:
    """The CSV files as a result list and a dictionary."""

    def row(line: dict[str, str]) -> dict[str, Any]:
        x1, y1, x2, y2 = (float(line[name]) for name in ("x1", "y1", "x2", "y2"))
        found = {"image_id": line["image"], "category_id": line["category"]}
        return found | {"bbox": [x1, y1, x2 - x1, y2 - y1]}

    references, predictions = rows("ref.csv"), rows("pred.csv")
    document = coco(
        [row(line) for line in references],
        images=dict.fromkeys(line["image"] for line in references),
        categories=dict.fromkeys((line["category"],) * 2 for line in references),
    )
    for image in document["images"]:
        image["file_name"] = image["id"]
    results = [row(line) | {"score": float(line["score"])} for line in predictions]
    return written(folder / "pred.json", results), written(folder / "ref.json", document)


@pytest.mark.usefixtures("installed")
def test_the_numbers_are_those_of_coco(tmp_path: Path) -> None:
    pred, ref = as_coco(tmp_path)
    wanted = score(pred, ref)
    assert wanted["counts"]["matched"] == 3
    assert 0.5 < wanted["AP"] < 1
    names = {"pred": EXAMPLE / "pred.csv", "ref": EXAMPLE / "ref.csv"}
    for given, options in (
        (names, {"format": "csv"}),
        (names | {"ref": ref}, {"pred_format": "csv"}),
        (names | {"pred": pred}, {"ref_format": "csv"}),
    ):
        summary = score(**cast(Any, given | options))
        for own in ("inputs", "settings"):
            assert summary.pop(own) != wanted[own]
        assert summary == {name: wanted[name] for name in summary}


@pytest.mark.usefixtures("installed")
def test_pictures_are_found_by_their_file_names(tmp_path: Path) -> None:
    (tmp_path / "photos/street").mkdir(parents=True)
    for name in ("1.jpg", "2.jpg"):
        Image.new("RGB", (256, 128), (9, 90, 200)).save(tmp_path / "photos/street" / name)
    summary = score(
        EXAMPLE / "pred.csv",
        EXAMPLE / "ref.csv",
        format="csv",
        images=tmp_path / "photos",
        browse=0,
        out=tmp_path / "out",
    )
    assert summary["notes"] == []
    page = (tmp_path / "out/report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 4
    assert "street/1.jpg" in page


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("image,x1\n", "cannot be read as csv: line 1: there is no column category"),
        ("image,category,x1,y1,x2,y2\n", "cannot be read as csv: line 1: there is no column score"),
        ("image,category,x1,y1,x2,y2,score\n\na,b,0,0,1,1,0.5\na,b,0,?,1,1,0.5\n",
         "cannot be read as csv: line 4: y1 is '?', not a number"),
        ("image,category,x1,y1,x2,y2,score\na,b,0,0\n",
         "cannot be read as csv: line 2: x2 is None, not a number"),
        ("image,category,x1,y1,x2,y2,score\na,b,0,0,1,nan,0.5\n",
         "box[0][3] is nan: must be a finite number"),
        ("", "cannot be read as csv: line 1: there is no column image"),
        ("\xff", "is not text in utf-8: invalid start byte at byte 0"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_named(text: str, wanted: str, tmp_path: Path) -> None:
    path = tmp_path / "pred.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(LossexportError) as caught:
        read_side(path, "csv", True)
    assert str(caught.value) == f"{path}: {wanted}"


def test_the_commands_of_its_page_run(site: Path) -> None:
    (block,) = re.findall(r"^```sh\n(.*?)^```$", (EXAMPLE / "README.md").read_text(), re.M | re.S)
    install, command = block.replace("\\\n", " ").splitlines()
    assert install.split() == ["pip", "install", f"./{EXAMPLE.relative_to(ROOT)}"]
    words = shlex.split(command)
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(site)))},
    )
    assert (words[0], done.returncode, done.stderr) == ("lossexport", 0, "")
    assert "0.9010" in done.stdout
