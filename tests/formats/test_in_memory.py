"""Detections in memory, in every form that `score`, `compare` and the evaluator take."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

import lossexport
from lossexport.errors import LossexportError
from lossexport.formats.memory import side_in_memory
from tests.boxes.helpers import Json, coco, found, truth

REFERENCES = coco(
    [
        truth(1, 1, 10, 10, 40, 20),
        truth(1, 2, 60, 10, 40, 40, area=30),
        truth(2, 1, 5, 5, 50, 60, iscrowd=1),
        truth(2, 1, 70, 70, 30, 30),
    ]
)
DETECTIONS = [
    {**found(1, 1, 0.9, 11, 10, 40, 21), "log_variance": [0.5, 1, 1.5, 2]},
    found(1, 2, 0.5, 60, 12, 38, 40),
    found(2, 1, 0.5, 6, 5, 20, 20),
    {**found(2, 1, 0.25, 70, 73, 30, 30), "log_variance": [0, 0, 1, 1]},
]
VARIANCE = np.array([row.get("log_variance", [np.nan] * 4) for row in DETECTIONS])


def column(rows: Json, name: str) -> np.ndarray:
    return np.array([row[name] for row in rows])


def numpy_columns(rows: Json, *names: str) -> dict[str, Any]:
    return {name: column(rows, name) for name in ("image_id", "category_id", "bbox", *names)}


def boxes(values: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 4)


class OnlyDLPack:
    """An array of a library that knows neither NumPy nor Arrow."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


PRED = {**numpy_columns(DETECTIONS, "score"), "log_variance": VARIANCE}
REF = numpy_columns(REFERENCES["annotations"], "area", "iscrowd")
CORNERS = PRED["bbox"] + np.pad(PRED["bbox"][:, :2], [(0, 0), (2, 0)])
TABLE = pa.table(
    {
        "image_id": pa.chunked_array([[1, 1], [2, 2]]),
        "category_id": pa.array(["1", "2", "1", "1"]).dictionary_encode(),
        "bbox": boxes(PRED["bbox"]),
        "score": pa.array(PRED["score"]),
        "log_variance": pa.array([row.get("log_variance") for row in DETECTIONS]),
        "camera": ["left"] * 4,
    }
)
FORMS: dict[str, Any] = {
    "numpy": PRED,
    "corners": {**PRED, "bbox": None, "box": CORNERS},
    "torch": {name: torch.from_numpy(array) for name, array in PRED.items()},
    "trained": {**PRED, "score": torch.from_numpy(PRED["score"]).requires_grad_()},
    "dlpack": {name: OnlyDLPack(array) for name, array in PRED.items()},
    "lists": {name: array.tolist() for name, array in PRED.items()},
    "arrow columns": {name: TABLE.column(name) for name in PRED},
    "arrow arrays": {name: TABLE.column(name).combine_chunks() for name in PRED},
    "table": TABLE,
    "batch": TABLE.combine_chunks().to_batches()[0],
    "slice": pa.concat_tables([TABLE.slice(2), TABLE]).slice(2),
    "rows": DETECTIONS,
    "tuple of rows": tuple(DETECTIONS),
}  # fmt: skip
REFERENCE_FORMS: dict[str, Any] = {
    "numpy": REF,
    "rows": REFERENCES["annotations"],
    "rows with nothing": [{**row, "segmentation": None} for row in REFERENCES["annotations"]],
    "table": pa.table(
        {
            "image_id": REF["image_id"],
            "category_id": REF["category_id"],
            "bbox": pa.array(REF["bbox"].tolist(), pa.list_(pa.float32())),
            "area": pa.array([None, 30, None, None]),
            "iscrowd": pa.array([None, False, True, None]),
        }
    ),
}


def numbers(summary: dict[str, Any]) -> dict[str, Any]:
    skipped = ("inputs", "notes", "settings", "categories")
    return {key: value for key, value in summary.items() if key not in skipped}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("files")
    (folder / "pred.json").write_text(json.dumps(DETECTIONS))
    (folder / "ref.json").write_text(json.dumps(REFERENCES))
    return folder / "pred.json", folder / "ref.json"


@pytest.mark.parametrize("form", FORMS)
def test_predictions_in_every_form(form: str, files: tuple[Path, Path]) -> None:
    wanted = lossexport.score(*files)
    assert wanted["counts"]["matched"] == 3
    assert wanted["quality"]["count"] == 2
    mixed = lossexport.score(FORMS[form], files[1])
    assert numbers(mixed) == numbers(wanted)
    assert mixed["settings"]["format"] == "memory, coco"
    assert mixed["inputs"]["pred"] == {"name": "predictions", "sha256": ""}
    both = lossexport.score(FORMS[form], REF)
    assert numbers(both) == numbers(wanted)
    assert both["settings"]["format"] == "memory"
    evaluator = lossexport.Evaluator()
    evaluator.update(FORMS[form], REF)
    for name, value in evaluator.compute().items():
        assert both[name] == value or name == "settings", name


@pytest.mark.parametrize("form", REFERENCE_FORMS)
def test_references_in_every_form(form: str, files: tuple[Path, Path]) -> None:
    wanted = numbers(lossexport.score(*files))
    assert numbers(lossexport.score(PRED, REFERENCE_FORMS[form])) == wanted
    assert numbers(lossexport.score(files[0], REFERENCE_FORMS[form])) == wanted


def test_files_of_a_run_in_memory(tmp_path: Path) -> None:
    lossexport.score(PRED, REF, out=tmp_path / "out")
    assert "references" in (tmp_path / "out/report.html").read_text()
    lossexport.compare(PRED, DETECTIONS, out=tmp_path / "compare")
    assert (tmp_path / "compare/boxes.parquet").is_file()


@pytest.mark.parametrize("form", FORMS)
def test_compare(form: str, files: tuple[Path, Path]) -> None:
    child = [{**row, "score": row["score"] + 0.05} for row in DETECTIONS[1:]]
    path = files[0].with_name("child.json")
    path.write_text(json.dumps(child))
    wanted = lossexport.compare(files[0], path)
    assert wanted["kept"] == 0.75
    for pair in ((FORMS[form], child), (FORMS[form], path), (files[0], child)):
        found = lossexport.compare(*pair)
        for name in ("kept", "iou", "drift", "counts"):
            assert found[name] == wanted[name]


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ((PRED, 3), "ref is 3: the path of a file or folder, a str or pathlib.Path, is expected"),
        (({**PRED, "score": [1]}, REF), "predictions: score has 1 rows, the boxes have 4"),
        ((PRED, {**REF, "area": [1]}), "references: area has 1 rows, the boxes have 4"),
        ((PRED, {**REF, "image_id": [5, 5, 5, 5]}), "predictions: no image in common with"),
    ],
)
def test_refusals(pair: Any, message: str) -> None:
    with pytest.raises(LossexportError) as caught:
        lossexport.score(*pair)
    assert str(caught.value).startswith(message)


def test_refusals_of_compare(files: tuple[Path, Path]) -> None:
    with pytest.raises(LossexportError, match=r"child: score has 1 rows, the boxes have 4"):
        lossexport.compare(PRED, {**PRED, "score": [1]})
    with pytest.raises(LossexportError, match=r"is compared with another, not with results"):
        lossexport.compare("detector.onnx", PRED)


def test_annotation_id_zero(files: tuple[Path, Path]) -> None:
    for ids in ([0, 1, 2, 3], ["0", "1", "2", "3"], np.arange(4)):
        summary = lossexport.score(PRED, {**REF, "id": ids})
        assert "annotation id 0" in summary["notes"][0]
    rows = [{**row, "id": i} for i, row in enumerate(REFERENCES["annotations"])]
    assert lossexport.score(PRED, rows)["AP"] == summary["AP"] < lossexport.score(PRED, REF)["AP"]


def test_no_needless_copies() -> None:
    """The boxes that are checked are the ones that were given."""
    tensor = torch.from_numpy(PRED["bbox"].astype(np.float64))
    for box in (tensor, OnlyDLPack(tensor.numpy()), boxes(tensor.numpy())):
        side = side_in_memory("predictions", {**PRED, "bbox": box}, scored=True)
        (block,) = side.boxes._box
        assert np.shares_memory(block, np.asarray(box.values if isinstance(box, pa.Array) else
                                                  getattr(box, "array", box)))  # fmt: skip


def test_given_memory_may_be_used_again() -> None:
    wanted = lossexport.Evaluator()
    wanted.update(PRED, REF)
    pred, ref = ({name: array.copy() for name, array in side.items()} for side in (PRED, REF))
    evaluator = lossexport.Evaluator()
    evaluator.update(pred, ref)
    frame = (np.ones((1, 4)), np.ones(1), np.ones(1), np.ones((1, 4)), np.ones(1))
    for one in (wanted, evaluator):
        one.update_image(5, *frame)
        for array in (*frame, *pred.values(), *ref.values()):
            array[:] = 7 if one is evaluator else array
    assert evaluator.to_bytes() == wanted.to_bytes()


def test_nothing_imports_torch_by_itself() -> None:
    code = """if True:
        import sys
        import lossexport
        evaluator = lossexport.Evaluator()
        evaluator.update([{"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.5}],
                         [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9]}])
        evaluator.update_image(2, [[0, 0, 9, 9]], [0.5], [1], [[0, 0, 9, 9]], [1])
        assert round(evaluator.compute()["AP"], 9) == 1
        assert not {"torch", "pyarrow", "onnx", "pandas"} & set(sys.modules)
    """
    subprocess.run((sys.executable, "-c", code), check=True)


def test_tables_without_rows() -> None:
    empty = TABLE.slice(4)
    for table in (empty, pa.table({name: pa.chunked_array([], TABLE[name].type) for name in PRED})):
        summary = lossexport.score(table, REF)
        assert summary["counts"]["predictions"] == 0
        assert summary["AP"] == 0
