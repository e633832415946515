"""The pieces of a run, without a cluster: any split gives the numbers of one process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lossexport
from lossexport import distributed
from lossexport.distributed import pieces, run
from lossexport.errors import LossexportError
from tests.distributed.sets import make


class Here:
    """A cluster without processes; tasks run when their results are taken, the last one first."""

    def call(self, function: Callable[..., Any], *given: Any, results: int = 1) -> list[Any]:
        made: list[Any] = []

        def result(index: int) -> Any:
            if not made:
                made.append(function(*(one() if callable(one) else one for one in given)))
            return made[0][index]

        return [lambda index=index: result(index) for index in range(results)]

    def keep(self, value: Any) -> Any:
        return lambda: value

    def results(self, waiting: list[Any]) -> Any:
        return (one() for one in reversed(waiting))


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import nullcontext

    monkeypatch.setattr(run, "connected", lambda address, workers: nullcontext(Here()))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    files=st.integers(1, 5),
    group=st.sampled_from([7, 50, 1000]),
    rows=st.sampled_from([20, 111, 100_000]),
    texts=st.sampled_from(["numbers", "texts", "mixed"]),
    coco=st.booleans(),
)
def test_any_split_gives_the_numbers_of_one_process(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    files: int,
    group: int,
    rows: int,
    texts: str,
    coco: bool,
) -> None:
    folder = tmp_path_factory.mktemp("set")
    pred, ref = make(folder, seed, 400, files=files, group=group, texts=texts, coco=coco)
    form = "coco" if coco else "parquet"
    asked: dict[str, Any] = {"explain": True, "size_grid": [30, 90], "bootstrap": 3, "seed": seed}
    asked["at_precision"] = 0.3
    one = lossexport.score(pred, ref, pred_format="parquet", ref_format=form, **asked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "ROWS", rows)
        many = distributed.score(pred, ref, **asked)
    assert len(one["slices"]) == 3
    for name in ("inputs", "notes"):
        del one[name], many[name]
    assert many == one


def test_slices_are_those_of_one_process(tmp_path: Path) -> None:
    """By fields and by names of files of a COCO dictionary, and by ids."""
    pred, ref = make(tmp_path, 2, 400, coco=True)
    references = json.loads(ref.read_text())
    for row in references["images"]:
        row |= {"file_name": f"{row['id']}.jpg", "time": "night" if row["id"] % 3 else "day"}
    ref.write_text(json.dumps(references))
    table = tmp_path / "slices.csv"
    table.write_text("file_name,place\n3.jpg,town\n4.jpg,wood\n5.jpg,town\n")
    for slices in (table, {"some": [1, 2, 3]}):
        asked: dict[str, Any] = {"slices": slices, "slice_by": "time", "explain": True}
        asked["fail_below"] = {"AP:night": 0.99}
        one = lossexport.score(pred, ref, pred_format="parquet", **asked)
        many = distributed.score(pred, ref, **asked)
        assert one["slices"][-1]["value"] == "night"
        assert one["worst_images"][0]["file_name"].endswith(".jpg")
        assert len(one["gate_failures"]) == 1
        for name in ("inputs", "notes"):
            del one[name], many[name]
        assert many == one


def test_a_part_has_all_rows_of_its_images_in_their_order(tmp_path: Path) -> None:
    pred, _ = make(tmp_path, 1, 300, files=3, group=50)
    found = list(pieces.pieces_of(pred, scored=True))
    assert [piece.rows for piece in found] == [100, 100, 100]
    parts = [pieces.split_piece(piece, 4) for piece in found]
    whole = pieces.side_of([part for piece in parts for part in piece], Path("x"))
    assert whole.boxes.count == 300
    for i in range(4):
        side = pieces.side_of([piece[i] for piece in parts], Path("x"))
        assert {pieces.place_of(value, 4) for value in side.images.ids.ids} == {i}


def test_every_part_gets_its_share_of_images() -> None:
    for ids in (range(0, 80_000, 8), [f"{n:012}.jpg" for n in range(10_000)]):
        counts = np.bincount([pieces.place_of(value, 16) for value in ids], minlength=16)
        assert counts.min() > 500
        assert counts.max() < 750


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": np.nan}, r"dets/1.parquet: score\[\d+\] is nan"),
        ({"width": np.inf}, r"dets/1.parquet: bbox\[\d+\]\[2\] is inf"),
        ({"image_id": 10**9}, "no image in common with"),
    ],
)
def test_errors_name_the_file_the_column_and_the_row(
    tmp_path: Path, change: dict[str, float], message: str
) -> None:
    pred, ref = make(tmp_path, 1, 300, files=3, change=change)
    with pytest.raises(LossexportError, match=message):
        distributed.score(pred, ref)


def test_the_summary_is_written_alone(tmp_path: Path) -> None:
    pred, ref = make(tmp_path, 1, 300)
    summary = distributed.score(pred, ref, out=tmp_path / "out", fail_below={"AP": 1.0})
    assert len(summary["gate_failures"]) == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["summary.json"]
    (tmp_path / "out" / "report.html").write_text("")
    with pytest.raises(LossexportError, match=r"report\.html: is of an earlier run: delete it"):
        distributed.score(pred, ref, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"iou_threshold": 0.0}, "IoU threshold is 0.0"),
        ({"fail_below": {"APP": 1.0}}, "no such number"),
        ({"fail_below": {"AP.lower": 0.3}}, r"bootstrap is missing \(--bootstrap N\)"),
        ({"fail_below": {"errors_both": 3}}, r"explain is missing \(--explain\)"),
        ({"slice_by": "time"}, "slice_by: is for references in a COCO file"),
        ({"bootstrap": 0}, "bootstrap is 0"),
        ({"size_grid": [9, 3]}, "size_grid is"),
        ({"backend": "none"}, "none"),
    ],
)
def test_bad_arguments_are_named(tmp_path: Path, given_: dict[str, Any], message: str) -> None:
    pred, ref = make(tmp_path, 1, 30)
    with pytest.raises(LossexportError, match=message):
        distributed.score(pred, ref, **given_)
