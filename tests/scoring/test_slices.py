"""Slices: the numbers of a part of the images are those of scoring it alone."""

import json
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from lossexport.boxes.gates import value_of
from lossexport.errors import LossexportError
from lossexport.scoring import score
from lossexport.scoring.slices import LEFT_OUT
from tests.boxes.helpers import coco, found, load, truth
from tests.scoring.causes.sets import REAL, drawn


def part(detections: Any, references: Any, images: set[Any], folder: Path) -> dict[str, Any]:
    """The summary of some images alone."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = [row for row in detections if row["image_id"] in images]
    alone = {
        **references,
        "images": [row for row in references["images"] if row["id"] in images],
        "annotations": [row for row in references["annotations"] if row["image_id"] in images],
    }
    for name, data in (("pred", kept), ("ref", alone)):
        (folder / f"{name}.json").write_text(json.dumps(data))
    return score(folder / "pred.json", folder / "ref.json")


@pytest.mark.parametrize("name", ["3", "4", "11", "crowd", "yolact_base"])
def test_a_slice_is_the_score_of_its_images(name: str, shared: Path, tmp_path: Path) -> None:
    if name in REAL:
        detections, references = (load(shared / "data" / path) for path in REAL[name])
    else:
        detections, references = drawn(int(name))
    ids = [row["id"] for row in references["images"]]
    lines = ["file_name,time,image_id,half"]
    lines += [f"x,{'night' if i % 3 else ''},{value},{i % 2}" for i, value in enumerate(ids)]
    table = tmp_path / "slices.csv"
    table.write_text("\ufeff" + "\r\n".join(lines) + "\r\n", encoding="utf-8")
    for file, data in (("pred", detections), ("ref", references)):
        (tmp_path / f"{file}.json").write_text(json.dumps(data))
    files = tmp_path / "pred.json", tmp_path / "ref.json"
    summary = score(*files, slices=table, out=tmp_path / "out")
    wanted = {
        "time/night": {value for i, value in enumerate(ids) if i % 3},
        "half/0": set(ids[::2]),
        "half/1": set(ids[1::2]),
    }
    assert [f"{row['attribute']}/{row['value']}" for row in summary["slices"]] == [*wanted]
    for row, (name, images) in zip(summary["slices"], wanted.items(), strict=True):
        alone = part(detections, references, images, tmp_path / name)
        for key in set(row) - {"attribute", "value"}:
            assert row[key] == alone[key], key
        assert not set(LEFT_OUT) & set(row)
        assert value_of(summary, f"AP50:{name}") == value_of(alone, "AP50")
    rows = parquet.read_table(tmp_path / "out/slices.parquet").to_pylist()
    assert [row["value"] for row in rows] == ["night", "0", "1"]
    assert [row["counts_matched"] for row in rows] == [
        row["counts"]["matched"] for row in summary["slices"]
    ]
    assert "time/night" in (tmp_path / "out/report.html").read_text()


REFERENCES = coco([truth(1, 1, 0, 0, 10, 10), truth(2, 2, 0, 0, 10, 10)], images=(1, 2, 3))
DETECTIONS = [found(1, 1, 0.9, 0, 0, 10, 10), found(2, 1, 0.8, 0, 0, 10, 10)]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    images = REFERENCES["images"]
    fields: list[dict[str, Any]] = [
        {"time": "night", "rain": True, "where": {"lane": 3}},
        {"time": "day", "rain": False, "where": {"lane": 12}},
        {"time": None},
    ]
    rows = [{**row, **field} for row, field in zip(images, fields, strict=True)]
    (tmp_path / "pred.json").write_text(json.dumps(DETECTIONS))
    (tmp_path / "ref.json").write_text(json.dumps({**REFERENCES, "images": rows}))
    return tmp_path / "pred.json", tmp_path / "ref.json"


def test_fields_of_images(files: tuple[Path, Path]) -> None:
    summary = score(*files, slice_by=["time", "rain", "where.lane"])
    names = [f"{row['attribute']}/{row['value']}" for row in summary["slices"]]
    assert names == [
        *("time/day", "time/night", "rain/false", "rain/true", "where.lane/3", "where.lane/12"),
    ]
    assert [row["counts"]["matched"] for row in summary["slices"]] == [0, 1, 0, 1, 1, 0]
    assert [row["counts"]["images"] for row in summary["slices"]] == [1] * 6
    with pytest.raises(LossexportError, match="images have no field 'weather'"):
        score(*files, slice_by="weather")
    with pytest.raises(LossexportError, match=r"images\[0\]\.where is .*: a text or a number"):
        score(*files, slice_by="where")
    with pytest.raises(LossexportError, match="slice_by: is for references in a COCO file"):
        score(DETECTIONS, REFERENCES["annotations"], slice_by="time")


def test_lists_of_ids(files: tuple[Path, Path]) -> None:
    gates = {"AP:dark": 0.9, "AP50:dog": 0.5, "matched:dark": 1, "best_f1:cat": 0.5}
    summary = score(*files, slices={"dark": [1, "3"], "bright": [2]}, fail_below=gates)
    assert [row["counts"]["images"] for row in summary["slices"]] == [2, 1]
    assert summary["gate_failures"] == ["AP50:dog is 0, at least 0.5 is required"]
    with pytest.raises(LossexportError, match="slices: dark has 7: no input has such an image"):
        score(*files, slices={"dark": [7]})


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ("AP:nihgt", "gate AP:nihgt: no slice or category 'nihgt'; .*did you mean night?"),
        ("AP:1", "gate AP:1: 2 slices or categories are called '1': write ATTRIBUTE/VALUE"),
        ("AR1:cat", "gate AR1:cat: a slice or category has no such number"),
        ("APP:night", "gate 'APP:night': no such number"),
    ],
)
def test_gates_that_name_nothing(files: tuple[Path, Path], gate: str, message: str) -> None:
    table = files[0].with_name("slices.csv")
    table.write_text("image_id,time,lane\n1,night,1\n")
    with pytest.raises(LossexportError, match=message):
        score(*files, slices=table, fail_below={gate: 0.5})


@pytest.mark.parametrize(
    ("gate", "asked", "message"),
    [
        ("AP:night", {}, r"gate AP:night: no category 'night', and slices are missing \(--slices"),
        ("AP:night", {"explain": True}, r"slices are missing \(--slices FILE, --slice-by FIELD"),
        ("AP:catt", {}, r"slices are missing .*; did you mean cat\?$"),
        ("errors_missed", {}, r"'errors_missed': is a number of explain: .* \(--explain\)$"),
        ("dAP_localization", {"slices": {"a": [1]}}, r"explain is missing \(--explain\)$"),
        ("dAP.localisation", {}, r"explain \(dAP_localization\?\): explain is missing"),
        ("dAP.localisation", {"explain": True}, r"no such .*; did you mean dAP_localization\?$"),
        ("AP.lower", {"explain": True}, r"bootstrap is missing \(--bootstrap N\)$"),
        ("errors_both.lower", {"explain": True, "bootstrap": 2}, "errors_both has no interval"),
    ],
)
def test_gates_on_what_was_not_asked_for(
    files: tuple[Path, Path], gate: str, asked: dict[str, Any], message: str
) -> None:
    for option in ("fail_below", "fail_above"):
        given: dict[str, Any] = {**asked, option: {gate: 0.5}}
        with pytest.raises(LossexportError, match=message):
            score(*files, **given)


def test_a_slice_may_not_drop(files: tuple[Path, Path], tmp_path: Path) -> None:
    before = score(*files, slices={"dark": [1]}, out=tmp_path / "out")
    assert value_of(before, "AP:dark") == pytest.approx(1)
    drop: dict[str, Any] = {"baseline": tmp_path / "out/summary.json", "max_drop": {"AP:dark": 0.1}}
    after = score(*files, slices={"dark": [2]}, **drop)
    assert after["gate_failures"] == ["AP:dark is 0, at least 0.9 is required"]
    with pytest.raises(LossexportError, match=r"slices\.parquet: is of an earlier run"):
        score(*files, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the first line is ''"),
        ("image_id\n1\n", "expected image_id or file_name and at least one attribute"),
        ("time\nnight\n", "the first line is 'time'"),
        ("image_id,time,time\n1,a,b\n", "each once"),
        ("image_id,time\n1,night\n9,day\n", "image_id of row 3 is '9': no input has such an image"),
        ("file_name,time\n9.jpg,day\n", "file_name of row 2 is '9.jpg': no input has such"),
        ("file_name,time\na/1.jpg,day\n", "file_name of row 2 is 'a/1.jpg'"),
        ("image_id,time\n1,night\n1,day\n", "image_id of row 3 is '1': row 2 is of this image"),
        ("image_id,time\n1\n", "row 2 has 1 fields: expected 2"),
        ("image_id,time\n1,\n", "slices: no image has a value"),
        ('image_id,time\n1,"night\n', "is no CSV file in UTF-8"),
    ],
)
def test_refused_tables(files: tuple[Path, Path], text: str, message: str) -> None:
    table = files[0].with_name("slices.csv")
    table.write_text(text)
    with pytest.raises(LossexportError) as caught:
        score(*files, slices=table)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_too_many_slices(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lossexport.scoring.slices.MOST", 1)
    with pytest.raises(LossexportError, match="slices: 2 values of time: at most 1 slices"):
        score(*files, slice_by="time")


def test_size_grid_of_coco_gives_its_numbers(shared: Path, tmp_path: Path) -> None:
    pred, ref = (shared / "data" / part for part in REAL["yolact_base"])
    gates = {"AP:size/32-96": 0.5, "AP50:8-32": 0.0}
    grid = (8, 32, 96)
    summary = score(pred, ref, size_grid=grid, fail_below=gates, out=tmp_path / "out")
    first, second, *others = summary["slices"]
    assert [row["value"] for row in summary["slices"]] == ["0-8", "8-32", "32-96", "96-"]
    for row, size in zip(others, "ml", strict=True):
        assert row["AP"] == pytest.approx(summary[f"AP{size}"], abs=1e-12)
        assert row["AR100"] == pytest.approx(summary[f"AR{size}"], abs=1e-12)
    areas = [row["area"] for row in load(ref)["annotations"]]
    assert first["counts"]["references"] == sum(area <= 64 for area in areas)
    assert second["counts"]["references"] == sum(64 <= area <= 1024 for area in areas)
    assert [row.partition(" is")[0] for row in summary["gate_failures"]] == ["AP:size/32-96"]
    table = parquet.read_table(tmp_path / "out/slices.parquet")
    assert table.schema.names[:2] == ["attribute", "value"]
    assert table.column("AP").to_pylist()[3] == others[1]["AP"]


@pytest.mark.parametrize("grid", [(0, 3), (32, 16), (1e6,), (float("nan"),), range(1, 60)])
def test_refused_grids(files: tuple[Path, Path], grid: Any) -> None:
    with pytest.raises(LossexportError, match=r"size_grid is \[.*: rising sides in pixels"):
        score(*files, size_grid=grid)
