"""The three files of a run: what they hold, and that they come together."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from lossexport.comparison import compare
from lossexport.errors import LossexportError
from lossexport.names import METRICS
from lossexport.reports import output
from lossexport.runtime.native import kernels
from lossexport.scoring import score
from lossexport.scoring import table as parquet_module
from tests.boxes.helpers import coco, found, iou_matrix, truth

FILES = {"summary.json", "boxes.parquet", "report.html"}
COLUMNS = [
    *("image_id", "category_id", "pred_index", "ref_index", "score"),
    *(*METRICS, "status", "quality"),
    *("x1", "y1", "x2", "y2", "area", "size", "category", "file_name"),
]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, Path]:
    references = coco(
        [
            truth(1, 1, 0, 0, 10, 10),
            truth(1, 2, 0, 0, 10, 10),
            truth(2, 1, 0, 0, 90, 90, iscrowd=1),
        ]
    )
    detections = [
        found(1, 1, 0.5, 50, 50, 9, 9),
        found(1, 1, 0.9, 0, 0, 10, 8),
        found(2, 1, 0.8, 4, 4, 9, 9),
        found(2, 2, 0.7, 4, 4, -9, 9),
    ]
    (tmp_path / "pred.json").write_text(json.dumps(detections))
    (tmp_path / "ref.json").write_text(json.dumps(references))
    return tmp_path / "pred.json", tmp_path / "ref.json"


def test_summary_and_boxes(small: tuple[Path, Path], tmp_path: Path) -> None:
    summary = score(*small, out=tmp_path / "a/b/out")
    assert names(tmp_path / "a/b/out") == FILES
    assert names(tmp_path / "a/b") == {"out"}
    assert json.loads((tmp_path / "a/b/out/summary.json").read_text()) == summary
    assert summary["schema_version"] == 3
    assert summary["counts"] == {
        "images": 2,
        "categories": 2,
        "predictions": 4,
        "references": 3,
        "matched": 1,
        "unmatched": 1,
        "unmatched_predictions": 2,
        "unmatched_references": 1,
        "ignored_predictions": 1,
        "ignored_references": 1,
        "inverted": 1,
    }
    assert (summary["precision"], summary["recall"], summary["f1"]) == (1 / 3, 1 / 2, 2 / 5)
    assert summary["best"] == {"score": 0.9, "precision": 1, "recall": 1 / 2, "f1": 2 / 3}
    assert summary["iou"] == pytest.approx(dict.fromkeys(("mean", "median", "p5", "p95"), 0.8))
    assert summary["backend"] == ("native" if kernels() else "ort")
    assert summary["settings"] == {"format": "coco", "iou_threshold": 0.5}
    assert summary["inputs"]["pred"]["name"] == "pred.json"
    assert re.fullmatch("[0-9a-f]{64}", summary["inputs"]["ref"]["sha256"])

    table = parquet.read_table(tmp_path / "a/b/out/boxes.parquet")
    assert table.column_names == COLUMNS
    rows = table.to_pylist()
    quality = [rows[1].pop(metric) for metric in METRICS]
    # GIoU is IoU here (one box holds the other), DIoU 0.8 - 1/200.
    assert quality[:3] == pytest.approx([0.8, 0.8, 0.795], abs=1e-6)
    assert 0.78 < quality[3] < 0.795
    assert [row.pop("quality") for row in rows] == [None] * 5
    corners = [[row.pop(name) for name in ("x1", "y1", "x2", "y2")] for row in rows]
    assert corners[1:4] == [[0, 0, 10, 8], [4, 4, 13, 13], [4, 4, -5, 13]]
    assert corners[4] == [0, 0, 10, 10]
    assert [row.pop("area") for row in rows] == [81, 80, 81, -81, 100]
    assert {row.pop("size") for row in rows} == {"small"}
    assert [row.pop("category") for row in rows] == ["cat", "cat", "cat", "dog", "dog"]
    assert [row.pop("file_name") for row in rows] == [f"{k}.jpg" for k in (1, 1, 2, 2, 1)]
    assert table.schema.metadata[b"lossexport.schema"] == b"2"
    assert summary["quality"] == {
        **dict.fromkeys(("count", "pairs"), 0),
        **dict.fromkeys(("mean", "median", "p5", "p95", "spearman")),
    }
    none = dict.fromkeys(METRICS)
    keys = ("image_id", "category_id", "pred_index", "ref_index", "score", "status")
    wanted = [
        (1, 1, 0, None, 0.5, "unmatched"),
        (1, 1, 1, 0, 0.9, "matched"),
        (2, 1, 2, None, 0.8, "ignored"),
        (2, 2, 3, None, 0.7, "unmatched"),
        (1, 2, None, 1, None, "unmatched"),
    ]
    assert rows == [
        {**dict(zip(keys, row, strict=True)), **({} if i == 1 else none)}
        for i, row in enumerate(wanted)
    ]


def test_boxes_of_a_real_set(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_module, "ROWS_AT_ONCE", 1000)
    folder = shared / "data/coco_val2017_100"
    pred, ref = folder / "dets_yolact_base.json", folder / "gt.json"
    summary = score(pred, ref, out=tmp_path / "out", iou_threshold=0.6)
    file = parquet.ParquetFile(tmp_path / "out/boxes.parquet")
    assert file.num_row_groups == 5
    table = file.read().to_pydict()
    counts = summary["counts"]
    assert len(table["status"]) == counts["predictions"] + counts["unmatched"]
    assert table["pred_index"][: counts["predictions"]] == list(range(counts["predictions"]))
    detections, references = json.loads(pred.read_text()), json.loads(ref.read_text())
    ious = []
    for p, r, iou, image, status in zip(
        *(table[c] for c in ("pred_index", "ref_index", "iou", "image_id", "status")), strict=True
    ):
        if status != "matched":
            assert iou is None
            continue
        first, second = detections[p], references["annotations"][r]
        assert first["image_id"] == second["image_id"] == image
        assert first["category_id"] == second["category_id"]
        exact = iou_matrix(np.array([first["bbox"]]), np.array([second["bbox"]]))[0, 0]
        assert exact >= 0.6
        assert iou == pytest.approx(exact, abs=1e-5)
        ious.append(iou)
    assert len(ious) == counts["matched"] > 300
    assert len({r for r in table["ref_index"] if r is not None}) == counts["references"]
    assert summary["iou"]["mean"] == pytest.approx(np.mean(ious), abs=1e-9)
    assert summary["iou"]["p5"] == pytest.approx(np.percentile(ious, 5), abs=1e-9)
    assert sum(row["matched"] for row in summary["categories"]) == counts["matched"]


def test_two_runs_write_the_same_bytes(small: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("one", "two"):
        score(*small, out=tmp_path / name)
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_without_out_nothing_is_written(small: tuple[Path, Path], tmp_path: Path) -> None:
    before = names(tmp_path)
    assert score(*small)["counts"]["matched"] == 1
    assert names(tmp_path) == before


def break_report(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lossexport.scoring.report.render", broken)


def test_a_failure_leaves_no_folder(
    small: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_report(monkeypatch)
    before = names(tmp_path)
    with pytest.raises(LossexportError, match=r"out: cannot be written: No space left"):
        score(*small, out=tmp_path / "out")
    assert names(tmp_path) == before


def test_a_failure_leaves_older_files(
    small: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in (*FILES, "mine.txt"):
        (out / name).write_text("old")
    with monkeypatch.context() as patch:
        break_report(patch)
        with pytest.raises(LossexportError):
            score(*small, out=out)
    assert {path.read_text() for path in out.iterdir()} == {"old"}
    score(*small, out=out)
    assert names(out) == {*FILES, "mine.txt"}
    assert "old" not in {(out / name).read_bytes().decode("latin-1") for name in FILES}


def test_files_that_cannot_all_be_replaced_stay(small: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "summary.json").mkdir(parents=True)
    (out / "boxes.parquet").write_text("old")
    with pytest.raises(LossexportError, match=r"summary\.json: is a folder"):
        score(*small, out=out)
    assert (out / "boxes.parquet").read_text() == "old"
    assert names(out) == {"summary.json", "boxes.parquet"}
    with pytest.raises(LossexportError, match="is not a folder"):
        score(*small, out=small[0])


def test_string_ids_make_string_columns(tmp_path: Path) -> None:
    for folder, line in (("pred", "3 0.5 0.5 0.1 0.1 0.9"), ("ref", "3 0.5 0.5 0.1 0.1")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text(line)
    score(tmp_path / "pred", tmp_path / "ref", format="yolo", out=tmp_path / "out")
    rows = parquet.read_table(tmp_path / "out/boxes.parquet").to_pylist()
    assert (rows[0]["image_id"], rows[0]["category_id"], rows[0]["iou"]) == ("a", 3, 1.0)


def test_report_is_self_contained_and_escapes(small: tuple[Path, Path], tmp_path: Path) -> None:
    references = json.loads(small[1].read_text())
    references["categories"][0]["name"] = "<script>alert(1)</script>"
    small[1].write_text(json.dumps(references))
    summary = score(*small, out=tmp_path / "out", fail_below={"AP": 0.99, "recall": 0.1})
    page = (tmp_path / "out/report.html").read_text()
    assert not re.search(r"https?://|//\w|url\(|@import|<link|<img|\bsrc=", page)
    assert page.count("<script") == 1
    assert "&lt;script&gt;" in page
    assert page.count("<figcaption><h3>") == 8
    assert page.count('class="badge pass"') == 1
    assert page.count('class="badge fail"') == 1
    assert f"{summary['AP50']:.4f}" in page
    assert "nan" not in re.sub(r"<title>.*?</title>", "", page).lower()
    assert "width=device-width" in page


@pytest.mark.parametrize(
    ("detections", "annotations"),
    [([], []), ([], [truth(1, 1, 0, 0, 5, 5)]), ([found(1, 1, 0.5, 0, 0, 5, 5)], [])],
)
def test_empty_sides(tmp_path: Path, detections: Any, annotations: Any) -> None:
    (tmp_path / "pred.json").write_text(json.dumps(detections))
    (tmp_path / "ref.json").write_text(json.dumps(coco(annotations)))
    summary = score(tmp_path / "pred.json", tmp_path / "ref.json", out=tmp_path / "out")
    assert summary["iou"] == dict.fromkeys(("mean", "median", "p5", "p95"))
    table = parquet.read_table(tmp_path / "out/boxes.parquet")
    assert table.num_rows == len(detections) + len(annotations)
    assert table.column_names == COLUMNS
    assert "nothing to measure" in (tmp_path / "out/report.html").read_text()


def test_scores_beyond_one_and_one_value_charts(tmp_path: Path) -> None:
    rows = [found(1, 1, 8.0, 0, 0, 5, 5), found(2, 1, 8.0, 0, 0, 5, 5)]
    (tmp_path / "pred.json").write_text(json.dumps(rows))
    references = coco([truth(1, 1, 0, 0, 5, 5), truth(2, 1, 0, 0, 5, 5)])
    (tmp_path / "ref.json").write_text(json.dumps(references))
    summary = score(tmp_path / "pred.json", tmp_path / "ref.json", out=tmp_path / "out")
    assert [summary[metric]["mean"] for metric in METRICS] == [1, 1, 1, 1]
    assert ">8.0</text>" in (tmp_path / "out/report.html").read_text()


@pytest.mark.parametrize("scores", [(-5e-324, 0.0), (1e9, -1e9), (1e9, 1e9 - 1e-7), (0.25, 2.0)])
def test_charts_of_any_scores(tmp_path: Path, scores: tuple[float, float]) -> None:
    boxes = [(1, 1, 0, 0, 5, 5), (1, 1, 20, 0, 5, 5)]
    rows = [
        found(image, kind, s, *box) for s, (image, kind, *box) in zip(scores, boxes, strict=True)
    ]
    for name, content in (("pred", rows), ("child", rows[::-1])):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "ref.json").write_text(json.dumps(coco([truth(*box) for box in boxes])))
    score(tmp_path / "pred.json", tmp_path / "ref.json", out=tmp_path / "out")
    least = max(0.0, min(scores))
    compare(
        tmp_path / "pred.json", tmp_path / "child.json", out=tmp_path / "two", score_threshold=least
    )
    for folder in ("out", "two"):
        page = (tmp_path / folder / "report.html").read_text()
        assert "<svg" in page
        assert "nan" not in page


def test_the_report_leads_with_the_best_cut(small: tuple[Path, Path], tmp_path: Path) -> None:
    score(*small, out=tmp_path / "out")
    page = (tmp_path / "out/report.html").read_text()
    heads = page[page.index('aria-label="Main numbers"') : page.index("</section>")]
    heads = re.sub("</?a.*?>", "", heads)
    cards = re.findall('<div class="name">(.*?)</div><div class="big">(.*?)</div>', heads)
    assert cards[-3:] == [("Best F1", "0.667"), ("Precision", "1.000"), ("Recall", "0.500")]
    assert "score from 0.9" in heads


@pytest.mark.parametrize("name", ["o\udcff", "\N{SNOWMAN}"])
def test_a_folder_of_any_name(small: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    score(*small, out=tmp_path / name)
    assert {path.name for path in (tmp_path / name).iterdir()} == FILES


def test_progress_is_told(small: tuple[Path, Path], tmp_path: Path) -> None:
    told: dict[str, list[float]] = {}
    score(*small, out=tmp_path / "out", progress=lambda s, p: told.setdefault(s, []).append(p))
    steps = ["reading references", "reading predictions", "matching", "box quality", "writing"]
    assert list(told) == steps
    for parts in told.values():
        assert parts == sorted(parts)
        assert parts[-1] == 1.0


def test_a_bar_needs_a_terminal_and_two_seconds(
    small: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from lossexport import progress

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv(progress.ENVIRONMENT, raising=False)
    score(*small, progress=True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    score(*small, progress=True)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    score(*small, progress=True)
    assert "box quality" in capfd.readouterr().err


def test_names_are_those_of_the_contract() -> None:
    assert {output.SUMMARY, output.BOXES, output.REPORT} == FILES
