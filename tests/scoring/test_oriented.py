"""Oriented boxes are scored by their exact IoU: the numbers are those of hotcoco 1.3.0."""

import copy
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import lossexport
from lossexport import score
from lossexport.errors import LossexportError
from lossexport.formats.columns import side_of
from lossexport.names import COCO_NUMBERS
from tests.boxes import oriented as sets
from tests.boxes.helpers import evaluate_data, read_json
from tests.cli.conftest import call

Json = Any


def numbers(folder: Path, references: Json, results: Json) -> dict[str, float]:
    return evaluate_data(read_json(folder, results, references)).values


def same(ours: dict[str, float], theirs: dict[str, float], tolerance: float = 1e-9) -> None:
    worst = max(abs(ours[name] - theirs[name]) for name in COCO_NUMBERS)
    assert worst <= tolerance, (ours, theirs)


@pytest.mark.parametrize("seed", sets.SEEDS)
def test_the_numbers_are_those_that_hotcoco_gave(tmp_path: Path, seed: int) -> None:
    expected = json.loads(sets.EXPECTED.read_text())[str(seed)]
    same(numbers(tmp_path, *sets.draw(seed)), dict(zip(COCO_NUMBERS, expected, strict=True)))


@pytest.mark.skipif(not sets.HOTCOCO, reason="hotcoco is not installed: its numbers are on file")
@settings(max_examples=100, deadline=None)
@given(seed=st.integers(100, 10**9))
def test_hotcoco_gives_the_same(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    references, results = sets.draw(seed)
    theirs = sets.hotcoco(copy.deepcopy(references), copy.deepcopy(results))
    same(numbers(tmp_path_factory.mktemp("set"), references, results), theirs)


def changed(rows: Json, change: Any) -> Json:
    return [{**row, sets.FIELD: change(*row[sets.FIELD])} for row in rows]


CHANGES = {
    "a half turn": lambda x, y, w, h, a: [x, y, w, h, a - math.copysign(math.pi, a)],
    "a quarter turn": lambda x, y, w, h, a: [x, y, h, w, a - math.copysign(math.pi / 2, a)],
    "a mirror": lambda x, y, w, h, a: [-x, y, w, h, -a],
    "a turn of the scene": lambda x, y, w, h, a: [
        math.cos(1.1) * x - math.sin(1.1) * y + 500,
        math.sin(1.1) * x + math.cos(1.1) * y,
        *(w, h, math.remainder(a + 1.1, 2 * math.pi)),
    ],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_both_sides_changes_no_number(tmp_path: Path, change: str) -> None:
    references, results = sets.draw(0)
    before = numbers(tmp_path, references, results)
    moved = {**references, "annotations": changed(references["annotations"], CHANGES[change])}
    same(numbers(tmp_path, moved, changed(results, CHANGES[change])), before)
    assert before["AP"] > 0.1


def as_plain(rows: Json) -> Json:
    found = []
    for row in rows:
        x, y, w, h, _ = row[sets.FIELD]
        found.append({**row, "bbox": [x - w / 2, y - h / 2, w, h], sets.FIELD: None})
    return found


@pytest.mark.parametrize("seed", [1, 3, 5, 7])
def test_without_an_angle_the_numbers_are_those_of_bbox(tmp_path: Path, seed: int) -> None:
    references, results = sets.draw(seed)
    plain = {**references, "annotations": as_plain(references["annotations"])}
    theirs = numbers(tmp_path, plain, as_plain(results))
    assert numbers(tmp_path, references, results) == theirs


def in_memory() -> tuple[Json, Json]:
    rows = {"image_id": [1, 1], "category_id": [1, 1]}
    pred = {**rows, "rbox": [[10, 10, 8, 4, 0.5], [90, 90, 8, 4, 0.5]], "score": [0.9, 0.8]}
    return pred, {**rows, "rbox": [[10, 10, 8, 4, 0.6], [50, 50, 8, 4, 0.5]]}


def test_the_summary_has_the_metrics_of_oriented_boxes() -> None:
    pred, ref = in_memory()
    summary = score(pred, ref)
    assert summary["counts"]["matched"] == 1
    assert summary["settings"]["boxes"] == "oriented"
    assert summary.keys().isdisjoint({"giou", "diou", "ciou"})
    exact = sets.clipped_overlap(pred["rbox"][0], ref["rbox"][0], False)
    assert summary["iou"]["mean"] == pytest.approx(exact, abs=1e-6)
    # ProbIoU of two Gaussians of one centre: 1 - sqrt(1 - BC), BC^4 = 16 |S1| |S2| / |S1 + S2|^2.
    u, v, s = 8**2 / 12, 4**2 / 12, math.sin(0.1) ** 2
    whole = 4 * u * v + (u - v) ** 2 * s
    bhattacharyya = (4 * u * v / whole) ** 0.5
    assert summary["probiou"]["mean"] == pytest.approx(1 - (1 - bhattacharyya) ** 0.5, abs=1e-4)


def test_a_backend_measures_the_same_boxes() -> None:
    pytest.importorskip("onnxruntime")
    references, results = sets.draw(4)
    rows = references["annotations"]
    default, other = (score(results, rows, backend=name) for name in (None, "ort"))
    assert other["backend"] == "ort"
    for metric in ("iou", "probiou"):
        for name, value in default[metric].items():
            assert other[metric][name] == pytest.approx(value, abs=1e-5)


def test_notes_name_a_wrong_reading() -> None:
    _, rows = sets.draw(10)
    rows = [{**row, "score": 0.5} for row in rows if min(sets.box(row)[2:4]) > 0]
    mirrored = changed(rows, lambda x, y, w, h, a: [x, y, w, h, -a])
    notes = score(mirrored, rows)["notes"]
    assert any(note.endswith("would if the angles were counter-clockwise.") for note in notes)
    twins = [
        {**row, sets.FIELD: [50, 50, 40, 10, a]} for row, a in zip(rows, (1, -1), strict=False)
    ]
    one = [{**row, "image_id": 1, "category_id": 1} for row in twins]
    assert not [note for note in score(one, one)["notes"] if "more than once" in note]


def written(folder: Path, pred: Json, ref: Json) -> tuple[Path, Path]:
    files = folder / "dets.json", folder / "gt.json"
    for file, content in zip(files, (pred, ref), strict=True):
        file.write_text(json.dumps(content))
    return files


def test_the_files_say_oriented(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    references, results = sets.draw(4)
    pred, ref = map(str, written(tmp_path, results, references))
    command = ["score", "--pred", pred, "--ref", ref, "--out", f"{tmp_path}/out"]
    code, output, _ = call(command, capsys, monkeypatch)
    assert (code, "Quality of matched oriented boxes" in output) == (0, True)
    assert "<b>oriented</b> boxes" in (tmp_path / "out/report.html").read_text("utf-8")
    table = pq.read_table(tmp_path / "out/boxes.parquet").to_pydict()
    assert table.keys() >= {"iou", "probiou", "cx", "cy", "w", "h", "angle"}
    assert table.keys().isdisjoint({"giou", "diou", "ciou", "x1", "y1", "x2", "y2"})
    for k, name in enumerate(("cx", "cy", "w", "h", "angle")):
        assert table[name][: len(results)] == [sets.box(row)[k] for row in results]
    areas = [sets.box(row)[2] * sets.box(row)[3] for row in results]
    assert table["area"][: len(results)] == areas


def test_the_report_draws_them_turned(tmp_path: Path) -> None:
    Image.new("RGB", (640, 480)).save(tmp_path / "1.png")
    references = gt({**GOOD, "rbox": [200, 200, 160, 40, 0.5]})
    references["images"] = [{"id": 1, "file_name": "1.png"}]
    files = written(
        tmp_path, [{**GOOD, "rbox": [400, 300, 90, 40, -0.9], "score": 0.5}], references
    )
    score(*files, images=tmp_path, browse=0, out=tmp_path / "out")
    report = (tmp_path / "out/report.html").read_text("utf-8")
    drawn = re.findall(r'class="(one|two)".*?width="(\S+)" height="(\S+)" .*?rotate\((\S+)', report)
    assert [(kind, turn) for kind, _, _, turn in drawn] == [("two", "-51.6"), ("one", "28.6")]
    ratio = {"two": 90 / 40, "one": 160 / 40}
    for kind, w, h, _ in drawn:
        assert float(w) / float(h) == pytest.approx(ratio[kind], rel=0.02)


def test_gates_of_other_metrics_are_undefined() -> None:
    summary = score(*in_memory(), fail_below={"giou_mean": -1, "probiou_mean": 0.5})
    assert summary["gate_failures"] == [
        "giou_mean is undefined: it is not given for such boxes; at least -1 is required"
    ]
    assert [(g["name"], g["value"] is None, g["passed"]) for g in summary["gates"]] == [
        ("giou_mean", True, False),
        ("probiou_mean", False, True),
    ]


ROW = {"image_id": 1, "category_id": 1}
GOOD = {**ROW, "rbox": [10, 10, 8, 4, 0.5]}
PLAIN = {**ROW, "bbox": [6, 8, 8, 4]}
TABLES = {"images": [{"id": 1}], "categories": [{"id": 1}]}


def gt(*rows: Json) -> Json:
    return {**TABLES, "annotations": [{"id": n, **row} for n, row in enumerate(rows, 1)]}


@pytest.mark.parametrize(
    ("pred", "ref", "message"),
    [
        ([{**PLAIN, "score": 1}], gt(GOOD),
         "dets.json: the boxes are bbox, and those of gt.json are rbox: give both as rbox, or both "
         "as bbox alone"),
        ([{**ROW, "obb": GOOD["rbox"], "score": 1}], gt(PLAIN),
         "dets.json: the boxes are obb, and those of gt.json are bbox: give both as rbox, or both "
         "as bbox alone"),
        ([{**GOOD, "score": 1}, {**PLAIN, "score": 1}], gt(GOOD),
         "dets.json: [1].rbox is missing (in 1 of 2 rows): either all rows are oriented boxes or "
         "none"),
        ([{**GOOD, "rbox": [1, 2, 3, 4, 45], "score": 1}], gt(GOOD),
         "dets.json: [0].rbox[4] is 45.0: an angle is in radians, from -2 pi to 2 pi: is it in "
         "degrees?"),
        ([{**GOOD, "rbox": [1, 2, 3, 1e10, 0], "score": 1}], gt(GOOD),
         "dets.json: [0].rbox[3] is 10000000000.0: must be at most 1e+09 in size"),
        ([{**GOOD, "rbox": [1, 2, 3, 4], "score": 1}], gt(GOOD),
         "dets.json: [0].rbox is [1, 2, 3, 4]: expected `array` of length 5"),
        ([], gt({**GOOD, "rbox": [1, 2, -3, 4, 0]}),
         "gt.json: annotations[0].rbox[2] is -3.0: a reference must not have a negative size"),
        ([{**GOOD, "score": 1, "log_variance": [0, 0, 0, 0]}], gt(GOOD),
         "dets.json: [0].log_variance is that of x1, y1, x2, y2: oriented boxes cannot have one"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, pred: Json, ref: Json, message: str) -> None:
    with pytest.raises(LossexportError) as caught:
        score(*written(tmp_path, pred, ref))
    assert str(caught.value).replace(f"{tmp_path}/", "") == message


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[1, 2, 3, 4, math.nan]], "a: rbox[0][4] is nan: must be a finite number"),
        ([[1, 2, 3, 4, math.inf]], "a: rbox[0][4] is inf: must be a finite number"),
        ([[1, math.nan, 3, 4, 0]], "a: rbox[0][1] is nan: must be a finite number"),
        ([[1, 2, 3, 4]], "a: rbox[0] is [1, 2, 3, 4]: five numbers are expected"),
        (np.zeros((1, 4)), "a: rbox is float64 [1,4]: [n,5] of numbers is expected"),
    ],
)
def test_columns_are_checked(value: Any, message: str) -> None:
    columns = {"image_id": [1], "category_id": [1], "score": [1.0], "rbox": value}
    with pytest.raises(LossexportError) as caught:
        side_of(Path("a"), columns, scored=True)
    assert str(caught.value) == message


def test_no_prediction_fits_either_kind(tmp_path: Path) -> None:
    (tmp_path / "gt.json").write_text(json.dumps(gt(GOOD)))
    (tmp_path / "dets.json").write_text("[]")
    summary = score(tmp_path / "dets.json", tmp_path / "gt.json")
    assert (summary["AP"], summary["settings"]["boxes"]) == (0, "oriented")
    (tmp_path / "dets.json").write_text(json.dumps([{**GOOD, "score": 1}]))
    (tmp_path / "gt.json").write_text(json.dumps(gt()))
    assert score(tmp_path / "dets.json", tmp_path / "gt.json")["AP"] == -1


def test_rows_and_tables_read_as_files_do(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    references, results = sets.draw(4)
    by_file = score(*written(tmp_path, results, references))
    rows = references["annotations"]
    in_lists = score(results, rows)
    in_tables = score(*(pa.Table.from_pylist(side) for side in (results, rows)))
    files = tmp_path / "dets.parquet", tmp_path / "gt.parquet"
    for file, side in zip(files, (results, rows), strict=True):
        pq.write_table(pa.Table.from_pylist(side), file)
    in_parquet = score(*files)
    for summary in (in_lists, in_tables, in_parquet):
        assert {name: summary[name] for name in (*COCO_NUMBERS, "iou", "probiou")} == {
            name: by_file[name] for name in (*COCO_NUMBERS, "iou", "probiou")
        }


def test_they_are_compared(tmp_path: Path) -> None:
    _, parent = sets.draw(4)
    child = [{**row, "score": row["score"] * 0.9} for row in parent]
    for row in child[::3]:
        x, y, w, h, angle = row[sets.FIELD]
        row[sets.FIELD] = [x, y, w, h, angle + (0.2 if angle < 0 else -0.2)]
    summary = lossexport.compare(parent, child, score_threshold=0.0, out=tmp_path / "out")
    assert summary["settings"]["boxes"] == "oriented"
    assert (summary["iou"]["median"], summary["iou"]["p5"] < 0.9) == (1, True)
    table = pq.read_table(tmp_path / "out/boxes.parquet").to_pydict()
    pairs_of = zip(table["parent_index"], table["child_index"], table["iou"], strict=True)
    for first, second, iou in list(pairs_of)[: summary["counts"]["matched"]]:
        boxes = sets.box(parent[first]), sets.box(child[second])
        assert iou == pytest.approx(sets.clipped_overlap(*boxes, False), abs=2e-6)
    assert "<b>oriented</b> boxes" in (tmp_path / "out/report.html").read_text("utf-8")
    areas = [sets.box(row)[2] * sets.box(row)[3] for row in parent if min(sets.box(row)[2:4]) > 0]
    small = sum(area < 32**2 for area in areas)
    assert summary["sizes"][0]["parent"] >= small
    flat = {"image_id": [1], "category_id": [1], "bbox": [[0, 0, 1, 1]], "score": [1.0]}
    with pytest.raises(LossexportError, match=r"^child: the boxes are bbox, and those of parent"):
        lossexport.compare(parent, flat)


def test_they_have_error_bars() -> None:
    results, references = in_memory()
    results["image_id"] = references["image_id"] = [1, 2]
    moved = copy.deepcopy(results)
    moved["rbox"][0][0] += 0.5
    pair = lossexport.score_pair(results, moved, references, bootstrap=20)
    assert pair["settings"]["boxes"] == "oriented"
    for side, rows in (("a", results), ("b", moved)):
        alone = score(rows, references, bootstrap=20)
        assert pair["differences"]["iou_mean"][side] == alone["iou"]["mean"]
        assert alone["bootstrap"]["intervals"]["AP"]["value"] == alone["AP"]
        assert alone["bootstrap"]["intervals"]["giou_mean"]["lower"] is None
    found = lossexport.compare(results, moved, bootstrap=20)
    ends = found["bootstrap"]["intervals"]["probiou_mean"]
    assert ends["lower"] <= ends["value"] == found["probiou"]["mean"] <= ends["upper"]
