"""A folder is read whole, and nothing outside of it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lossexport import folder as folder_module
from lossexport import formats
from lossexport.errors import LossexportError
from lossexport.folder import Folder
from lossexport.images import ImageFolder
from tests.boxes.helpers import refusal, write

SECRET = "root:x:0:0"
XML = (
    "<annotation><object><name>cat</name><score>1</score><bndbox><xmin>1</xmin><ymin>1</ymin>"
    "<xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"
)
KINDS = {
    "yolo": (".txt", "0 0.5 0.5 0.2 0.2 1\n"),
    "voc": (".xml", XML),
}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    return write(tmp_path / "outside", {f"a{suffix}": SECRET for suffix in (".txt", ".xml", "")})


def labels(folder: Path, form: str) -> Path:
    suffix, text = KINDS[form]
    return write(folder, {f"a{suffix}": text, f"b{suffix}": text})


def link_file(folder: Path, outside: Path, suffix: str) -> str:
    (folder / f"x{suffix}").symlink_to(outside / f"a{suffix}")
    return f"x{suffix}"


def link_up(folder: Path, outside: Path, suffix: str) -> str:
    (folder / f"x{suffix}").symlink_to(f"../{outside.name}/a{suffix}")
    return f"x{suffix}"


def link_through_a_link(folder: Path, outside: Path, suffix: str) -> str:
    (folder / f"x{suffix}").symlink_to("hop")
    (folder / "hop").symlink_to(outside / f"a{suffix}")
    return f"x{suffix}"


def link_folder(folder: Path, outside: Path, suffix: str) -> str:
    (folder / "sub").symlink_to(outside)
    return "sub"


def link_nothing(folder: Path, outside: Path, suffix: str) -> str:
    (folder / f"x{suffix}").symlink_to(outside / f"gone{suffix}")
    return f"x{suffix}"


def link_below(folder: Path, outside: Path, suffix: str) -> str:
    (folder / "sub").mkdir()
    return f"sub/{link_file(folder / 'sub', outside, suffix)}"


LEAVING = (link_file, link_up, link_through_a_link, link_folder, link_nothing, link_below)


@pytest.mark.parametrize("form", KINDS)
@pytest.mark.parametrize("link", LEAVING)
@pytest.mark.parametrize("side", ["pred", "ref"])
def test_links_that_leave_the_folder_are_refused_by_name(
    tmp_path: Path,
    outside: Path,
    form: str,
    link: Callable[[Path, Path, str], str],
    side: str,
) -> None:
    folders = {name: labels(tmp_path / name, form) for name in ("pred", "ref")}
    name = link(folders[side], outside, KINDS[form][0])
    message = refusal(folders["pred"], folders["ref"], form)
    assert f"{folders[side] / name}: is a link that leaves the folder {folders[side]}" in message
    assert SECRET not in message


@pytest.mark.parametrize("table", ["classes.txt", "obj.names", "data.yaml", "labels/classes.txt"])
def test_names_of_classes_are_not_read_through_a_link_outside(
    tmp_path: Path, outside: Path, table: str
) -> None:
    pred = labels(tmp_path / "pred", "yolo")
    (pred / table).parent.mkdir(exist_ok=True)
    (pred / table).symlink_to(outside / "a.txt")
    message = refusal(pred, write(tmp_path / "ref", {"a.txt": "0 0.5 0.5 0.2 0.2"}), "yolo")
    assert f"{table}: is a link that leaves" in message
    assert SECRET not in message


@pytest.mark.parametrize("form", KINDS)
def test_links_inside_are_read_and_a_linked_folder_only_once(tmp_path: Path, form: str) -> None:
    suffix, text = KINDS[form]
    (tmp_path / "pred").symlink_to(labels(tmp_path / "real", form))
    write(tmp_path / "real", {f"store/c{suffix}": text})
    (tmp_path / f"real/d{suffix}").symlink_to(f"a{suffix}")
    (tmp_path / "real/sub").symlink_to("store")
    (tmp_path / "real/photo.jpg").symlink_to("/etc/hostname")  # of no concern, not opened
    side = formats.read_side(tmp_path / "pred", form, True)
    assert sorted(side.images.rows or ()) == ["a", "b", "d", "store/c"]
    assert side.boxes.count == 4
    assert [note for note in side.notes if "passed over" in note and ": sub." in note]


def test_a_linked_folder_of_images_is_passed_over(tmp_path: Path, outside: Path) -> None:
    for form, name in (("yolo", "images"), ("voc", "JPEGImages")):
        folder = labels(tmp_path / form, form)
        (folder / name).symlink_to(outside)
        side = formats.read_side(folder, form, True)
        assert side.boxes.count == 2
        assert f": {name}." in side.notes[-1]


@pytest.mark.parametrize("form", KINDS)
def test_loops_pipes_and_folders_with_the_name_of_a_file(tmp_path: Path, form: str) -> None:
    suffix, text = KINDS[form]
    folder = labels(tmp_path / "pred", form)
    write(folder, {f"c{suffix}/d{suffix}": text})
    assert formats.read_side(folder, form, True).boxes.count == 3
    os.mkfifo(folder / f"pipe{suffix}")
    with pytest.raises(LossexportError, match=f"pipe{suffix}: is not a regular file"):
        formats.read_side(folder, form, True)
    (folder / f"pipe{suffix}").unlink()
    (folder / f"loop{suffix}").symlink_to(f"loop{suffix}")
    with pytest.raises(LossexportError, match=f"loop{suffix}: cannot be read: Too many levels"):
        formats.read_side(folder, form, True)
    (folder / f"loop{suffix}").unlink()
    (folder / "sub").mkdir()
    (folder / "sub/up").symlink_to("..")
    assert formats.read_side(folder, form, True).boxes.count == 3


def test_what_is_swapped_for_a_link_after_the_listing_is_not_read(
    tmp_path: Path, outside: Path
) -> None:
    base = write(tmp_path / "pred", {"a.txt": "mine", "sub/a.txt": "mine"})
    with Folder(base) as folder:
        assert folder.names() == ["a.txt", "sub/a.txt"]
        assert folder.read("sub/a.txt", 4) == b"mine"
        (base / "a.txt").unlink()
        (base / "a.txt").symlink_to(outside / "a.txt")
        (base / "sub").rename(base / "old")
        (base / "sub").symlink_to(outside)
        for name in ("a.txt", "sub/a.txt", "../outside/a.txt", str(outside / "a.txt")):
            with pytest.raises(LossexportError, match=r"leaves|lies outside"):
                folder.read(name, 100)


def test_an_image_that_is_swapped_for_a_link_is_not_read(
    tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = write(tmp_path / "images", {"a.png": "mine"})
    pictures = ImageFolder(base)
    assert pictures.read("a.png") == b"mine"
    monkeypatch.setattr(ImageFolder, "find", lambda *_: base / "a.png")  # as it was when looked at
    (base / "a.png").unlink()
    (base / "a.png").symlink_to(outside / "a")
    with pytest.raises(LossexportError, match="leaves the folder"):
        pictures.read("a.png")


def test_images_of_sub_folders_are_listed(tmp_path: Path, outside: Path) -> None:
    base = write(tmp_path / "images", {"b.PNG": "", "a/c.jpg": "", "a/._c.jpg": "", "a/d.txt": ""})
    assert ImageFolder(base).names() == ["a/c.jpg", "b.PNG"]
    (base / "more").symlink_to(outside)
    with pytest.raises(LossexportError, match="more: is a link that leaves the folder"):
        ImageFolder(base).names()
    write(tmp_path / "none", {"a.txt": ""})
    with pytest.raises(LossexportError, match=r"the folder has no \.jpg, \.jpeg, \.png file"):
        ImageFolder(tmp_path / "none").names()


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = write(tmp_path / "pred", {"a/b/c/d.txt": "12345", "e.txt": ""})
    with Folder(base) as folder:
        with pytest.raises(LossexportError, match=r"d\.txt: 5 bytes, more than the limit of 4"):
            folder.read("a/b/c/d.txt", 4)
        monkeypatch.setattr(folder_module, "MAX_DEPTH", 2)
        with pytest.raises(LossexportError, match="a/b/c: more than 2 folders deep"):
            folder.names()
        monkeypatch.setattr(folder_module, "MAX_DEPTH", 9)
        monkeypatch.setattr(folder_module, "MAX_FILES", 1)
        with pytest.raises(LossexportError, match="more than 1 files"):
            folder.names()
    with pytest.raises(LossexportError, match="none: folder cannot be read: No such file"):
        Folder(tmp_path / "none")


@pytest.mark.parametrize("name", ["a\n.txt", "a\x1b[2J.txt", "caf\udce9.txt", "sub\r/a.txt"])
def test_names_that_are_not_plain_text(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "pred", {name: KINDS["yolo"][1]})
    with pytest.raises(LossexportError, match=r"pred: file name '.*\\.* is not plain text"):
        formats.read_side(folder, "yolo", True)
    # Where they are of no concern, as Icon\r of macOS, they are passed over like others.
    folder = write(tmp_path / "other", {f"{name}.cache": "", "a.txt": KINDS["yolo"][1]})
    side = formats.read_side(folder, "yolo", True)
    assert side.boxes.count == 1
    assert side.notes[0].startswith("other: 1 file that holds no labels passed over: ")
    assert side.notes[0].isprintable()
