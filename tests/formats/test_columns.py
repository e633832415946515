"""Columns of arrays and sequences: what is taken, and what is refused by its name and row."""

from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lossexport.boxes import boxset
from lossexport.boxes.assemble import dataset
from lossexport.boxes.columns import ID
from lossexport.boxes.side import Entry, Side
from lossexport.errors import LossexportError
from lossexport.formats import columns
from lossexport.formats.columns import side_of
from tests.boxes.helpers import coco, evaluate_data, found, read_json, truth

PATH = Path("d.csv")
BOXES = [[0, 0, 10, 20], [1, 2, 4, 3]]
PRED = {"image_id": [7, "a.jpg"], "category_id": ["cat", 3], "bbox": BOXES, "score": [0.5, 0.25]}
REF = {name: value for name, value in PRED.items() if name != "score"}


def predictions(side: Side) -> boxset.Predictions:
    return side.boxes.predictions(*side.boxes.codes())


def references(side: Side) -> boxset.References:
    return side.boxes.references(*side.boxes.codes())


def test_predictions() -> None:
    side = side_of(PATH, PRED, True)
    assert side.images.ids.ids == [7, "a.jpg"]
    assert side.categories.ids.ids == ["cat", 3]
    assert (side.images.rows, side.categories.rows, side.notes) == (None, None, [])
    boxes = predictions(side)
    assert boxes.box.tolist() == BOXES
    assert boxes.score.tolist() == [0.5, 0.25]
    assert boxes.log_variance is None


def test_references() -> None:
    side = side_of(PATH, REF | {"iscrowd": [False, True], "area": [np.nan, 5]}, False)
    boxes = references(side)
    assert boxes.area.tolist() == [200, 5]
    assert boxes.ignored.tolist() == [False, True]
    plain = references(side_of(PATH, REF | {"score": "not read", "iscrowd": None}, False))
    assert plain.area.tolist() == [200, 12]
    assert not plain.ignored.any()


def test_corners() -> None:
    given = {**REF, "box": [[1, 2, 4, 8], [-1, -1, -1, -1]], "bbox": None}
    assert references(side_of(PATH, given, False)).box.tolist() == [[1, 2, 3, 6], [-1, -1, 0, 0]]
    given = {**PRED, "box": [[4, 2, 1, 8], [0, 0, 1, 1]], "bbox": None}
    assert predictions(side_of(PATH, given, True)).box.tolist() == [[4, 2, -3, 6], [0, 0, 1, 1]]


@pytest.mark.parametrize(
    ("ids", "wanted"),
    [
        ([17, "17", 17.0, "017"], [17, 17, 17, "017"]),
        (("b", "a", "b", "5"), ["b", "a", "b", 5]),
        (np.array([3, 1, 3, -2], np.int32), [3, 1, 3, -2]),
        (np.array([3, 2**63 - 1, 3, 0], np.uint64), [3, 2**63 - 1, 3, 0]),
        (np.array([3.0, 1.0, -0.0, 0.0], np.float32), [3, 1, 0, 0]),
        (np.array(["b", "a", "b", "5"]), ["b", "a", "b", 5]),
        (np.array(["b", 1, 2.0, np.int8(1)], object), ["b", 1, 2, 1]),
        ([np.int64(4), np.str_("x"), np.float32(2), 4], [4, "x", 2, 4]),
        (array("q", [2, 1, 1, 2]), [2, 1, 1, 2]),
    ],
)
def test_ids(ids: Any, wanted: list[Any]) -> None:
    given = {"image_id": ids, "category_id": ids, "bbox": np.ones((4, 4)), "score": np.ones(4)}
    side = side_of(PATH, given, True)
    for table, codes in zip((side.images, side.categories), side.boxes.codes(), strict=True):
        values = [table.ids.ids[code] for code in codes]
        assert values == wanted
        assert {type(value) for value in values} <= {int, str}


def test_tables() -> None:
    images = {"x": ("a/x.png", 640, np.float32(480)), 7: "7.jpg", "8": None}
    side = side_of(PATH, PRED | {"images": images, "categories": {"cat": "Cat"}}, True)
    assert side.images.rows == {
        "x": Entry("a/x.png", (640, 480)),
        7: Entry("7.jpg"),
        8: Entry(None),
    }
    assert side.images.ids.ids == ["x", 7, 8, "a.jpg"]
    assert (side.images.text, side.categories.text) == (False, True)
    assert side.categories.rows == {"cat": Entry("Cat")}
    assert side_of(PATH, PRED | {"notes": "Read."}, True).notes == ["d.csv: Read."]


def test_log_variance() -> None:
    rows = [[1, 2, 3, 4], [np.nan] * 4]
    variance = predictions(side_of(PATH, PRED | {"log_variance": rows}, True)).log_variance
    np.testing.assert_array_equal(variance, np.array(rows, np.float32))
    none = side_of(PATH, PRED | {"log_variance": np.full((2, 4), np.nan)}, True)
    assert predictions(none).log_variance is None


def test_a_log_variance_goes_with_its_box_from_parts_to_pixels() -> None:
    side = side_of(PATH, PRED | {"log_variance": [[0, 0, 0, 0], [np.nan] * 4]}, True)
    side.boxes.scale(np.array([[640.0, 480, 640, 480]] * 2))
    boxes = predictions(side)
    assert boxes.box[0].tolist() == [0, 0, 6400, 9600]
    wanted = np.tile(2 * np.log([640, 480]), 2)
    assert boxes.log_variance is not None
    np.testing.assert_allclose(boxes.log_variance, np.array([wanted, [np.nan] * 4]), rtol=1e-6)


def test_no_box_at_all() -> None:
    nothing: dict[str, Any] = {"image_id": [], "category_id": [], "bbox": [], "score": []}
    assert side_of(PATH, nothing, True).boxes.count == 0
    side = side_of(PATH, nothing | {"images": {"a": "a.png"}, "categories": {}}, False)
    assert (side.images.rows, side.categories.rows) == ({"a": Entry("a.png")}, {})


def test_columns_score_like_the_rows_of_a_coco_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    box = np.concatenate([rng.uniform(0, 90, (60, 2)), rng.uniform(5, 50, (60, 2))], axis=1)
    image, kind = rng.integers(1, 4, 60), rng.integers(1, 3, 60)
    crowd, area = rng.random(60) < 0.1, rng.uniform(10, 3000, 60)
    near, score = box + rng.normal(0, 2, box.shape), rng.random(60).round(1)
    truths = zip(image, kind, box, crowd, area, strict=True)
    document = coco(
        [truth(int(i), int(k), *b, iscrowd=int(c), area=a) for i, k, b, c, a in truths],
        images=(1, 2, 3),
    )
    rows = zip(image, kind, score, near, strict=True)
    results = [found(int(i), int(k), float(s), *b) for i, k, s, b in rows]
    wanted = read_json(tmp_path, results, document)
    tables = {
        "images": {row["id"]: row["file_name"] for row in document["images"]},
        "categories": {row["id"]: row["name"] for row in document["categories"]},
    }
    ids = {"image_id": image, "category_id": kind}
    corners = np.concatenate([near[:, :2], near[:, :2] + near[:, 2:]], axis=1)
    for given, slack in (({"bbox": near}, 0.0), ({"box": corners}, 1e-13)):
        ref = side_of(PATH, ids | {"bbox": box, "iscrowd": crowd, "area": area} | tables, False)
        data = dataset(side_of(PATH, ids | given | {"score": score}, True), ref, None, "count")
        np.testing.assert_allclose(data.predictions.box, wanted.predictions.box, atol=slack)
        values = evaluate_data(data).values
        assert values == pytest.approx(evaluate_data(wanted).values, abs=slack)
        assert 0.1 < values["AP"] < 0.9
        assert (data.images, data.categories) == (wanted.images, wanted.categories)
        assert list(data.files) == list(wanted.files) == [("1.jpg",), ("2.jpg",), ("3.jpg",)]


REFUSED = {
    "no mapping": ([1], "columns is [1]: a mapping of names to arrays is expected"),
    "unknown": (
        PRED | {"scores": [1, 1]},
        "column 'scores' is not one of image_id, category_id, bbox, box, rbox, obb, score, "
        "log_variance, iscrowd, area, images, categories, notes; did you mean score?",
    ),
    "two boxes": (
        PRED | {"box": BOXES},
        "both of the columns bbox (x, y, width, height) and box (x1, y1, x2, y2): one of them is "
        "expected",
    ),
    "no box": (
        PRED | {"bbox": None},
        "neither of the columns bbox (x, y, width, height) and box (x1, y1, x2, y2): one of them "
        "is expected",
    ),
    "no score": (REF, "column score is missing, there are image_id, category_id, bbox"),
    "no image": (
        PRED | {"image_id": None},
        "column image_id is missing, there are category_id, bbox, score",
    ),
    "short": (PRED | {"score": [1]}, "score has 1 rows, the boxes have 2"),
    "long": (PRED | {"image_id": [1, 2, 3]}, "image_id has 3 rows, the boxes have 2"),
    "three numbers": (
        PRED | {"bbox": [[1, 2, 3, 4], [1, 2, 3]]},
        "bbox[1] is [1, 2, 3]: four numbers are expected",
    ),
    "an array of three": (
        PRED | {"bbox": [np.ones(4), np.ones(3)]},
        "bbox[1] is array([1., 1., 1.]): four numbers are expected",
    ),
    "flat": (PRED | {"bbox": np.ones(8)}, "bbox is float64 [8]: [n,4] of numbers is expected"),
    "five": (PRED | {"bbox": np.ones((2, 5))}, "bbox is float64 [2,5]: [n,4] of numbers is "),
    "text box": (
        PRED | {"bbox": [[1, 2, 3, 4], ["1", 2, 3, 4]]},
        "bbox[1] is ['1', 2, 3, 4]: four numbers are expected",
    ),
    "text score": (PRED | {"score": [1, "0.5"]}, "score[1] is '0.5': a number is expected"),
    "no number": (PRED | {"score": [1, None]}, "score[1] is None: a number is expected"),
    "true": (PRED | {"score": [True, False]}, "score[0] is True: a number is expected"),
    "mask": (PRED | {"score": np.ones(2, bool)}, "score is bool [2]: [n] of numbers is expected"),
    "complex": (PRED | {"score": np.ones(2, complex)}, "score is complex128 [2]: [n] of numbers "),
    "a number": (PRED | {"score": 0.5}, "score is float64 []: [n] of numbers is expected"),
    "nan box": (
        PRED | {"bbox": [[0, 0, 1, 1], [0, np.nan, 1, 1]]},
        "bbox[1][1] is nan: must be a finite number",
    ),
    "inf corner": (
        {**PRED, "bbox": None, "box": [[0, 0, np.inf, 1], [0, 0, 1, 1]]},
        "box[0][2] is inf: must be a finite number",
    ),
    "huge side": (
        {**PRED, "bbox": None, "box": [[-9e8, 0, 9e8, 1], [0, 0, 1, 1]]},
        "box[0]: x2 - x1 is 1800000000.0: must be at most 1e+09 in size",
    ),
    "nan score": (PRED | {"score": [1, np.nan]}, "score[1] is nan: must be a finite number"),
    "half an id": (PRED | {"image_id": [1, 1.5]}, f"image_id[1] is 1.5: {ID}"),
    "nan id": (PRED | {"image_id": np.array([np.nan, 1])}, f"image_id[0] is nan: {ID}"),
    "no id": (PRED | {"image_id": [1, None]}, f"image_id[1] is None: {ID}"),
    "true id": (PRED | {"category_id": [1, True]}, f"category_id[1] is True: {ID}"),
    "list id": (PRED | {"category_id": [1, [2]]}, f"category_id[1] is [2]: {ID}"),
    "huge id": (
        PRED | {"image_id": np.array([1, 2**63], np.uint64)},
        f"image_id[1] is {2**63}: {ID}",
    ),
    "surrogate": (
        PRED | {"image_id": ["a", "\udc80"]},
        "image_id[1] is '\\udc80': has half of a surrogate ",
    ),
    "bytes": (PRED | {"image_id": np.array([b"a", b"b"])}, "image_id is |S1 [2]: [n] of ids is "),
    "mask id": (PRED | {"image_id": np.ones(2, bool)}, "image_id is bool [2]: [n] of ids is "),
    "nested": (PRED | {"image_id": [[1], [2]]}, "image_id is object [2,1]: [n] of ids is "),
    "variance": (
        PRED | {"log_variance": [[np.nan] * 4, [0, 0, np.nan, 0]]},
        "log_variance[1][2] is nan: must be from -200 to 200",
    ),
    "list of images": (
        PRED | {"images": ["a"]},
        "images is ['a']: a mapping of ids to names is expected",
    ),
    "number for a name": (
        PRED | {"images": {1: 5}},
        "images[1] is 5: a file name, or file name, width and height, is expected",
    ),
    "sizes of a category": (
        PRED | {"categories": {1: ("a", 3, 4)}},
        "categories[1] is ('a', 3, 4): a name is expected",
    ),
    "surrogate name": (PRED | {"categories": {1: "\udc80"}}, "categories[1] is '\\udc80': has "),
    "no height": (PRED | {"images": {1: ("a", 3)}}, "images[1] is ('a', 3): a file name, or file "),
    "negative": (
        PRED | {"images": {1: ("a", 3, -4)}},
        "images[1] is ('a', 3, -4): width and height above 0 and below 1e+09 are expected",
    ),
    "surrogate in a table": (
        PRED | {"images": {"\udc80": "a"}},
        "an id of images is '\\udc80': has half",
    ),
    "table id": (PRED | {"images": {None: "a"}}, f"an id of images is None: {ID}"),
    "twice": (
        PRED | {"images": {1: "a", "1": "b"}},
        "an id of images is '1': the id appears twice with other values",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_predictions(name: str) -> None:
    given, wanted = REFUSED[name]
    with pytest.raises(LossexportError) as caught:
        side_of(PATH, given, True)
    assert str(caught.value).startswith(f"d.csv: {wanted}")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ({"bbox": [[0, 0, 1, 1], [0, 0, 1, -1]]}, "bbox[1][3] is -1.0: a reference must not have "),
        (
            {"bbox": None, "box": [[0, 0, 1, 1], [5, 0, 1, 1]]},
            "box[1]: x2 - x1 is -4.0: a reference must not have a negative size",
        ),
        ({"iscrowd": [0, 2]}, "iscrowd[1] is 2.0: must be 0 or 1"),
        ({"iscrowd": [0, np.nan]}, "iscrowd[1] is nan: must be 0 or 1"),
        ({"iscrowd": ["0", "1"]}, "iscrowd[0] is '0': a number is expected"),
        ({"area": [-1, 0]}, "area[0] is -1.0: must not be negative"),
        ({"area": [1, np.inf]}, "area[1] is inf: must be a finite number"),
        ({"area": [1]}, "area has 1 rows, the boxes have 2"),
    ],
)
def test_refused_references(more: dict[str, Any], wanted: str) -> None:
    with pytest.raises(LossexportError) as caught:
        side_of(PATH, REF | more, False)
    assert str(caught.value).startswith(f"d.csv: {wanted}")


@pytest.mark.parametrize(
    ("limit", "scored", "wanted"),
    [
        ("MAX_PREDICTIONS", True, "predictions"),
        ("MAX_REFERENCES", False, "references"),
        ("MAX_IMAGES", True, "different image ids"),
        ("MAX_CATEGORIES", True, "different category ids"),
    ],
)
def test_limits(limit: str, scored: bool, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns if hasattr(columns, limit) else boxset, limit, 1)
    with pytest.raises(LossexportError, match=rf"^d\.csv: more than 1 {wanted}, the most that is "):
        side_of(PATH, PRED, scored)


def test_limits_of_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "MAX_IMAGES", 2)
    with pytest.raises(LossexportError, match=r"^d\.csv: more than 2 images, the most that "):
        side_of(PATH, PRED | {"images": {1: None, 2: None, 3: None}}, True)


def test_an_array_of_float64_is_taken_as_it_is() -> None:
    box, score = np.ones((3, 4)), np.ones(3)
    given = {"image_id": [1, 1, 2], "category_id": [1, 1, 1], "bbox": box, "score": score}
    side = side_of(PATH, given, True)
    assert side.boxes._box[0] is box
    assert side.boxes._score[0] is score


class _Elsewhere:
    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise RuntimeError("on another device\nof 8")


@pytest.mark.parametrize("name", ["image_id", "bbox", "score"])
def test_what_cannot_be_an_array(name: str) -> None:
    with pytest.raises(LossexportError) as caught:
        side_of(PATH, PRED | {name: _Elsewhere()}, True)
    assert str(caught.value) == f"d.csv: {name} is no array: on another device of 8"
