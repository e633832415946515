"""Boxes of a child against those of its parent: results, detectors, what comes out, bad input."""

import json
import math
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from pyarrow import parquet

from lossexport.boxes.gates import value_of
from lossexport.cli import cli
from lossexport.comparison import compare
from lossexport.comparison.summary import GATE_NAMES
from lossexport.errors import LossexportError
from tests.boxes.helpers import Json, coco, found, iou_matrix

STATISTICS = ("mean", "median", "p5", "p95")


def write(path: Path, value: Json) -> Path:
    path.write_text(json.dumps(value))
    return path


def rows_of(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = parquet.read_table(folder / "boxes.parquet").to_pylist()
    return rows


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, Path]:
    """One matched pair, two boxes lost and two new, of which one each is below the threshold."""
    parent = [
        found(1, 1, 0.9, 0, 0, 10, 10),
        found(1, 1, 0.5, 40, 40, 40, 40),
        found(2, 2, 0.4, 0, 0, 100, 100),
        found(2, 1, 0.2, 70, 70, 10, 10),
        found(1, 2, 0.1, 9, 9, 9, 9),
    ]
    child = [
        found(2, 1, 0.3, 70, 70, 10, 10),
        found(1, 1, 0.8, 0, 0, 10, 8),
        found(1, 1, 0.24, 40, 40, 40, 40),
        found(2, 1, 0.6, 0, 0, 100, 100),
    ]
    return write(tmp_path / "parent.json", parent), write(tmp_path / "child.json", child)


def test_numbers_and_rows(small: tuple[Path, Path], tmp_path: Path) -> None:
    summary = compare(*small, out=tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "summary.json",
        "boxes.parquet",
        "report.html",
    }
    assert json.loads((tmp_path / "out/summary.json").read_text()) == summary
    assert summary["counts"] == {
        "images": 2,
        "categories": 2,
        "parent": 3,
        "child": 3,
        "matched": 1,
        "lost": 2,
        "new": 2,
        "lost_below_threshold": 1,
        "new_below_threshold": 1,
        "without_area": 0,
    }
    assert (summary["kept"], summary["agreement"]) == (1 / 3, 1 / 3)
    assert summary["iou"] == pytest.approx(dict.fromkeys(STATISTICS, 0.8))
    assert summary["drift"] == pytest.approx({**dict.fromkeys(STATISTICS, -0.1), "max_abs": 0.1})
    assert summary["settings"] == {"iou_threshold": 0.5, "score_threshold": 0.25}
    sizes = {row["name"]: (row["matched"], row["lost"], row["new"]) for row in summary["sizes"]}
    assert sizes == {"small": (1, 0, 1), "medium": (0, 1, 0), "large": (0, 1, 1)}
    kinds = {row["name"]: (row["parent"], row["child"]) for row in summary["categories"]}
    assert kinds == {"1": (2, 3), "2": (1, 0)}

    rows = rows_of(tmp_path / "out")
    metrics = [rows[0].pop(name) for name in ("iou", "giou", "diou")]
    assert metrics == pytest.approx([0.8, 0.8, 0.795], abs=1e-6)
    assert 0.78 < rows[0].pop("ciou") < 0.795
    assert rows[0].pop("drift") == pytest.approx(-0.1)
    keys = (
        *("image_id", "category_id", "parent_index", "child_index", "parent_score"),
        *("child_score", "size", "status"),
    )
    wanted = [
        (1, 1, 0, 1, 0.9, 0.8, "small", "matched"),
        (1, 1, 1, 2, 0.5, 0.24, "medium", "lost"),
        (2, 2, 2, None, 0.4, None, "large", "lost"),
        (2, 1, 3, 0, 0.2, 0.3, "small", "new"),
        (2, 1, None, 3, None, 0.6, "large", "new"),
    ]
    none = dict.fromkeys(("iou", "giou", "diou", "ciou", "drift"))
    assert rows == [
        {**dict(zip(keys, row, strict=True)), **(none if i else {})}
        | {"category": str(row[1]), "file_name": None}
        for i, row in enumerate(wanted)
    ]


def test_thresholds_decide(small: tuple[Path, Path]) -> None:
    assert compare(*small, score_threshold=0.2)["counts"]["matched"] == 3
    assert compare(*small, score_threshold=0.25, iou_threshold=0.81)["counts"]["matched"] == 0
    nothing = compare(*small, score_threshold=0.95)
    assert nothing["counts"]["parent"] == nothing["counts"]["child"] == 0
    assert nothing["kept"] is None
    assert nothing["iou"]["mean"] is nothing["drift"]["max_abs"] is None


def test_equal_boxes_meet_by_score(tmp_path: Path) -> None:
    """Of boxes that lie on one another the surest ones are paired, so that nothing drifts."""
    rows = [found(1, 1, s, 5, 5, 20, 20) for s in (0.3, 0.9, 0.6, 0.6)]
    summary = compare(write(tmp_path / "a.json", rows), write(tmp_path / "b.json", rows[::-1]))
    assert summary["counts"]["matched"] == 4
    assert summary["drift"] == {**dict.fromkeys(STATISTICS, 0.0), "max_abs": 0.0}


def test_boxes_without_area_match_nothing(tmp_path: Path) -> None:
    rows = [found(1, 1, 0.9, 5, 5, 0, 20), found(1, 1, 0.9, 5, 5, -4, 20)]
    path = write(tmp_path / "a.json", rows)
    counts = compare(path, path, out=tmp_path / "out")["counts"]
    assert (counts["matched"], counts["lost"], counts["new"]) == (0, 2, 2)
    assert counts["without_area"] == 4
    assert "nothing to measure" in (tmp_path / "out/report.html").read_text()


@pytest.mark.parametrize("sides", [([], []), ([found(1, 1, 0.5, 0, 0, 5, 5)], []),
                                   ([], [found(1, 1, 0.5, 0, 0, 5, 5)])])  # fmt: skip
def test_empty_sides(sides: Json, tmp_path: Path) -> None:
    files = [write(tmp_path / f"{i}.json", rows) for i, rows in enumerate(sides)]
    counts = compare(*files, out=tmp_path / "out")["counts"]
    assert (counts["lost"], counts["new"]) == tuple(map(len, sides))
    assert len(rows_of(tmp_path / "out")) == sum(map(len, sides))


def test_names_come_from_tables(tmp_path: Path) -> None:
    parent = coco([{**found(1, 1, 0.9, 0, 0, 5, 5)}], categories=((1, "cat"),))
    child = [found(1, 1, 0.9, 0, 0, 5, 5), found(3, 7, 0.9, 0, 0, 5, 5)]
    files = write(tmp_path / "p.json", parent), write(tmp_path / "c.json", child)
    summary = compare(*files, names=write(tmp_path / "gt.json", coco([])))
    assert [row["name"] for row in summary["categories"]] == ["cat", "7"]
    assert summary["counts"]["images"] == 3
    assert list(summary["inputs"]) == ["parent", "child", "names"]


def matched_by_hand(parent: Json, child: Json, least: float, iou: float) -> set[tuple[int, int]]:
    """The greedy matching, box by box."""
    pairs = set()
    groups = {(row["image_id"], row["category_id"]) for row in parent}
    for group in groups:
        p, c = (
            [
                i
                for i, row in enumerate(side)
                if (row["image_id"], row["category_id"]) == group and row["score"] >= least
            ]
            for side in (parent, child)
        )
        free = set(p)
        for j in sorted(c, key=lambda j: -child[j]["score"]):
            overlap = {
                i: iou_matrix(np.array([child[j]["bbox"]]), np.array([parent[i]["bbox"]]))[0, 0]
                for i in free
            }
            best = max(free, key=lambda i: (overlap[i], parent[i]["score"]), default=None)
            if best is not None and overlap[best] >= iou:
                free.remove(best)
                pairs.add((best, j))
    return pairs


def test_two_real_detectors(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data/coco_val2017_100"
    files = folder / "dets_yolact_base.json", folder / "dets_yolact_resnet50.json"
    parent, child = (json.loads(path.read_text()) for path in files)
    summary = compare(*files, names=folder / "gt.json", score_threshold=0.5, out=tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    matched = [row for row in rows if row["status"] == "matched"]
    pairs = {(row["parent_index"], row["child_index"]) for row in matched}
    assert pairs == matched_by_hand(parent, child, 0.5, 0.5)
    counts = summary["counts"]
    assert counts["matched"] == len(pairs) > 200
    assert counts["parent"] == sum(row["score"] >= 0.5 for row in parent)
    assert counts["child"] == sum(row["score"] >= 0.5 for row in child)
    drift = [child[j]["score"] - parent[i]["score"] for i, j in pairs]
    assert summary["drift"]["mean"] == pytest.approx(np.mean(drift), abs=1e-12)
    assert summary["drift"]["p95"] == pytest.approx(np.percentile(drift, 95), abs=1e-12)
    assert summary["drift"]["max_abs"] == np.abs(drift).max()
    ious = [
        iou_matrix(np.array([child[j]["bbox"]]), np.array([parent[i]["bbox"]]))[0, 0]
        for i, j in pairs
    ]
    assert summary["iou"]["mean"] == pytest.approx(np.mean(ious), abs=1e-6)
    for table in ("sizes", "categories"):
        for name in ("matched", "lost", "new"):
            assert sum(row[name] for row in summary[table]) == counts[name]
    assert {row["name"] for row in summary["categories"]} >= {"person", "car"}


def test_a_set_with_itself(shared: Path) -> None:
    path = shared / "data/coco_val2017_100/dets_yolact_base.json"
    summary = compare(path, path, score_threshold=0.0)
    assert summary["counts"]["matched"] == summary["counts"]["parent"] == 3380
    for metric in ("iou", "giou", "diou", "ciou"):
        assert summary[metric] == dict.fromkeys(STATISTICS, 1.0)
    assert summary["drift"]["max_abs"] == 0.0


def test_gates(small: tuple[Path, Path], tmp_path: Path) -> None:
    summary = compare(
        *small,
        fail_below={"kept": 1 / 3, "iou_mean": 0.9},
        fail_above={"new": 1, "drift_max_abs": 0.2, "lost": 2},
        out=tmp_path / "out",
    )
    assert summary["gate_failures"] == [
        "iou_mean is 0.8, at least 0.9 is required",
        "new is 2, at most 1 is required",
    ]
    page = (tmp_path / "out/report.html").read_text()
    assert page.count('class="badge pass"') == 3
    assert page.count('class="badge fail"') == 2
    undefined = compare(*small, score_threshold=2.0, fail_above={"drift_max_abs": 1})
    assert undefined["gate_failures"] == [
        "drift_max_abs is undefined: there is nothing to measure; at most 1 is required"
    ]
    assert all(value_of(summary, name) is not None for name in GATE_NAMES)


def test_two_runs_write_the_same_bytes(small: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("one", "two"):
        compare(*small, out=tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def run(*words: object) -> tuple[int, str]:
    """Exit code and message of the command line, as `main` gives them."""
    from lossexport.errors import CheckFailedError

    try:
        cli.main(["compare", *map(str, words)], standalone_mode=False)
    except LossexportError as error:
        return 2, str(error)
    except click.ClickException as error:
        return 2, error.format_message()
    except CheckFailedError as error:
        return 1, str(error)
    return 0, ""


def test_command_line(
    small: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(*small, "--out", out, "--fail-below", "kept=0.3", "--fail-above", "new=2") == (0, "")
    printed = capsys.readouterr().out
    assert f"report: {out}/report.html" in printed
    assert "0.3333" in printed
    code, message = run(*small, "--fail-above", "new=1", "--fail-below", "iou_mean=0.5")
    assert (code, message) == (1, "new is 2, at most 1 is required")


BAD = found(1, 1, 0.5, 0, 0, 5, 5)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{**BAD, "score": math.nan}], r"child\.json: \[0\]\.score is nan: must be a finite"),
        ([BAD, {**BAD, "bbox": [0, 0, math.inf, 1]}], r"child\.json: \[1\]\.bbox\[2\] is inf"),
        ([{**BAD, "bbox": [0, 0, 1e10, 1]}], r"\.bbox\[2\] is 10000000000\.0: must be at most"),
        ([{k: v for k, v in BAD.items() if k != "score"}], r"child\.json: \[0\]\.score is missing"),
        ([{**BAD, "image_id": 77}], r"child\.json: no image in common with .*: image 77"),
        (
            {"annotations": [BAD], "images": [{"id": 1, "file_name": "x.jpg"}]},
            r"child\.json: image 1 is 'x\.jpg' here and '1\.jpg' in .*, and 'x\.jpg' is not the "
            r"name of an image there \(2\.jpg, 1\.jpg\); --match-by id",
        ),
        ({"images": []}, r"child\.json: a list, or a dictionary .*; this one has 'images'"),
        (7, r"child\.json: the file is '7': an object or a list is expected"),
    ],
)  # fmt: skip
def test_bad_results(rows: Json, message: str, tmp_path: Path) -> None:
    parent = write(tmp_path / "parent.json", coco([{**BAD}]))
    child = write(tmp_path / "child.json", rows)
    out = tmp_path / "out"
    with pytest.raises(LossexportError, match=message) as error:
        compare(parent, child, out=out)
    assert "\n" not in str(error.value)
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--iou-threshold", "0"], "IoU threshold is 0.0"),
        (["--iou-threshold", "-0.1"], "IoU threshold is -0.1"),
        (["--score-threshold", "-1"], "score threshold is -1.0"),
        (["--score-threshold", "nan"], "score threshold is nan"),
        (["--fail-above", "news=3"], "gate 'news': no such number; there are kept, "),
        (["--fail-below", "kept=lots"], "--fail-below kept='lots': must be a number"),
        (["--fail-above", "new=nan"], "gate new: the bound is nan"),
        (["--detector", "yolox_nano"], "is no .onnx detector"),
        (["--images", "."], "out is missing"),
        (["--images", "nowhere", "--out", "out"], "nowhere: is not a folder of images"),
        (["--names", "nowhere.json"], "nowhere.json: cannot be read"),
    ],
)
def test_bad_options(options: list[str], message: str, small: tuple[Path, Path]) -> None:
    code, error = run(*small, *options)
    assert code == 2
    assert message in error


def test_a_detector_is_not_compared_with_results(small: tuple[Path, Path], tmp_path: Path) -> None:
    code, message = run(small[0], tmp_path / "child.onnx")
    assert code == 2
    assert "is compared with another, not with results" in message
