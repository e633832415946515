"""Crops in the reports, and the folder that their images come from."""

import base64
import io
import json
import re
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lossexport.comparison import compare
from lossexport.errors import LossexportError
from lossexport.formats.coco import reader as coco_format
from lossexport.formats.source import Source
from lossexport.images import MAX_PIXELS, ImageFolder
from lossexport.reports.pictures import MAX_JPEG, SHOWN, TILE, Case, crops, in_turn
from lossexport.scoring import score
from tests.boxes.helpers import Json, coco, found, truth

JPEG = re.compile(r'href="data:image/jpeg;base64,([A-Za-z0-9+/=]+)"')


def picture(path: Path, size: tuple[int, int] = (400, 200), box: Json = (), seed: int = 0) -> Path:
    """A dim picture with a bright red box x, y, width, height on it."""
    noise = np.random.default_rng(seed).integers(0, 90, (size[1], size[0], 3)).astype(np.uint8)
    if box:
        x, y, w, h = box
        noise[y : y + h, x : x + w] = (255, 20, 20)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).save(path)
    return path


def case(*files: str, first: Json = (10, 10, 20, 20), second: Json = None) -> Case:
    one, other = (None if box is None else np.array(box, np.float64) for box in (first, second))
    return Case("matched", files, "cat", "IoU 0.5", one, other)


def jpeg(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def png_header(path: Path, width: int, height: int) -> Path:
    """A PNG of a few bytes that states a size."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data + struct.pack(">I", 0) + b"IDAT" + b"\0" * 4)
    return path


@pytest.mark.parametrize("box", [(150, 60, 80, 40), (0, 0, 12, 9), (380, 150, 20, 50)])
def test_boxes_lie_where_the_image_has_them(box: Json, tmp_path: Path) -> None:
    picture(tmp_path / "a.png", box=box)
    (crop,), notes = crops(ImageFolder(tmp_path), [case("a.png", first=box, second=box)])
    assert notes == []
    assert crop.first == crop.second
    assert crop.width <= TILE[0]
    assert crop.height <= TILE[1]
    pixels = jpeg(crop.uri)
    assert pixels.shape == (crop.height, crop.width, 3)
    # What is red in the crop is what the box holds, to a pixel of blur at its border.
    red = (pixels[..., 0] > 170) & (pixels[..., 1] < 110)
    rows, columns = np.nonzero(red)
    assert crop.first is not None
    x, y, w, h = crop.first
    seen = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    np.testing.assert_allclose(seen, [x, y, x + w, y + h], atol=1.5)


def test_parts_of_the_image(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    drawn = Case("wrong", ("a.png",), "", "", None, np.array([0.25, 0.5, 0.5, 0.25]), parts=True)
    whole = case("a.png", first=None, second=(100, 100, 200, 50))
    (parts, pixels), _ = crops(ImageFolder(tmp_path), [drawn, whole])
    assert parts.second == pixels.second
    assert parts.first is None


@pytest.mark.parametrize(
    "box", [(-1e9, -1e9, 2e9, 2e9), (900, 900, 5, 5), (50, 50, -30, -30), (0, 0, 0, 0)]
)
def test_odd_boxes_are_drawn(box: Json, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (crop,), _ = crops(ImageFolder(tmp_path), [case("a.png", first=box)])
    assert crop.first is not None
    assert max(map(abs, crop.first)) <= 2 * TILE[0] + 20
    assert crop.width >= 1 <= crop.height


def test_large_pictures_become_small(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg", (2000, 1500), seed=1)
    (crop,), _ = crops(ImageFolder(tmp_path), [case("a.jpg", first=(0, 0, 2000, 1500))])
    assert (crop.width, crop.height) == TILE
    assert len(base64.b64decode(crop.uri.partition(",")[2])) <= MAX_JPEG


def test_no_more_than_a_dozen(tmp_path: Path) -> None:
    picture(tmp_path / "sub/a.png")
    shown, notes = crops(ImageFolder(tmp_path), [case("sub/a.png")] * 40)
    assert (len(shown), notes) == (SHOWN, [])
    assert in_turn([1, 2, 3], [], [10], [20, 21]) == [1, 10, 20, 2, 21, 3]


def test_what_cannot_be_shown_is_noted(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    good = picture(folder / "good.png")
    secret = picture(tmp_path / "secret.png")
    (folder / "link.png").symlink_to(secret)
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "inside.png").symlink_to(good)
    (folder / "up").symlink_to(tmp_path)
    (folder / "text.jpg").write_text("not a picture")
    data = io.BytesIO()
    Image.open(good).save(data, "JPEG")
    (folder / "cut.jpg").write_bytes(data.getvalue()[: data.tell() // 2])
    Image.open(good).save(folder / "other.gif")
    png_header(folder / "bomb.png", 60_000, 60_000)
    png_header(folder / "big.png", MAX_PIXELS // 8000 + 1, 8000)
    wanted = {
        "gone.png": "'gone.png' is missing",
        "": "'' is not a regular file",
        str(secret): "lies outside of the folder",
        "../secret.png": "'../secret.png' lies outside of the folder",
        "link.png": "'link.png' lies outside of the folder",
        "up/secret.png": "'up/secret.png' lies outside of the folder",
        "loop.png": "'loop.png' cannot be read",
        "a\0b.png": "cannot be read",
        "x" * 300: "cannot be read",
        "text.jpg": "'text.jpg' cannot be decoded",
        "cut.jpg": "'cut.jpg' cannot be decoded",
        "other.gif": "'other.gif' cannot be decoded",
        "bomb.png": "'bomb.png' cannot be decoded: Image size (3600000000 pixels)",
        "big.png": f"'big.png' has 8001 x 8000 pixels, more than the limit of {MAX_PIXELS}",
    }
    for name, message in wanted.items():
        shown, (note,) = crops(ImageFolder(folder), [case(name), case("inside.png")])
        assert [crop.file for crop in shown] == ["inside.png"], name
        assert message in note
        assert "\n" not in note
    shown, (note,) = crops(ImageFolder(folder), [case(name) for name in wanted])
    assert not shown
    assert note.endswith(f" and {len(wanted) - 3} more.")
    _, (note,) = crops(ImageFolder(folder), [case()])
    assert "whose file name no input gives" in note


def test_folder_of_images(tmp_path: Path) -> None:
    with pytest.raises(LossexportError, match="is not a folder of images"):
        ImageFolder(tmp_path / "none")
    with pytest.raises(LossexportError, match=r"has no \.jpg, \.jpeg, \.png file"):
        ImageFolder(tmp_path).names()
    for name in ("b.JPG", "a.png", "c.txt"):
        (tmp_path / name).touch()
    assert ImageFolder(tmp_path).names() == ["a.png", "b.JPG"]


def test_without_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(LossexportError, match=r"images need Pillow .*: pip install .*\[images\]"):
        ImageFolder(tmp_path)


# Reports


def page_of(folder: Path) -> tuple[str, list[str]]:
    """The report without the pictures, and these."""
    page = (folder / "report.html").read_text()
    return JPEG.sub("", page), JPEG.findall(page)


def coco_files(folder: Path) -> tuple[Path, Path]:
    references = coco([truth(1, 1, 10, 10, 50, 50), truth(2, 2, 10, 10, 50, 50)])
    detections = [found(1, 1, 0.9, 14, 10, 50, 50), found(2, 1, 0.8, 100, 100, 30, 30)]
    for name, value in (("pred", detections), ("ref", references)):
        (folder / f"{name}.json").write_text(json.dumps(value))
    picture(folder / "photos/1.jpg")
    return folder / "pred.json", folder / "ref.json"


def test_score_report(tmp_path: Path) -> None:
    files = coco_files(tmp_path)
    summary = score(*files, images=tmp_path / "photos", browse=0, out=tmp_path / "out")
    page, pictures = page_of(tmp_path / "out")
    assert len(pictures) == 1
    assert "IoU 0.852, score 0.900" in page
    # One box of each on the picture, and one in the legend.
    assert page.count('<rect class="one"') == page.count('<rect class="two"') == 2
    assert not re.search(r"https?://|url\(|@import|<link|<img|\bsrc=", page)
    assert summary["notes"] == ["Images that could not be shown: '2.jpg' is missing."]
    assert json.loads((tmp_path / "out/summary.json").read_text()) == summary
    picture(tmp_path / "photos/2.jpg")
    summary = score(*files, images=tmp_path / "photos", browse=0, out=tmp_path / "out")
    assert summary["notes"] == []
    page, pictures = page_of(tmp_path / "out")
    assert len(pictures) == 3
    assert [page.count(f">{kind}</span>") for kind in ("matched", "wrong", "missed")] == [1, 1, 1]
    with pytest.raises(LossexportError, match="out is missing"):
        score(*files, images=tmp_path / "photos")
    with pytest.raises(LossexportError, match="nowhere: is not a folder of images"):
        score(*files, images=tmp_path / "nowhere", out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_pictures_read_no_input_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, seen = Source, []

    def seen_source(path: Path, *rest: Any) -> Any:
        seen.append(path.name)
        return opened(path, *rest)

    monkeypatch.setattr(coco_format, "Source", seen_source)
    score(*coco_files(tmp_path), images=tmp_path / "photos", out=tmp_path / "out")
    assert sorted(seen) == ["pred.json", "ref.json"]  # at once where there are two cores


@pytest.mark.parametrize(
    ("format", "file", "pred", "ref"),
    [
        ("yolo", "a.jpeg", "3 0.5 0.5 0.2 0.2 0.9", "3 0.5 0.5 0.2 0.3"),
        ("mot", "000007.jpg", "7,1,10,10,40,40,0.9,1,1", "7,1,10,10,40,50,1,1,1"),
    ],
)
def test_files_of_other_formats(
    format: str, file: str, pred: str, ref: str, tmp_path: Path
) -> None:
    picture(tmp_path / "photos" / file)
    paths = []
    for name, text in (("pred", pred), ("ref", ref)):
        path = tmp_path / name
        if format == "yolo":
            path.mkdir()
            path = path / "a.txt"
        path.write_text(text)
        paths.append(tmp_path / name)
    photos = tmp_path / "photos"
    summary = score(*paths, format=format, images=photos, browse=0, out=tmp_path / "out")
    assert not [note for note in summary["notes"] if "shown" in note]
    page, pictures = page_of(tmp_path / "out")
    assert len(pictures) == 1
    assert file in page


def test_compare_report(tmp_path: Path) -> None:
    parent = coco([found(1, 1, 0.9, 10, 10, 50, 50), found(2, 1, 0.8, 10, 10, 9, 9)])
    parent["categories"][0]["name"] = "<b>cat</b>"
    child = [found(1, 1, 0.7, 10, 10, 50, 40), found(1, 2, 0.6, 90, 10, 50, 40)]
    for name, value in (("p", parent), ("c", child)):
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    picture(tmp_path / "photos/1.jpg")
    files = tmp_path / "p.json", tmp_path / "c.json"
    summary = compare(*files, images=tmp_path / "photos", browse=0, out=tmp_path / "out")
    page, pictures = page_of(tmp_path / "out")
    assert len(pictures) == 2
    assert "IoU 0.800, score 0.900 \N{RIGHTWARDS ARROW} 0.700" in page
    assert summary["notes"] == ["Images that could not be shown: '2.jpg' is missing."]
    assert "<b>cat" not in page
    assert "&lt;b&gt;cat" in page
    assert not re.search(r"https?://|url\(|@import|<link|<img|\bsrc=", page)
    assert "nan" not in re.sub(r"<title>.*?</title>", "", page).lower()


def test_equal_boxes_are_not_worth_a_picture(tmp_path: Path) -> None:
    rows = coco([found(1, 1, 0.9, 10, 10, 50, 50)])
    (tmp_path / "p.json").write_text(json.dumps(rows))
    picture(tmp_path / "photos/1.jpg")
    files = [tmp_path / "p.json"] * 2
    compare(*files, images=tmp_path / "photos", out=tmp_path / "out")
    assert page_of(tmp_path / "out")[1] == []


def test_real_photos(shared: Path, tmp_path: Path) -> None:
    photos = shared / "data/images"
    files = photos / "dets_yolox_nano.json", photos / "gt.json"
    score(*files, images=photos, browse=0, out=tmp_path / "out")
    page, pictures = page_of(tmp_path / "out")
    assert len(pictures) == SHOWN
    assert max(map(len, pictures)) <= MAX_JPEG * 4 / 3 + 4
    assert len(page) < 150_000
