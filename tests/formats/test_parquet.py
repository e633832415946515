"""Parquet files of detections: the same numbers as COCO's, however they are laid out."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from lossexport.errors import LossexportError
from lossexport.formats import of_path, read_side
from lossexport.formats.parquet import ROWS
from lossexport.scoring import score

COUNT = ROWS + 1000
"""Rows of more than one batch."""


def detections(count: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "image_id": rng.integers(0, 50, count),
        "category_id": rng.integers(0, 3, count),
        "bbox": rng.uniform(1, 100, (count, 4)),
        "score": rng.random(count),
    }


def table(columns: dict[str, Any]) -> pa.Table:
    nested = {"bbox", "box", "log_variance"}
    return pa.table(
        {
            name: pa.FixedSizeListArray.from_arrays(np.ravel(value), 4) if name in nested else value
            for name, value in columns.items()
        }
    )


def write(path: Path, columns: dict[str, Any]) -> Path:
    path.parent.mkdir(exist_ok=True)
    parquet.write_table(table(columns), path, row_group_size=700)
    return path


def numbers(pred: Path | dict[str, Any], ref: Path | dict[str, Any]) -> dict[str, Any]:
    found = score(pred, ref)
    return {
        name: value for name, value in found.items() if name not in ("inputs", "notes", "settings")
    }


def layouts(columns: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The same boxes in every way that is read; the corners of these are exact."""
    x, y, w, h = columns["bbox"].T
    rest = {name: value for name, value in columns.items() if name != "bbox"}
    corners = np.stack([x, y, x + w, y + h], axis=1)
    texts = {"image_id": pa.array(list(map(str, rest["image_id"]))).dictionary_encode()}
    return {
        "list": columns,
        "corners": rest | {"box": corners},
        "flat": rest | {"x": x, "y": y, "width": w, "height": h, "other": x},
        "short": rest | {"x": x, "y": y, "w": w, "h": h},
        "flat corners": rest | dict(zip(("x1", "y1", "x2", "y2"), corners.T, strict=True)),
        "dictionary": columns | texts,
    }


def test_every_layout_gives_the_numbers_of_arrays(tmp_path: Path) -> None:
    pred = detections(400)
    pred["bbox"] = np.round(pred["bbox"] * 8) / 8
    ref = {name: value[:150] for name, value in pred.items() if name != "score"}
    ref["bbox"] = ref["bbox"] + [2, 1, 0, 0]
    wanted = numbers(pred, ref)
    assert wanted["counts"]["matched"] > 10
    for name, columns in layouts(pred).items():
        path = write(tmp_path / f"{name}.parquet", columns)
        assert numbers(path, write(tmp_path / "ref.parquet", ref)) == wanted, name


def test_a_folder_and_a_pattern_are_read_in_the_order_of_names(tmp_path: Path) -> None:
    whole = detections(900)
    for part in range(3):
        columns = {name: value[300 * part : 300 * (part + 1)] for name, value in whole.items()}
        write(tmp_path / "dets" / f"part-{part}.parquet", columns)
    (tmp_path / "dets" / "notes.txt").write_text("not read")
    one = write(tmp_path / "one.parquet", whole)
    sides = [
        read_side(path, "parquet", True)
        for path in (one, tmp_path / "dets", tmp_path / "dets" / "part-*.parquet")
    ]
    read = [side.boxes.predictions(*side.boxes.codes()) for side in sides]
    for found in read[1:]:
        assert np.array_equal(found.box, read[0].box)
        assert np.array_equal(found.score, read[0].score)
    assert sides[1].images.ids.ids == sides[0].images.ids.ids
    assert sides[1].input.sha256 == sides[2].input.sha256 != sides[0].input.sha256
    assert of_path(tmp_path / "*.parquet", "coco") == of_path(one, "coco") == "parquet"
    assert of_path(one, "voc") == "voc"


def test_rows_are_counted_across_batches(tmp_path: Path) -> None:
    columns = detections(COUNT)
    columns["score"][ROWS + 7] = np.nan
    path = write(tmp_path / "x.parquet", columns)
    with pytest.raises(LossexportError) as caught:
        read_side(path, "parquet", True)
    assert str(caught.value) == f"{path}: score[{ROWS + 7}] is nan: must be a finite number"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": None}, "column score is missing, there are image_id, category_id, bbox"),
        ({"bbox": None}, "neither of the columns bbox (x, y, width, height) and box"),
        ({"score": pa.array([0.5, None])}, "score[1] is null: a value is expected"),
        ({"score": ["a", "b"]}, "score is object [2]: [n] of numbers is expected"),
        ({"image_id": [1.5, 2.0]}, "image_id[0] is 1.5: an id is a string or a whole number"),
        (
            {"bbox": np.array([[1, 2, 3, 4], [1, np.inf, 3, 4]])},
            "bbox[1][1] is inf: must be a finite number",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    columns = {name: value for name, value in (detections(2) | change).items() if value is not None}
    path = write(tmp_path / "x.parquet", columns)
    with pytest.raises(LossexportError) as caught:
        read_side(path, "parquet", True)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", detections(3000))
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for size in (0, 4, 100, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(LossexportError, match="cannot be read as Parquet: "):
            read_side(path, "parquet", True)
    for place in rng.integers(0, len(whole), 200):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with suppress(LossexportError):
            assert read_side(path, "parquet", True).boxes.count == 3000


def test_a_pattern_without_a_file(tmp_path: Path) -> None:
    for path in (tmp_path / "*.parquet", tmp_path):
        with pytest.raises(LossexportError, match="there is no such file"):
            read_side(path, "parquet", True)
