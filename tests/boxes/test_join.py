"""Which image is which: every branch of the rule, through `score` and `compare` alike."""

import json
from pathlib import Path
from typing import Any

import pytest

from lossexport.comparison import compare
from lossexport.errors import LossexportError
from lossexport.scoring import score
from tests.boxes.helpers import Json, found, truth

BOXES = ((10, 10, 40, 40), (100, 20, 50, 30), (5, 200, 60, 60))
Names = dict[Any, str | None]
"""A table: file names or names by id."""


def tables(images: Names | None, kinds: Names | None) -> Json:
    named: Json = {}
    if images is not None:
        named["images"] = [{"id": i, "file_name": name} for i, name in images.items()]
    if kinds is not None:
        named["categories"] = [{"id": i, "name": name} for i, name in kinds.items()]
    return named


def run(
    verb: str,
    folder: Path,
    ref: tuple[Names, Names],
    pred: tuple[Names | None, Names | None],
    truths: Json,
    detections: Json,
    **options: Any,
) -> dict[str, Any]:
    """Score or compare boxes: the n-th of each side is box n on that (image, category)."""
    base = [truth(*place, *BOXES[n], id=n + 1) for n, place in enumerate(truths)]
    rows = [found(*place, 0.9, *BOXES[n]) for n, place in enumerate(detections)]
    if verb == "compare":
        base = [{**row, "score": 0.8} for row in base]
    document = tables(*pred)
    (folder / "ref.json").write_text(json.dumps({**tables(*ref), "annotations": base}))
    (folder / "pred.json").write_text(
        json.dumps({**document, "annotations": rows} if document else rows)
    )
    if verb == "score":
        return score(folder / "pred.json", folder / "ref.json", **options)
    return compare(folder / "ref.json", folder / "pred.json", **options)


def notes_of(summary: dict[str, Any]) -> list[str]:
    """Notes about the join; those that count what only the predictions have are for `score`."""
    return [note for note in summary["notes"] if "joined" in note]


verbs = pytest.mark.parametrize("verb", ["score", "compare"])
KINDS: Names = {1: "car", 2: "bus"}
FILES: Names = {1: "a.jpg", 2: "b.jpg", 3: "c.jpg"}
NUMBERED: Names = {i: f"{i:04}.jpg" for i in (1, 2, 3)}
ONE = [(1, 1), (2, 2), (3, 1)]
BY_FILE = "Ids of images differ between ref.json and pred.json: joined by file name"
BY_KIND = "Ids of categories differ between ref.json and pred.json: joined by name"
LOOSE = " without regard to folder and case."
STEMS = "pred.json: image ids are file names without suffix: joined by them."

# Tables of the references, of the predictions, the places of the predictions, the notes. The
# references are on ONE, and all three predictions find theirs.
JOINS: dict[str, tuple[Names, Names, Names | None, Names | None, Json, list[str]]] = {
    "a list": (FILES, KINDS, None, None, ONE, []),
    "ids agree": (FILES, KINDS, FILES, KINDS, ONE, []),
    "other folders": (
        {i: f"val/{name}" for i, name in FILES.items()}, KINDS,
        {i: f"C:\\data\\{name}" for i, name in FILES.items()}, KINDS, ONE, [],
    ),
    "other case and spaces": (
        FILES, KINDS, {1: "A.JPG", 2: "B.Jpg ", 3: "c.jpg"}, {1: "CAR", 2: " bus"}, ONE, [],
    ),
    "accents written in two ways": (
        {1: "caf\u00e9.jpg", 2: "stra\u00dfe.jpg", 3: "c.jpg"}, KINDS,
        {9: "cafe\u0301.jpg", 8: "STRASSE.jpg", 7: "c.jpg"}, KINDS,
        [(9, 1), (8, 2), (7, 1)], [BY_FILE + LOOSE],
    ),
    "swapped images": (
        FILES, KINDS, {1: "b.jpg", 2: "c.jpg", 3: "a.jpg"}, KINDS,
        [(3, 1), (1, 2), (2, 1)], [BY_FILE + "."],
    ),
    "swapped images in another folder and case": (
        {i: f"val/{name}" for i, name in FILES.items()}, KINDS,
        {1: "B.JPG", 2: "C.JPG", 3: "A.JPG"}, KINDS,
        [(3, 1), (1, 2), (2, 1)], [BY_FILE + LOOSE],
    ),
    "own ids": (
        FILES, KINDS, {"x": "a.jpg", "y": "b.jpg", "z": "c.jpg"}, {0: "bus", 7: "car"},
        [("x", 7), ("y", 0), ("z", 7)], [BY_FILE + ".", BY_KIND + "."],
    ),
    "ids of images, names of categories": (
        FILES, KINDS, None, {1: "bus", 2: "Car"},
        [(1, 2), (2, 1), (3, 2)], [BY_KIND + " without regard to case."],
    ),
    "equal last parts agree with the ids": (
        {1: "x/a.jpg", 2: "y/a.jpg", 3: "c.jpg"}, KINDS,
        {1: "a.jpg", 2: "a.jpg", 3: "c.jpg"}, KINDS, ONE, [],
    ),
    "equal last parts of whole names": (
        {1: "x/a.jpg", 2: "y/a.jpg", 3: "c.jpg"}, KINDS,
        {1: "y/a.jpg", 2: "x/a.jpg", 3: "c.jpg"}, KINDS,
        [(2, 1), (1, 2), (3, 1)], [BY_FILE + "."],
    ),
    "a namesake of the references without boxes": (
        FILES, {3: "car", 1: "car", 2: "bus"}, FILES, {0: "car", 1: "bus"},
        [(1, 0), (2, 1), (3, 0)], [BY_KIND + "."],
    ),
    "a namesake of the predictions without boxes": (
        FILES, KINDS, FILES, {0: "car", 5: "car", 1: "bus"},
        [(1, 5), (2, 1), (3, 5)], [BY_KIND + "."],
    ),
    "a table without names": (
        FILES, KINDS, {1: None, 2: None, 3: None}, {1: None, 2: None}, ONE, [],
    ),
    "unused rows that contradict": (
        FILES, {**KINDS, 3: "cow"}, {**FILES, 4: "q.jpg"}, {**KINDS, 3: "dog"}, ONE, [],
    ),
    "stems": (
        {1: "s/street_1.jpg", 2: "s/street_2.png", 3: "s/STREET_3.jpg"}, KINDS, None, None,
        [("street_1", 1), ("street_2", 2), ("street_3", 1)], [STEMS],
    ),
    "stems with dots": (
        {1: "a.b.jpg", 2: "b.c.jpg", 3: "c"}, KINDS, None, None,
        [("a.b", 1), ("b.c", 2), ("c", 1)], [STEMS],
    ),
    "stems with zeros": (
        {11: "0001.jpg", 12: "0002.jpg", 13: "0003.jpg"}, KINDS, None, None,
        [("0001", 1), ("0002", 2), ("0003", 1)], [STEMS],
    ),
    "stems as numbers": (
        {11: "0001.jpg", 12: "0002.jpg", 13: "0003.jpg"}, KINDS, None, None, ONE, [STEMS],
    ),
    "stems that are ids of other images but for one": (
        {0: "0001.jpg", 1: "0002.jpg", 2: "0003.jpg"}, KINDS, None, None, ONE, [STEMS],
    ),
    "file names as ids": (
        FILES, KINDS, None, None, [("a.jpg", 1), ("b.jpg", 2), ("c.jpg", 1)], [STEMS],
    ),
    "stems in a table without names": (
        FILES, KINDS, {"a": None, "b": None, "c": None}, None,
        [("a", 1), ("b", 2), ("c", 1)], [STEMS],
    ),
    "names of categories as ids": (
        FILES, KINDS, None, None, [(1, "Car"), (2, "bus"), (3, "Car")],
        ["pred.json: category ids are names: joined by them."],
    ),
}  # fmt: skip


@verbs
@pytest.mark.parametrize("name", JOINS)
def test_joins(verb: str, name: str, tmp_path: Path) -> None:
    ref_images, ref_kinds, images, kinds, places, notes = JOINS[name]
    base = [(image, ONE[n][1]) for n, image in enumerate(list(ref_images)[:3])]
    summary = run(verb, tmp_path, (ref_images, ref_kinds), (images, kinds), base, places)
    assert summary["counts"]["matched"] == 3
    assert notes_of(summary) == notes


@verbs
@pytest.mark.parametrize(
    ("ref", "pred", "places", "matched"),
    [
        # An unknown name of an unknown id is extra, beside ids that agree and beside names.
        ((FILES, KINDS), ({**FILES, 9: "new.jpg"}, KINDS), [(1, 1), (2, 2), (9, 1)], 2),
        ((FILES, KINDS), ({7: "a.jpg", 9: "new.jpg"}, KINDS), [(7, 1), (9, 2), (9, 1)], 1),
        ((FILES, KINDS), (FILES, {0: "bus", 8: "tram"}), [(1, 8), (2, 0), (3, 8)], 1),
        # A list with some known ids is one of ids, whatever stems say; so are texts, some of which
        # are stems.
        ((FILES, KINDS), (None, None), [(1, 1), ("b", 2), (3, 1)], 2),
        (({5: "a.jpg", 6: "b.jpg", 7: "c.jpg"}, KINDS), (None, None),
         [("a", 1), ("nowhere", 2), ("c", 1)], 2),
    ],
)  # fmt: skip
def test_extra(verb: str, ref: Any, pred: Any, places: Json, matched: int, tmp_path: Path) -> None:
    base = [(image, ONE[n][1]) for n, image in enumerate(ref[0])]
    summary = run(verb, tmp_path, ref, pred, base, places)
    assert summary["counts"]["matched"] == matched
    if verb == "score":
        assert summary["counts"]["unmatched_predictions"] == 3 - matched
        assert any("that the references do not have" in note for note in summary["notes"])
    else:
        assert summary["counts"]["new"] == 3 - matched


CONTRADICTIONS: dict[str, tuple[Names, Names, Names, Names, Json, str]] = {
    "one of three images": (
        FILES, KINDS, {1: "a.jpg", 2: "b.jpg", 3: "zebra.jpg"}, KINDS, ONE,
        r"image 3 is 'zebra.jpg' here and 'c.jpg' in .*ref.json, and 'zebra.jpg' is not the name of"
        r" an image there \(b.jpg, a.jpg, c.jpg\); --match-by id \(match_by\) trusts the ids, "
        r"--match-by name the names$",
    ),
    "all images, the first in the order of numbers": (
        {2: "a.jpg", 10: "b.jpg", 3: "c.jpg"}, KINDS,
        {2: "x.jpg", 10: "y.jpg", 3: "z.jpg"}, KINDS, [(10, 1), (3, 2), (2, 1)],
        r"image 2 is 'x.jpg' here and 'a.jpg' in .*ref.json \(3 such images\)",
    ),
    "without a suffix, of another file": (
        {1: "a.jpg", 2: "b.jpg", 3: "c.jpg"}, KINDS, {1: "a.b.jpg", 2: "a.jpg", 3: "c"}, KINDS,
        [(2, 1), (1, 2), (3, 1)], r"image 1 is 'a.b.jpg' here and 'a.jpg' in .*\(2 such images\)",
    ),
    "half of the names": (
        FILES, KINDS, {1: "a.jpg", 2: "c.jpg", 3: "d.jpg"}, KINDS, ONE,
        r"image 3 is 'd.jpg' here and 'c.jpg' in",
    ),
    "categories": (
        FILES, KINDS, FILES, {1: "Autobus", 2: "Automobile"}, ONE,
        r"category 1 is 'Autobus' here and 'car' in .*ref.json \(2 such categories\), and 'Autobus'"
        r" is not the name of a category there \(bus, car\)",
    ),
    "a name that is near": (
        FILES, KINDS, FILES, {0: "car", 1: "busses", 2: "trams"}, [(1, 0), (2, 1), (3, 0)],
        r"category 1 is 'busses' here and 'car' in .*'busses' is not .* \(bus, car\)",
    ),
    "last parts that are not unique": (
        {1: "x/a.jpg", 2: "y/a.jpg", 3: "c.jpg"}, KINDS,
        {1: "c.jpg", 2: "b.jpg", 3: "a.jpg"}, KINDS, ONE,
        r"image 2 is 'b.jpg' here and 'y/a.jpg' in .*\(2 such images\)",
    ),
    "an image without boxes is one all the same": (
        {1: "a.jpg", 2: "b.jpg", 3: "x/c.jpg", 4: "y/c.jpg"}, KINDS,
        {1: "a.jpg", 2: "b.jpg", 4: "b.jpg", 3: "q.jpg"}, KINDS, [(1, 1), (2, 2), (4, 1)],
        r"image 4 is 'b.jpg' here and 'y/c.jpg' in .*'b.jpg' is the name of several images in "
        r".*pred.json",
    ),
    "without a name beside names that differ": (
        FILES, KINDS, {1: "b.jpg", 2: "a.jpg", 3: None}, KINDS, [(2, 1), (1, 2), (3, 1)],
        r"image 3 is without a name here and 'c.jpg' in .*, and other ids of images differ",
    ),
}  # fmt: skip


@verbs
@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradictions_are_refused(verb: str, name: str, tmp_path: Path) -> None:
    ref_images, ref_kinds, images, kinds, places, message = CONTRADICTIONS[name]
    base = [(image, ONE[n][1]) for n, image in enumerate(list(ref_images)[:3])]
    with pytest.raises(LossexportError, match=message) as caught:
        run(verb, tmp_path, (ref_images, ref_kinds), (images, kinds), base, places)
    assert str(caught.value).startswith(str(tmp_path / "pred.json"))
    assert "\n" not in str(caught.value)
    both = (ref_images, ref_kinds), (images, kinds)
    by_id = run(verb, tmp_path, *both, base, places, match_by="id")
    assert notes_of(by_id) == []
    pairs = zip(base, places, strict=True)
    assert by_id["counts"]["matched"] == sum(ours == theirs for ours, theirs in pairs)


@verbs
def test_the_option_decides(verb: str, tmp_path: Path) -> None:
    shifted: Names = {1: "b.jpg", 2: "c.jpg", 3: "d.jpg"}
    both = (FILES, KINDS), (shifted, KINDS)
    by_id = run(verb, tmp_path, *both, ONE, ONE, match_by="id")
    assert (by_id["counts"]["matched"], notes_of(by_id)) == (3, [])
    by_name = run(verb, tmp_path, *both, ONE, [(3, 1), (1, 2), (2, 1)], match_by="name")
    assert (by_name["counts"]["matched"], notes_of(by_name)) == (2, [BY_FILE + "."])


@verbs
def test_a_list_whose_ids_are_stems_of_other_images(verb: str, tmp_path: Path) -> None:
    """Nothing can tell, so the ids count; a note says so, and the option decides."""
    shifted: Names = {0: "0001.jpg", 1: "0002.jpg", 2: "0003.jpg"}
    base, places = [(0, 1), (1, 2)], [(1, 1), (2, 2)]
    by_id = run(verb, tmp_path, (shifted, KINDS), (None, None), base, places)
    assert by_id["counts"]["matched"] == 0
    assert notes_of(by_id) == [
        "pred.json: image ids are joined by id, but are file names without suffix of other images "
        "in ref.json too: --match-by name (match_by) joins by those."
    ]
    by_name = run(verb, tmp_path, (shifted, KINDS), (None, None), base, places, match_by="name")
    assert (by_name["counts"]["matched"], notes_of(by_name)) == (2, [STEMS])
    strict = run(verb, tmp_path, (shifted, KINDS), (None, None), base, places, match_by="id")
    assert (strict["counts"]["matched"], notes_of(strict)) == (0, [])


@verbs
def test_what_has_nothing_in_common(verb: str, tmp_path: Path) -> None:
    strange = [(70, 1), (71, 2), (72, 1)]
    message = r"pred.json: no image in common with .*ref.json: image 70 here, 1 \(a.jpg\) there"
    with pytest.raises(LossexportError, match=message):
        run(verb, tmp_path, (FILES, KINDS), (None, None), ONE, strange)
    # Of numbers only some of which are stems, that may be chance.
    numbers: Names = {1: "70.jpg", 2: "b.jpg", 3: "c.jpg"}
    with pytest.raises(LossexportError, match="no image in common"):
        run(verb, tmp_path, (numbers, KINDS), (None, None), ONE, strange)
    by_name = run(verb, tmp_path, (numbers, KINDS), (None, None), ONE, strange, match_by="name")
    assert by_name["counts"]["matched"] == 1
    message = "has no file names to match by, and its ids of images are not file names of"
    with pytest.raises(LossexportError, match=message):
        run(verb, tmp_path, (FILES, KINDS), (None, None), ONE, strange, match_by="name")


def test_the_parent_may_be_the_list(tmp_path: Path) -> None:
    rows = [found(*place, 0.9, *box) for place, box in zip(ONE, BOXES, strict=True)]
    parent, child = tmp_path / "parent.json", tmp_path / "child.json"
    stems = [{**row, "image_id": f"{row['image_id']:04}"} for row in rows]
    parent.write_text(json.dumps(stems))
    named = tables({11: "0001.jpg", 12: "0002.jpg", 13: "0003.jpg"}, KINDS)
    boxes = [{**row, "image_id": row["image_id"] + 10} for row in rows]
    child.write_text(json.dumps({**named, "annotations": boxes}))
    summary = compare(parent, child)
    assert summary["counts"]["matched"] == 3
    assert summary["notes"] == [
        "parent.json: image ids are file names without suffix: joined by them."
    ]


def test_names_given_for_lists_make_them_tables(tmp_path: Path) -> None:
    rows = [found(*place, 0.9, *box) for place, box in zip(ONE, BOXES, strict=True)]
    for name in ("parent", "child"):
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    names = tmp_path / "names.json"
    names.write_text(json.dumps({**tables(FILES, KINDS), "annotations": []}))
    summary = compare(tmp_path / "parent.json", tmp_path / "child.json", names=names)
    assert (summary["counts"]["matched"], summary["notes"]) == (3, [])


def test_sizes_come_from_the_row_of_the_image(tmp_path: Path) -> None:
    """Rows without boxes name sizes of their own image, never of the first one."""
    from lossexport import formats

    ref = {**tables(FILES, KINDS), "annotations": [truth(1, 1, *BOXES[0], id=1)]}
    sizes = [{"id": i, "file_name": n, "width": 10 * i, "height": 7} for i, n in FILES.items()]
    sizes.append({"id": 9, "file_name": "q.jpg", "width": 999, "height": 999})
    pred = {"images": sizes, "annotations": [found(2, 1, 0.9, *BOXES[0])]}
    for name, document in (("ref", ref), ("pred", pred)):
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    data = formats.read(tmp_path / "pred.json", tmp_path / "ref.json", "coco")
    assert data.sizes is not None
    assert data.sizes.tolist() == [[10, 7], [20, 7], [30, 7]]


def test_numbers_name_categories(tmp_path: Path) -> None:
    digits = {"categories": [{"id": 1, "name": 7}], "images": [{"id": 1}]}
    document = {**digits, "annotations": [truth(1, 1, *BOXES[0], id=1)]}
    (tmp_path / "ref.json").write_text(json.dumps(document))
    (tmp_path / "pred.json").write_text(json.dumps([found(1, 1, 0.5, *BOXES[0])]))
    summary = score(tmp_path / "pred.json", tmp_path / "ref.json")
    assert summary["categories"][0]["name"] == "7"
