"""The pieces of a run, without a cluster: any split gives the numbers of one process."""

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
    one = lossexport.score(pred, ref, pred_format="parquet", ref_format=form)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "ROWS", rows)
        many = distributed.score(pred, ref)
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
        ({"backend": "none"}, "none"),
    ],
)
def test_bad_arguments_are_named(tmp_path: Path, given_: dict[str, Any], message: str) -> None:
    pred, ref = make(tmp_path, 1, 30)
    with pytest.raises(LossexportError, match=message):
        distributed.score(pred, ref, **given_)
