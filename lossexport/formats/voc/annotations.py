"""Pascal VOC: a folder of `IMAGE.xml`; corners count pixels from 1 with both ends included.

Sub-folders are read too. Predictions are the same kind of file with a `score` in each object, or
the results of the development kit (`comp4_det_test_CLASS.txt`).
"""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from lossexport.boxes.boxset import (
    MAX_CATEGORIES,
    MAX_COORDINATE,
    Id,
    Input,
    check_count,
    check_rows,
    check_scores,
    fail,
)
from lossexport.boxes.side import Side, Size
from lossexport.errors import LossexportError
from lossexport.folder import Folder
from lossexport.formats.shared import (
    add_image,
    called,
    check_found,
    image_name,
    note_passed,
    number,
    number_at,
    suffix,
)
from lossexport.formats.source import Advance, FolderDigest
from lossexport.formats.voc import kit
from lossexport.formats.voc.pixels import CORNERS, box_of
from lossexport.images import IMAGE_FILES

MAX_FILE = 1 << 20
"""Thousands of objects; the tree of a file takes up to 55 times its size."""

_FOREIGN = ("txt", "json", "csv")
_YES = ("1", "true", "yes")
_NO = ("0", "false", "no", "unspecified", "")

Element = ElementTree.Element


def read(path: Path, scored: bool, advance: Advance) -> Side:
    """Read a folder of annotation files, or of results of the development kit (`scored`).

    A single file of these results can be read too. Objects marked difficult are not counted.
    """
    if scored and path.is_file():
        return kit.read_file(path, advance)
    side = Side(path)
    side.images.rows = {}
    with Folder(path) as folder:
        names = folder.names("JPEGImages")
        files = [name for name in names if suffix(name) == "xml"]
        results = [name for name in names if scored and kit.class_of(name)]
        read_ = {*files, *results}
        others = [name for name in names if name not in read_ and suffix(name) not in IMAGE_FILES]
        if files and results:
            raise LossexportError(
                f"{path}: {files[0]} and {results[0]} are two kinds of predictions: keep one"
            )
        if results:
            side.input = kit.read_folder(folder, results, side, advance)
        else:
            side.input = _read_folder(folder, files, side, scored, advance)
    if not files and not results:
        wanted = ".xml file" + (" and no comp3_ or comp4_det_SET_CLASS.txt" if scored else "")
        check_found(side, wanted, others, _FOREIGN, scored)
    side.categories.name_by_ids()
    note_passed(side, "annotations", [*others, *folder.passed])
    return side


def _read_folder(
    folder: Folder, files: Sequence[str], side: Side, scored: bool, advance: Advance
) -> Input:
    digest = FolderDigest()
    images: dict[Id, str] = {}
    empty = 0
    for name, data in digest.read(folder, files, MAX_FILE, advance):
        file = folder.path / name
        root = _parse(file, data)
        objects = _objects(file, root)
        empty += sum(not _filled(item) for item in objects)
        image = add_image(side, image_name(name, "annotations"), name, images, _size(root))
        rows = [(f"object[{i}]", item) for i, item in enumerate(objects) if _filled(item)]
        if rows:
            _add(file, rows, image, side, scored)
        check_rows(file, side.boxes.count, scored)
        check_count(file, "kinds of object", len(side.categories.ids.ids), MAX_CATEGORIES)
    if empty:
        word = "object was" if empty == 1 else "objects were"
        side.notes.append(f"{called(folder.path)}: {empty} empty {word} passed over.")
    return digest.finish(folder.path)


def _objects(path: Path, root: Element) -> list[Element]:
    """The objects. Raises LossexportError if one is not directly in the root."""
    objects = root.findall("object")
    if len(objects) < sum(1 for _ in root.iter("object")):
        raise LossexportError(f"{path}: an object lies within another element than annotation")
    return objects


def _filled(item: Element) -> bool:
    """Whether an object has any content; <object/> is skipped."""
    return len(item) > 0 or bool((item.text or "").strip())


def _size(root: Element) -> Size | None:
    """Width and height; None if the file does not state them."""
    try:
        wide, high = (number(root.findtext(f"size/{name}") or "") for name in ("width", "height"))
    except ValueError:
        return None
    return (wide, high) if 0 < wide < MAX_COORDINATE and 0 < high < MAX_COORDINATE else None


def _add(path: Path, rows: list[tuple[str, Element]], image: int, side: Side, scored: bool) -> None:
    """Add the boxes of the objects; each `bndbox` of an object is a box."""
    kinds: list[str] = []
    corners: list[list[float]] = []
    extra: list[float] = []
    names: list[str] = []
    for where, item in rows:
        boxes = item.findall("bndbox")
        if not boxes:
            raise _missing(path, f"{where}/bndbox", item)
        kind = _text(path, item, where, "name")
        value = _number(path, item, where, "score") if scored else _difficult(path, item, where)
        for number_, box in enumerate(boxes):
            place = f"{where}/bndbox" + (f"[{number_}]" if len(boxes) > 1 else "")
            corners.append([_number(path, box, place, corner) for corner in CORNERS])
            names.append(f"{place}/")
            kinds.append(kind)
            extra.append(value)
    values = np.array(extra, np.float64)
    if scored:
        check_scores(path, values, lambda r: f"{names[r].partition('/')[0]}/score")
    side.boxes.add(
        np.full(len(kinds), image, np.int32),
        side.categories.ids.codes(kinds),
        box_of(path, np.array(corners), names, inverted=scored),
        score=values if scored else None,
        ignored=None if scored else values > 0,
    )


class _Builder(ElementTree.TreeBuilder):
    """Builds the tree. Refuses a document type unread, since it could expand entities."""

    def doctype(self, *_: object) -> None:
        raise LossexportError("DOCTYPE is refused: it could declare entities")


def _parse(path: Path, data: bytes) -> Element:
    """Root of a file; the names of its elements have no namespace and are in lower case."""
    try:
        root = ElementTree.fromstring(data, ElementTree.XMLParser(target=_Builder()))
    except LossexportError as error:
        raise LossexportError(f"{path}: {error}") from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise LossexportError(f"{path}: not XML: {error}") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2].lower()
    if root.tag != "annotation":
        fail(path, "root element", root.tag, "annotation is expected")
    return root


def _missing(path: Path, where: str, item: Element) -> LossexportError:
    there = ", ".join(dict.fromkeys(str(child.tag) for child in item)) or "nothing"
    return LossexportError(f"{path}: {where} is missing; there is {there}")


def _text(path: Path, item: Element, where: str, name: str) -> str:
    """The text of the child `name`, of which there must be one."""
    found = item.findall(name)
    text = (found[0].text or "").strip() if found else ""
    if not text:
        raise _missing(path, f"{where}/{name}", item)
    if len(found) > 1:
        raise LossexportError(f"{path}: {where} has {len(found)} {name}: one is expected")
    return text


def _number(path: Path, item: Element, where: str, name: str) -> float:
    return number_at(path, f"{where}/{name}", _text(path, item, where, name))


def _difficult(path: Path, item: Element, where: str) -> bool:
    if item.find("difficult") is None or not (item.findtext("difficult") or "").strip():
        return False
    text = _text(path, item, where, "difficult").lower()
    if text not in (*_YES, *_NO):
        words = ", ".join((*_YES, *_NO[:-1]))
        fail(path, f"{where}/difficult", text, f"one of {words} is expected")
    return text in _YES
